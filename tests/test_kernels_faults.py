"""Faults planted in copies of the kernels are caught: by schedules, the runner, canaries, sanitizers or the reference.

What this way of testing cannot see: memory ordering between warps and blocks, and a read-modify-write that is not
atomic, since one fiber runs at a time. Those take compute-sanitizer on a GPU.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import test_kernels_heatmap_decode as decode_tests
import test_kernels_image_tail as tail_tests
import test_kernels_pixel_shuffle as shuffle_tests
from heatmap_kernel import some_maps
from kernel_host import FOLDER, KernelFaultError, Kernels, needs_compiler, sanitized

from sdk.image.pixels import pixel_shuffle

pytestmark = needs_compiler


@dataclass(frozen=True)
class Fault:
    name: str
    file: str
    old: str
    new: str
    caught: str  # part of the message


DECODE, MATH, TAIL = "heatmap_decode.cu", "heatmap_decode.cuh", "image_tail.cu"
ALIGNED = "(reinterpret_cast<uint64_t>(map) & 15u) == 0u && cells % PER_PIECE == 0"
BARRIER = "    __syncthreads();\n    if (thread >= 32) return best;"
EARLY_END = "\n    const int cells = args.rows * args.columns;\n    const T* map"
ENDS_40 = "\n    if (threadIdx.x == 40) return;"
LAST_WARP = "    if (threadIdx.x >= 32) return;"
FAULTS = [
    Fault("missing barrier", DECODE, BARRIER, BARRIER.split("\n")[1], "other bits"),
    Fault("missing warp barrier", DECODE, "tap / total;\n    __syncwarp();", "tap / total;", "other bits"),
    Fault("shared memory not filled", TAIL, "args.lr_scale * 5; k", "args.lr_scale * 4; k", "other bits"),
    Fault("missing barrier", TAIL, "    __syncthreads();\n", "", "other bits"),
    Fault("warp operation in a branch", DECODE, "    mass = warp_sum(", "    if (mass > 0.1f) mass = warp_sum(",
          "absent or has ended"),
    Fault("barrier after an early end", DECODE, EARLY_END, ENDS_40 + EARLY_END, "has ended"),
    Fault("lane that ended in the mask", DECODE, LAST_WARP, LAST_WARP.replace("32", "9"), "absent or has ended"),
    Fault("tie rule in a thread", DECODE, "if (key > best.key)", "if (key >= best.key && key != 0u)", ""),
    Fault("tie rule in a warp", DECODE, "warp_min(best.key == key ? best.piece : ~0u)", "warp_max(best.key == key ? "
          "best.piece : 0u)", ""),
    Fault("tie rule in a piece", DECODE, "__ffs(int(hits)) - 1", "31 - __clz(int(hits))", ""),
    Fault("NaN wins", MATH, "v != v ? 0u :", "v != v ? ~0u :", ""),
    Fault("-0 below +0", MATH, "__float_as_uint(v + 0.0f)", "__float_as_uint(v)", ""),
    Fault("border", MATH, "x < columns - margin", "x < (columns < rows ? columns : rows) - margin", ""),
    Fault("rounding", "image_tail.cuh", "255.0f) + 0.5f", "255.0f)", ""),
    Fault("edges", TAIL, "min(max(X / scale - 2 + q, 0)", "min(abs(X / scale - 2 + q)", ""),
    Fault("order of channels", "image_tail.cuh", "(c * R + i) * R + j", "(c * R + j) * R + i", ""),
    Fault("order of elements", "pixel_shuffle.cu", "j = at % R, k = at / R", "j = at / R % R, k = at % R", ""),
    Fault("write past the end", TAIL, "if (first + k / 3 < pixels) out", "if (first + k / 3 <= pixels) out", "outside"),
]  # fmt: skip
SANITIZED = [
    Fault("read past the end", DECODE, "if (first + j * threads < n) got", "if (first + j * threads <= n) got",
          "heap-buffer-overflow"),
    Fault("read past the end of a plane", TAIL, "if (piece < PLANES * PIECES && cell < cells)",
          "if (piece < PLANES * PIECES)", "heap-buffer-overflow"),
    Fault("misaligned vector load", DECODE, ALIGNED, "cells % PER_PIECE == 0 || reinterpret_cast<uint64_t>(map) == 1u",
          "misaligned address"),
    Fault("misaligned vector store", "pixel_shuffle.cu", "(reinterpret_cast<uint64_t>(args.in) & 15u) == 0u &&", "",
          "misaligned address"),
    Fault("shared memory too small", DECODE, "__shared__ Best exchange[WARPS];", "__shared__ Best exchange[2];",
          "insufficient space|global-buffer-overflow"),
]  # fmt: skip


def planted(fault, folder):
    """A copy of the kernels with the fault in it; the .cu file's path."""
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("built", "*.md"))
    path = folder / fault.file
    text = path.read_text()
    assert text.count(fault.old) >= 1, f"{fault.file} has changed: {fault.old!r} is not in it"
    path.write_text(text.replace(fault.old, fault.new))
    return path.with_suffix(".cu")


