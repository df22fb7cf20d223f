"""Which picture file becomes which output file: inputs, folders, suffixes, boxes from the command line."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.inputs import check_boxes
from sdk.pictures import FORMATS, READABLE

__all__ = ["Boxes", "Job", "face_path", "is_done", "load_boxes", "plan_jobs"]


@dataclass(frozen=True)
class Job:
    """One picture to do, and all it may write. `problem` says why it cannot be done."""

    source: Path
    target: Path
    sheet: Path | None = None  # before and after side by side
    faces: bool = False  # face_path(target, 0) and so on in place of the target
    problem: InputError | None = None


def face_path(target: Path, number: int) -> Path:
    """Where face `number` of a picture goes with Job.faces."""
    return target.with_name(f"{target.stem}_face{number:02d}{target.suffix}")


def is_done(job: Job) -> bool:
    """Has an earlier run finished this picture? Of faces any will do: they are written all or none, and which one
    comes first depends on the boxes."""
    return bool(_faces_there(job.target)) if job.faces else os.path.isfile(job.target)


def _faces_there(target: Path) -> list[Path]:
    """Face files of a picture that exist."""
    start = f"{target.stem}_face"
    rest = re.compile(r"\d{2,}" + re.escape(target.suffix))
    names = os.listdir(target.parent) if os.path.isdir(target.parent) else []
    return [target.with_name(n) for n in names if n.startswith(start) and rest.fullmatch(n, len(start))]


class Boxes:
    """Boxes of --boxes: the same for a single picture, or by path or file name."""

    def __init__(self, *, one: Any = None, by_name: dict[str, Any] | None = None, sources: Sequence[Path] = ()) -> None:
        self.one = one
        self.by_name = by_name
        self._by_path = {os.path.abspath(name): boxes for name, boxes in (by_name or {}).items()}
        self._names = Counter(Path(name).name for name in by_name or {})
        self._sources = Counter(path.name for path in sources)

    def of(self, source: Path) -> npt.NDArray[np.float64]:
        """Boxes float64 [N, 4] of a picture. Raises InputError when there are none for it, or perhaps another's."""
        if self.by_name is None:
            return check_boxes(self.one)
        if os.path.abspath(source) in self._by_path:
            return check_boxes(self._by_path[os.path.abspath(source)])
        expected = f"boxes for {source}"
        if not self._names[source.name]:
            got = f"a boxes file that names {len(self.by_name)} others"
            raise InputError(expected, got, "add it to the boxes file")
        if self._names[source.name] > 1 or self._sources[source.name] > 1:
            got = f"several pictures named {source.name}"
            raise InputError(expected, got, "write whole paths into the boxes file")
        return check_boxes(next(boxes for name, boxes in self.by_name.items() if Path(name).name == source.name))


def load_boxes(text: str, *, sources: Sequence[Path]) -> Boxes:
    """`x0,y0,x1,y1`, or a JSON file: a list of boxes, {path or file name: list of boxes}, or what --json wrote.

    Raises InputError for anything else, and for one list of boxes with several pictures in `sources`.
    """
    if text.lower().endswith(".json"):
        boxes = _boxes_of_json(Path(text), sources)
    else:
        try:
            boxes = Boxes(one=[[float(number) for number in text.split(",")]])
            check_boxes(boxes.one)
        except ValueError:
            expected = "--boxes as x0,y0,x1,y1 or a .json file"
            raise InputError(expected, repr(text), "give four numbers in pixels, as in 10,20,40,60") from None
    if boxes.by_name is None and len(sources) != 1:
        remedy = 'give a .json file: {"a.jpg": [[x0, y0, x1, y1]], ...}'
        raise InputError("boxes by file name for several pictures", "one list of boxes", remedy)
    return boxes


def _boxes_of_json(path: Path, sources: Sequence[Path]) -> Boxes:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("a JSON file of boxes", f"{path}: {error}", "check the path and its contents") from error
    try:
        if isinstance(content, list):
            return Boxes(one=content)
        document = cast("dict[str, Any]", content)
        if "files" in document or "faces" in document:  # written by --json
            files: list[dict[str, Any]] = document.get("files", [document])
            by_name = {str(f["input"]): [face["box_xyxy_px"] for face in f["faces"]] for f in files if "faces" in f}
            return Boxes(by_name=by_name, sources=sources)
        return Boxes(by_name={str(name): boxes for name, boxes in document.items()}, sources=sources)
    except (AttributeError, KeyError, TypeError) as error:
        remedy = 'write [[x0, y0, x1, y1], ...] or {"a.jpg": [[x0, y0, x1, y1]], ...}'
        raise InputError("a list of boxes, or one by file name", f"{path}, which has other contents", remedy) from error


