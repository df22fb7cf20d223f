"""Figures of docs/RESULTS.md from measurements and trained networks: `python -m training.report [--runs runs]`.

    docs/results/cumulative_psnr.svg    SRINC's Eq. 5, from benchmarks/results/papers_srinc_*.json
    docs/results/landmark_gain.svg      SRINC's Figure 4, from benchmarks/results/papers_*gain*.json
    docs/results/training_curves.svg    from the logs in RUNS, kept in benchmarks/results/training_curves.json
    docs/results/sheet_x8.png, _x4.png  bicubic, each network, truth, on freely licensed faces alone
    docs/results/sheet_points.png       the 68 points that networks find in the same faces

benchmarks/results/figures.json says what each shows; then benchmarks.report writes the tables. What has no measurements
or networks yet keeps its old figure, and a line says so.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.errors import FaceTRTError, InputError, ModelError
from sdk.pictures import write_file
from training import picture_sheet, plots
from training.evaluate_papers import NETWORKS, find_model
from training.predictors import open_network
from training.results import check_target, recorded_command, write_results

ROOT = Path(__file__).resolve().parents[1]
X8 = tuple(dict.fromkeys([*NETWORKS["fsrnet_helen50"]]))  # of 16 px
X4 = ("vdsr", "srinc", "srinc_f", "picoface_x4")  # of 32 px
POINTS = ("fsrnet", "jasrnet", "super_fan", "super_fan_64", "picoface_x8")  # of 16 px
SHEETS = {"x8": (16, X8, "pictures"), "x4": (32, X4, "pictures"), "points": (16, POINTS, "points")}
SRINC_PANELS = ("srinc_set5_x2", "srinc_set5_x3", "srinc_set5_x4")
NO_PICTURE = "fan"  # stage whose log is of a landmark network
LIMIT_BYTES = 2_000_000  # of a figure


@dataclass
class Report:
    """What a run makes, and says."""

    runs: list[Path]
    root: Path
    command: str
    made: dict[str, dict[str, str]] = field(default_factory=dict)  # file -> title, caption
    notes: list[str] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.root / "benchmarks" / "results"

    def figure(self, name: str, content: bytes, *, title: str, caption: str) -> None:
        """Raises OutputError."""
        if len(content) > LIMIT_BYTES:
            raise InputError(f"a figure of {LIMIT_BYTES} bytes or less", f"{name}: {len(content)}", "show fewer faces")
        write_file(self.root / "docs" / "results" / name, content)
        self.made[name] = {"title": title, "caption": caption}

    def measured(self, protocol: str) -> dict[str, Any] | None:
        """A result file of the papers' protocols, None without one. Raises InputError."""
        path = self.results / f"papers_{protocol}.json"
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"JSON in {path}", str(error), "run training.evaluate_papers again") from error


def cumulative(report: Report) -> None:
    panels = []
    for protocol in SRINC_PANELS:
        file = report.measured(protocol)
        rows = [row for row in (file or {}).get("results", []) if row.get("cumulative_psnr_db")]
        if len(rows) > 1 and any(row["model"] == "srinc" for row in rows):
            panels.append((protocol.removeprefix("srinc_").replace("_x", " ×"), rows))
    if not panels:
        report.notes.append("cumulative_psnr.svg: no rows of srinc in benchmarks/results/papers_srinc_*.json yet")
        return
    caption = "Below zero SRINC is nearer to the truth, counting differences up to the grey level on the axis."
    title = "SRINC's cumulative PSNR"
    report.figure("cumulative_psnr.svg", plots.cumulative_psnr(panels), title=title, caption=caption)


def gain(report: Report) -> None:
    panels = []
    for protocol in ("landmark_gain_x4", "landmark_gain_x8", "superfan_gain"):
        file = report.measured(protocol)
        rows = [row for row in (file or {}).get("results", []) if row.get("relative_gain") is not None]
        if rows:
            told = (file or {}).get("protocol", {})
            where = f"{told.get('pack', '')} {told.get('split', '')}, ×{told.get('scale', '')}"
            panels.append((f"{told.get('paper', protocol)}: {where}, {rows[0]['n']} faces", rows))
    if not panels:
        report.notes.append("landmark_gain.svg: no papers_*gain*.json in benchmarks/results yet")
        return
    caption = (
        "One fixed landmark network on each method's pictures: its error less that on the baseline's, in percent of "
        "the latter; lines are 95 % intervals. The truth is what a perfect method would reach."
    )
    report.figure("landmark_gain.svg", plots.landmark_gain(panels), title="SRINC's Figure 4", caption=caption)


