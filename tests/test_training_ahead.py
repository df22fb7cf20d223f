"""Processes that make batches ahead end with the training, however it ends, and one that dies is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdk.errors import InputError
from training.data.ahead import Ahead
from training.data.examples import make_examples

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import os, sys, time
from training.data.ahead import Ahead
from training.data.examples import make_examples
examples = make_examples("urdgn", [{pack!r}], 0, report=lambda text: None)
ahead = Ahead(examples, 2, size=2, rank=0, world=1)
ahead.batch(0)
print(*(worker.pid for worker in ahead.workers), flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_do_not_outlive_a_killed_training(face_pack):
    """Each holds all pictures in memory: orphans would fill it."""
    command = [sys.executable, "-c", PROGRAM.format(pack=str(face_pack))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2 and all(map(alive, workers))
        process.send_signal(signal.SIGKILL)
    until_s = time.monotonic() + 20.0
    while any(map(alive, workers)) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not any(map(alive, workers))


@pytest.fixture
def examples(face_pack):
    return make_examples("urdgn", [str(face_pack)], 0, report=lambda text: None)


def test_batches_are_those_of_one_process_in_any_order_of_steps(examples):
    with Ahead(examples, 2, size=3, rank=0, world=1) as ahead:
        for step in (0, 1, 2, 7, 8, 3, 4):
            found, wanted = ahead.batch(step), examples.batch(step, size=3)
            assert all((getattr(found, name) == getattr(wanted, name)).all() for name in ("lr", "hr", "weight"))
        children = [worker.pid for worker in ahead.workers]
    assert not any(map(alive, children))


@pytest.mark.parametrize("when", ["idle", "in the middle of a batch"])
def test_a_worker_that_dies_is_told(when, examples):
    with Ahead(examples, 2, size=8, rank=0, world=1) as ahead:
        ahead.batch(0)
        if when == "idle":
            time.sleep(0.5)
        for worker in ahead.workers:
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(InputError, match="fewer --workers; the same command goes on"):
            for step in range(1, 9):
                ahead.batch(step)


def test_what_a_worker_raises_comes_here(examples, monkeypatch):
    def refused(step, **place):
        raise InputError("a batch", "none", "x")

    monkeypatch.setattr(examples, "batch", refused)
    with Ahead(examples, 1, size=2, rank=0, world=1) as ahead, pytest.raises(InputError, match="expected a batch"):
        ahead.batch(0)
