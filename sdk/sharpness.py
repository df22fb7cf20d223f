"""How much detail a window really holds: less than its pixels when blurred or blown up.

octave_ratio() asks the window alone, before the network: is the finest octave of the input empty? Then a network of
half the input restores more. Measured on HELEN's validation faces (plain and JPEG of quality 40, windows of 26 to
192 px): faces blown up to twice their pixels have 0.04 to 0.10 and gain 0.9 dB (16 in place of 32 px) and 1.0 dB (32 in
place of 64 px), faces with 1.25 times the smaller input's pixels have 0.12 to 0.25 and are equally good both ways,
faces that fill the larger input have 0.22 to 0.59 and would lose 3 to 4 dB.

detail_ratio() asks after the network: is the frame already as sharp as our output? Take from both pictures, at the
output's size, what the network's input cannot hold: d_frame and d_sr, each less the input enlarged by bicubic. The
network gives the expectation of the detail, so a frame that holds the detail has <d_frame, d_sr> = <d_sr, d_sr> on
average, whatever noise lies on it (noise does not correlate), and a blurred frame has nearly 0. Measured on the same
faces, clean, blurred by 1.5 to 4, with noise of 10 levels and as JPEG of quality 30: by PSNR the frame and the output
are equally good where the ratio is 0.55 to 0.65; clean windows of twice the input's size have 0.77 (x8) and 0.85 (x4).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sdk.image.resample import resample_weights, resize

__all__ = ["BLOWN_UP", "SHARP", "detail_ratio", "octave_ratio"]

F32 = npt.NDArray[np.float32]

BLOWN_UP = 0.15  # octave_ratio() below which half the input is enough
SHARP = 0.6  # detail_ratio() from which the frame is at least as good as our output
NO_DETAIL = 1.0  # mean square in grey levels below which the network adds nothing and the ratio says nothing

LUMA = np.array([0.257, 0.504, 0.098], np.float32)  # BT.601 of R, G, B


def octave_ratio(
    lr: F32,  # [N, s, s, 3] RGB 0..255; s a multiple of 4
) -> F32:
    """Energy [N] of the finest octave over that of the next; 0 for a window without any contrast."""
    fine: F32 = np.asarray(lr @ LUMA, np.float32)  # [N, s, s]
    energies: list[F32] = []
    for _ in range(2):
        down, up = _octave(fine.shape[1])
        half: F32 = np.asarray(down @ fine @ down.T, np.float32)  # [N, s / 2, s / 2]
        lost = fine - up @ half @ up.T
        energies.append(np.asarray(np.mean(lost * lost, axis=(1, 2)), np.float32))
        fine = half
    return np.asarray(energies[0] / np.maximum(energies[1], 1e-6), np.float32)


@lru_cache(maxsize=16)
def _octave(side: int) -> tuple[F32, F32]:
    """Bicubic matrices to half the side [side / 2, side] and back [side, side / 2]."""
    down, up = resample_weights(side, side // 2), resample_weights(side // 2, side)
    return down.astype(np.float32), up.astype(np.float32)


def detail_ratio(
    frame: F32,  # [S, S, 3] RGB 0..255: the frame's own crop at the output's size
    sr: npt.NDArray[np.uint8],  # [S, S, 3] RGB: our output
    lr: F32,  # [s, s, 3] RGB 0..255: the network's input
) -> float:
    """Share of our output's detail that the frame holds: about 0 blurred, 1 sharp; infinite if we would add none."""
    base: F32 = np.asarray(resize(lr, (sr.shape[0], sr.shape[1])), np.float32)
    d_frame = np.asarray((frame - base) @ LUMA)  # [S, S]
    d_sr = np.asarray((sr.astype(np.float32) - base) @ LUMA)  # [S, S]
    ours = float(np.mean(d_sr * d_sr))
    if ours < NO_DETAIL:
        return float("inf") if float(np.mean(d_frame * d_frame)) > ours else 0.0
    return float(np.mean(d_frame * d_sr)) / ours