def logs_of(runs: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Validations of every network in the folders of trainings, its stages one after the other."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for folder in (one for run in runs if run.is_dir() for one in sorted(run.iterdir()) if one.is_dir()):
        logs = sorted(folder.glob("*/log.json"), key=lambda path: path.stat().st_mtime)
        before_s = 0.0
        for log in logs:
            try:
                points = json.loads(log.read_text(encoding="utf-8"))
            except ValueError:  # being written
                continue
            name = f"{folder.name}: {log.parent.name}" if log.parent.name == NO_PICTURE else folder.name
            for point in points:
                minutes = round((before_s + point["seconds"]) / 60.0, 2)
                shown = {key: round(point[key], 3) for key in ("psnr_y", "nme") if point.get(key) is not None}
                curves.setdefault(name, []).append({"stage": log.parent.name, "minutes": minutes, **shown})
            before_s += points[-1]["seconds"] if points else 0.0
    return curves


def curves(report: Report) -> None:
    path = report.results / "training_curves.json"
    old = json.loads(path.read_text(encoding="utf-8"))["curves"] if path.is_file() else {}
    found = {**old, **logs_of(report.runs)}
    if not found:
        report.notes.append(f"training_curves.svg: no logs in {', '.join(map(str, report.runs))}")
        return
    write_results(path, {"command": report.command, "curves": found})
    caption = "Validation during training, by the averaged weights where a recipe averages them."
    report.figure("training_curves.svg", plots.training_curves(found), title="Trainings", caption=caption)


def sheets(report: Report) -> None:
    try:
        faces = picture_sheet.read_faces()
    except FaceTRTError as error:
        report.notes.append(f"sheets: {error}")
        return
    for name, (lr_px, candidates, shows) in SHEETS.items():
        networks, absent = [], []
        for candidate in candidates:
            model = find_model(candidate, report.runs)
            try:
                networks += [open_network(model)] if model is not None else []
            except (InputError, ModelError) as error:
                report.notes.append(f"sheet_{name}.png: {candidate}: {error}")
            absent += [candidate] if model is None else []
        if absent:
            report.notes.append(f"sheet_{name}.png without {', '.join(absent)}: not trained here")
        if not networks:
            continue
        rows = picture_sheet.rows_of(faces, networks, lr_px=lr_px, points=shows == "points")
        credit = "; ".join(dict.fromkeys(row.credit for row in rows))
        shown = f"Faces of {lr_px} px that no network was trained on, from the archives' own crops. Photos: {credit}."
        title = f"From {lr_px} px: {shows}"
        report.figure(f"sheet_{name}.png", picture_sheet.sheet(rows), title=title, caption=shown)


PARTS: dict[str, Callable[[Report], None]] = {
    "cumulative_psnr": cumulative,
    "landmark_gain": gain,
    "training_curves": curves,
    "sheets": sheets,
}


def written(report: Report, only: Sequence[str]) -> list[str]:
    """Makes the figures and figures.json; lines for people. Raises FaceTRTError."""
    check_target(report.results / "figures.json")
    for name in only or PARTS:
        PARTS[name](report)
    path = report.results / "figures.json"
    old = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.is_file() else {}
    found = {**old, **report.made}
    if found:
        write_results(path, {"command": report.command, "figures": dict(sorted(found.items()))})
    return [*(f"wrote docs/results/{name}" for name in report.made), *report.notes]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--runs", type=Path, nargs="+", default=[Path("runs")], metavar="RUNS", help="folders of trainings")
    add("--only", nargs="+", default=[], choices=tuple(PARTS), help="default: all")
    args = parser.parse_args(arguments)
    command = recorded_command("training.report", sys.argv[1:] if arguments is None else list(arguments))
    try:
        lines = written(Report(args.runs, ROOT, command), args.only)
    except FaceTRTError as error:
        sys.stderr.write(f"report: {error}\n")
        return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return subprocess.run([sys.executable, "-m", "benchmarks.report", "--write"], cwd=ROOT).returncode


if __name__ == "__main__":
    raise SystemExit(main())
