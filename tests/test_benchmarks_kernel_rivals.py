"""Rivals from other libraries: absent ones say so, present ones do the work that they are timed for."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import kernel_cases, kernel_rivals
from benchmarks.gpu_arrays import NotPossible
from sdk.image.crop import apply_affine
from sdk.image.heatmap import decode

SMALL = {case.kernel: case for case in reversed(kernel_cases.all_cases()) if case.faces == 1}
INTERPRETED = """
import json, sys
import numpy as np, torch
from benchmarks.triton_decode import decode
given = np.load(sys.argv[1])
found = decode(torch.from_numpy(given["maps"]), torch.from_numpy(given["matrices"]))
json.dump(found.tolist(), sys.stdout)
"""

COMPILED = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from benchmarks import triton_decode as ours
kinds = dict(maps="*fp16", matrices="*fp32", out="*fp32", landmarks="i32", rows="i32", columns="i32")
fixed = dict(cells=4096, sigma=ours.SIGMA, total=ours.TOTAL)
source = ASTSource(ours._decode, signature={**kinds, **dict.fromkeys(fixed, "constexpr")}, constexprs=fixed)
made = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": ours.WARPS})
assert made.asm["cubin"]
"""


def needs(name):
    there = importlib.util.find_spec(name) is not None
    return pytest.mark.skipif(not there, reason=f"no {name} in this Python: pip install {name}")


@pytest.mark.parametrize("library", ["kornia", "Triton"])
def test_an_absent_library_is_named(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library.lower(), None)
    with pytest.raises(NotPossible, match=f"no {library.lower()} in this Python"):
        kernel_rivals.of_library("heatmap_decode", library, None)


def test_every_rival_says_why_it_cannot_run_here():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here: gpu-check times the rivals")
    names = [(case, name) for case in SMALL.values() for name in kernel_rivals.rivals_of(case)]
    assert {name for _, name in names} >= {"kornia", "Triton", "argmax + gather, compiled"}
    for case, name in names:
        with pytest.raises(NotPossible, match="sees no GPU"):
            kernel_rivals.time_rival(case, name)


@needs("kornia")
def test_kornia_finds_about_the_same_points():
    torch = pytest.importorskip("torch")
    given = SMALL["heatmap_decode"].make(np.random.default_rng(1))
    function = kernel_rivals.of_library("heatmap_decode", "kornia", torch)
    found = function(torch.from_numpy(given["maps"]).float(), torch.from_numpy(given["matrices"])).numpy()
    wanted = decode(given["maps"])
    off = np.abs(found[..., :2] - apply_affine(wanted.points, given["matrices"]))
    assert np.median(off) < 2.0, "a soft argmax over the whole map is drawn to its middle"
    np.testing.assert_allclose(found[..., 2], wanted.scores, atol=1e-3)


@needs("kornia")
def test_kornia_cuts_the_faces_out():
    torch = pytest.importorskip("torch")
    case = SMALL["crop_norm"]
    given = case.make(np.random.default_rng(1))
    rows, columns = np.mgrid[: given["frame"].shape[0], : given["frame"].shape[1]]
    frame = np.stack([rows // 8, columns // 8, (rows + columns) // 16], axis=2).astype(np.uint8)  # no detail to alias
    windows = np.array([[300.0, 200.0, 364.0, 264.0]], np.float32)
    function = kernel_rivals.of_library("crop_norm", "kornia", torch)
    found = function(torch.from_numpy(frame), torch.from_numpy(windows)).float().numpy()
    wanted = kernel_rivals.prepared("crop_norm", torch)(torch.from_numpy(frame), torch.from_numpy(windows))
    assert np.abs(found - wanted.float().numpy()).max() < 1.5 / 255


@needs("triton")
def test_triton_decodes_by_our_rules(tmp_path):
    """In Triton's interpreter, which must be asked for before triton is imported."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    maps = rng.uniform(0, 1, (1, 6, 12, 20)).astype(np.float32)
    maps[0, 0], maps[0, 1, 3, 3], maps[0, 2] = np.nan, np.nan, 0.5
    maps[0, 3, 5, 5] = maps[0, 3, 6, 9] = 3.0
    matrices = rng.uniform(0.5, 2.0, (1, 2, 3)).astype(np.float32)
    np.savez(tmp_path / "given.npz", maps=maps, matrices=matrices)
    command = [sys.executable, "-c", INTERPRETED, str(tmp_path / "given.npz")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    found, wanted = np.array(json.loads(done.stdout)), decode(maps)
    np.testing.assert_allclose(found[..., :2], apply_affine(wanted.points, matrices), atol=1e-3)
    np.testing.assert_array_equal(found[..., 2].astype(np.float32), wanted.scores)
    np.testing.assert_allclose(found[..., 3], wanted.spread, atol=1e-4)


@needs("triton")
def test_triton_compiles_it_for_a_gpu(tmp_path):
    """The interpreter takes what the compiler does not."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_DEFAULT_FP_FUSION": "1"}
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_table_of_rivals(tmp_path):
    from benchmarks.kernel_tables import kernel_rivals as table

    assert table(tmp_path).startswith("Not measured yet.")
    case = SMALL["heatmap_decode"]
    numbers = {f"kernels time {case.name}": {"graph_us": 2.0}, f"kernels rival {case.name}: kornia": {"us": 50.0}}
    rows = [{"check": name, "status": "ok", "run": 0, "numbers": value} for name, value in numbers.items()]
    rows.append({"check": f"kernels rival {case.name}: Triton", "status": "not run", "why": "no triton", "run": 0})
    runs = [{"command": "make gpu-check", "machine": {"gpu": "a GPU"}}]
    (tmp_path / "gpu_check.json").write_text(json.dumps({"checks": rows, "runs": runs}))
    text = table(tmp_path)
    cells = f"| `heatmap_decode` | {case.what} | 1 | 2.0 |"
    assert f"{cells} kornia | 50.0 | 25.0 |" in text
    assert f"{cells} Triton | not yet run | – |" in text and "Measured on a GPU with `make gpu-check`" in text
