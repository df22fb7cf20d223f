"""The arrows, budgets and names of docs/ARCHITECTURE.md, held by reading every source file."""

import ast
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {  # folder -> our packages it may import
    "sdk": {"sdk"},
    "training": {"training", "sdk"},
    "export": {"export", "training", "sdk"},
    "benchmarks": {"benchmarks", "sdk"},
    "scripts": {"scripts", "sdk"},
    "tests": {"benchmarks", "export", "scripts", "sdk", "training"},
}
INNER = {  # the bottom of the bottom: module prefix -> what of sdk it may import
    "sdk.image": {"sdk.image", "sdk.errors", "sdk.spec"},
    "sdk.spec": {"sdk.errors"},
    "sdk.errors": set(),
}
CV2_AND_PIL = ["training/data/*.py", "training/*.py", "benchmarks/*.py", "benchmarks/rivals/plain_faces.py"]
THIRD_PARTY = {  # every library we use -> the only files outside tests/ that may import it
    "numpy": ["sdk/**", "training/**", "export/**", "benchmarks/**"],
    "torch": [
        "training/**",
        "export/to_onnx.py",
        "export/untrained.py",
        "benchmarks/kernel_rivals.py",
        "benchmarks/gpu_arrays.py",
        "benchmarks/bench/probe_torch.py",
        "benchmarks/rivals/torch_graph.py",
    ],
    "torch_tensorrt": ["benchmarks/rivals/torch_trt.py"],
    "plotly": ["benchmarks/bench/plotting.py"],
    "openvino": ["benchmarks/rivals/openvino_ways.py"],
    "onnx": [
        "export/**",
        "benchmarks/bench/graph_file.py",
        "benchmarks/bench/probe_graphs.py",
        "benchmarks/rivals/torch_graph.py",
    ],
    "google": ["export/graph.py"],  # protobuf, which onnx reads files with and whose errors it lets through
    "onnxscript": ["export/**"],
    "onnxsim": ["export/**"],
    "modelopt": ["export/modelopt_process.py"],
    "onnxruntime": [
        "sdk/runtime/ort_backend.py",
        "benchmarks/rivals/ort_session.py",
        "benchmarks/bench/ort_profile.py",
        "benchmarks/bench/probe_graphs.py",
        "export/**",
        "training/verification.py",
    ],
    "cv2": ["sdk/detect.py", "sdk/video/steady.py", "sdk/video/views.py", *CV2_AND_PIL],
    "PIL": ["sdk/pictures.py", *CV2_AND_PIL],
    "tensorrt": ["sdk/runtime/trt_api.py"],
    "tensorrt_rtx": ["sdk/runtime/trt_api.py"],
    "cuda": ["sdk/runtime/gpu.py"],
    "nvidia": ["sdk/runtime/gpu.py", "scripts/kernel_tools.py"],  # folders of headers and libraries, no imports
    "scipy": ["sdk/video/tracks.py"],
    "av": ["sdk/video/files.py", "benchmarks/clip_scene.py", "benchmarks/clip_check.py"],
    "nvtx": ["benchmarks/bench/stage_trace.py"],
    "cupy": ["benchmarks/gpu_arrays.py"],
    "kornia": ["benchmarks/kernel_rivals.py"],
    "triton": ["benchmarks/triton_decode.py"],
    "pycuda": ["benchmarks/gpu_arrays.py"],
    "matplotlib": ["training/plots.py"],
}
BUDGETS = {"tests/*.py": 250, "**/*.py": 300, "**/*.cu": 250, "**/*.cuh": 250}  # lines; the first pattern decides
OLDEST_PYTHON = (3, 10)  # syntax that it cannot read fails here
FUNCTION_BUDGET = 50  # lines, from `def` to the last statement
SHADOWING = {"cuda", "pycuda", "pytest", "skimage", *THIRD_PARTY, *sys.stdlib_module_names} - {"__init__", "__main__"}
SAYS_NOTHING = {"utils", "util", "helpers", "misc", "common"}  # split by noun instead

PYTHON = [path.relative_to(ROOT) for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]
SOURCES = PYTHON + [p.relative_to(ROOT) for suffix in ("cu", "cuh") for p in (ROOT / "kernels").rglob(f"*.{suffix}")]
each_file = pytest.mark.parametrize("path", PYTHON, ids=str)


def matches(path: Path, pattern: str) -> bool:
    """`**` at the end stands for everything below a folder, at the start for any folder."""
    if pattern.endswith("/**"):
        return path.parts[0] == pattern.removesuffix("/**")
    return path.match(pattern.removeprefix("**/")) if pattern.startswith("**/") else path.match(pattern)


@lru_cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path), feature_version=OLDEST_PYTHON)


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, *, late: bool) -> set[str]:
    """Modules a file imports, dotted: `from sdk import spec` gives sdk and sdk.spec. Late: inside functions too."""
    names: set[str] = set()
    queue: list[ast.AST] = [tree(path)]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module_name(path).split(".")
            if path.name != "__init__.py":
                package = package[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            if called in {"import_module", "__import__", "find_spec"}:
                names |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)}
        if late or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            queue.extend(ast.iter_child_nodes(node))
    return names


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path, late=True)}


