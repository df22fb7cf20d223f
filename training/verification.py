"""Face verification by LFW's protocol: 6,000 pairs in 10 folds, the threshold chosen on nine, counted on the tenth.

The recogniser is the caller's: an ONNX file that turns faces into vectors. JASRNet's Table 3 names neither recogniser
nor protocol, so accuracies compare only with those of the same recogniser.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from sdk.errors import InputError, ModelError
from sdk.image.resample import resize
from training.data.feeding import U8
from training.paper_results import digest

Float64 = npt.NDArray[np.float64]
Embed = Callable[[U8], npt.NDArray[np.floating]]  # pictures [N, S, S, 3] RGB -> vectors [N, D]
COLUMNS = ("left", "right", "same", "fold")
BATCH = 32


@dataclass(frozen=True)
class Embedder:
    """A recogniser by name."""

    name: str
    sha256: str | None
    embed: Embed


@dataclass(frozen=True, eq=False)
class Pairs:
    """Places in the list of pictures, whether both show one person, and the fold."""

    left: npt.NDArray[np.int64]  # [P]
    right: npt.NDArray[np.int64]  # [P]
    same: npt.NDArray[np.bool_]  # [P]
    fold: npt.NDArray[np.int64]  # [P]


def open_embedder(source: str) -> Embedder:
    """`grey` (the grey levels of 16 x 16 cells, a stand-in that needs no file) or an .onnx file.

    A file has one input [N, 3, S, S], given RGB - 127.5 over 127.5 as ArcFace's, and one output [N, D]. Raises
    ModelError: no such file, not an ONNX network, another shape.
    """
    if source == "grey":
        return Embedder("grey", None, grey)
    path = Path(source)
    if path.suffix != ".onnx" or not path.is_file():
        raise ModelError("grey, or the .onnx file of a recogniser", repr(source), "check the path")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public class
        reason = str(error).splitlines()[0]
        raise ModelError("an ONNX network", f"{path} ({reason})", "export it again") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or not isinstance(shape[2], int) or shape[2] != shape[3]:
        got = f"{[(i.name, i.shape) for i in inputs]} in {path}"
        raise ModelError("one input [N, 3, S, S] of a fixed side", got, "export it with a fixed size")
    side, single = shape[2], shape[0] == 1

    def embed(pictures: U8) -> npt.NDArray[np.floating]:
        sized = resize(pictures, (side, side)).astype(np.float32)
        batch = np.ascontiguousarray((sized.transpose(0, 3, 1, 2) - 127.5) / 127.5)
        parts = [batch[i : i + 1] for i in range(len(batch))] if single else [batch]
        found = [session.run([outputs[0].name], {inputs[0].name: part})[0] for part in parts]
        return np.concatenate(found).reshape(len(pictures), -1)

    return Embedder(path.stem, digest(path), embed)


def grey(pictures: U8) -> Float64:
    """[N, S, S, 3] -> [N, 256], no recogniser at all: it shows that the protocol runs."""
    small = resize(pictures, (16, 16)).astype(np.float64).mean(axis=3).reshape(len(pictures), -1)
    return small - small.mean(axis=1, keepdims=True)


def read_pairs(path: Path, ids: Sequence[str]) -> Pairs:
    """`pairs.csv` of an archive; pairs with a picture that is not in `ids` are an error. Raises InputError."""
    if not path.is_file():
        raise InputError("pairs.csv in the archive", str(path.parent), "python -m training.data.convert lfw")
    place = {name: number for number, name in enumerate(ids)}
    with path.open(newline="", encoding="utf-8-sig") as handle:
        lines = list(csv.DictReader(handle))
    rows = []
    for line, row in enumerate(lines, 2):
        if any(not row.get(column) for column in COLUMNS) or row["same"] not in ("0", "1"):
            raise InputError(f"{', '.join(COLUMNS)} in line {line} of {path}", str(row), "convert the data set again")
        missing = [row[side] for side in ("left", "right") if row[side] not in place]
        if missing or not row["fold"].isdigit():
            got = f"{missing[0]!r}, which is not there" if missing else f"fold {row['fold']!r}"
            raise InputError(f"pictures of the archive and a fold in line {line} of {path}", got, "convert it again")
        rows.append((place[row["left"]], place[row["right"]], row["same"] == "1", int(row["fold"])))
    if len({fold for *_, fold in rows}) < 2:
        raise InputError(f"pairs of at least two folds in {path}", f"{len(rows)} pairs", "convert the data set again")
    left, right, same, fold = (np.array(column) for column in zip(*rows, strict=True))
    return Pairs(left, right, same.astype(np.bool_), fold)


def accuracies(similarity: Float64, pairs: Pairs) -> Float64:  # similarity [P] -> [folds]
    """Share of right answers of each fold at the threshold that answers most of the other folds' pairs rightly."""
    found = []
    for fold in np.unique(pairs.fold):
        out = pairs.fold == fold
        at = best_threshold(similarity[~out], pairs.same[~out])
        found.append(float(np.mean((similarity[out] >= at) == pairs.same[out])))
    return np.array(found)


def best_threshold(similarity: Float64, same: npt.NDArray[np.bool_]) -> float:
    """Between two neighbouring values, where most answers `similarity >= threshold` are right."""
    order = np.argsort(similarity, kind="stable")
    values, truth = similarity[order], same[order]
    # threshold before place k: those below are called different, the others the same
    right = np.concatenate([[0], np.cumsum(~truth)]) + np.concatenate([np.cumsum(truth[::-1])[::-1], [0]])
    edges = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2.0, [np.inf]])
    tied = np.concatenate([[False], values[1:] == values[:-1], [False]])
    return float(edges[int(np.argmax(np.where(tied, -1, right)))])


def verify(embedder: Embedder, pictures: Sequence[U8], pairs: Pairs) -> dict[str, Any]:
    """accuracy (mean of the folds), accuracy_sd, folds; similarity is the cosine of the vectors."""
    vectors = np.concatenate(
        [embedder.embed(np.stack(pictures[i : i + BATCH])) for i in range(0, len(pictures), BATCH)]
    ).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    folds = accuracies((vectors[pairs.left] * vectors[pairs.right]).sum(axis=1), pairs)
    return {"accuracy": float(folds.mean()), "accuracy_sd": float(folds.std()), "folds": folds.tolist()}
