"""A statistical model of faces, small enough to ship: the set that `trt-build --calib builtin` draws faces from.

    python -m training.eigenfaces --pack faces_clean_ccby_pd -o export/eigenfaces.npz

Principal components of 64 x 64 px faces (Sirovich and Kirby 1987; Turk and Pentland 1991), luminance at full and chroma
at quarter size in one vector, so that skin and light vary together; learned from freely licensed faces alone. It holds
no one's picture, except NASA's public-domain portrait of Eileen Collins, which is added whole: one real face with the
sharpness that 128 components cannot have.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sdk.enhancer import FaceEnhancer
from sdk.errors import FaceTRTError
from sdk.image.crop import crop
from sdk.image.pixels import rgb_to_ycbcr
from sdk.image.resample import resize, round_8bit
from sdk.pictures import read_picture
from training.data.packs import open_pack

SIDE = 64  # px of luminance
CHROMA_SIDE = 16  # px: the eye, and the networks' first layer, see little more of it
COMPONENTS = 128  # one number each a face; what they keep of the variance is printed
PORTRAIT = Path(__file__).resolve().parents[1] / "benchmarks" / "assets" / "astronaut.png"
PORTRAIT_SIDE = 224  # px; the window with a quarter of its side around it


def vectors_of(
    faces: npt.NDArray[np.uint8],  # [N, S, S, 3] RGB
) -> npt.NDArray[np.float32]:
    """float32 [N, 64*64 + 2*16*16]: luminance, then Cb and Cr, each 0..255."""
    ycbcr = rgb_to_ycbcr(resize(faces, (SIDE, SIDE)).astype(np.float32))  # [N, 64, 64, 3]
    chroma = resize(np.ascontiguousarray(ycbcr[..., 1:]), (CHROMA_SIDE, CHROMA_SIDE))  # [N, 16, 16, 2]
    n = len(faces)
    return np.concatenate([ycbcr[..., 0].reshape(n, -1), chroma.transpose(0, 3, 1, 2).reshape(n, -1)], axis=1)


def learn(
    vectors: npt.NDArray[np.float32],  # [N, D]
    count: int,
) -> dict[str, npt.NDArray[np.generic]]:
    """Mean [D], int8 components [count, D] with a scale each, and standard deviations [count] of the coefficients."""
    mean = vectors.mean(axis=0)
    covariance = np.cov((vectors - mean).T.astype(np.float32))  # [D, D]
    values, directions = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1][:count]
    components = directions[:, order].T  # [count, D], unit length
    scale = np.abs(components).max(axis=1) / 127
    return {
        "mean": np.round(mean).astype(np.uint8),
        "components": np.round(components / scale[:, None]).astype(np.int8),
        "scale": scale.astype(np.float32),
        "deviation": np.sqrt(values[order]).astype(np.float32),
        "explained": np.float32(values[order].sum() / values.sum()),
    }


def portrait() -> npt.NDArray[np.uint8]:
    """The public-domain portrait's face and its surroundings, [224, 224, 3] RGB; its window is the middle 2/3."""
    rgb = read_picture(PORTRAIT).pixels
    with FaceEnhancer(backend="onnxruntime", color="rgb") as enhancer:
        window = enhancer.enhance(rgb)[0].window
    centre, half = (window[:2] + window[2:]) / 2, 0.75 * (window[2] - window[0])
    around = np.concatenate([centre - half, centre + half])[None]
    return round_8bit(crop(rgb, around, size=PORTRAIT_SIDE))[0].astype(np.uint8)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.eigenfaces", description=__doc__.splitlines()[0])
    parser.add_argument("--pack", required=True, help="archive of freely licensed faces; its split `train` is used")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        pack = open_pack(args.pack)
        faces = (resize(pack.square_picture(row), (SIDE, SIDE)) for row in pack.select("train"))
        found = learn(np.concatenate([vectors_of(face[None]) for face in faces]), COMPONENTS)
        np.savez_compressed(args.out, **found, portrait=portrait(), source=np.str_(pack.name))
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{args.out}: {100 * found['explained']:.1f} % of the variance, {args.out.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
