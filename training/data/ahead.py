"""Batches made ahead of time by other processes. A batch depends on (seed, step) alone, so nothing changes but time.

Every worker has a pipe of its own whose other end nobody else holds: one that is killed, in the middle of a batch even,
ends its pipe, and the training says so instead of waiting for ever, as it would with a pool's common queue.
"""

import os
import signal
import threading
import time
import warnings
from multiprocessing import get_context
from multiprocessing.connection import Connection

from sdk.errors import FaceTRTError, InputError
from training.data.examples import Arrays, FaceExamples, PatchExamples

LOOK_EVERY_S = 0.5


def _serve(examples: FaceExamples | PatchExamples, pipe: Connection, place: dict[str, int], parent: int) -> None:
    """A worker: step numbers in, (step, batch or error) out. The training alone hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    while True:
        step = pipe.recv()
        try:
            made: Arrays | FaceTRTError = examples.batch(step, **place)
        except FaceTRTError as error:
            made = error
        pipe.send((step, made))


def _end_with(parent: int) -> None:
    """A worker outlives no training: killed at once, that could not tell it to end, and it holds all pictures."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os._exit(1)


class Ahead:
    """`batch(step)` of examples, the following ones already under way. Use as a context, or call close()."""

    def __init__(
        self, examples: FaceExamples | PatchExamples, workers: int, *, size: int, rank: int, world: int
    ) -> None:
        fork = get_context("fork")  # the pictures are shared, not copied; the workers never touch a GPU
        place = {"size": size, "rank": rank, "world": world}
        self.pipes: list[Connection] = []
        self.workers = []
        self.asked: set[int] = set()  # steps under way or waiting in a pipe
        with warnings.catch_warnings():  # Python 3.12 on: threads do not live on in a fork; the workers want none
            warnings.simplefilter("ignore", DeprecationWarning)
            for _ in range(workers):
                ours, theirs = fork.Pipe()
                worker = fork.Process(target=_serve, args=(examples, theirs, place, os.getpid()), daemon=True)
                worker.start()
                theirs.close()
                self.pipes.append(ours)
                self.workers.append(worker)

    def batch(self, step: int) -> Arrays:
        """Raises InputError: a worker that ended, or what one raised."""
        count = len(self.pipes)
        try:
            for number in range(step, step + count + 1):
                if number not in self.asked:
                    self.pipes[number % count].send(number)
                    self.asked.add(number)
            found = -1
            while found != step:  # batches of steps that nobody came for are dropped
                found, made = self.pipes[step % count].recv()
                self.asked.discard(found)
        except (EOFError, OSError) as error:
            remedy = "give fewer --workers; the same command goes on from the last checkpoint"
            raise InputError("workers that live as long as the training", "one ended (no memory?)", remedy) from error
        if isinstance(made, FaceTRTError):
            raise made
        return made

    def close(self) -> None:
        for worker, pipe in zip(self.workers, self.pipes, strict=True):
            worker.kill()
            worker.join()
            worker.close()
            pipe.close()
        self.workers, self.pipes = [], []

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