@each_file
def test_imports_follow_the_arrows(path):
    ours = roots(path) & set(MAY_IMPORT)
    allowed = MAY_IMPORT[path.parts[0]]
    assert ours <= allowed, f"{path} imports {sorted(ours - allowed)}; {path.parts[0]}/ may import {sorted(allowed)}"


@each_file
def test_inside_sdk_the_definitions_stand_alone(path):
    name = module_name(path)
    for prefix, allowed in INNER.items():
        if name == prefix or name.startswith(prefix + "."):
            used = {n for n in imported(path, late=True) if n.startswith("sdk.")}
            strangers = {n for n in used if not any(n == a or n.startswith(a + ".") for a in allowed)}
            assert not strangers, f"{path} imports {sorted(strangers)}; {prefix} may import {sorted(allowed)}"


@each_file
def test_libraries_are_imported_where_they_are_wrapped(path):
    if path.parts[0] == "tests":
        return
    for library in roots(path) - set(MAY_IMPORT) - set(sys.stdlib_module_names):
        assert library in THIRD_PARTY, (
            f"{path} imports {library}: a new dependency; add it to THIRD_PARTY and pyproject"
        )
        allowed = THIRD_PARTY[library]
        assert any(matches(path, pattern) for pattern in allowed), f"{path} imports {library}; only {allowed} may"


@each_file
def test_models_and_recipes_do_not_import_their_registry(path):
    if path.match("training/models/*.py") and path.name != "__init__.py":
        assert "training.models" not in {n for n in imported(path, late=True) if n.count(".") == 1}, path


def test_no_import_cycles():
    """Imports at the top of modules, also those behind TYPE_CHECKING, form no cycle."""
    modules = {module_name(p): p for p in PYTHON if p.parts[0] != "tests"}
    edges = {
        name: {n for n in imported(path, late=False) if n in modules and n != name and not name.startswith(n + ".")}
        for name, path in modules.items()
    }
    leaves = True
    while leaves:
        leaves = {name for name, targets in edges.items() if not targets & set(edges)}
        edges = {name: targets - leaves for name, targets in edges.items() if name not in leaves}
    assert not edges, f"import cycle among {sorted(edges)}"


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_files_keep_their_line_budget(path):
    budget = next(lines for pattern, lines in BUDGETS.items() if matches(path, pattern))
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= budget, f"{path} has {lines} lines, the budget is {budget}; split it by noun"


@each_file
def test_functions_keep_their_line_budget(path):
    functions = [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {f.name: n for f in functions if (n := (f.end_lineno or f.lineno) - f.lineno + 1) > FUNCTION_BUDGET}
    assert not long, f"{path}: {long} lines, the budget is {FUNCTION_BUDGET}"


@each_file
def test_file_names_shadow_no_library_and_say_something(path):
    assert path.stem not in SHADOWING, (
        f"{path} would shadow the module {path.stem} when its folder comes first on the path"
    )
    assert path.stem not in SAYS_NOTHING, f"{path}: name the file after the thing it holds"


def test_folders_hold_no_traps():
    assert not list((ROOT / "kernels").rglob("*.py")), (
        "kernels/ holds CUDA only, another distribution owns the import name"
    )
    assert not (ROOT / "tests" / "__init__.py").exists(), "tests/ is flat and no package"
    folders = [p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and p.name != "__pycache__"]
    assert not set(folders) & set(MAY_IMPORT), "a folder in tests/ named like a package hides the package"


def test_sdk_imports_with_numpy_alone_and_cheaply():
    """Only NumPy is loaded, no thread starts, and the import costs little processor time beside NumPy's own."""
    blocked = sorted(
        {"cupy", "pycuda", "scipy", "skimage", "training", "export", "benchmarks", *THIRD_PARTY} - {"numpy"}
    )
    program = f"""
import sys, threading, time
sys.modules.update(dict.fromkeys({blocked}))
import numpy
before, started_s = set(sys.modules), time.process_time()
import sdk
spent_s = time.process_time() - started_s
new = {{name.split(".")[0] for name in set(sys.modules) - before}}
assert new <= {{"sdk", "numpy"}} | set(sys.stdlib_module_names), new
assert not new & {{"argparse", "multiprocessing", "concurrent", "asyncio"}}, new
assert threading.active_count() == 1, threading.enumerate()
assert spent_s < 0.25, f"import sdk took {{spent_s:.3f}} s of processor time"
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_make_test_runs_every_test_file():
    said = subprocess.run(["make", "-pn", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    parts = re.search(r"^PARTS = (.+)$", said, re.MULTILINE)
    assert parts is not None
    text = re.sub(r"\$\(sort \$\(wildcard ([^)]*)\)\)", r"\1", parts[1])
    run = [path for part in text.split() for path in ROOT.glob(part)]
    assert sorted(run) == sorted((ROOT / "tests").glob("test_*.py")), "each test file belongs to one part"
