"""A clock that only queries and sleeping move: tests of measuring then take no time and always end alike."""

from benchmarks.bench.sampling import Clock


class FakeTime:
    """`clock` for what is tested; query(seconds) makes queries that take so long."""

    def __init__(self, *, tick_s=1e-6):
        self.now_s, self.busy_s, self.tick_s = 1000.0, 0.0, tick_s
        self.clock = Clock(now=self._now, processor=lambda: self.busy_s, sleep=self._sleep)
        self.calls = 0

    def _now(self):
        self.now_s += self.tick_s  # waiting in a loop ends
        return self.now_s

    def _sleep(self, seconds):
        self.now_s += seconds

    def query(self, seconds):
        """`seconds`: a number, or a function of the number of the call."""

        def run():
            took = seconds(self.calls) if callable(seconds) else seconds
            self.calls += 1
            self.now_s += took
            self.busy_s += max(took, 0.0)

        return run
