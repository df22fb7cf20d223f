"""Markdown tables about the shipped models: their files, and what the detector's boxes cost their landmarks."""

import hashlib
from pathlib import Path

from benchmarks.tables import load, made_by, markdown, not_measured, number
from sdk.runtime.backend import open_backend
from sdk.zoo import SHIPPED, model_path


def models(results: Path) -> str:
    """What is in sdk/models: sizes, hashes, and the training that each file's own metadata tells of."""
    rows = []
    notes = []
    for name in SHIPPED:
        path = model_path(name)
        backend = open_backend(path, "onnxruntime")
        spec = backend.spec
        backend.close()
        sizes = f"{spec.lr_size} → {spec.hr_size} px" + (", any size" if spec.any_size else "")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        cells = f"{spec.heatmap_count} of {spec.heatmap_size} × {spec.heatmap_size} cells"
        rows.append([f"`{name}`", sizes, cells, f"{path.stat().st_size / 1e6:.2f}", f"`{digest}…`"])
        notes.append(f"* `{name}`: {spec.notes}. Licence: {spec.licence}.")
    header = ["model", "picture", "heatmaps", "file MB", "SHA-256"]
    return "\n".join([markdown(header, rows), "", *notes])


HEADLINE = ("11_fsrnet_helen", "12_fsrnet_celeba", "14_fsrnet_helen_x4", "20_helen_16", "22_helen_64")


def headline(results: Path) -> str:
    """The few rows that a reader of the README wants; all others are in the model card."""
    paths = [results / f"evaluation_{name}.json" for name in HEADLINE]
    if not all(path.is_file() for path in paths):
        return not_measured("evaluation*.json")
    files = [load(path) for path in paths]
    rows = [
        [
            f"`{row['model']}`",
            f"{row['lr_size']} px",
            f"{row['pack']}, {row['split']} ({row['n']})",
            number(row["bicubic_psnr"], 2),
            number(row["psnr"], 2),
            number(row["ssim"], 4),
            number(row["nme"], 2),
        ]
        for file in files
        for row in file["results"]
    ]
    header = ["model", "input", "archive, split (faces)", "bicubic dB", "ours dB", "SSIM", "NME %"]
    return markdown(header, rows) + "\n" + made_by(files)


def boxes(results: Path) -> str:
    """Landmark error from the detector's boxes and from true boxes, from benchmarks/results/boxes.json."""
    path = results / "boxes.json"
    if not path.is_file():
        return not_measured(path.name)
    file = load(path)
    rows = [
        [
            f"{row['pack']}, {row['split'] or 'all'}",
            f"{row['window_px']} px",
            str(row["photos"]),
            str(row["found"]),
            number(row["nme_detector"], 2),
            number(row["nme_landmark_box"], 2),
            number(row["cost"], 2),
        ]
        for row in file["results"]
    ]
    header = ["photos", "window", "faces", "found", "NME % from the detector", "NME % from landmark boxes", "cost"]
    return markdown(header, rows) + "\n" + made_by([file])