def exercise(source):
    """The comparison with the reference that every kernel must pass, short."""
    library, rng = Kernels(source, once=True), np.random.default_rng(1)
    if source.stem == "heatmap_decode":
        for form in ("f16_nchw", "f16_hwc8", "f32_nchw"):
            dtype = decode_tests.FORMS[form]
            for kind, mode in (("gauss", "dark"), ("ties", "argmax"), ("holes", "quarter")):
                maps = some_maps(rng, (2, 6, 24, 40), dtype, kind)
                if kind == "holes":
                    maps[0, 0] = -1.0
                    maps[0, 0, 9:11] = 0.0
                    maps[0, 0, 9] = -0.0
                decode_tests.check(maps, form, mode=mode, threads=128, library=library)
            offset = 3 if form.endswith("nchw") else 0
            decode_tests.check(some_maps(rng, (2, 3, 16, 9), dtype, "gauss"), form, offset=offset, library=library)
    elif source.stem == "image_tail":
        for form in ("f16_nchw_r4", "f16_hwc8_r4", "f32_nchw_r1"):
            r = int(form[-1])
            features = rng.uniform(-0.3, 1.0, (2, 3 * r * r, 7, 9)).astype(tail_tests.dtype_of(form))
            lr = None if r == 1 else rng.uniform(0, 1, (2, 3, 7, 9)).astype(features.dtype)
            tail_tests.check(features, form, lr=lr, scale=r, bias=None, library=library)
        tail_tests.check(rng.uniform(0, 1, (1, 48, 2, 4)).astype(np.float16), "f16_nchw_r4", library=library)
    else:
        planes = rng.integers(-99, 99, (2, 8, 3, 16)).astype(np.int8)
        for offset in (0, 1):
            done = shuffle_tests.run(planes, 2, offset=offset, library=library)
            assert np.array_equal(done, pixel_shuffle(planes, 2)), "not the reference"


def exercise_path(path):
    """For children with sanitizers."""
    exercise(Path(path))


@pytest.mark.parametrize("name", ["heatmap_decode.cu", "image_tail.cu", "pixel_shuffle.cu"])
def test_the_kernels_themselves_pass(name):
    exercise(FOLDER / name)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.file}: {f.name}")
def test_a_planted_fault_is_caught(fault, tmp_path):
    source = planted(fault, tmp_path / "kernels")
    with pytest.raises((AssertionError, KernelFaultError), match=fault.caught or None):
        exercise(source)


@pytest.mark.parametrize("fault", SANITIZED, ids=lambda f: f"{f.file}: {f.name}")
def test_a_sanitizer_sees_a_planted_fault(fault, tmp_path):
    done = sanitized("test_kernels_faults:exercise_path", str(planted(fault, tmp_path / "kernels")))
    assert done.returncode != 0
    assert re.search(fault.caught, done.stderr) and ("Sanitizer" in done.stderr or "runtime error" in done.stderr), (
        done.stderr
    )
