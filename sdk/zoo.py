"""Networks by name: those that come with the package, and the papers', which lie in folders.

`jasrnet` is looked for as jasrnet.onnx in the folders of $FACETRT_MODELS, in ~/.cache/facetrt/models, and in release/
of a checkout, in this order. A path is taken as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from sdk.errors import ModelError

__all__ = [
    "CARD_KEY",
    "MODELS_VARIABLE",
    "PAPERS",
    "SHIPPED",
    "available_names",
    "how_to_get",
    "int8_path",
    "is_name",
    "model_folders",
    "model_path",
    "shipped_paths",
]

ROOT = Path(__file__).resolve().parent
MODELS_VARIABLE = "FACETRT_MODELS"  # folders, separated as in $PATH
CARD_KEY = "facetrt_release"  # in NAME.json beside a released network: that file is ours

SHIPPED = {
    "picoface_x8": "models/picoface_x8.onnx",  # 16 -> 128 px and 68 points
    "picoface_x4": "models/picoface_x4.onnx",  # 32 -> 128, 64 -> 256 px and 68 points, any size
}
PAPERS = {  # name, which is its recipe's too -> what it does
    "srinc": "SRINC: x4 of pictures of any size, luminance",
    "srinc_f": "SRINC-F: x4 of faces of any size, luminance",
    "super_fan": "Super-FAN: 16 -> 64 px and 68 points",
    "super_fan_64": "Super-FAN with its points from 64 px: 16 -> 64 px and 68 points",
    "jasrnet": "JASRNet: 16 -> 128 px and 68 points",
    "mtun": "MTUN: 16 -> 128 px upright, maps of four parts of the face",
    "fsrnet": "FSRNet: 16 -> 128 px and 68 points",
    "fsrgan": "FSRGAN: 16 -> 128 px and 68 points",
    "fsrnet_parsing": "FSRNet: 16 -> 128 px, 68 points and maps of eleven parts of the face",
    "fsrgan_parsing": "FSRGAN: 16 -> 128 px, 68 points and maps of eleven parts of the face",
    "srresnet_x8": "SRResNet: 16 -> 128 px",
    "srresnet_x4": "SRResNet: 16 -> 64 px",
    "srgan_x8": "SRGAN: 16 -> 128 px",
    "srgan_x4": "SRGAN: 16 -> 64 px",
    "urdgn": "URDGN: 16 -> 128 px",
    "srcnn_x2": "SRCNN: x2 of pictures of any size, luminance",
    "srcnn_x3": "SRCNN: x3 of pictures of any size, luminance",
    "srcnn_x4": "SRCNN: x4 of pictures of any size, luminance",
    "vdsr": "VDSR: x4 of pictures of any size, luminance",
}
POINTS_ALONE = {"fan": "super_fan", "fan_64": "super_fan_64"}  # without a picture -> the network that holds it


def model_path(name_or_path: str | Path) -> Path:
    """File of a shipped name, of a name in one of the folders, or the path itself when it exists.

    Raises ModelError: it says where was looked, which names there are, and how to get this one.
    """
    if isinstance(name_or_path, str) and name_or_path in SHIPPED:
        path = ROOT / SHIPPED[name_or_path]
        if not path.is_file():
            raise ModelError(f"the shipped model {name_or_path}", f"no file at {path}", "install facetrt again")
        return path
    path = Path(name_or_path)
    if _is_file(path):
        return path
    if is_name(name_or_path):
        return _in_folders(str(name_or_path))
    expected = f"a shipped model ({', '.join(SHIPPED)}) or the path of a model file"
    raise ModelError(expected, f"{str(name_or_path)!r}, where there is no file", "check the spelling")


def is_name(text: str | Path) -> bool:
    """Can it be the name of a network, and no path?"""
    return isinstance(text, str) and text.replace("-", "_").isidentifier()


def model_folders() -> list[Path]:
    """Where names are looked for, in this order; they need not exist."""
    chosen = os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)
    folders = [_at_home(folder) for folder in chosen if folder]
    folders.append(_at_home("~/.cache/facetrt/models"))
    if (ROOT.parent / "training" / "models").is_dir():  # a checkout; elsewhere release/ is somebody else's
        folders.append(ROOT.parent / "release")
    return folders


def _at_home(folder: str) -> Path:
    try:
        return Path(folder).expanduser().absolute()
    except RuntimeError:  # no home folder
        return Path(folder).absolute()


def available_names() -> list[str]:
    """Shipped names, then those found in the folders."""
    found: set[str] = set()
    for folder in model_folders():
        try:
            found |= {path.stem for path in folder.glob("*.onnx") if is_name(path.stem) and path.is_file()}
        except OSError:  # a folder that may not be read holds nothing for us
            continue
    return [*SHIPPED, *sorted(found - set(SHIPPED))]


def how_to_get(name: str) -> str:
    """The commands that make a network of a paper, in a checkout."""
    trained = f"python -m training.train --recipe {name} --out runs/{name}"
    return f"{trained}, then python -m export.release runs/{name}/{name}.pt"


def _in_folders(name: str) -> Path:
    folders = model_folders()
    for folder in folders:
        if _is_file(folder / f"{name}.onnx"):
            return folder / f"{name}.onnx"
    looked = ", ".join(f"{folder}{'' if os.path.isdir(folder) else ' (no such folder)'}" for folder in folders)
    got = f"none: no {name}.onnx in {looked}"
    here = f"here are {', '.join(available_names())}"
    if name in POINTS_ALONE:
        remedy = f'it gives points and no picture; use model="{POINTS_ALONE[name]}", which holds it; {here}'
        raise ModelError("a network that puts out a picture", f"{name!r}", remedy)
    if name in PAPERS:
        remedy = f"put it there, or train it in a checkout: {how_to_get(name)}; {here}"
        raise ModelError(f"the network {name} ({PAPERS[name]})", got, remedy)
    known = f"a shipped model ({', '.join(SHIPPED)}), a paper's ({', '.join(PAPERS)}) or the path of a model file"
    raise ModelError(known, f"{name!r}, where there is no file, and {got}", f"check the spelling; {here}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a null character
        return False


def shipped_paths() -> list[Path]:
    """Files of the shipped models that are installed, for FaceEnhancer(model=None). Raises ModelError without any."""
    paths = [ROOT / file for file in SHIPPED.values()]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise ModelError("the shipped models", f"none of {list(SHIPPED.values())} in {ROOT}", "install facetrt again")
    return found


def int8_path(path: Path) -> Path | None:
    """The int8 file for the CPU that comes with a shipped model (x.onnx -> x.int8.onnx), None for other models."""
    quantised = path.with_suffix(".int8.onnx")
    shipped = {(ROOT / file).resolve() for file in SHIPPED.values()}
    return quantised if path.resolve() in shipped and quantised.is_file() else None
