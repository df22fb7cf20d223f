"""Markdown tables about precision, from benchmarks/results/precision.json (python -m export.measure)."""

from pathlib import Path
from typing import Any

from benchmarks.tables import ABSENT, load, made_by, markdown, not_measured, number

FILE = "precision.json"
LAYERS = 8  # most sensitive ones shown; the file holds all
NO_PICTURE_DB = 150.0  # PSNR against fp32 of a layer that the picture does not depend on


def _read(results: Path) -> dict[str, Any] | None:
    path = results / FILE
    return load(path) if path.is_file() else None


def precision(results: Path) -> str:
    """What each precision costs against fp32, on validation faces that calibrated nothing."""
    file = _read(results)
    if file is None:
        return not_measured(FILE)
    rows = [
        [
            f"`{network['model']}`",
            f"{row['lr_size']} px",
            row["what"],
            number(row["numbers"]["psnr_fp32_db"], 1),
            number(row["numbers"]["psnr_db"], 2),
            number(row["numbers"]["dpsnr_db"], 3),
            number(row["numbers"]["dssim"], 4),
            number(row["numbers"]["nme_percent"], 2),
            number(row["numbers"]["dnme_pt"], 3),
            "holds" if row["passed"] else "refused",
        ]
        for network in file["results"]
        for row in network["quality"]
    ]
    header = ["network", "input", "precision", "PSNR to fp32 dB", "PSNR dB", "lost dB", "SSIM lost", "NME %", "lost pt"]
    first = file["results"][0]["quality"][0]
    told = f"{first['faces']} faces of {first['source']}."
    return markdown([*header, "gate"], rows) + f"\n\n{told}\n" + made_by([file])


def sensitivity(results: Path) -> str:
    """The layers that INT8 hurts most when it takes each one alone."""
    file = _read(results)
    if file is None:
        return not_measured(FILE)
    rows = [
        [
            f"`{network['model']}`",
            f"`{layer['layer']}`",
            ABSENT if layer["psnr_fp32_db"] >= NO_PICTURE_DB else number(layer["psnr_fp32_db"], 1),
            number(layer["dpsnr_db"], 3),
            number(layer["dnme_pt"], 3),
            number(layer["moved_pt"], 3),
        ]
        for network in file["results"]
        for layer in network["sensitivity"][:LAYERS]
    ]
    header = ["network", "layer", "PSNR to fp32 dB", "PSNR lost dB", "NME lost pt", "points moved pt"]
    counts = ", ".join(f"{len(one['sensitivity'])} of `{one['model']}`" for one in file["results"])
    return markdown(header, rows) + f"\n\nThe {LAYERS} worst of {counts}.\n" + made_by([file])


def cpu_int8(results: Path) -> str:
    """How many times as fast as fp32 the INT8 files of the CPU are."""
    file = _read(results)
    if file is None:
        return not_measured(FILE)
    rows = [
        [
            f"`{network['model']}`",
            f"{row['lr_size']} px",
            str(row["batch"]),
            str(row["threads"]),
            number(row["times_as_fast"], 2),
            f"{row['quartiles'][0]:.2f} to {row['quartiles'][1]:.2f}",
        ]
        for network in file["results"]
        for row in network["speed"]
    ]
    header = ["network", "input", "batch", "threads", "times as fast as fp32", "middle half of the runs"]
    return markdown(header, rows) + "\n" + made_by([file])


def engines(results: Path) -> str:
    """What trt-build made with TensorRT-RTX on a machine without a GPU, and the precisions read back from it."""
    file = _read(results)
    if file is None:
        return not_measured(FILE)
    rows = [
        [
            f"`{network['model']}`",
            build["precision"],
            " ".join(build["targets"]),
            ", ".join(f"{count} {kind}" for kind, count in sorted(build["found"].items())),
            number(build["engine_mib"], 1),
            number(build["build_s"], 1),
        ]
        for network in file["results"]
        for build in network["builds"]
    ]
    release = file["results"][0]["builds"][0]["tensorrt"]
    header = ["network", "asked", "for GPUs", "layers found", "engine MiB", "build s"]
    return markdown(header, rows) + f"\n\nTensorRT-RTX {release}.\n" + made_by([file])
