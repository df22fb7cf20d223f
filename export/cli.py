"""trt-build: from an ONNX file to a verified engine.

Exit codes: 0 done, 1 the build failed, 2 wrong use or input, 3 the gate refused the engine, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from export.arguments import parse
from export.options import Options
from export.progress import Progress
from export.refusal import GateRefused
from sdk.errors import BuildError, EngineError, FaceTRTError, MissingPackageError

__all__ = ["command", "main"]

EXTRA = ("onnx", "onnxruntime", "google")  # packages of the extra [export]; google: protobuf, which onnx brings
INSTALL = "pip install 'facetrt[export]'"
DONE, FAILED, USAGE, REFUSED, INTERRUPTED, CUT_OFF = 0, 1, 2, 3, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns its exit code. Everything it can fail with is an event or a line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name that the terminal cannot show must not end the build
            stream.reconfigure(errors="backslashreplace")
    as_json = "--json" in arguments
    try:
        options = parse(arguments)
        if options.doctor:
            from export.doctor import report  # late: --help and wrong use answer at once

            return report(as_json=as_json)
        return _build(options)
    except FaceTRTError as error:
        return _tell(error, as_json=as_json)
    except KeyboardInterrupt:
        interrupted = FaceTRTError("to finish the build", "an interruption", "nothing was saved; start it again")
        return _tell(interrupted, as_json=as_json, code=INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - or Python complains when it flushes at exit
        return CUT_OFF
    except Exception as error:  # a mistake of ours: still one line, an exit code, and nothing saved
        if "--verbose" in arguments:
            sys.stderr.write(traceback.format_exc())
        where = traceback.extract_tb(error.__traceback__)[-1]
        got = f"{type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})"
        return _tell(
            FaceTRTError("no mistake in trt-build", got, "report it, with the output of --verbose"), as_json=as_json
        )


def command() -> NoReturn:
    """The console script: main(), and an end that no builder thread left behind can hold up."""
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: temporary files go
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - None where whoever started us closed it
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    code = main()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the outcome stands; one that comes too late must not hide it
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        os._exit(code or FAILED)  # a disk that is full; Python would say it once more
    if any(thread.name == "trt-build" and thread.is_alive() for thread in threading.enumerate()):
        os._exit(code)  # TensorRT without a progress monitor cannot be stopped
    sys.exit(code)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _build(options: Options) -> int:
    """Raises FaceTRTError, KeyboardInterrupt."""
    try:
        from export.pipeline import run_build
        from export.prepare import prepare, stages_for
    except Exception as error:  # a package that is broken raises anything
        if _interrupted(error):
            raise KeyboardInterrupt from error
        if isinstance(error, FaceTRTError) or not (name := _outside(error)):
            raise
        got = f"{type(error).__name__}: {error}"
        raise MissingPackageError("building engines", name, INSTALL, got=got) from error

    setup = prepare(options)
    kind = "json" if options.json else "quiet" if options.quiet else "text"
    stages = stages_for(setup.options, runs=setup.runs)
    progress = Progress(stages, kind=kind, out=sys.stdout, err=sys.stderr)

    def log(severity: str, text: str) -> None:
        progress.say(f"{severity.lower()}: {text}")

    try:
        outcome = run_build(setup, progress, on_log=log if options.verbose else None)
    finally:
        progress.close()
    manifest = outcome.manifest
    progress.done(str(outcome.path), json.loads(manifest.to_json()))
    if kind == "text":
        found = ", ".join(f"{count} layers in {precision}" for precision, count in manifest.found.items())
        found = found or "no layers with weights"
        lost = " although the gate refused it" if manifest.gate["allowed_loss"] else ""
        size_mib = manifest.engine_bytes / 2**20
        sys.stdout.write(f"{outcome.path}: {size_mib:.1f} MiB, {found}, {manifest.build_s:.1f} s{lost}\n")
    return DONE


def _interrupted(error: BaseException | None) -> bool:
    """Did Ctrl-C cause it? Compiled modules that it catches while they are imported make an ImportError of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _outside(error: Exception) -> str:
    """The package that an import failed for, absent or broken; "" when the fault is ours."""
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] in EXTRA:
        return str(error.name).partition(".")[0]
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((name for name in EXTRA for module in modules if module.partition(".")[0] == name), "")


def _tell(error: FaceTRTError, *, as_json: bool, code: int | None = None) -> int:
    """The error as an event or a line; its exit code."""
    if code is None:
        failed = FAILED if isinstance(error, BuildError | EngineError) or type(error) is FaceTRTError else USAGE
        code = REFUSED if isinstance(error, GateRefused) else failed
    if as_json:
        event = {"event": "error", "expected": error.expected, "got": error.got, "remedy": error.remedy, "exit": code}
        if isinstance(error, GateRefused):
            event["gate"] = error.numbers
        out, text = sys.stdout, json.dumps(event)
    else:
        table = f"{error.table}\n" if isinstance(error, GateRefused) else ""
        out, text = sys.stderr, f"{table}trt-build: {error}"
    with contextlib.suppress(OSError):  # where nothing can be written any more the code has to do
        out.write(text + "\n")
        out.flush()
    return code


if __name__ == "__main__":
    command()
