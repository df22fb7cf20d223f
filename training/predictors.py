"""Whatever can be evaluated, behind one call: a shipped model, an .onnx file, a checkpoint, or plain bicubic."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sdk.errors import InputError, ModelError
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.pixels import from_network, to_network
from sdk.image.resample import resize, round_8bit
from sdk.runtime.backend import open_backend
from sdk.spec import ModelSpec
from sdk.zoo import SHIPPED, is_name, model_path
from training import checkpoint
from training.recipes.papers import PAPERS

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

    def __init__(self, name: str, spec: ModelSpec, run: "Runner", *, path: Path | None = None) -> None:
        self.name, self.spec, self.run, self.path = name, spec, run, path

    def scale(self, lr_size: int) -> int:
        if lr_size != self.spec.lr_size and not self.spec.any_size:
            got = f"--lr-size {lr_size}"
            raise InputError(f"faces of {self.spec.lr_size} px for {self.name}", got, "evaluate it at its own size")
        return self.spec.scale

    def at_scale(self, scale: int) -> "Network":
        """This network at another scale, which those have that refine an enlarged picture of any size. InputError."""
        if scale == self.spec.scale:
            return self
        if not (self.spec.any_size and self.spec.input_upscaled):
            got = f"{self.name}, of x{self.spec.scale}"
            raise InputError(f"a network of x{scale}", got, "evaluate it at its own scale")
        return Network(self.name, replace(self.spec, scale=scale), self.run, path=self.path)

    def outputs(
        self,
        lr: npt.NDArray[np.uint8],  # [N, h, w, 3] RGB
        *,
        enlarged: npt.NDArray[np.float32] | None = None,  # [N, H, W, 3] 0..255, in place of the SDK's enlargement
    ) -> dict[str, npt.NDArray[np.float32]]:
        """The arrays of the network as they are."""
        if enlarged is not None and self.spec.input_upscaled:
            return self.run(to_network(enlarged.astype(np.float32), replace(self.spec, input_upscaled=False)))
        return self.run(to_network(lr.astype(np.float32), self.spec))

    def decoded(
        self, outputs: dict[str, npt.NDArray[np.float32]], lr: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
        """Pictures and points of outputs()."""
        pictures = from_network(outputs["sr"], self.spec, lr=lr.astype(np.float32))
        if self.spec.heatmap_kind != "landmarks":
            return pictures, None
        maps = outputs["heatmaps"]
        found = decode(maps, mode=self.spec.decoder, radius=self.spec.decoder_radius)
        return pictures, cells_to_image(found.points, maps.shape[2:], pictures.shape[1:3])

    def __call__(
        self, lr: npt.NDArray[np.uint8], *, enlarged: npt.NDArray[np.float32] | None = None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
        return self.decoded(self.outputs(lr, enlarged=enlarged), lr)


class Runner(Protocol):
    def __call__(self, batch: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]: ...


def enlarge(lr: npt.NDArray[np.uint8], scale: int) -> npt.NDArray[np.uint8]:
    """Bicubic x scale of [N, h, w, 3], rounded once at the end."""
    size_hw = (lr.shape[1] * scale, lr.shape[2] * scale)
    return round_8bit(resize(lr.astype(np.float32), size_hw).astype(np.float32)).astype(np.uint8)


def open_predictor(model: str) -> Predictor:
    """A predictor by name, .onnx or checkpoint path, or "bicubic". Raises ModelError."""
    return Bicubic() if model == "bicubic" else open_network(model)


def open_network(model: str) -> Network:
    """A network by name, .onnx or checkpoint path (of a run in progress too). Raises ModelError."""
    if model.endswith(".onnx") or is_name(model):
        path = model_path(model)
        backend = open_backend(path, "onnxruntime")  # the reference of every table
        name = Path(model).stem if model.endswith(".onnx") else backend.spec.name
        return Network(name, backend.spec, backend.run, path=path)
    if model.endswith(".pt"):
        saved = checkpoint.load(model)
        network = checkpoint.build(saved)
        network = network.folded() if hasattr(network, "folded") else network
        spec = _spec_of(saved, network, Path(model))

        def run(batch: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
            with torch.inference_mode():
                return {name: value.numpy() for name, value in network(torch.from_numpy(batch)).items()}

        return Network(spec.name, spec, run, path=Path(model))
    known = f"bicubic, {', '.join(SHIPPED)}, a .onnx file or a .pt checkpoint"
    raise ModelError(known, repr(model), "check the spelling")


def _spec_of(saved: dict[str, Any], network: Any, path: Path) -> ModelSpec:  # noqa: ANN401
    """The checkpoint's own, or that of its network; a run of a paper's recipe is called by the recipe."""
    if "spec" in saved:
        return ModelSpec.from_json(saved["spec"])
    if not hasattr(network, "spec"):
        got = f"a {saved['model']} in {path}, which finds points and makes no picture"
        raise ModelError("a network that makes pictures", got, "pass it as --detector")
    name = str(saved.get("recipe", {}).get("name", ""))
    return network.spec(name if name in PAPERS else path.stem)
