"""One timing cache for each TensorRT and GPU; failing to keep it is a warning, unless the user named the file."""

import logging
from pathlib import Path

import pytest
from trt_by_version import open_fake

from export.arguments import parse
from export.timing import TimingCache
from sdk.errors import OutputError
from sdk.runtime import trt_api
from sdk.runtime.gpu import Gpu

ORIN = Gpu(0, "Orin (nvgpu)", "sm_87", 7620)


@pytest.fixture
def trt(monkeypatch, tmp_path):
    monkeypatch.setenv("FACETRT_TIMING_CACHE", str(tmp_path / "timing"))
    return open_fake("10.3.0", monkeypatch)


def open_cache(trt, line="", gpu=ORIN):
    return TimingCache.open(parse(["m", *line.split()]), trt, gpu=gpu)


def test_it_starts_empty_and_is_found_again(trt, tmp_path):
    cache = open_cache(trt)
    assert cache.content == b"" and cache.path == tmp_path / "timing" / "tensorrt-10.3.0-sm_87-orin-nvgpu.cache"
    cache.save(b"measured")
    assert open_cache(trt).content == b"measured"
    assert [path.name for path in (tmp_path / "timing").iterdir()] == [cache.path.name], "no temporary file stays"


def test_another_tensorrt_or_gpu_has_another(trt, monkeypatch):
    names = {open_cache(trt).path, open_cache(trt, gpu=Gpu(0, "Xavier", "sm_72", 1)).path}
    names.add(open_cache(open_fake("10.13.3.9", monkeypatch)).path)
    assert len(names) == 3


def test_none_is_kept_where_it_has_no_sense(trt):
    assert open_cache(trt, "--no-timing-cache") == open_cache(trt, gpu=None) == TimingCache(None, None)
    TimingCache(None, None).save(b"ignored")


def test_rtx_has_none():
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'facetrt[rtx]'")
    assert open_cache(trt_api.load("tensorrt_rtx")) == TimingCache(None, None)


def test_a_default_cache_that_cannot_be_written_is_a_warning(trt, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FACETRT_TIMING_CACHE", str(tmp_path / "file"))
    cache = open_cache(trt)
    with caplog.at_level(logging.WARNING, "facetrt"):
        cache.save(b"measured")
    assert "timing cache not kept" in caplog.text


def test_a_cache_that_the_user_named_must_work(trt, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="a readable timing cache"):
        open_cache(trt, f"--timing-cache {tmp_path / 'file' / 't.cache'}")
    named = open_cache(trt, f"--timing-cache {tmp_path / 'mine.cache'}")
    assert named.wanted and named.path == tmp_path / "mine.cache"
    broken = TimingCache(Path("/proc/no/such/folder"), b"", wanted=True)
    with pytest.raises(OutputError, match="to write /proc/no/such/folder"):
        broken.save(b"measured")
