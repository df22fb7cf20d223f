"""How results of trt-bench are worded: numbers, subjects, points; the same on the terminal, in CSV and on the page."""

import math
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.bench.results import Limit, Measurement, Ratio, Result, Subject

ABSENT = "–"
DIGITS = 3  # significant ones; a fourth is noise on every machine we have seen
SPAN_FIRST = "end-to-end"  # the span that a user waits for
OWN_WAY = "sdk"
STAGE = "stage:"  # spans of one step begin so

Point = tuple[str, str, int, int, tuple[int, int] | None, int]  # what names a measurement within a result


def point(one: Measurement) -> Point:
    """Two measurements with the same point are the same experiment."""
    return one.subject, one.scenario, one.batch, one.faces, one.frame_hw, one.threads


def significant(value: float | None, digits: int = DIGITS) -> str:
    """0.0123, 1.23, 123, 12300: so many significant digits; None is a dash."""
    if value is None:
        return ABSENT
    if value == 0 or not 1e-6 <= abs(value) < 1e12:
        return f"{value:.{digits}g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, decimals)
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))  # 9.996 has become 10.0
    return f"{rounded:.{min(max(decimals, 0), 9)}f}"


def grouped(value: float | None) -> str:
    """As significant(), with commas between thousands."""
    text = significant(value)
    return f"{int(text):,}" if text.lstrip("-").isdigit() else text


def times(ratio: float) -> str:
    """ "1.88×": two decimals, three digits from 10 on."""
    return f"{ratio:.2f}×" if ratio < 10 else f"{significant(ratio)}×"


def processor_times(ratio: Ratio) -> str:
    """The ratio of processor times, which other work on the machine disturbs less."""
    return ABSENT if ratio.processor_ratio is None else times(ratio.processor_ratio)


def percent(fraction: float | None) -> str:
    if fraction is None:
        return ABSENT
    return f"{100 * fraction:.0f} %" if fraction >= 0.0995 else f"{significant(100 * fraction, 2)} %"


def printable(text: str) -> str:
    """The text in one line, without what moves a terminal's cursor or turns the writing's direction."""
    return "".join(one if one.isprintable() else "?" for one in text)


def shortened(text: str, most: int) -> str:
    """At most `most` characters: the middle gives way."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def is_stage(subject: Subject) -> bool:
    """One step of the SDK alone, not a whole network."""
    return subject.span.startswith(STAGE)


class Names:
    """Short names of a result's subjects: what distinguishes them within their model, and no more."""

    def __init__(self, result: Result) -> None:
        self.of = {subject.id: subject for subject in result.subjects}
        self._alike: dict[tuple[str, str, str], list[Subject]] = defaultdict(list)
        for one in result.subjects:
            self._alike[one.model, one.way, one.precision].append(one)

    def short(self, subject_id: str) -> str:
        """ "sdk, int8" or "sdk, tensorrt, int8, engine"."""
        one = self.of[subject_id]
        alike = self._alike[one.model, one.way, one.precision]
        parts = [one.way]
        if len({other.backend for other in alike}) > 1:
            parts.append(one.backend)
        parts.append(one.precision)
        if len({other.span for other in alike}) > 1 or is_stage(one):
            parts.append(one.span.removeprefix(STAGE))
        return ", ".join(parts)

    def model(self, subject_id: str) -> str:
        return self.of[subject_id].model


def limit_of(result: Result, one: Measurement) -> Limit | None:
    """The machine's limit for this measurement's model, backend, precision and batch, where it was counted."""
    subject = next(subject for subject in result.subjects if subject.id == one.subject)
    for model in result.models:
        if model.name == subject.model:
            for limit in model.limits:
                if (limit.backend, limit.precision, limit.batch) == (subject.backend, subject.precision, one.batch):
                    return limit
    return None


def share_of_limit(result: Result, one: Measurement) -> float | None:
    """The least possible time over the measured median: 1 is a perfect machine. None without a limit or a number."""
    limit = limit_of(result, one)
    if limit is None or one.latency_ms is None or limit.floor_ms <= 0 or one.scenario in {"Server", "MultiStream"}:
        return None
    return limit.floor_ms / one.latency_ms.p50


def importance(subject: Subject) -> tuple[bool, bool, bool]:
    """Sorts what a reader looks for first to the front: our way, end to end; controls last."""
    return subject.way != OWN_WAY, subject.span != SPAN_FIRST, subject.way.endswith("control")


def ratio_name(ratio: Ratio, names: Names) -> str:
    """The ratio's name without what the reader sees above it: the model, and the backend where there is but one."""
    fast = names.of[ratio.fast]
    text = ratio.name.removeprefix(f"{fast.model}: ").replace(f", {fast.model} ", ", ").removesuffix(f", {fast.model}")
    whole = [one for one in names.of.values() if one.model == fast.model and not is_stage(one)]
    of_model = [one for one in whole if one.way in (OWN_WAY, "bare")]
    return text.replace(f" on {fast.backend}", "") if len({one.backend for one in of_model}) == 1 else text


def standing(ratio: Ratio, names: Names) -> tuple[str, str]:
    """What the ratio means for us, and "good", "bad" or "quiet"."""
    if ratio.verdict == "no difference":
        return "no difference", "quiet"
    fast, slow = (names.of[one].way == OWN_WAY for one in (ratio.fast, ratio.slow))
    if fast == slow:
        return f"{ratio.verdict}, both or neither ours", "quiet"
    if (ratio.verdict == "faster") == fast:
        return "ours is faster", "good"
    return ("ours costs more, within the target", "quiet") if ratio.met else ("ours costs more", "bad")


def disturbance(text: str) -> str:
    """ "Disturbed: ..." whether or not the text says so itself."""
    head, _, rest = text.partition(": ")
    return f"Disturbed: {rest if head.lower() == 'disturbed' and rest else text}"


def brief(flags: Sequence[str]) -> str:
    """Flags without their figures: "few samples: 8" is "few samples"."""
    return ", ".join(dict.fromkeys(flag.partition(":")[0] for flag in flags))


def mebibytes(value: float | None) -> str:
    """One decimal at most: a page of memory more or less says nothing."""
    return ABSENT if value is None else f"{value:,.1f}" if abs(value) < 99.95 else f"{value:,.0f}"


def interval(ratio: Ratio) -> str:
    return f"{times(ratio.low)[:-1]} to {times(ratio.high)[:-1]}"


def target(ratio: Ratio) -> str:
    """ "≥ 1.5: met", "≤ 0.8 ms: missed", or a dash."""
    if ratio.target is None:
        return ABSENT
    sign = {"least": "≥", "most": "≤"}[ratio.target.at]
    value = ratio.target.value
    shown = f"{significant(value, 2)} ms" if ratio.target.of == "difference_ms" else times(value)
    return f"{sign} {shown}{ {True: ': met', False: ': missed', None: ''}[ratio.met] }"


def added(ratio: Ratio) -> str:
    """What `slow` costs beside `fast`, with its interval."""
    if ratio.difference_ms is None:
        return ABSENT
    text = f"{_hundredths(ratio.difference_ms)} ms"
    if ratio.difference_low_ms is not None and ratio.difference_high_ms is not None:
        text += f" ({_hundredths(ratio.difference_low_ms)} to {_hundredths(ratio.difference_high_ms)})"
    return text


def _hundredths(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else significant(value)
