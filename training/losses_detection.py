"""What PicoSpot should say of a scene, how far it is off, and the windows that its maps stand for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from training.models.picospot import STRIDE, UNIT_PX

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

FOCUS, SPARED = 2.0, 4.0  # exponents of CenterNet's loss, Eq. 1: of the sure cells, and of those near a centre
PLACE_WEIGHT, SIDE_WEIGHT = 1.0, 1.0


def spot_loss(out: dict[str, Tensor], centres: Tensor, places: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Weighted terms; their sum is the loss.

    out: logits "centres" [N,1,h,w] and "places" [N,3,h,w]; the others as maps_of gives them, for N scenes.
    centre: focal loss by the number of faces (CenterNet, Eq. 1). place, side: mean difference at the centres.
    """
    count = known.sum().clamp(min=1.0)
    log_yes, log_no = F.logsigmoid(out["centres"]), F.logsigmoid(-out["centres"])
    sure = out["centres"].sigmoid()
    at_centre = -((1.0 - sure) ** FOCUS) * log_yes * known
    elsewhere = -((1.0 - centres) ** SPARED) * sure**FOCUS * log_no * (1.0 - known)
    off = (out["places"] - places).abs() * known
    return {
        "centre": (at_centre + elsewhere).sum() / count,
        "place": PLACE_WEIGHT * off[:, :2].sum() / count,
        "side": SIDE_WEIGHT * off[:, 2].sum() / count,
    }


def windows_of_maps(
    centres: F32,  # [h, w] probabilities
    places: F32,  # [3, h, w]
    *,
    threshold: float,
) -> tuple[F64, F64]:
    """Windows [N, 4] in px and scores [N], surest first: cells that no neighbour exceeds."""
    highest = F.max_pool2d(torch.from_numpy(centres)[None, None], 3, stride=1, padding=1)[0, 0].numpy()
    rows, columns = np.nonzero((centres >= threshold) & (centres == highest))
    scores = centres[rows, columns].astype(np.float64)
    x, y, log_side = (places[k, rows, columns].astype(np.float64) for k in range(3))
    centre = (np.stack([columns + x, rows + y], axis=1) + 0.5) * STRIDE
    half = 0.5 * UNIT_PX * np.exp(log_side)[:, None]
    order = np.argsort(-scores, kind="stable")
    return np.concatenate([centre - half, centre + half], axis=1)[order], scores[order]


def maps_of(
    windows: F64,  # [N, 4]
    side_px: int,
) -> tuple[F32, F32, F32]:
    """What the detector should say: centres [1, h, w] in [0, 1], places [3, h, w], and 1 at centre cells [1, h, w].

    A centre's Gaussian has a tenth of the window as its deviation, at least 0.6 cells; where two meet the higher wins.
    """
    cells = side_px // STRIDE
    centres, places = np.zeros((1, cells, cells), np.float32), np.zeros((3, cells, cells), np.float32)
    known = np.zeros((1, cells, cells), np.float32)
    y, x = np.mgrid[:cells, :cells]
    for window in sorted(windows, key=lambda w: -(w[2] - w[0])):  # the smaller of two in one cell stays
        side = float(window[2] - window[0])
        at = 0.5 * (window[:2] + window[2:]) / STRIDE - 0.5  # in cells, centres at integers
        column, row = (int(v) for v in np.rint(at))
        if not (0 <= column < cells and 0 <= row < cells):
            continue
        sigma = max(0.6, 0.1 * side / STRIDE)
        peak = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * sigma**2))
        centres[0] = np.maximum(centres[0], peak)
        places[:, row, column] = at[0] - column, at[1] - row, np.log(side / UNIT_PX)
        known[0, row, column] = 1.0
    return centres, places, known
