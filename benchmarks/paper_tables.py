"""Markdown tables of the papers' protocols: our number beside the paper's, how long we trained, and what differs.

Ours come from benchmarks/results/papers_*.json (schema in training.paper_results), the papers' from paper_figures.json.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.tables import ABSENT, load, made_by, markdown, number, percent
from sdk.errors import InputError

FIGURES = Path(__file__).with_name("paper_figures.json")
SCHEMA = "papers-1"
STANDS_FOR = {"super_fan_64": "super_fan"}  # profile of ours -> the network that the paper has a number of
SETS = tuple(f"srinc_{name}_x{scale}" for name in ("set5", "set14", "bsd100", "urban100") for scale in (2, 3, 4))
UNKNOWN = "see its file"
YAW_FROM = {"points": "estimated from the true points", "label": "as labelled"}
YAW_FROM["both"] = "as labelled, and where there is no label estimated from the true points"
Row = dict[str, Any]


def papers_of(results: Path, protocol: str) -> dict[str, Any] | None:
    """One protocol's file, None where it was not measured yet. Raises InputError: another schema."""
    path = results / f"papers_{protocol}.json"
    if not path.is_file():
        return None
    file = load(path)
    if file.get("schema") != SCHEMA:
        got = f"schema {file.get('schema')!r}"
        raise InputError(f"schema {SCHEMA!r} in {path}", got, "make it again: python -m training.evaluate_papers")
    return file


def figures() -> list[Row]:
    """The papers' numbers: protocol, model, number, value, source, and where they apply augmented and yaw_deg."""
    return json.loads(FIGURES.read_text(encoding="utf-8"))["figures"]


def published(protocol: str, row: Row, name: str, *, yaw_deg: str | None = None) -> Row | None:
    """The paper's number for a row of ours."""
    wanted = (protocol, STANDS_FOR.get(row["model"], row["model"]), row["augmented"], name, yaw_deg)
    for figure in figures():
        known = (figure["protocol"], figure["model"], figure.get("augmented", False), figure["number"])
        if (*known, figure.get("yaw_deg")) == wanted:
            return figure
    return None


def beside(protocol: str, row: Row, name: str, decimals: int, *, yaw_deg: str | None = None) -> str:
    """The paper's number as a cell."""
    found = published(protocol, row, name, yaw_deg=yaw_deg)
    return ABSENT if found is None else number(found["value"], decimals)


def called(row: Row) -> str:
    return f"`{row['model']}`" + (" with augmentation" if row["augmented"] else "")


def trained(row: Row) -> str:
    """Budget, steps and their share of the paper's, as the checkpoint tells."""
    training = row.get("training")
    if training is None:
        return ABSENT
    if training.get("steps") is None:
        return UNKNOWN
    words = [f"{training['steps']} steps of {training['batch']}"]
    if training.get("minutes") is not None:
        words.append(f"{training['minutes']:.0f} min")
    if training.get("paper_share") is not None:
        words.append(f"{100 * training['paper_share']:.2g} % of the paper's steps")
    if not training.get("finished", True):
        words.append("not finished")
    return ", ".join(words)


def ending(files: list[dict[str, Any]]) -> str:
    """Below a table: the papers' sources, what differs from them, the machine, the commands."""
    lines: list[str] = []
    for file in files:
        protocol = file["protocol"]
        sources = {f["source"] for r in file["results"] for f in _sources(protocol["name"], r)}
        places = sorted({source.split(", ")[0] + ", " + source.split(", ")[1] for source in sources})
        told = [f"numbers of the paper: {'; '.join(places)}"] if places else ["the paper has no number for it"]
        if file["limit"] is not None:
            told.append(f"**the first {file['limit']} pictures alone**")
        lines.append(f"* `{protocol['name']}`: {'; '.join([*told, *protocol['differs']])}.")
    lines += [f"* {line}." for line in _departures(files)]
    machines = dict.fromkeys(
        f"{f['machine']['processor']}, {f['machine']['threads']} thread(s), torch {f['machine']['torch']}"
        for f in files
    )
    lines.append(f"* Computed on {'; '.join(machines)}.")
    return "\n".join(["", *lines, made_by(files)])


def _detector(row: Row) -> str:
    learned = trained({"training": row.get("detector_training")})
    told = f"{row['detector']} at {row['detector_px']} px"
    return told if learned in (ABSENT, UNKNOWN) else f"{told} ({learned})"


def _sources(protocol: str, row: Row) -> list[Row]:
    model = STANDS_FOR.get(row["model"], row["model"])
    return [f for f in figures() if f["protocol"] == protocol and f["model"] == model]


