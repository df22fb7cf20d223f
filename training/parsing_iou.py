"""FSRNet's parsing IoU (its Table 3): a face parser, fixed, runs on each method's pictures.

The reference is the archive's labels (`parsing` in index.csv: a picture of class numbers) or, without any, the same
parser's map of the truth, as the paper does on CelebA. The mean is over the classes that occur.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import InputError, ModelError
from sdk.image.metrics import iou
from sdk.image.pixels import to_network
from sdk.image.resample import resize
from training.data.feeding import U8
from training.data.packs import Pack
from training.data.parsing import cut_classes, read_classes
from training.paper_results import digest
from training.predictors import Network, open_network

Labels = npt.NDArray[np.int64]
BATCH = 8


class Parser:
    """A network with parsing maps, fed whole pictures in place of enlarged ones."""

    def __init__(self, network: Network) -> None:
        """Raises ModelError: no parsing maps, or a network of small faces."""
        spec = network.spec
        if not spec.parsing_count or not spec.input_upscaled:
            got = f"{network.name} with {spec.parsing_count} maps, input_upscaled={spec.input_upscaled}"
            raise ModelError("a network with parsing maps of a whole picture", got, "pass another --parser")
        assert network.path is not None
        self.network, self.name, self.classes = network, network.name, spec.parsing_count
        self.sha256, self.side = digest(network.path), spec.hr_size

    def __call__(
        self,
        pictures: U8,  # [N, S, S, 3]
    ) -> Labels:  # [N, h, w] class numbers, in the maps' cells
        spec = replace(self.network.spec, input_upscaled=False)
        fed = resize(pictures, (self.side, self.side)).astype(np.float32)
        found = [
            self.network.run(to_network(fed[i : i + BATCH], spec))["parsing"].argmax(axis=1)
            for i in range(0, len(fed), BATCH)
        ]
        return np.concatenate(found)


def open_parser(model: str) -> Parser:
    return Parser(open_network(model))


def labels_of(pack: Pack, ids: Sequence[str], *, size: int, classes: int) -> Labels | None:
    """[N, size, size] of the archive's `parsing` pictures, by nearest pixel; None where it has no such column.

    Raises InputError: a picture that is absent, unreadable or of other classes.
    """
    rows = {row["id"]: row for row in pack.rows if row.get("parsing")}
    if not rows:
        return None
    missing = [name for name in ids if name not in rows]
    if missing:
        got = f"none for {missing[0]} and {len(missing) - 1} more"
        raise InputError(f"a `parsing` picture of each face in {pack.name}", got, "complete the column")
    found = np.zeros((len(ids), size, size), np.int64)
    for i, name in enumerate(ids):
        label = read_classes(pack, rows[name], count=classes)
        whole = np.array([0.0, 0.0, label.shape[1], label.shape[0]])
        found[i] = cut_classes(label, whole, picture_hw=label.shape, size=size)
    return found


def parse_scores(
    parser: Parser, pictures: Sequence[U8], truth: Callable[[], Sequence[U8]], *, labels: Labels | None
) -> dict[str, Any]:
    """iou (mean over the classes that occur), iou_by_class, reference."""
    reference = parser(np.stack(truth())) if labels is None else labels
    by_class = iou(parser(np.stack(pictures)), reference, classes=parser.classes)
    known = by_class[~np.isnan(by_class)]
    shown = [None if np.isnan(value) else float(value) for value in by_class]
    told = "truth" if labels is None else "labels"
    return {"iou": float(known.mean()), "iou_by_class": shown, "reference": told}
