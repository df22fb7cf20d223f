"""Which picture file becomes which output file: inputs, folders, suffixes, boxes from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError
from sdk.inputs import check_boxes
from sdk.pictures import FORMATS, READABLE

__all__ = ["Boxes", "Job", "load_boxes", "plan_jobs"]


@dataclass(frozen=True)
class Job:
    """One picture to do. `problem` says why it cannot be done."""

    source: Path
    target: Path
    problem: InputError | None = None


class Boxes:
    """Boxes of --boxes: the same for a single picture, or by file name."""

    def __init__(self, *, one: Any = None, by_name: dict[str, Any] | None = None) -> None:
        self.one = one
        self.by_name = by_name

    def of(self, source: Path) -> npt.NDArray[np.float64]:
        """Boxes float64 [N, 4] of a picture. Raises InputError when there are none for it."""
        if self.by_name is None:
            return check_boxes(self.one)
        for key in (str(source), source.as_posix(), source.name):
            if key in self.by_name:
                return check_boxes(self.by_name[key])
        expected = f"boxes for {source.name}"
        raise InputError(expected, f"a boxes file that names {len(self.by_name)} others", "add it to the boxes file")


def load_boxes(text: str, *, pictures: int) -> Boxes:
    """`x0,y0,x1,y1`, or a JSON file: a list of boxes, {file name: list of boxes}, or what --json wrote.

    Raises InputError for anything else, and for one list of boxes with several pictures.
    """
    if text.lower().endswith(".json"):
        boxes = _boxes_of_json(Path(text))
    else:
        try:
            boxes = Boxes(one=[[float(number) for number in text.split(",")]])
            check_boxes(boxes.one)
        except ValueError:
            expected = "--boxes as x0,y0,x1,y1 or a .json file"
            raise InputError(expected, repr(text), "give four numbers in pixels, as in 10,20,40,60") from None
    if boxes.by_name is None and pictures != 1:
        remedy = 'give a .json file: {"a.jpg": [[x0, y0, x1, y1]], ...}'
        raise InputError("boxes by file name for several pictures", "one list of boxes", remedy)
    return boxes


def _boxes_of_json(path: Path) -> Boxes:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("a JSON file of boxes", f"{path}: {error}", "check the path and its contents") from error
    try:
        if isinstance(content, list):
            return Boxes(one=content)
        document = cast("dict[str, Any]", content)
        if "files" in document or "faces" in document:  # written by --json
            files: list[dict[str, Any]] = document.get("files", [document])
            by_name = {
                Path(f["input"]).name: [face["box_xyxy_px"] for face in f["faces"]] for f in files if "faces" in f
            }
            return Boxes(by_name=by_name)
        return Boxes(by_name={str(name): boxes for name, boxes in document.items()})
    except (AttributeError, KeyError, TypeError) as error:
        remedy = 'write [[x0, y0, x1, y1], ...] or {"a.jpg": [[x0, y0, x1, y1]], ...}'
        raise InputError("a list of boxes, or one by file name", f"{path}, which has other contents", remedy) from error


def plan_jobs(
    inputs: Sequence[str],
    out: str,
    *,
    suffix: str = "",
    ext: str = "auto",
) -> list[Job]:
    """Jobs in the order of the inputs, folders walked in the order of names.

    Raises InputError for an `out` that cannot take them; what is wrong with a single input stands in its job.
    """
    paths = [Path(text) for text in inputs]
    target = Path(out)
    if target.suffix.lower() in FORMATS and not target.is_dir() and not out.endswith("/"):
        if len(paths) != 1 or paths[0].is_dir():
            raise InputError("a folder as output of several pictures", out, f"use -o {target.with_suffix('')}/")
        if suffix or ext not in ("auto", target.suffix.lower().lstrip(".")):
            raise InputError("no --suffix or --ext beside an output file", out, "use -o FOLDER, or leave them out")
        return [_checked(paths[0], target)]
    if target.is_file() or (target.suffix and not target.is_dir() and not out.endswith("/")):
        expected = f"an output folder, or a file ending in one of {', '.join(FORMATS)}"
        raise InputError(expected, out, f"correct the ending, or write {out}/ for a folder")
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    for path in paths:
        for source, relative in _pictures(path, target):
            own = source.suffix.lower() if source.suffix.lower() in FORMATS else ".png"
            ending = own if ext == "auto" else f".{ext}"
            goal = target / relative.parent / f"{relative.stem}{suffix}{ending}"
            job = _checked(source, goal)
            if goal in taken and job.problem is None:
                got = f"{goal}, which {taken[goal]} already takes"
                job = Job(source, goal, InputError("an output of its own", got, "use --ext auto or another folder"))
            taken.setdefault(goal, source)
            jobs.append(job)
    return jobs


def _checked(source: Path, target: Path) -> Job:
    """The job, with a problem when its source is missing or would be overwritten."""
    if source.is_dir():
        return Job(source, target, InputError("pictures in the folder", f"none in {source}", "check the folder"))
    if not source.exists():
        return Job(source, target, InputError("a picture file or a folder", f"no {source}", "check the path"))
    if target.exists() and source.samefile(target):
        remedy = "use another folder, or --suffix _enhanced"
        return Job(source, target, InputError("an output beside the input", f"{target}, the input itself", remedy))
    return Job(source, target)


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