def _departures(files: list[dict[str, Any]]) -> list[str]:
    """What each network's training did otherwise than its recipe, a missing perceptual network included."""
    found: dict[str, list[str]] = {}
    for row in (row for file in files for row in file["results"]):
        training = row.get("training") or {}
        told = list(training.get("departures") or [])
        perceptual = str(training.get("perceptual"))
        told += [perceptual] if perceptual.startswith("perceptual loss: ") else []
        known = found.setdefault(row["model"], [])
        known += [text for text in told if text not in known]
    return [f"`{name}`: {'; '.join(texts)}" for name, texts in found.items() if texts]


def absent(*protocols: str) -> str:
    return f"Not measured yet: `python -m training.evaluate_papers --only {' '.join(protocols)}` makes it."


def _pictures(results: Path, *protocols: str, landmarks: bool = False) -> str:
    """PSNR and SSIM of some protocols beside the paper's, and NME where asked."""
    files = [file for name in protocols if (file := papers_of(results, name)) is not None]
    if not files:
        return absent(*protocols)
    header = ["protocol", "network", "n", "PSNR dB", "paper", "SSIM", "paper"]
    header += ["NME %", "paper", "AUC@10 %", "failed"] if landmarks else []
    rows = []
    for file in files:
        name = file["protocol"]["name"]
        for row in file["results"]:
            cells = [f"`{name}`", called(row), str(row["n"])]
            cells += [number(row["psnr"], 2), beside(name, row, "psnr", 2)]
            cells += [number(row["ssim"], 4), beside(name, row, "ssim", 4)]
            if landmarks:
                cells += [number(row["nme"], 2), beside(name, row, "nme", 2)]
                cells += [number(row["auc"], 3), percent(row["failure_rate"], 1)]
            rows.append([*cells, trained(row)])
    return markdown([*header, "training"], rows) + "\n" + ending(files)


def papers_fsrnet(results: Path) -> str:
    """FSRNet's Table 2."""
    return _pictures(results, "fsrnet_helen50", "fsrnet_celeba")


def papers_srinc(results: Path) -> str:
    """SRINC's Table 1."""
    measured = [name for name in SETS if papers_of(results, name) is not None]
    return _pictures(results, *(measured or SETS[:3]))


def papers_landmarks(results: Path) -> str:
    """JASRNet's Tables 1 and 2."""
    return _pictures(results, "jasrnet_helen", landmarks=True)


def papers_mtun(results: Path) -> str:
    """MTUN's Table 1."""
    return _pictures(results, "mtun")


def papers_poses(results: Path) -> str:
    """Super-FAN's Tables 1 and 2, by yaw."""
    file = papers_of(results, "superfan_helen")
    if file is None:
        return absent("superfan_helen")
    rows = []
    for row in file["results"]:
        for part in row["bins"]:
            yaw = part["yaw_deg"]
            cells = [called(row), f"{yaw}°", str(part["n"])]
            for name, decimals in (("psnr", 2), ("ssim", 4), ("auc", 3)):
                cells += [number(part[name], decimals), beside("superfan_helen", row, name, decimals, yaw_deg=yaw)]
            rows.append([*cells, number(part["nme"], 2), trained(row)])
    header = ["network", "yaw", "n", "PSNR dB", "paper", "SSIM", "paper", "AUC@10 %", "paper", "NME %", "training"]
    yaw_from = YAW_FROM[file["pictures"]["yaw_from"]]
    return f"{markdown(header, rows)}\n\nYaw {yaw_from}.\n" + ending([file])


def papers_gain(results: Path) -> str:
    """SRINC's experiment: the error of one landmark network on every method's pictures."""
    names = ("landmark_gain_x4", "landmark_gain_x8", "superfan_gain")
    files = [file for name in names if (file := papers_of(results, name)) is not None]
    if not files:
        return absent(*names)
    rows = []
    for file in files:
        name = file["protocol"]["name"]
        for row in file["results"]:
            low, high = row["gain_interval"]
            cells = [f"`{name}`", _detector(row), called(row), str(row["n"])]
            cells += [
                number(row["error"], 2),
                percent(row["relative_gain"], 1),
                f"{percent(low, 1)} to {percent(high, 1)}",
            ]
            found = published(name, row, "relative_gain")
            cells += [ABSENT if found is None else percent(found["value"], 1), number(row["psnr"], 2), trained(row)]
            rows.append(cells)
    header = ["protocol", "landmark network", "pictures", "n", "error %", "less than on the baseline", "95 % interval"]
    return markdown([*header, "paper", "PSNR dB", "training"], rows) + "\n" + ending(files)
