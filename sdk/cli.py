"""face-enhance: pictures and folders in, enhanced pictures out; a video in, a video out.

Exit codes: 0 all done (or already there), 1 some files failed, 2 wrong usage or nothing could start, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import FaceTRTError, InputError
from sdk.image.crop import BOX_KINDS
from sdk.pictures import MAX_MEGAPIXELS
from sdk.plan import load_boxes, plan_jobs
from sdk.runtime.opening import BACKENDS, NETWORK_PRECISIONS
from sdk.video.command import add_clip_options, is_clip, run_clip

if TYPE_CHECKING:
    from sdk.enhancer import FaceEnhancer

__all__ = ["main"]

USAGE, INTERRUPTED, CUT_OFF = 2, 130, 141  # wrong usage; Ctrl-C; the reader of our output went away (128 + SIGPIPE)
BESIDE = ""  # --json without a file


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name that the terminal cannot show must not end the run
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    options = parser.parse_args(argv)
    if options.json and not options.json.endswith((".json", ".jsonl")):  # --json swallowed an input
        options.inputs.append(options.json)
        options.json = BESIDE
    if not options.inputs:
        parser.error("expected at least one INPUT; got none; name a picture, a folder or a video")
    if options.out is None:  # face-enhance IN OUT
        if len(options.inputs) != 2:
            parser.error(f"expected IN OUT, or INPUT... -o OUT; got {len(options.inputs)} without -o; name the output")
        options.out = options.inputs.pop()
    try:
        with _told(quiet=options.quiet):
            return _run_clip(options) if is_clip(options.inputs) else _run(options)
    except FaceTRTError as error:
        sys.stderr.write(f"face-enhance: {error}\n")
        return USAGE
    except KeyboardInterrupt:  # before the first file; run_jobs takes care of it from there
        sys.stderr.write("face-enhance: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - or Python complains when it flushes at exit
        return CUT_OFF


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="face-enhance",
        description="Finds small faces in pictures and videos, makes them sharp, and finds 68 landmarks in each.",
        epilog="Exit codes: 0 all done or already there, 1 some files failed (the others are done), 2 wrong usage or "
        "nothing could start, 130 interrupted (finished files stay). An output that exists counts as done.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="picture files and folders (walked with their subfolders), or a video",
    )
    add(
        "-o",
        "--out",
        metavar="OUT",
        help="file for one picture or video (its suffix decides the format), or folder; IN OUT without -o does as well",
    )
    add("--aligned", action="store_true", help="pictures are square faces cut out already: enhance each as a whole")
    add("--boxes", metavar="FILE.json|x0,y0,x1,y1", help="faces' boxes in px instead of the detector's")
    add("--box-kind", choices=BOX_KINDS, default="face", help="what the boxes of --boxes enclose")
    add("--detector", metavar="FILE.onnx", help="a YuNet file instead of the built-in detector")
    _add_network_options(parser)
    add(
        "--json",
        nargs="?",
        const=BESIDE,
        metavar="FILE.json[l]",
        help="boxes, landmarks, scores, status and timings: one FILE.json, or without it OUT.json beside every output",
    )
    add("--compare", action="store_true", help="write NAME_compare too: before and after side by side")
    add("--strength", type=float, default=1.0, metavar="0..1", help="0 leaves the picture as it is")
    add("--no-paste", action="store_true", help="write the face pictures alone, NAME_face00 and so on")
    add("--suffix", default="", metavar="TEXT", help="put behind the name of every output in a folder")
    add(
        "--ext", choices=("auto", "jpg", "png"), default="auto", help="format of outputs in a folder; auto: the input's"
    )
    add("--force", action="store_true", help="do files again that are already there")
    add("--max-megapixels", type=float, default=MAX_MEGAPIXELS, metavar="N", help="refuse larger pictures")
    add("--quiet", action="store_true", help="say nothing but failures")
    add_clip_options(parser)
    return parser


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    """Which network, and what runs it."""
    add = parser.add_argument
    add(
        "--model",
        metavar="NAME|FILE.onnx",
        help="one network for all faces, a paper's by name too (jasrnet); default: the one that fits each face",
    )
    add("--backend", choices=BACKENDS, default="auto", help="what runs the network; auto: TensorRT where it can")
    precisions = [precision for precision in NETWORK_PRECISIONS if precision]
    add("--precision", choices=precisions, help="default: fp16 with TensorRT, fp32 with onnxruntime")
    add("--device", metavar="cpu|cuda:N", help="where it runs; default: the first GPU with TensorRT, else cpu")
    add("--threads", type=int, metavar="N", help="on the CPU; default: one per physical core")


def _run_clip(options: argparse.Namespace) -> int:
    """One video. Raises FaceTRTError."""
    options.json = options.json if options.json != BESIDE else f"{options.out}.jsonl"
    return run_clip(options, _enhancer_of)


@contextlib.contextmanager
def _told(*, quiet: bool) -> Generator[None, None, None]:
    """What the SDK logs goes to stderr: an engine that is built takes minutes, and says so."""
    log, handler = logging.getLogger("facetrt"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("face-enhance: %(message)s"))
    before = log.level, log.propagate
    log.setLevel(logging.ERROR if quiet else logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


def _run(options: argparse.Namespace) -> int:
    """Checks all that can be checked before a network is opened, then does the files. Raises FaceTRTError."""
    if not 0.0 <= options.strength <= 1.0:
        raise InputError("--strength in 0..1", str(options.strength), "use 1 for the full effect")
    if not options.max_megapixels > 0:
        raise InputError("--max-megapixels above 0", str(options.max_megapixels), "leave it out for the default")
    if options.aligned and (options.boxes is not None or options.no_paste or options.detector):
        got = "another way to cut faces out beside it"
        raise InputError("--aligned alone", got, "leave out --boxes, --detector and --no-paste")
    jobs = plan_jobs(
        options.inputs,
        options.out,
        suffix=options.suffix,
        ext=options.ext,
        compare=options.compare,
        faces=options.no_paste,
        force=options.force,
    )
    sources = [job.source for job in jobs]
    boxes = load_boxes(options.boxes, sources=sources) if options.boxes is not None else None

    from sdk.photo import PhotoOptions  # late: --help and wrong usage answer at once
    from sdk.run import Reports, run_jobs

    photo = PhotoOptions(
        aligned=options.aligned,
        boxes=boxes,
        box_kind=options.box_kind,
        strength=options.strength,
        max_megapixels=options.max_megapixels,
    )
    reports = Reports(file=Path(options.json) if options.json else None, beside=options.json == BESIDE)

    return run_jobs(
        jobs, photo, reports, open_enhancer=lambda: _enhancer_of(options), force=options.force, quiet=options.quiet
    )


def _enhancer_of(options: argparse.Namespace) -> FaceEnhancer:
    from sdk.enhancer import FaceEnhancer

    return FaceEnhancer(
        options.model,
        backend=options.backend,
        device=options.device,
        precision=options.precision,
        color="rgb",
        detector=options.detector,
        threads=options.threads,
    )


if __name__ == "__main__":
    sys.exit(main())
