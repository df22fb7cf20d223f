"""The timing cache: what TensorRT measured in earlier builds, one file for each TensorRT and GPU, to measure it once.

~/.cache/facetrt/timing/tensorrt-10.3.0-sm_87-orin.cache, or the file that --timing-cache names. Two builds at once
each write a whole file; the last one stays. TensorRT-RTX times nothing while it builds and has none.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from export.options import Options
from sdk.errors import OutputError
from sdk.pictures import write_file
from sdk.runtime.gpu import Gpu
from sdk.runtime.trt_api import TensorRT

__all__ = ["ENVIRONMENT", "TimingCache", "timing_root"]

ENVIRONMENT = "FACETRT_TIMING_CACHE"  # a folder in place of ~/.cache/facetrt/timing

log = logging.getLogger("facetrt")


def timing_root() -> Path:
    """The folder of the timing caches; it may not be there yet."""
    chosen = os.environ.get(ENVIRONMENT)
    return Path(chosen) if chosen else Path.home() / ".cache" / "facetrt" / "timing"


@dataclass(frozen=True)
class TimingCache:
    """A file and what it held; both None when there is no timing cache."""

    path: Path | None
    content: bytes | None  # b"": not there yet
    wanted: bool = False  # the user named the file: failing to write it is an error, not a warning

    @classmethod
    def open(
        cls,
        options: Options,
        trt: TensorRT,
        *,
        gpu: Gpu | None,
    ) -> TimingCache:
        """The cache that fits. Raises OutputError when the file that the user named cannot be read."""
        if options.no_timing_cache or gpu is None or not trt.has("timing_cache"):
            return cls(None, None)
        path = options.timing_cache or timing_root() / _file_name(trt, gpu)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            if options.timing_cache:
                got = f"{path} ({error.strerror})"
                raise OutputError("a readable timing cache", got, "name another file, or --no-timing-cache") from error
            content = b""
        return cls(path, content, wanted=options.timing_cache is not None)

    def save(self, content: bytes) -> None:
        """Write what the build added. Only a file that the user named may fail: OutputError."""
        if self.path is None or content == self.content:
            return
        try:
            write_file(self.path, content)
        except OutputError as error:
            if self.wanted:
                raise
            log.warning("timing cache not kept: %s", error)


def _file_name(trt: TensorRT, gpu: Gpu) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    return f"{trt.flavour}-{trt.version}-{gpu.sm}-{name}.cache"
