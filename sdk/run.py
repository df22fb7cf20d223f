"""A run of face-enhance over many pictures: what is done already, what fails, what is said and counted."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from sdk.enhancer import FaceEnhancer
from sdk.errors import FaceTRTError, MissingPackageError, OutputError
from sdk.photo import PhotoOptions, enhance_photo
from sdk.pictures import write_file
from sdk.plan import Job, is_done
from sdk.progress import Progress

__all__ = ["DONE", "INTERRUPTED", "SOME_FAILED", "Reports", "run_jobs"]

DONE, SOME_FAILED, INTERRUPTED = 0, 1, 130  # exit codes

SAVE_S = 2.0  # between two writings of the run's report
SAVE_SHARE = 20.0  # ... and at least so many times what one takes: a long report costs 5 % at most

DOCUMENT_KEY, DOCUMENT_VERSION = "facetrt_faces", 1  # marks JSON files as ours, which may be written again


class Reports:
    """The JSON that --json asks for: one file for the run, or one beside every output, or none.

    Raises OutputError when `file` exists and is not one of ours, or cannot be written.
    """

    def __init__(self, *, file: Path | None = None, beside: bool = False) -> None:
        self._file = file
        self._beside = beside
        self._records: dict[str, dict[str, Any]] = {}
        self._pause_s, self._saved_s = SAVE_S, time.monotonic()
        if file is not None:  # a resumed run keeps what earlier ones found
            for record in _ours(file).get("files", []):
                self._records[str(record["input"])] = record
            _test_write(file)

    def check(self, job: Job) -> None:
        """Raises OutputError if the job's report would overwrite a stranger's file."""
        if self._beside:
            _ours(_beside(job))

    def lacks(self, job: Job) -> bool:
        """Is a finished job without the record that was asked for?"""
        if self._beside:
            return not os.path.isfile(_beside(job))
        return self._file is not None and "faces" not in self._records.get(str(job.source), {})

    def beside(self, job: Job, record: dict[str, Any]) -> list[tuple[Path, bytes]]:
        """The file to write together with the output."""
        return [(_beside(job), _json_bytes(record))] if self._beside else []

    def add(self, record: dict[str, Any]) -> None:
        """Keeps the record, and now and then writes the run's file: a run that is killed loses seconds."""
        self._records[record["input"]] = record
        started_s = time.monotonic()
        if self._file is not None and started_s - self._saved_s >= self._pause_s:
            with contextlib.suppress(OutputError):  # finish() tries again, and says so if it still cannot
                self.finish()
            self._saved_s = time.monotonic()
            self._pause_s = max(SAVE_S, SAVE_SHARE * (self._saved_s - started_s))

    def finish(self) -> None:
        """Writes the run's file. Raises OutputError."""
        if self._file is not None:
            write_file(self._file, _json_bytes({"files": list(self._records.values())}))


def _beside(job: Job) -> Path:
    """out/a.jpg -> out/a.jpg.json: two pictures of one stem get a report each."""
    return job.target.with_name(job.target.name + ".json")


def _json_bytes(content: dict[str, Any]) -> bytes:
    return (json.dumps({DOCUMENT_KEY: DOCUMENT_VERSION, **content}, indent=1, allow_nan=False) + "\n").encode()


