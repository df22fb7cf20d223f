"""The models that come with the package: name -> file, one dict."""

from __future__ import annotations

from pathlib import Path

from sdk.errors import ModelError

__all__ = ["SHIPPED", "int8_path", "model_path", "shipped_paths"]

ROOT = Path(__file__).resolve().parent

SHIPPED = {
    "picoface_x8": "models/picoface_x8.onnx",  # 16 -> 128 px and 68 points
    "picoface_x4": "models/picoface_x4.onnx",  # 32 -> 128, 64 -> 256 px and 68 points, any size
}


def model_path(name_or_path: str | Path) -> Path:
    """File of a shipped model, or the path itself when it exists. Raises ModelError, listing the known names."""
    if isinstance(name_or_path, str) and name_or_path in SHIPPED:
        path = ROOT / SHIPPED[name_or_path]
        if not path.is_file():
            raise ModelError(f"the shipped model {name_or_path}", f"no file at {path}", "install facetrt again")
        return path
    path = Path(name_or_path)
    if not path.is_file():
        expected = f"a shipped model ({', '.join(SHIPPED)}) or the path of a model file"
        raise ModelError(expected, f"{str(name_or_path)!r}, where there is no file", "check the spelling")
    return path


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
