"""What `trt-bench MODEL...` takes, as a frozen object, checked before anything is measured."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.bench.checks import SCENARIOS
from benchmarks.bench.sampling import check_duration
from sdk.errors import InputError

BACKENDS = ("auto", "onnxruntime", "onnxruntime-cuda", "tensorrt")
PRECISIONS = ("fp32", "fp16", "int8")
LARGEST_BATCH = 1 << 20
SCALED = ("faces", "frame", "streams", "threads", "batch")


@dataclass(frozen=True)
class Options:
    models: tuple[str, ...]  # names or ONNX files; none: the shipped ones
    backends: tuple[str, ...] = ("auto",)
    precisions: tuple[str, ...] = ("fp32",)
    batches: tuple[int, ...] = (1, 8, 64)  # of Offline, and of the ratios
    scenarios: tuple[str, ...] = SCENARIOS
    faces: int = 8  # a frame in MultiStream
    duration_s: float = 2.0  # of a point
    threads: int = 0  # of the libraries; 0: their default
    target_ms: float | None = None  # 99th percentile of Server; None: 5 times the median of one query
    rivals: tuple[str, ...] = ("auto",)  # "auto": all, "none", or names
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)  # of a foreign model's inputs with free sizes
    predict: tuple[str, ...] = ()  # devices
    scaling: tuple[str, ...] = ()
    cold: bool = True
    power: bool = False
    profile: Path | None = None  # trace file
    json: Path | None = None
    csv: Path | None = None
    html: Path | None = None
    history: tuple[Path, ...] = ()  # earlier results, for the page
    quiet: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a measurement."""
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help="name or .onnx file (default: the shipped networks)")
    add("--backends", default="auto", help=f"of {', '.join(BACKENDS)} (default: %(default)s)")
    add("--precisions", default="fp32", help=f"of {', '.join(PRECISIONS)} (default: %(default)s)")
    add("--batches", default="1,8,64", help="faces a query in Offline and in ratios (default: %(default)s)")
    add("--scenarios", default=",".join(SCENARIOS), help="(default: %(default)s)")
    add("--faces", type=int, default=8, help="a frame in MultiStream (default: %(default)s)")
    add("--duration", type=float, default=2.0, metavar="SECONDS", help="of a point (default: %(default)s)")
    add("--threads", type=int, default=0, help="of the libraries (default: theirs)")
    add("--target-ms", type=float, help="99th percentile that Server holds (default: 5 times a query's median)")
    add("--rivals", default="auto", help="auto (all), none, or names (default: %(default)s)")
    add("--shape", action="append", default=[], metavar="INPUT=1x3x64x64", help="of a foreign model's free sizes")
    add("--predict", default="", metavar="DEVICES", help="devices that are not at hand: orin-nano,thor,... or all")
    add("--scaling", default="", help=f"of {', '.join(SCALED)}, or all")
    add("--no-cold", action="store_true", help="leave the cold start out")
    add("--power", action="store_true", help="joule a face; an error where no sensor answers")
    add("--profile", type=Path, metavar="TRACE.json", help="a trace of stages and layers, for Perfetto or Chrome")
    for suffix in ("json", "csv", "html"):
        add(f"--{suffix}", type=Path, metavar="FILE", help=f"the result as {suffix.upper()}")
    add("--history", type=Path, action="append", default=[], metavar="OLD.json", help="earlier results, for the page")
    add("--quiet", action="store_true", help="no progress")


def options_of(arguments: argparse.Namespace) -> Options:
    """Checked options. Raises InputError."""
    options = Options(
        models=tuple(arguments.models),
        backends=words(arguments.backends, BACKENDS, "--backends"),
        precisions=words(arguments.precisions, PRECISIONS, "--precisions"),
        batches=_batches(arguments.batches),
        scenarios=words(arguments.scenarios, SCENARIOS, "--scenarios"),
        faces=_whole(arguments.faces, "--faces", most=4096),
        duration_s=check_duration(arguments.duration),
        threads=_whole(arguments.threads, "--threads", least=0, most=4096),
        target_ms=arguments.target_ms,
        rivals=_names(arguments.rivals, "--rivals"),
        shapes=dict(_shape(text) for text in arguments.shape),
        predict=_devices(arguments.predict),
        scaling=_scaling(arguments.scaling),
        cold=not arguments.no_cold,
        power=arguments.power,
        profile=arguments.profile,
        json=arguments.json,
        csv=arguments.csv,
        html=arguments.html,
        history=tuple(arguments.history),
        quiet=arguments.quiet,
    )
    if options.target_ms is not None and not 0 < options.target_ms < float("inf"):
        raise InputError("a --target-ms above 0", str(options.target_ms), "leave it out for the default")
    files = [path.resolve() for path in (options.json, options.csv, options.html, options.profile) if path]
    if len(files) != len(set(files)):
        raise InputError("different files for --json, --csv, --html and --profile", "one twice", "name another")
    return options


def words(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Comma-separated words, each known, each once, upper and lower case alike."""
    by_lower = {word.lower(): word for word in known}
    found: list[str] = []
    for word in _names(text, option):
        if word.lower() not in by_lower:
            raise InputError(f"{option} of {', '.join(known)}", repr(word), "correct the word")
        found.append(by_lower[word.lower()])
    return tuple(dict.fromkeys(found))


def _names(text: str, option: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise InputError(f"words after {option}", repr(text), "leave the option out for its default")
    return found


def _batches(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for word in _names(text, "--batches"):
        if not (word.isascii() and word.isdigit()) or not 1 <= int(word[:9]) <= LARGEST_BATCH or len(word) > 9:
            raise InputError(f"--batches from 1 to {LARGEST_BATCH}", repr(word), "pass for example 1,8,64")
        found.add(int(word))
    return tuple(sorted(found))


def _whole(value: int, option: str, *, least: int = 1, most: int) -> int:
    if not least <= value <= most:
        raise InputError(f"{option} from {least} to {most}", str(value), "choose a number in that range")
    return value


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    parts = sizes.lower().split("x")
    if not name or not all(part.isascii() and part.isdigit() and len(part) < 8 for part in parts):
        raise InputError("--shape as INPUT=1x3x64x64", repr(text), "write the input's name and its sizes")
    return name, tuple(int(part) for part in parts)


def _devices(text: str) -> tuple[str, ...]:
    if not text.strip():
        return ()
    from benchmarks.bench.devices import device_names

    return device_names(text)


def _scaling(text: str) -> tuple[str, ...]:
    if not text.strip():
        return ()
    return SCALED if text.strip().lower() == "all" else words(text, SCALED, "--scaling")
