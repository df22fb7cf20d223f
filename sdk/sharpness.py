"""Is the frame already as sharp as our output? Asked for windows with more pixels than the network's input.

Take from both pictures, at the output's size, what the network's input cannot hold: d_frame and d_sr, each less the
input enlarged by bicubic. The network gives the expectation of the detail, so a frame that holds the detail has
<d_frame, d_sr> = <d_sr, d_sr> on average, whatever noise lies on it (noise does not correlate), and a blurred or blown
up frame has nearly 0. Measured with picoface_x8 on 40 validation faces of HELEN, clean, blurred by 1.5 to 4, with
noise of 10 levels and as JPEG of quality 30, windows of 16 to 96 px: by PSNR the frame and the output are equally
good where the ratio is 0.55 to 0.6 in all of these; clean windows of twice the input's size have 0.77.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sdk.image.resample import resize

__all__ = ["SHARP", "detail_ratio"]

F32 = npt.NDArray[np.float32]

SHARP = 0.6  # ratio from which the frame is at least as good as our output
NO_DETAIL = 1.0  # mean square in grey levels below which the network adds nothing and the ratio says nothing

LUMA = np.array([0.257, 0.504, 0.098], np.float32)  # BT.601 of R, G, B


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
