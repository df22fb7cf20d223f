"""Make .venv ready for one job: `python scripts/environment.py demo|check|test|gpu`. Standard library only.

A job's packages are installed once; a stamp in .venv holds a digest of everything that decides them (pyproject.toml,
the pins, the folder), so a second run returns at once and a changed pin or a moved checkout is noticed.
A file lock makes simultaneous `make` commands wait for each other instead of installing over each other.
"""

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UNFINISHED = VENV / ".unfinished"  # there while pip installs; left behind only by a kill
CONSTRAINTS = ROOT / "constraints" / "cpu.txt"
OLDEST_PYTHON = (3, 11)  # the pins are for 3.11 and up; the package itself runs on 3.10

# Job -> what pip installs. Every job holds the base install, so one job's stamp never breaks another's.
JOBS = {
    "demo": ".",
    "check": ".[dev]",
    "test": ".[test,train,export,video,bench,cuda,rtx,kernels]",
    "bench": ".[train,export,bench,rivals]",
    "gpu": ".[export,cuda,tensorrt]",
}


class SetupError(Exception):
    """The environment cannot be made; the message says what was expected, what was found and the remedy."""


def digest() -> str:
    """Changes when an installed environment no longer fits: metadata, pins, place."""
    state = hashlib.sha256(str(ROOT).encode())
    for path in (ROOT / "pyproject.toml", CONSTRAINTS):
        state.update(path.read_bytes())
    return state.hexdigest()


def stamp(job: str) -> Path:
    return VENV / f".ready-{job}"


def is_ready(job: str, key: str) -> bool:
    return PYTHON.exists() and stamp(job).exists() and stamp(job).read_text() == key


def create_venv() -> None:
    """A new .venv, also in place of one that lost its pip or whose installation was killed half-way."""
    whole = PYTHON.exists() and not UNFINISHED.exists()
    if whole and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", VENV], stdin=subprocess.DEVNULL).returncode:
        raise SetupError(
            f"expected `{sys.executable} -m venv` to make {VENV}; it failed (message above); "
            "install Python's venv module or name another interpreter: make PYTHON=python3.12 ..."
        )


def pip_install(*arguments: str) -> None:
    # -qq hides warnings about the machine's own pip settings; errors still show.
    command = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", CONSTRAINTS, *arguments]
    UNFINISHED.touch()
    status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    UNFINISHED.unlink()
    if status:
        raise SetupError(
            f"expected pip to install {' '.join(arguments)}; it failed (message above); "
            "check the network and pip's settings, then run the same make command again: it goes on from here"
        )


def prepare(job: str) -> None:
    """Install what `job` needs; raises SetupError. Safe to call from several processes at once."""
    if sys.version_info < OLDEST_PYTHON:
        wanted, found = ".".join(map(str, OLDEST_PYTHON)), ".".join(map(str, sys.version_info[:2]))
        raise SetupError(f"expected Python {wanted} or newer; this is {found}; name one: make PYTHON=python3.11 ...")
    key = digest()
    if is_ready(job, key):
        return
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_ready(job, key):
            return
        started_s = time.monotonic()
        sys.stderr.write(f"environment: installing what `make {job}` needs into .venv ...\n")
        create_venv()
        pip_install("setuptools", "wheel")
        pip_install("--no-build-isolation", "-e", JOBS[job])
        for ready in {"demo", job}:
            stamp(ready).write_text(key)
        sys.stderr.write(f"environment: ready after {time.monotonic() - started_s:.0f} s\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=JOBS)
    try:
        prepare(parser.parse_args().job)
    except SetupError as error:
        sys.stderr.write(f"environment: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