def _test_write(path: Path) -> None:
    """Raises OutputError now if a report at `path` could not be written in the end."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        remedy = "check the permissions, or choose another folder"
        raise OutputError(f"to write {path}", error.strerror or str(error), remedy) from error


def _ours(path: Path) -> dict[str, Any]:
    """Contents of a JSON file of ours, {} without a file. Raises OutputError for a file of another kind."""
    if not os.path.exists(path):
        return {}
    content: Any = None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"no file or an earlier report at {path}", str(error), "name another file") from error
    if not isinstance(content, dict) or DOCUMENT_KEY not in content:
        raise OutputError(f"no file or an earlier report at {path}", "a file of another kind", "name another file")
    return cast("dict[str, Any]", content)


def run_jobs(
    jobs: Sequence[Job],
    photo: PhotoOptions,
    reports: Reports,
    *,
    open_enhancer: Callable[[], FaceEnhancer],
    force: bool = False,
    quiet: bool = False,
) -> int:
    """Does the jobs one by one and returns the exit code. One file's failure never stops the others; Ctrl-C does,
    and leaves whole files only.

    Raises what open_enhancer raises, and MissingPackageError: nothing can be done then.
    """
    counts: Counter[str] = Counter()
    progress = Progress(len(jobs), sys.stderr, show=not quiet)
    waiting = any(job.problem is None and (force or not is_done(job)) for job in jobs)
    enhancer = open_enhancer() if waiting else None
    code = DONE
    started_s = time.monotonic()
    try:
        for job in jobs:
            _one(job, photo, reports, enhancer, counts, progress, force=force, quiet=quiet)
            progress.step()
    except KeyboardInterrupt:
        progress.say("face-enhance: interrupted; finished files stay, run it again to go on", sys.stderr)
        code = INTERRUPTED
    finally:
        if enhancer is not None:
            enhancer.close()
        try:
            reports.finish()
        except OutputError as error:
            counts["failed"] += 1
            sys.stderr.write(f"face-enhance: {error}\n")
    if not quiet and (len(jobs) > 1 or code == INTERRUPTED):
        sys.stderr.write(f"face-enhance: {_summary(counts, len(jobs))}, {time.monotonic() - started_s:.1f} s\n")
    return code or (SOME_FAILED if counts["failed"] else DONE)


def _summary(counts: Counter[str], jobs: int) -> str:
    left = jobs - counts["enhanced"] - counts["there"] - counts["failed"]
    there = f"{counts['there']} already there"
    if counts["unreported"]:
        there += f" ({counts['unreported']} without a record)"
    text = f"{counts['enhanced']} done with {counts['faces']} faces, {there}, {counts['failed']} failed"
    return text + (f", {left} left" if left > 0 else "")


def _one(
    job: Job,
    photo: PhotoOptions,
    reports: Reports,
    enhancer: FaceEnhancer | None,
    counts: Counter[str],
    progress: Progress,
    *,
    force: bool,
    quiet: bool,
) -> None:
    """Does, skips or fails one job, and says so."""
    if job.problem is None and not force and is_done(job):
        counts["there"] += 1
        text = f"{job.source}: {job.target} is already there (--force does it again)"
        if reports.lacks(job):
            counts["unreported"] += 1
            progress.say(f"{text}, but the JSON report has no record of it", sys.stderr)
        elif not quiet:
            progress.say(text, sys.stdout)
        return
    try:
        if job.problem is not None:
            raise job.problem
        if not force:
            reports.check(job)
        assert enhancer is not None, job
        record = enhance_photo(enhancer, job, photo, attach=lambda record: reports.beside(job, record))
        reports.add(record)
    except MissingPackageError:
        raise
    except Exception as error:  # whatever one file provokes is reported, and must not cost the others
        counts["failed"] += 1
        text = str(error) if isinstance(error, FaceTRTError) else f"{type(error).__name__}: {error}"
        reports.add({"input": str(job.source), "error": text})
        progress.say(f"{job.source}: failed: {text}", sys.stderr)
        return
    counts["enhanced"] += 1
    counts["faces"] += len(record["faces"])
    if not quiet:
        progress.say(_line(job, record), sys.stdout)


def _line(job: Job, record: dict[str, Any]) -> str:
    """`a.jpg -> out/a.jpg: 3 faces (2 ok, 1 too_small), 214 ms; notes`."""
    kinds = Counter(str(face["status"]) for face in record["faces"])
    faces = ", ".join(f"{number} {status}" for status, number in sorted(kinds.items()))
    number = sum(kinds.values())
    text = f"{job.source} -> {job.target}: {number} face{'s' * (number != 1)}"
    text += (f" ({faces})" if faces else "") + f", {sum(record['timings_ms'].values()):.0f} ms"
    return "; ".join([text, *record["notes"]])
