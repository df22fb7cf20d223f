"""Whatever can be evaluated, behind one call: a shipped model, an .onnx file, a checkpoint, or plain bicubic."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from sdk.errors import InputError, ModelError
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.pixels import from_network, to_network
from sdk.image.resample import resize, round_8bit
from sdk.runtime.backend import open_backend
from sdk.spec import ModelSpec
from sdk.zoo import SHIPPED, model_path
from training import checkpoint

DEFAULT_SCALES = {16: 8, 32: 4, 64: 4}  # what bicubic enlarges by, to stand beside the network for that size


class Predictor(Protocol):
    """LR pictures in, HR pictures and points out."""

    name: str

    def scale(self, lr_size: int) -> int:
        """Enlargement for faces of lr_size px. Raises InputError for a size it does not take."""
        ...

    def __call__(
        self,
        lr: npt.NDArray[np.uint8],  # [N, h, h, 3] RGB
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
        """(pictures [N, H, H, 3], points [N, 68, 2] in pixels of those pictures, or None)."""
        ...


class Bicubic:
    """The baseline of every table; finds no points."""

    name = "bicubic"

    def scale(self, lr_size: int) -> int:
        if lr_size not in DEFAULT_SCALES:
            raise InputError(f"an LR size of {sorted(DEFAULT_SCALES)}", str(lr_size), "pick one of those")
        return DEFAULT_SCALES[lr_size]

    def __call__(self, lr: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], None]:
        return enlarge(lr, self.scale(lr.shape[1])), None


class Network:
    """A network run by onnxruntime or torch, decoded by the SDK."""

    def __init__(self, name: str, spec: ModelSpec, run: "Runner") -> None:
        self.name, self.spec, self.run = name, spec, run

    def scale(self, lr_size: int) -> int:
        if lr_size != self.spec.lr_size and not self.spec.any_size:
            got = f"--lr-size {lr_size}"
            raise InputError(f"faces of {self.spec.lr_size} px for {self.name}", got, "evaluate it at its own size")
        return self.spec.scale

    def __call__(self, lr: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
        crops = lr.astype(np.float32)
        outputs = self.run(to_network(crops, self.spec))
        pictures = from_network(outputs["sr"], self.spec, lr=crops)
        if self.spec.heatmap_kind != "landmarks":
            return pictures, None
        maps = outputs["heatmaps"]
        found = decode(maps, mode=self.spec.decoder, radius=self.spec.decoder_radius)
        return pictures, cells_to_image(found.points, maps.shape[2:], pictures.shape[1:3])


class Runner(Protocol):
    def __call__(self, batch: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]: ...


def enlarge(lr: npt.NDArray[np.uint8], scale: int) -> npt.NDArray[np.uint8]:
    """Bicubic x scale of [N, h, w, 3], rounded once at the end."""
    size_hw = (lr.shape[1] * scale, lr.shape[2] * scale)
    return round_8bit(resize(lr.astype(np.float32), size_hw).astype(np.float32)).astype(np.uint8)


def open_predictor(model: str) -> Predictor:
    """A predictor by shipped name, .onnx or checkpoint path, or "bicubic". Raises ModelError."""
    if model == "bicubic":
        return Bicubic()
    if model in SHIPPED or model.endswith(".onnx"):
        backend = open_backend(model_path(model), "onnxruntime")  # the reference of every table
        return Network(backend.spec.name if model in SHIPPED else Path(model).stem, backend.spec, backend.run)
    if model.endswith(".pt"):
        saved = checkpoint.load(model)
        network = checkpoint.build(saved)
        network = network.folded() if hasattr(network, "folded") else network
        spec = ModelSpec.from_json(saved["spec"]) if "spec" in saved else network.spec(Path(model).stem)

        def run(batch: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
            with torch.inference_mode():
                return {name: value.numpy() for name, value in network(torch.from_numpy(batch)).items()}

        return Network(spec.name, spec, run)
    known = f"bicubic, {', '.join(SHIPPED)}, a .onnx file or a .pt checkpoint"
    raise ModelError(known, repr(model), "check the spelling")
