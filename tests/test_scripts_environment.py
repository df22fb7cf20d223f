"""scripts/environment.py: installs once, notices changes, survives kills, waits for its neighbours. No pip is run."""

import subprocess
import sys
import threading
import time

import pytest

from scripts import environment


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout whose .venv and pip are stand-ins: the list of what pip was asked to install."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "pins.txt").write_text("numpy==1\n")
    venv = tmp_path / ".venv"
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "VENV", venv)
    monkeypatch.setattr(environment, "PYTHON", venv / "bin" / "python")
    monkeypatch.setattr(environment, "UNFINISHED", venv / ".unfinished")
    monkeypatch.setattr(environment, "CONSTRAINTS", tmp_path / "pins.txt")
    installed: list[str] = []

    def create_venv():
        environment.PYTHON.parent.mkdir(parents=True, exist_ok=True)
        environment.PYTHON.touch()

    def pip_install(*arguments):
        time.sleep(0.02)  # long enough for a neighbour to arrive meanwhile
        installed.append(arguments[-1])

    monkeypatch.setattr(environment, "create_venv", create_venv)
    monkeypatch.setattr(environment, "pip_install", pip_install)
    return installed


def test_installs_once(checkout):
    environment.prepare("demo")
    environment.prepare("demo")
    assert checkout == ["wheel", "."]


def test_every_job_brings_the_base_install(checkout):
    environment.prepare("test")
    environment.prepare("demo")
    assert checkout == ["wheel", environment.JOBS["test"]]


def test_a_changed_pin_is_installed(checkout):
    environment.prepare("demo")
    environment.CONSTRAINTS.write_text("numpy==2\n")
    environment.prepare("demo")
    assert checkout == ["wheel", "."] * 2


def test_a_lost_interpreter_is_noticed(checkout):
    environment.prepare("demo")
    environment.PYTHON.unlink()
    environment.prepare("demo")
    assert checkout == ["wheel", "."] * 2


def test_neighbours_wait_instead_of_installing_twice(checkout):
    threads = [threading.Thread(target=environment.prepare, args=("demo",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert checkout == ["wheel", "."]


def test_a_failed_installation_is_tried_again(checkout, monkeypatch):
    def fail(*arguments):
        raise environment.SetupError("expected pip to work; it failed; try again")

    with monkeypatch.context() as patch, pytest.raises(environment.SetupError):
        patch.setattr(environment, "pip_install", fail)
        environment.prepare("demo")
    environment.prepare("demo")
    assert checkout == ["wheel", "."]


def test_an_old_interpreter_is_named(checkout, monkeypatch):
    monkeypatch.setattr(environment, "OLDEST_PYTHON", (99, 0))
    with pytest.raises(environment.SetupError, match=r"expected Python 99\.0 or newer; this is 3"):
        environment.prepare("demo")
    assert checkout == []


def test_a_killed_installation_gets_a_new_venv(tmp_path, monkeypatch):
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / ".unfinished").touch()
    monkeypatch.setattr(environment, "VENV", venv)
    monkeypatch.setattr(environment, "PYTHON", venv / "bin" / "python")
    monkeypatch.setattr(environment, "UNFINISHED", venv / ".unfinished")
    made = []
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(environment.subprocess, "run", lambda command, **_: made.append(command) or done)
    environment.create_venv()
    assert not venv.exists() and made == [[sys.executable, "-m", "venv", venv]]
