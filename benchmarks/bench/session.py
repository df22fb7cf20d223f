"""One run of trt-bench: every model, backend and precision in turn, its points, its ratios, then what is asked beside.

Nothing that one point provokes ends the run; Ctrl-C does, and what is there becomes a result that says "complete":
false. What cannot be measured is listed under `missing`, with the reason.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.bench import beside, named
from benchmarks.bench.conditions import Watch
from benchmarks.bench.disturbances import is_bad
from benchmarks.bench.foreign import OnnxRunner
from benchmarks.bench.ledger import Ledger
from benchmarks.bench.model_files import ModelFile, resolve_all
from benchmarks.bench.options import Options
from benchmarks.bench.ours import BareRunner, SdkRunner, open_ours
from benchmarks.bench.results import Measurement, Model, Result
from benchmarks.bench.rounds import Pair, by_turns, control_of, result_of
from benchmarks.bench.runner import Runner, memory_limit, told
from benchmarks.bench.sampling import Clock, Samples
from benchmarks.bench.scenarios import Point, failed, measure
from benchmarks.rivals.listing import rivals_of
from sdk.errors import FaceTRTError
from sdk.zoo import SHIPPED

Say = Callable[[str], None]
TOO_LONG = 2.5  # times the duration: a query that is expected to take longer is not measured
NO_FASTER = 8.0  # times does a batch make a face faster
ALWAYS_S = 1.0  # of a query, or of both of a pair: never too long
RATIO_LONGEST = 1.0  # times the duration, of both queries together: slower pairs are not timed by turns
FRUITLESS = 3  # repetitions in a row that were disturbed too, after which none is tried any more


class Session:
    """Options in, a Result out; `say` takes lines of progress."""

    def __init__(self, options: Options, command: str, *, say: Say, clock: Clock | None = None) -> None:
        self.options, self.say, self.clock = options, say, clock or Clock()
        self.ledger = Ledger(command)
        self._fruitless = 0
        self.files: list[ModelFile] = resolve_all(list(options.models or SHIPPED))

    def run(self) -> Result:
        """Raises BackendError when power was asked for and no sensor answers; nothing else once it has begun."""
        gpu = 0 if any(word != "onnxruntime" for word in self.options.backends) and beside.has_gpu() else None
        complete = False
        with Watch(gpu=gpu, power=self.options.power) as watch:
            self._watch = watch
            try:
                with memory_limit() if gpu is None else contextlib.nullcontext():  # CUDA reserves memory as it likes
                    self._all()
                complete = True
            except KeyboardInterrupt:
                self.say("interrupted: what was measured is kept")
            return self.ledger.result(watch.conditions(probe=self.ledger.probe), complete=complete)

    def _all(self) -> None:
        for file in self.files:
            self.ledger.models.append(Model(file.name, file.path.name, file.sha256, file.source))
        for file in self.files:
            with contextlib.ExitStack() as stack:
                self._file(file, stack)
        beside.all_of(self, self.files)

    def _file(self, file: ModelFile, stack: contextlib.ExitStack) -> None:
        """A model at all backends and precisions; they stay open, so that they can be compared."""
        opened: dict[tuple[str, str], tuple[SdkRunner, BareRunner]] = {}
        for backend in self.options.backends:
            for precision in self.options.precisions:
                pair = self._open(file, backend, precision, stack)
                if pair is not None:
                    opened[pair[0].subject.backend, precision] = pair
        for sdk, bare in opened.values():
            self._points(sdk)
            self._points(bare)
            self._own_ratios(sdk, bare)
        for (backend, precision), (sdk, _) in opened.items():
            if precision == "int8" and (backend, "fp32") in opened:
                self._each_batch(sdk, opened[backend, "fp32"][0], named.int8_gain)
        if opened:
            self._rivals(file, opened)

    def _open(
        self, file: ModelFile, backend: str, precision: str, stack: contextlib.ExitStack
    ) -> tuple[SdkRunner, BareRunner] | None:
        """Runners of a network of ours; of a foreign file its engine is measured here and now, and None comes back."""
        what = f"{file.name} {precision} with {backend}"
        try:
            if file.spec is None:
                self._foreign(file, backend, precision)
                return None
            word, device = beside.backend_of(backend)
            network = open_ours(file, word, precision, threads=self.options.threads, device=device)
            sdk = SdkRunner(file, network, beside.subject_backend(network), threads=self.options.threads)
        except Exception as error:  # a library's own too: it costs this precision, not the run
            self.ledger.lacks(what, told(error))
            self.say(f"{what}: left out: {told(error)}")
            return None
        stack.callback(sdk.close)
        self.ledger.know(sdk.subject)
        return sdk, BareRunner(sdk)

    def _foreign(self, file: ModelFile, backend: str, precision: str) -> None:
        if backend not in ("auto", "onnxruntime", "onnxruntime-cuda") or precision != "fp32":
            self.ledger.lacks(f"{file.name} {precision} with {backend}", "not one of our files: onnxruntime, as it is")
            return
        provider = "cuda" if backend == "onnxruntime-cuda" else "cpu"
        runner = OnnxRunner(file, provider=provider, threads=self.options.threads, shapes=self.options.shapes)
        with contextlib.closing(runner):
            self._points(runner)
            copy = replace(runner.subject, id=runner.subject.id.replace("/bare/", "/bare-control/"), way="bare-control")
            self.ledger.know(copy)
            for batch in self.options.batches:
                self.ratio(named.control(runner.subject, copy, batch), runner, runner, batch, control=True)
        self.ledger.models = [
            replace(model, inputs=runner.inputs) if model.name == file.name else model for model in self.ledger.models
        ]

    def _points(self, runner: Runner) -> None:
        """The matrix of a runner: all scenarios end to end, SingleStream and Offline of an engine."""
        for scenario in self.options.scenarios:
            if runner.subject.span == "engine" and scenario in ("MultiStream", "Server"):
                continue
            batches = {"Offline": self.options.batches, "MultiStream": (self.options.faces,)}.get(scenario, (1,))
            for batch in batches:
                self.point(runner, Point(scenario, batch, self.options.duration_s, self.options.target_ms))

    def point(self, runner: Runner, point: Point) -> Measurement:
        """Measured, or an error in its place; once more when the machine was throttled or disturbed meanwhile."""
        self.ledger.know(runner.subject)
        expected = self._expected_ms(runner, point.faces)
        if expected is not None and expected > 1000 * max(TOO_LONG * point.duration_s, ALWAYS_S):
            text = f"a query would take about {expected / 1000:.1f} s; give a --duration of {expected / 1000:.1f}"
            found = failed(runner, point, text)
        else:
            found = self._watched(runner, point)
            if is_bad(found.flags) and self._fruitless < FRUITLESS and "interrupted" not in found.flags:
                again = self._watched(runner, point)
                self._fruitless = self._fruitless + 1 if again.error or is_bad(again.flags) else 0
                if not again.error and (not is_bad(again.flags) or _p50(again) < _p50(found)):
                    found = replace(again, flags=(*again.flags, "repeated"))
        self.ledger.measurements.append(found)
        self.say(_line(found))
        if "interrupted" in found.flags:  # the samples so far are kept, the run ends
            raise KeyboardInterrupt
        return found

    def _expected_ms(self, runner: Runner, faces: int) -> float | None:
        """What a query may take: by what was measured of it, or by a query of one face where a large batch is first."""
        known = self.ledger.expected_ms(runner.subject.id, faces)
        if known is not None or faces <= named.MANY:
            return known
        trial = Samples()
        with contextlib.suppress(Exception):  # measuring the point itself will say what is wrong
            query = runner.query(1)
            query()
            trial.add(self.clock, query)
        return faces * trial.wall_ms[0] / NO_FASTER if trial.wall_ms else None

    def _watched(self, runner: Runner, point: Point) -> Measurement:
        start_s = self._watch.now_s()
        found = measure(runner, point, clock=self.clock)
        window = self._watch.between(start_s, self._watch.now_s())
        joule = None
        if window.mean_w is not None and found.faces_per_s and not found.error and point.scenario != "Server":
            joule = window.mean_w / found.faces_per_s
        stages = None
        if isinstance(runner, (SdkRunner, BareRunner)) and not found.error and point.scenario == "Offline":
            with contextlib.suppress(FaceTRTError, MemoryError):  # the point itself was measured
                stages = runner.stages_ms(point.faces, longest_s=point.duration_s)
        return replace(found, flags=(*found.flags, *window.flags), joule_per_face=joule, stages_ms=stages)

    def _own_ratios(self, sdk: SdkRunner, bare: BareRunner) -> None:
        copy = BareRunner(sdk, way="bare-control")
        self.ledger.know(copy.subject)
        for batch in self.options.batches:
            pair = named.sdk_over_bare(sdk.subject, bare.subject, batch)
            self.ratio(pair, bare, sdk, batch, copy=named.control(bare.subject, copy.subject, batch))

    def _each_batch(self, fast: Runner, slow: Runner, make: Callable[..., Pair], *, most: int = 1 << 30) -> None:
        for batch in self.options.batches:
            if batch <= most:
                self.ratio(make(fast.subject, slow.subject, batch), fast, slow, batch)

    def ratio(
        self,
        pair: Pair,
        fast: Runner,
        slow: Runner,
        batch: int,
        *,
        copy: Pair | None = None,  # the control as a line of its own, of the same rounds
        control: bool = False,  # `pair` itself is the control
        always: bool = False,  # however slow
    ) -> None:
        """A ratio by turns, added to the ledger; pairs that are too slow are listed as missing."""
        expected = [self.ledger.expected_ms(one.subject.id, batch) or 0.0 for one in (fast, slow)]
        if sum(expected) > 1000 * max(RATIO_LONGEST * self.options.duration_s, ALWAYS_S) and not always:
            self.ledger.lacks(f"{pair.name}, batch {batch}", "its queries take too long; give a longer --duration")
            return
        try:
            queries = (fast.query(batch), slow.query(batch), fast.query(batch))
            found = by_turns(
                queries[0], queries[1], clock=self.clock, duration_s=2 * self.options.duration_s, control=queries[2]
            )
        except Exception as error:  # as in a point
            self.ledger.lacks(f"{pair.name}, batch {batch}", told(error))
            return
        lines = [control_of(pair, found)] if control else [result_of(pair, found)]
        lines += [control_of(copy, found)] if copy is not None else []
        self.ledger.ratios += lines
        for one in lines:
            interval = f"{one.ratio:.3f} ({one.low:.3f} to {one.high:.3f})"
            self.say(f"{one.name}, batch {batch}: {interval}, A/A {one.control_spread:.1%}: {one.verdict}")

    def _rivals(self, file: ModelFile, opened: dict[tuple[str, str], tuple[SdkRunner, BareRunner]]) -> None:
        """Every rival measured, and compared with what of ours does the same."""
        for rival in rivals_of(file, self.options, lacks=self.ledger.lacks):
            try:
                runner = rival()
            except Exception as error:  # as in _open()
                self.ledger.lacks(f"{rival.name} of {file.name}", told(error))
                self.say(f"{rival.name} of {file.name}: left out: {told(error)}")
                continue
            with contextlib.closing(runner):
                batches = [batch for batch in self.options.batches if batch <= rival.most]
                for batch in batches:
                    self.point(runner, Point("Offline", batch, self.options.duration_s))
                for sdk, bare in opened.values():
                    if not rival.by_turns or not _comparable(sdk, runner):
                        continue
                    whole = runner.subject.span == "end-to-end"
                    make: Any = named.against_usual_way if whole else named.against_engine
                    self._each_batch(sdk if whole else bare, runner, make, most=rival.most)


def _comparable(ours: SdkRunner, rival: Runner) -> bool:
    """Engines of one precision; end to end any of ours against the rival's."""
    return rival.subject.span == "end-to-end" or rival.subject.precision == ours.subject.precision


def _p50(one: Measurement) -> float:
    return one.latency_ms.p50 if one.latency_ms else float("inf")


def _line(one: Measurement) -> str:
    name = f"{one.subject}, {one.scenario}, {one.batch} faces"
    if one.latency_ms is None:
        return f"{name}: {one.error}"
    rate = f", {one.faces_per_s:,.0f} faces/s" if one.faces_per_s else ""
    said = f" [{'; '.join(one.flags)}]" if one.flags else ""
    return f"{name}: {one.latency_ms.p50:.3f} ms{rate}{said}"


__all__: Sequence[str] = ["Session"]
