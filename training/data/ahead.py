"""Batches made ahead of time by other processes. A batch depends on (seed, step) alone, so nothing changes but time."""

import warnings
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from training.data.examples import Arrays, FaceExamples, PatchExamples

_examples: FaceExamples | PatchExamples | None = None  # of a worker: what it was forked with


def _take(examples: FaceExamples | PatchExamples) -> None:
    global _examples
    _examples = examples


def _make(step: int, size: int, rank: int, world: int) -> Arrays:
    assert _examples is not None, "a worker without examples"
    return _examples.batch(step, size=size, rank=rank, world=world)


class Ahead:
    """`batch(step)` of examples, the following ones already under way. Use as a context, or call close()."""

    def __init__(
        self, examples: FaceExamples | PatchExamples, workers: int, *, size: int, rank: int, world: int
    ) -> None:
        self.workers, self.place = workers, (size, rank, world)
        # fork: the pictures are shared, not copied; the workers never touch a GPU.
        self.pool = ProcessPoolExecutor(workers, get_context("fork"), _take, (examples,))
        self.under_way: dict[int, Future[Arrays]] = {}

    def batch(self, step: int) -> Arrays:
        with warnings.catch_warnings():  # Python 3.12 on: threads do not live on in a fork; the workers want none
            warnings.simplefilter("ignore", DeprecationWarning)
            for number in range(step, step + self.workers + 1):
                if number not in self.under_way:
                    self.under_way[number] = self.pool.submit(_make, number, *self.place)
        self.under_way = {number: future for number, future in self.under_way.items() if number >= step}
        return self.under_way.pop(step).result()

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
