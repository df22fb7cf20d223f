"""What a result must keep beyond its types: known words, references that resolve, numbers in order."""

from collections.abc import Iterable, Iterator
from typing import Any

from sdk.errors import InputError

SCENARIOS = ("SingleStream", "MultiStream", "Offline", "Server")
SOURCES = ("facetrt", "paper", "foreign")
BOUNDS = ("compute", "memory", "launch")
VERDICTS = ("faster", "slower", "no difference")
SCALING = ("faces", "frame", "streams", "threads", "batch-memory", "batch-throughput")


def check(result: Any) -> None:
    """Raises InputError for the first thing in a results.Result that cannot be."""
    for expected, got in _problems(result):
        raise InputError(expected, got, "correct the program that wrote it, or measure again with trt-bench")


def _problems(result: Any) -> Iterator[tuple[str, str]]:
    ids = [subject.id for subject in result.subjects]
    yield from _unique("subjects", ids)
    names = [model.name for model in result.models]
    yield from _unique("models", names)
    for model in result.models:
        yield from _word(f"source of model {model.name}", model.source, SOURCES)
        for limit in model.limits:
            for one in (limit, *limit.layers):
                yield from _word(f"bound in a limit of {model.name}", one.bound, BOUNDS)
                yield from _positive(f"counts of {model.name}", (one.flop, one.bytes, one.floor_ms), least=0)
    for subject in result.subjects:
        if subject.model not in names:
            yield f"the model of subject {subject.id} among {_list(names)}", subject.model
    for kind in ("measurements", "cold", "scaling"):
        for item in getattr(result, kind):
            if item.subject not in ids:
                yield f"a subject of {kind} among {_list(ids)}", item.subject
    for measurement in result.measurements:
        yield from _measurement(measurement)
    for ratio in result.ratios:
        yield from _ratio(ratio, ids)
    for point in result.scaling:
        yield from _word("kind of scaling", point.kind, SCALING)
    for one in result.predictions:
        if not 0 < one.low_ms <= one.ms <= one.high_ms:
            yield f"0 < low <= ms <= high in the prediction for {one.device}", f"{one.low_ms}, {one.ms}, {one.high_ms}"


def _measurement(one: Any) -> Iterator[tuple[str, str]]:
    where = f"the measurement of {one.subject}, {one.scenario}, batch {one.batch}"
    yield from _word(f"scenario of {one.subject}", one.scenario, SCENARIOS)
    yield from _positive(f"batch and faces in {where}", (one.batch, one.faces), least=0)
    if (one.latency_ms is None) != (one.error is not None):
        yield f"either latency_ms or error in {where}", "both" if one.error is not None else "neither"
    if one.latency_ms is not None:
        lat = one.latency_ms
        if not 0 < lat.p50 <= lat.p90 <= lat.p99 <= lat.p99_9 <= lat.max:
            yield f"0 < p50 <= p90 <= p99 <= p99_9 <= max in {where}", f"p50 {lat.p50}, p99 {lat.p99}, max {lat.max}"
        if one.samples < 1 or one.duration_s <= 0:
            yield f"samples and a duration in {where}", f"{one.samples} and {one.duration_s} s"
    if one.histogram is not None:
        edges, counts = one.histogram.edges_ms, one.histogram.counts
        if len(edges) != len(counts) + 1 or any(a >= b for a, b in zip(edges, edges[1:], strict=False)):
            yield f"rising edges, one more than counts, in {where}", f"{len(edges)} edges and {len(counts)} counts"
        if sum(counts) != one.samples:
            yield f"counts that add up to {one.samples} samples in {where}", str(sum(counts))
    if one.server is not None and one.scenario != "Server":
        yield f"server figures in scenario Server alone, in {where}", one.scenario


def _ratio(ratio: Any, ids: list[str]) -> Iterator[tuple[str, str]]:
    where = f"ratio {ratio.name}"
    for subject in (ratio.fast, ratio.slow):
        if subject not in ids:
            yield f"a subject of {where} among {_list(ids)}", subject
    yield from _word(f"scenario of {where}", ratio.scenario, SCENARIOS)
    yield from _word(f"verdict of {where}", ratio.verdict, VERDICTS)
    if not 0 < ratio.low <= ratio.high or ratio.ratio <= 0:
        yield f"0 < low <= high and a positive ratio in {where}", f"{ratio.low}, {ratio.ratio}, {ratio.high}"
    if ratio.target is not None:
        yield from _word(f"target.of in {where}", ratio.target.of, ("ratio", "difference_ms"))
        yield from _word(f"target.at in {where}", ratio.target.at, ("most", "least"))


def _word(what: str, value: str, known: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if value not in known:
        yield f"{what} among {', '.join(known)}", repr(value)


def _positive(what: str, values: Iterable[float], *, least: float) -> Iterator[tuple[str, str]]:
    for value in values:
        if value < least:
            yield f"{what} of {least:g} or more", str(value)


def _unique(what: str, names: list[str]) -> Iterator[tuple[str, str]]:
    for name in sorted(set(names)):
        if names.count(name) > 1:
            yield f"{what} of different names", f"{name} {names.count(name)} times"


def _list(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "none"
