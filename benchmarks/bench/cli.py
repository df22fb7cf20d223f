"""trt-bench: latency and throughput of face networks, with rivals, limits and conditions.

    trt-bench MODEL... [--backends ...] [--precisions ...] [--batches 1,8,64] [--json FILE] [--html FILE] ...
    trt-bench compare OLD.json NEW.json [--threshold 0.05] [--across]
    trt-bench report [RESULT.json ...] [--html FILE] [--csv FILE]

Exit codes: 0 measured (compare: the same or better), 1 nothing was measured (compare: slower), 2 wrong input,
130 interrupted, with what was measured written and marked as not complete.
"""

import argparse
import contextlib
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.bench import results
from benchmarks.bench.options import Options, add_arguments, options_of
from benchmarks.bench.results import Result
from sdk.errors import FaceTRTError, OutputError

DONE, NOTHING, WRONG, INTERRUPTED = 0, 1, 2, 130
PROGRAM = "trt-bench"


def command() -> None:
    """The entry point."""
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    sub = {"compare": _compare, "report": _report}.get(words[0] if words else "")
    try:
        return sub(words[1:]) if sub else _measure(words)
    except FaceTRTError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return WRONG
    except BrokenPipeError:  # the reader has gone
        return DONE
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: interrupted\n")
        return INTERRUPTED


def _measure(words: list[str]) -> int:
    head, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=head, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    options = options_of(parser.parse_args(words))
    _check_outputs(options)
    from benchmarks.bench.session import Session  # late: it opens onnxruntime
    from benchmarks.rivals.listing import check_names

    check_names(options.rivals)
    history = [results.load(path) for path in options.history]
    session = Session(options, shlex.join([PROGRAM, *words]), say=_progress(quiet=options.quiet))
    with _terminable():
        result = session.run()
    problems = _write(result, options, history)
    if not result.complete:
        return INTERRUPTED
    measured = any(one.latency_ms for one in result.measurements)
    return WRONG if problems else DONE if measured else NOTHING


def _write(result: Result, options: Options, history: Sequence[Result]) -> int:
    """All outputs; one that fails does not cost the others. Returns how many failed."""
    from benchmarks.bench import csv_table, page, terminal

    writers: list[tuple[Path | None, Callable[[Result, Path], None]]] = [
        (options.json, results.save),
        (options.csv, csv_table.write_csv),
        (options.html, partial(page.write_page, history=history)),
    ]
    failed = 0
    for path, write in writers:
        if path is None:
            continue
        try:
            write(result, path)
        except FaceTRTError as error:
            failed += 1
            sys.stderr.write(f"{PROGRAM}: {error}\n")
    sys.stdout.write(terminal.table(result, colour=sys.stdout.isatty()))
    sys.stdout.flush()
    return failed


def _check_outputs(options: Options) -> None:
    """Raises before minutes of measuring what would only fail after them: OutputError, MissingPackageError."""
    for path in (options.json, options.csv, options.html, options.profile):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(21, "is a folder")
            draft = path.with_name(path.name + ".part")
            draft.touch()
            draft.unlink()
        except OSError as error:
            raise OutputError("a file to write to", f"{path}: {error.strerror}", "name another file") from error
    if options.html is not None:
        from benchmarks.bench.page import check_plotting

        check_plotting()


def _progress(*, quiet: bool) -> Callable[[str], None]:
    """Lines to stderr, each with the seconds since the start."""
    started_s = time.monotonic()

    def say(text: str) -> None:
        if not quiet:
            sys.stderr.write(f"[{time.monotonic() - started_s:6.1f} s] {text}\n")
            sys.stderr.flush()

    return say


@contextlib.contextmanager
def _terminable() -> Generator[None, None, None]:
    """Inside, SIGTERM, as time limits send it, ends a run as Ctrl-C does (in the main thread, where signals arrive)."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _compare(words: list[str]) -> int:
    from benchmarks.bench import compare

    parser = argparse.ArgumentParser(prog=f"{PROGRAM} compare", description="is NEW slower than OLD?")
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    parser.add_argument(
        "--threshold", type=float, default=compare.THRESHOLD, help="least change (default: %(default)s)"
    )
    parser.add_argument("--across", action="store_true", help="of different machines too")
    options = parser.parse_args(words)
    return compare.command(options.old, options.new, threshold=options.threshold, across=options.across)


def _report(words: list[str]) -> int:
    from benchmarks.bench import reporting

    parser = argparse.ArgumentParser(prog=f"{PROGRAM} report", description="pages and tables of stored results")
    parser.add_argument("files", nargs="*", type=Path, metavar="RESULT.json")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page anew")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    parser.add_argument("--no-documents", action="store_true", help="leave README and docs as they are")
    options = parser.parse_args(words)
    return reporting.command(options.files, html=options.html, csv=options.csv, documents=not options.no_documents)


if __name__ == "__main__":
    command()
