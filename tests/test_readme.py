"""What the documents promise exists: commands and their flags, links, the Python example, the measured numbers."""

import contextlib
import importlib
import io
import re
import shlex
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
import tomllib

from benchmarks import report

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "kernels" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HARMLESS = {"cd", "git"}


def targets_of(folder: Path) -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (folder / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """(document, command line) of every ```sh block; continued lines are joined."""
    found = {
        (path.relative_to(ROOT).as_posix(), shlex.join(shlex.split(line, comments=True)))
        for path in DOCUMENTS
        for block in blocks(path, "sh")
        for line in block.replace("\\\n", " ").splitlines()
    }
    return sorted((document, line) for document, line in found if line)


@lru_cache
def help_of(module: str) -> str:
    """What `--help` prints, asked for in this process: starting torch once per command would take longer."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as leaving:
        importlib.import_module(module).main(["--help"])
    assert leaving.value.code == 0, f"{module} --help exits with {leaving.value.code}"
    return printed.getvalue()


def check_flags(words: list[str], manual: str):
    known = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", manual))
    for word in words:
        flag = word.split("=")[0]
        if re.fullmatch(r"--?[a-zA-Z][\w-]*", flag):
            assert flag in known, f"{flag} is not in --help, which has {sorted(known)}"


@pytest.mark.parametrize(("document", "line"), commands())
def test_commands_exist_with_their_flags(document, line):
    words = shlex.split(line)
    program, rest = words[0], words[1:]
    if program == "make":
        folder, wanted = (ROOT / rest[1], rest[2:]) if rest[:1] == ["-C"] else (ROOT, rest)
        assert {word for word in wanted if "=" not in word} <= targets_of(folder), f"{document}: {line}"
    elif program == "python" and rest[0] == "-m":
        check_flags(rest[2:], help_of(rest[1]))
    elif program == "pip":
        for extras in re.findall(r"\[([a-z,-]+)\]", line):
            assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"]), f"{document}: {line}"
    elif program in PROJECT["scripts"]:
        check_flags(rest, help_of(PROJECT["scripts"][program].split(":")[0]))
    else:
        assert program in HARMLESS, f"{document}: {line}: no such command of ours"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("#"):
            assert (path.parent / target.split("#")[0]).exists(), f"{path.name} links to {target}"


def test_readme_keeps_its_order():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    marks = ["# FaceTRT", "](docs/demo.png)", "## Install", "```python", "## Commands", "<!-- numbers:", "## More"]
    positions = [text.find(mark) for mark in marks]
    assert -1 not in positions and positions == sorted(positions), dict(zip(marks, positions, strict=True))


def test_numbers_equal_the_results_files():
    assert report.update(write=False) == [], "run: python -m benchmarks.report --write"


def test_python_example_runs(tmp_path):
    """On NASA's portrait of an astronaut (public domain), which holds one face."""
    from PIL import Image
    from skimage.data import astronaut

    Image.fromarray(astronaut()).save(tmp_path / "photo.jpg")
    (example,) = blocks(ROOT / "README.md", "python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{example}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "the example printed no face"
    assert (tmp_path / "out.png").stat().st_size > 10_000
