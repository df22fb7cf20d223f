"""A result of trt-bench as CSV: one row a measurement, columns named with their units, for spreadsheets and pandas."""

import csv
import io
import os
from pathlib import Path

from benchmarks.bench.labels import share_of_limit
from benchmarks.bench.results import Latency, Measurement, Result
from sdk.errors import OutputError

__all__ = ["to_csv", "write_csv"]

PERCENTILES = ("mean", "p50", "p90", "p99", "p99_9", "max")
COLUMNS = (
    "model", "backend", "precision", "way", "span", "scenario", "batch", "faces", "frame_height_px", "frame_width_px",
    "threads", "samples", "duration_s", *(f"{name}_ms" for name in PERCENTILES), "faces_per_s", "processor_ms",
    "memory_mib", "joule_per_face", "floor_ms_over_p50", "server_target_ms", "server_rate_per_s", "flags", "error",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run a text that begins so


def to_csv(result: Result) -> str:
    """RFC 4180 with a header line; empty cells for what was not measured; latencies in milliseconds."""
    subjects = {subject.id: subject for subject in result.subjects}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for one in result.measurements:
        named = subjects[one.subject]
        texts = (named.model, named.backend, named.precision, named.way, named.span, one.scenario)
        writer.writerow([*map(_text, texts), *_numbers(one), *_rest(result, one)])
    return stream.getvalue()


def _numbers(one: Measurement) -> list[float | int | None]:
    latency: Latency | None = one.latency_ms
    times = [getattr(latency, name) if latency is not None else None for name in PERCENTILES]
    height, width = one.frame_hw or (None, None)
    return [one.batch, one.faces, height, width, one.threads, one.samples, one.duration_s, *times]


def _rest(result: Result, one: Measurement) -> list[float | str | None]:
    server = (one.server.target_ms, one.server.rate_per_s) if one.server else (None, None)
    measured = [one.faces_per_s, one.processor_ms, one.memory_mib, one.joule_per_face, share_of_limit(result, one)]
    return [*measured, *server, _text("; ".join(one.flags)), _text(one.error or "")]


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(FORMULA) else value


def write_csv(result: Result, path: Path) -> None:
    """The file whole or not at all. Raises OutputError."""
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.write(to_csv(result))
        os.replace(draft, path)
    except OSError as error:
        raise OutputError("a CSV file to write", f"{path}: {error.strerror}", "check folder and free space") from error
