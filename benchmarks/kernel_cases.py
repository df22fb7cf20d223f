"""What benchmarks.gpu_kernels runs of each kernel: fresh random inputs, the launch, the reference, the bytes it moves.

The bytes are those that have to move at least once: what is read of the inputs and what is written. Tolerances are
those of the tests on the CPU: rounding of the type, sums in another order, and a contracted multiply-add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.gpu_engines import Broken
from sdk.image.crop import apply_affine, crop, window_affine
from sdk.image.heatmap import decode, encode
from sdk.image.paste import paste as paste_reference
from sdk.image.pixels import from_network, to_network
from sdk.image.pixels import pixel_shuffle as shuffle_reference
from sdk.image.resample import resize
from sdk.runtime.device import Stream
from sdk.runtime.interop import DeviceArray
from sdk.runtime.kernel_crop import crop_norm, network_colours
from sdk.runtime.kernel_decode import heatmap_decode
from sdk.runtime.kernel_gate import paste_gate
from sdk.runtime.kernel_luma import luma_tail
from sdk.runtime.kernel_module import KernelSet
from sdk.runtime.kernel_paste import PLACED_BYTES, paste
from sdk.runtime.kernel_shuffle import pixel_shuffle
from sdk.runtime.kernel_tail import image_tail
from sdk.spec import ModelSpec

__all__ = ["Case", "all_cases"]

Arrays = Mapping[str, npt.NDArray[Any]]
OnGpu = Mapping[str, DeviceArray]

LANDMARKS = 68
SPEC_X8 = ModelSpec("picture", 16, 8)
SPEC_LUMA = ModelSpec("luma", 64, 2, channels=1, colour="y", input_upscaled=True, any_size=True)
FRAME_HW = (1080, 1920)


@dataclass(frozen=True)
class Case:
    """One kernel at one size."""

    kernel: str  # the .cu file
    what: str  # sizes and types, for people
    faces: int
    make: Callable[[np.random.Generator], Arrays]  # inputs
    outputs: dict[str, tuple[tuple[int, ...], str]]  # shape and type; a name of an input: written in place
    launch: Callable[[KernelSet, OnGpu, Stream], None]
    check: Callable[[Arrays, Arrays], dict[str, float]]  # inputs, outputs -> differences; raises Broken
    moved_bytes: int

    @property
    def name(self) -> str:
        return f"{self.kernel} {self.what} N={self.faces}"


def _within(name: str, difference: npt.NDArray[Any], bound: float) -> dict[str, float]:
    """Raises Broken when something is further off, or no number."""
    worst = float(np.max(difference, initial=0.0))
    if not worst <= bound:
        raise Broken(f"{name} is off by {worst:g}, allowed are {bound:g}")
    return {f"{name}_off": worst}


def _decode(N: int, cells: int, dtype: str) -> Case:
    def make(rng: np.random.Generator) -> Arrays:
        points = rng.uniform(2, cells - 3, (N, LANDMARKS, 2))
        maps = encode(points, (cells, cells), sigma_cells=cells / 32 + 0.5)
        maps += rng.uniform(0, 0.02, maps.shape).astype(np.float32)
        matrices = rng.uniform(0.5, 2.0, (N, 2, 3)).astype(np.float32)
        return {"maps": maps.astype(dtype), "matrices": matrices}

    def launch(kernels: KernelSet, at: OnGpu, stream: Stream) -> None:
        heatmap_decode(kernels, at["maps"], out=at["points"], matrices=at["matrices"], stream=stream)

    def check(given: Arrays, found: Arrays) -> dict[str, float]:
        wanted = decode(given["maps"], mode="dark")
        points = apply_affine(wanted.points, given["matrices"])
        off = _within("point_px", np.abs(found["points"][..., :2] - points), 0.02)
        return off | _within("score", np.abs(found["points"][..., 2] - wanted.scores), 1e-6)

    moved = N * LANDMARKS * (cells * cells * np.dtype(dtype).itemsize + 16)
    outputs = {"points": ((N, LANDMARKS, 4), "float32")}
    return Case("heatmap_decode", f"{dtype} {cells}x{cells}", N, make, outputs, launch, check, moved)


def _picture(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> dict[str, float]:
    off = np.abs(found.astype(np.int16) - wanted)
    return _within("level", off, 1.0) | _within("share_of_levels", np.mean(off > 0), 2e-3)


def _tail(N: int, r: int) -> Case:
    side = 128 // r

    def make(rng: np.random.Generator) -> Arrays:
        if r == 1:
            return {"features": rng.uniform(-0.1, 1.1, (N, 3, side, side)).astype(np.float16)}
        features = rng.uniform(-0.2, 0.2, (N, 3 * r * r, side, side)).astype(np.float16)
        return {"features": features, "lr": rng.uniform(0, 1, (N, 3, side, side)).astype(np.float16)}

    def launch(kernels: KernelSet, at: OnGpu, stream: Stream) -> None:
        image_tail(kernels, at["features"], out=at["picture"], stream=stream, r=r, lr=at.get("lr"))

    def check(given: Arrays, found: Arrays) -> dict[str, float]:
        values = shuffle_reference(given["features"].astype(np.float32), r)
        if "lr" in given:
            wide = np.pad(given["lr"].astype(np.float32), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="edge")
            base = resize(wide.transpose(0, 2, 3, 1), ((side + 8) * r, (side + 8) * r))
            values += base[:, 4 * r : -4 * r, 4 * r : -4 * r].transpose(0, 3, 1, 2)
        return _picture(found["picture"], from_network(values, SPEC_X8))

    moved = N * (128 * 128 * 3 * 3 + (side * side * 6 if r > 1 else 0))
    outputs = {"picture": ((N, 128, 128, 3), "uint8")}
    return Case("image_tail", f"float16 r={r} to 128x128", N, make, outputs, launch, check, moved)


def _windows(rng: np.random.Generator, N: int) -> npt.NDArray[np.float32]:  # [N, 4]
    side = rng.uniform(20, 100, (N, 1))
    low = rng.uniform(-10, 1, (N, 2)) + rng.uniform(0, 1, (N, 2)) * (np.array(FRAME_HW[::-1]) - 90)
    return np.concatenate([low, low + side], axis=1).astype(np.float32)


def _crop(N: int) -> Case:
    def make(rng: np.random.Generator) -> Arrays:
        return {"frame": rng.integers(0, 256, (*FRAME_HW, 3), np.uint8), "windows": _windows(rng, N)}

    def launch(kernels: KernelSet, at: OnGpu, stream: Stream) -> None:
        colours = network_colours(SPEC_X8, "bgr")
        crop_norm(kernels, at["frame"], at["windows"], out=at["faces"], colours=colours, stream=stream)

    def check(given: Arrays, found: Arrays) -> dict[str, float]:
        crops = crop(given["frame"], given["windows"], size=16)
        wanted = to_network(np.ascontiguousarray(crops[..., ::-1]), SPEC_X8)
        return _within("value", np.abs(found["faces"] - wanted), 1e-3)

    moved = N * (60 * 60 * 3 + 16 * 16 * 3 * 2)  # of windows of the mean size
    outputs = {"faces": ((N, 3, 16, 16), "float16")}
    return Case("crop_norm", "1080p to float16 16x16", N, make, outputs, launch, check, moved)


def _paste(N: int) -> Case:
    def make(rng: np.random.Generator) -> Arrays:
        frame = rng.integers(0, 256, (FRAME_HW[0] // 8, FRAME_HW[1] // 8, 3), np.uint8)
        maps = window_affine(_windows(rng, N), size=128).astype(np.float32)
        faces = rng.integers(0, 256, (N, 16, 16, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        return {"frame": frame.repeat(8, axis=0).repeat(8, axis=1), "faces": faces, "maps": maps}

    def launch(kernels: KernelSet, at: OnGpu, stream: Stream) -> None:
        paste(kernels, at["frame"], at["faces"], at["maps"], placed=at["placed"], stream=stream)

    def check(given: Arrays, found: Arrays) -> dict[str, float]:
        return _picture(found["frame"], paste_reference(given["frame"], given["faces"], given["maps"]))

    moved = N * (60 * 60 * 3 * 2 + 128 * 128 * 3)
    outputs = {"frame": ((*FRAME_HW, 3), "uint8"), "placed": ((N, PLACED_BYTES), "uint8")}
    return Case("paste", "128x128 into 1080p", N, make, outputs, launch, check, moved)


def _shuffle(N: int) -> Case:
    def make(rng: np.random.Generator) -> Arrays:
        return {"planes": rng.standard_normal((N, 128, 64, 64)).astype(np.float16)}

    def launch(kernels: KernelSet, at: OnGpu, stream: Stream) -> None:
        pixel_shuffle(kernels, at["planes"], 2, out=at["out"], stream=stream)

    def check(given: Arrays, found: Arrays) -> dict[str, float]:
        wrong = found["out"].view(np.uint16) != shuffle_reference(given["planes"], 2).view(np.uint16)
        return _within("bits", wrong, 0.0)

    outputs = {"out": ((N, 32, 128, 128), "float16")}
    return Case("pixel_shuffle", "float16 r=2 to 32x128x128", N, make, outputs, launch, check, N * 128 * 64 * 64 * 4)


def _luma(N: int) -> Case:
    def make(rng: np.random.Generator) -> Arrays:
        sr = rng.uniform(-0.1, 1.1, (N, 1, 128, 128)).astype(np.float16)
        return {"sr": sr, "lr": rng.uniform(0, 255, (N, 3, 64, 64)).astype(np.float32)}

    def launch(kernels: KernelSet, at: OnGpu, stream: Stream) -> None:
        luma_tail(kernels, at["sr"], at["lr"], out=at["picture"], stream=stream)

    def check(given: Arrays, found: Arrays) -> dict[str, float]:
        lr = np.ascontiguousarray(given["lr"].transpose(0, 2, 3, 1))
        return _picture(found["picture"], from_network(given["sr"].astype(np.float32), SPEC_LUMA, lr=lr))

    moved = N * (128 * 128 * (2 + 3) + 64 * 64 * 3 * 4)
    outputs = {"picture": ((N, 128, 128, 3), "uint8")}
    return Case("luma_tail", "float16 Y to 128x128", N, make, outputs, launch, check, moved)


def _gate(N: int) -> Case:
    def make(rng: np.random.Generator) -> Arrays:
        return {"marks": rng.uniform(0, 1, (N, LANDMARKS, 4)).astype(np.float32)}

    def launch(kernels: KernelSet, at: OnGpu, stream: Stream) -> None:
        paste_gate(
            kernels, at["marks"], strength=at["strength"], confidence=at["confidence"], points=at["points"],
            stream=stream, least=0.0,
        )  # fmt: skip

    def check(given: Arrays, found: Arrays) -> dict[str, float]:
        off = _within("confidence", np.abs(found["confidence"] - given["marks"][..., 2].mean(axis=1)), 1e-6)
        wrong = (found["points"] != given["marks"][..., :2]).any() or (found["strength"] != 1.0).any()
        return off | _within("bits", np.array([wrong]), 0.0)

    outputs = {
        "strength": ((N,), "float32"),
        "confidence": ((N,), "float32"),
        "points": ((N, LANDMARKS, 2), "float32"),
    }
    return Case("paste_gate", "68 landmarks", N, make, outputs, launch, check, N * (LANDMARKS * 24 + 8))


def all_cases() -> list[Case]:
    """The sizes of the table in kernels/README.md."""
    return [
        *(_decode(N, 64, "float16") for N in (1, 8, 64, 256)),
        *(_decode(N, 32, "float16") for N in (1, 64)),
        _decode(64, 64, "float32"),
        *(_tail(N, 8) for N in (1, 64, 256)),
        *(_tail(N, 1) for N in (1, 64)),
        *(_crop(N) for N in (1, 8, 64)),
        *(_paste(N) for N in (1, 8)),
        *(_shuffle(N) for N in (1, 64)),
        *(_luma(N) for N in (1, 64)),
        *(_gate(N) for N in (1, 64)),
    ]
