"""Markdown tables about precision, from benchmarks/results/precision.json (python -m export.measure)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.tables import ABSENT, load, made_by, markdown, not_measured, number

FILE = "precision.json"
LAYERS = 8  # most sensitive ones shown; the file holds all
NO_PICTURE_DB = 150.0  # PSNR against fp32 of a layer that the picture does not depend on


Table = Callable[[dict[str, Any]], str]


def _from_file(table: Table) -> Callable[[Path], str]:
    """results folder -> Markdown: the table of the results file and the command that made it, or that there is none."""

    def made(results: Path) -> str:
        path = results / FILE
        if not path.is_file():
            return not_measured(FILE)
        file = load(path)
        return table(file) + "\n" + made_by([file])

    return made


@_from_file
def precision(file: dict[str, Any]) -> str:
    """What each precision costs against fp32, on validation faces that calibrated nothing."""
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
    return markdown([*header, "gate"], rows) + f"\n\n{told}"


@_from_file
def sensitivity(file: dict[str, Any]) -> str:
    """The layers that INT8 hurts most when it takes each one alone."""
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
    return markdown(header, rows) + f"\n\nThe {LAYERS} worst of {counts}."


@_from_file
def cpu_int8(file: dict[str, Any]) -> str:
    """How many times as fast as fp32 the INT8 files of the CPU are."""
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
    return markdown(header, rows)


@_from_file
def engines(file: dict[str, Any]) -> str:
    """What trt-build made with TensorRT-RTX on a machine without a GPU, and the precisions read back from it."""
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
    return markdown(header, rows) + f"\n\nTensorRT-RTX {release}."