def plan_jobs(
    inputs: Sequence[str],
    out: str,
    *,
    suffix: str = "",
    ext: str = "auto",
    compare: bool = False,
    faces: bool = False,
    force: bool = False,
) -> list[Job]:
    """Jobs in the order of the inputs, folders walked in the order of names. compare: with sheets; faces: face
    pictures alone; force: outputs that exist may be replaced (inputs never).

    Raises InputError for an `out` that cannot take them; what is wrong with a single input stands in its job.
    """
    if any(separator in suffix for separator in "/\\\0"):
        raise InputError("--suffix as part of a file name", repr(suffix), "choose the folder with --out")
    paths = [Path(text) for text in inputs]
    target = Path(out)
    if target.suffix.lower() in FORMATS and not target.is_dir() and not out.endswith("/"):
        if len(paths) != 1 or paths[0].is_dir():
            raise InputError("a folder as output of several pictures", out, f"use -o {target.with_suffix('')}/")
        if suffix or ext not in ("auto", target.suffix.lower().lstrip(".")):
            raise InputError("no --suffix or --ext beside an output file", out, "use -o FOLDER, or leave them out")
        return _jobs([(paths[0], target)], compare=compare, faces=faces, force=force)
    if target.is_file() or (target.suffix and not target.is_dir() and not out.endswith("/")):
        expected = f"an output folder, or a file ending in one of {', '.join(FORMATS)}"
        raise InputError(expected, out, f"correct the ending, or write {out}/ for a folder")
    pairs: list[tuple[Path, Path]] = []
    for path in paths:
        for source, relative in _pictures(path, target):
            own = source.suffix.lower() if source.suffix.lower() in FORMATS else ".png"
            ending = own if ext == "auto" else f".{ext}"
            pairs.append((source, target / relative.parent / f"{relative.stem}{suffix}{ending}"))
    return _jobs(pairs, compare=compare, faces=faces, force=force)


def _jobs(pairs: Sequence[tuple[Path, Path]], *, compare: bool, faces: bool, force: bool) -> list[Job]:
    """Jobs of (source, target) pairs; a job that would write over an input or another job's output gets a problem."""
    inputs = {_identity(source) for source, _ in pairs} - {None}
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    for source, target in pairs:
        sheet = target.with_name(f"{target.stem}_compare{target.suffix}") if compare and not faces else None
        job = Job(source, target, sheet, faces)
        problem = _problem(job, inputs, force=force)
        goals = [target] if sheet is None else [target, sheet]
        clash = next((goal for goal in goals if goal in taken), None)
        if clash is not None and problem is None:
            got = f"{clash}, which {taken[clash]} already takes"
            problem = InputError(
                "an output of its own", got, "use --ext auto or another folder, or leave out --compare"
            )
        if problem is None:
            taken.update(dict.fromkeys(goals, source))
        jobs.append(replace(job, problem=problem))
    return jobs


def _identity(path: Path) -> tuple[int, int] | None:
    """Equal for all names of one file; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _problem(job: Job, inputs: set[tuple[int, int] | None], *, force: bool) -> InputError | None:
    """Why a job cannot be done: its source is missing, or a file that must stay would be overwritten.

    Asked with os.path, which says False where Path raises (names too long): then the one file fails, not the run.
    """
    source, target = job.source, job.target
    if os.path.isdir(source):
        return InputError("pictures in the folder", f"none in {source}", "check the folder")
    if not os.path.exists(source):
        return InputError("a picture file or a folder", f"no {source}", "check the path")
    remedy = "use another folder, or --suffix _enhanced"
    if not job.faces and _identity(target) == _identity(source):
        return InputError("an output beside the input", f"{target}, the input itself", remedy)
    if is_done(job) and not force:
        return None  # nothing will be written
    sides = _faces_there(target) if job.faces else [job.sheet] if job.sheet is not None else []
    for path in [*sides] if job.faces else [target, *sides]:
        if os.path.isdir(path):
            return InputError("a file as output", f"{path}, which is a folder", remedy)
        if _identity(path) in inputs:
            return InputError("an output that is none of the inputs", f"{path}", remedy)
        if os.path.exists(path) and not force:
            return InputError("an output that is not there yet", f"{path}", "move it away, or use --force")
    return None


def _pictures(path: Path, out: Path) -> list[tuple[Path, Path]]:
    """Picture files under a path, each with its place below the output folder; the path itself if there are none."""
    if not path.is_dir():
        return [(path, Path(path.name))]
    avoid = out.resolve() if out.resolve() != path.resolve() else None  # results inside the input folder are no inputs
    found: list[tuple[Path, Path]] = []
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or file.suffix.lower() not in READABLE or not file.is_file():
            continue
        if avoid is None or avoid not in file.resolve().parents:
            found.append((file, relative))
    return found or [(path, Path(path.name))]
