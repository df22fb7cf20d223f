"""What the wheel holds: our three names, the shipped models, nothing else. Built from a copy, without a network."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest
import tomllib

import sdk

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {"sdk", "export", "benchmarks"}
KERNELS = "sdk._kernels"  # the folder kernels/, which holds no Python
MAX_KERNELS_MB = 3.0  # binaries of all kernels
MAX_MODELS_MB = 10.0  # shipped weights, all together
MAX_INT8_MB = 4.0  # and their INT8 files for the CPU
SUFFIXES = {".py", ".onnx", ".npz", ".typed", ".json", ".cu", ".cuh", ".xz", ".css", ".js"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the sources, so that no build folder appears in the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("sdk", "export", "benchmarks", "training", "kernels", "tests"):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "-w", target, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def members(wheel):
    """Paths in the wheel outside its .dist-info folder -> size in bytes."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {PurePosixPath(info.filename): info.file_size for info in archive.infolist()}
    return {path: size for path, size in sizes.items() if not path.parts[0].endswith(".dist-info")}


def test_is_pure_python_of_this_version(wheel):
    assert wheel.name == f"facetrt-{sdk.__version__}-py3-none-any.whl"


def test_holds_three_names_and_no_more(members):
    assert {path.parts[0] for path in members} == TOP_LEVEL


def test_holds_every_module_of_its_packages(members):
    for package in set(PROJECT["tool"]["setuptools"]["packages"]) - {KERNELS}:
        folder = ROOT.joinpath(*package.split("."))
        wanted = {PurePosixPath(path.relative_to(ROOT).as_posix()) for path in folder.glob("*.py")}
        assert wanted and wanted <= set(members), sorted(map(str, wanted - set(members)))


def test_every_package_of_the_tree_is_listed():
    folders = {path.parent for name in TOP_LEVEL for path in (ROOT / name).rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert packages == set(PROJECT["tool"]["setuptools"]["packages"]) - {KERNELS}


def test_ships_the_kernels_with_their_sources(members):
    """As package data of sdk._kernels: another distribution owns the import name `kernels`."""
    shipped = {path.relative_to("sdk/_kernels") for path in members if path.parts[:2] == ("sdk", "_kernels")}
    sources = {PurePosixPath(p.name) for pattern in ("*.cu", "*.cuh") for p in (ROOT / "kernels").glob(pattern)}
    built = {PurePosixPath("built", f"{p.stem}.fatbin.xz") for p in sources if p.suffix == ".cu"}
    assert shipped == {*sources, *built, PurePosixPath("built/index.json")}
    assert sum(size for path, size in members.items() if path.suffix == ".xz") <= MAX_KERNELS_MB * 1e6


def test_ships_the_models_within_their_budget(members):
    models = {path: size for path, size in members.items() if path.suffix == ".onnx"}
    in_tree = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sdk" / "models").glob("*.onnx")}
    assert {str(path) for path in models} == in_tree
    quantised = {path: size for path, size in models.items() if path.name.endswith(".int8.onnx")}
    assert sum(quantised.values()) <= MAX_INT8_MB * 1e6, quantised
    assert sum(models.values()) - sum(quantised.values()) <= MAX_MODELS_MB * 1e6, models


def test_holds_only_code_models_and_kernels(members):
    strangers = [str(path) for path in members if path.suffix not in SUFFIXES]
    assert not strangers, strangers


def test_sdk_imports_from_the_wheel_alone(wheel, tmp_path):
    """Nothing outside the wheel is needed to import it: not the checkout, not training/."""
    program = f"import sys; sys.path.insert(0, {str(wheel)!r}); import sdk; print(sdk.__file__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(wheel) in done.stdout


def test_commands_lead_to_functions():
    for command, target in PROJECT["project"]["scripts"].items():
        module, function = target.split(":")
        program = f"import {module}; assert callable({module}.{function})"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_import_names_belong_to_us_alone():
    owners = importlib.metadata.packages_distributions()
    for name in TOP_LEVEL:
        strangers = set(owners.get(name, [])) - {"facetrt"}
        assert not strangers, f"{name} also belongs to {sorted(strangers)}; uninstall it or use another environment"
