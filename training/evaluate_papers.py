"""All networks of the papers that are there, by all protocols: `python -m training.evaluate_papers --runs runs`.

A network is looked for as RUNS/NAME/NAME.pt, then in release/ and the SDK's folders, and last as the newest checkpoint
of a run in progress. Absent ones are listed with the command that trains them. Rows made before from the same weights
stay, so a broken run goes on where it stopped, and a second one does what is new.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.errors import FaceTRTError, InputError, ModelError
from sdk.zoo import SHIPPED, model_path
from training.evaluate import count, preset_table
from training.protocol_run import DETECTOR, Asked, run_protocol
from training.protocols import PRESETS
from training.recipes.papers import PAPERS
from training.results import check_target, recorded_command

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
_X8 = ("srresnet_x8", "srgan_x8", "urdgn", "fsrnet", "fsrgan", "jasrnet", "mtun", "picoface_x8")
_X4 = ("srresnet_x4", "srgan_x4", "super_fan", "super_fan_64")
SETS = ("set5_x2", "set5_x3", "set5_x4", "set14_x4", "bsd100_x4")  # of those that `srbench` has
NETWORKS = {  # protocol -> who takes part, in the order of the tables
    "fsrnet_helen50": _X8,
    "fsrnet_celeba": _X8,
    "jasrnet_helen": _X8,
    "superfan_helen": _X4,
    "mtun": _X8,
    **{f"srinc_{name}": (f"srcnn_{name[-2:]}", "vdsr", "srinc") for name in SETS},
    "landmark_gain_x4": ("srcnn_x4", "vdsr", "srinc", "srinc_f", "picoface_x4"),
    "landmark_gain_x8": _X8,
    "superfan_gain": _X4,
}
AUGMENTED = {"fsrnet_helen50": ("fsrnet",)}  # eight-fold, as FSRNet_aug
DETECTORS = (
    "fan_64/fan_64.pt",
    "super_fan_64/fan/last.pt",
    "fan/fan.pt",
    "super_fan/fan/last.pt",
)  # the first there is


@dataclass(frozen=True)
class Wanted:
    """One command's work."""

    runs: tuple[Path, ...]
    results: Path
    only: tuple[str, ...] = ()  # protocols; none: all of NETWORKS
    limit: int | None = None
    unfinished: bool = True  # checkpoints of runs in progress count
    use: dict[str, str] = field(default_factory=dict)  # network -> file that is taken for it

    def model_of(self, name: str) -> str | None:
        return self.use.get(name) or find_model(name, self.runs, unfinished=self.unfinished)


def find_model(name: str, runs: Sequence[Path], *, unfinished: bool = True) -> str | None:
    """What training.predictors opens for a network's name, or None."""
    if name in SHIPPED:
        return name
    for folder in runs:
        if (folder / name / f"{name}.pt").is_file():
            return str(folder / name / f"{name}.pt")
    try:
        model_path(name)
        return name
    except ModelError:
        pass
    pictures = [stage.name for stage in PAPERS[name].stages if stage.name != "fan"] if name in PAPERS else []
    found = [f / name / stage / "last.pt" for f in runs for stage in reversed(pictures)] if unfinished else []
    return next((str(path) for path in found if path.is_file()), None)


def how_to_train(name: str) -> str:
    """The command that makes a network for these tables."""
    return f"python -m training.train --recipe {name} --budget 1h --out runs/{name}"


def detectors_of(runs: Sequence[Path]) -> tuple[str, ...]:
    """A FAN that learned from sharp faces alone, where one was trained, and PicoFace."""
    fans = [str(folder / name) for name in DETECTORS for folder in runs if (folder / name).is_file()]
    return (*fans[:1], DETECTOR)


def evaluate_all(wanted: Wanted, *, command: str) -> list[str]:
    """Writes the files; lines about networks and archives that are absent. Raises OutputError, InputError."""
    absent: dict[str, list[str]] = {}
    notes: list[str] = []
    unknown = [name for name in wanted.only if name not in NETWORKS]
    strangers = [name for name in wanted.use if not any(name in networks for networks in NETWORKS.values())]
    if strangers:
        known = dict.fromkeys(name for networks in NETWORKS.values() for name in networks)
        raise InputError(f"--use of {', '.join(known)}", repr(strangers[0]), "correct the name before =")
    if unknown:
        raise InputError(f"protocols of {', '.join(NETWORKS)}", repr(unknown[0]), "correct --only")
    for protocol in wanted.only or NETWORKS:
        found = {name: wanted.model_of(name) for name in NETWORKS[protocol]}
        for name in (n for n, model in found.items() if model is None):
            absent.setdefault(name, []).append(protocol)
        try:
            rows = _one(protocol, [m for m in found.values() if m is not None], wanted, command=command, notes=notes)
        except (InputError, ModelError) as error:  # one archive less is no reason to lose the rest
            notes.append(f"{protocol}: {error}")
            continue
        sys.stdout.write(f"\n{protocol}\n\n{preset_table(rows)}")
        sys.stdout.flush()
    told = [
        f"absent: {name} (for {', '.join(where)}); train it: {how_to_train(name)}" for name, where in absent.items()
    ]
    return [*notes, *told]


def _one(protocol: str, models: list[str], wanted: Wanted, *, command: str, notes: list[str]) -> list[dict[str, Any]]:
    """Rows of one protocol; networks that do not open or fit are noted and left out."""
    path = wanted.results / f"papers_{protocol}.json"
    check_target(path)
    gain = PRESETS[protocol].kind == "gain"
    both = tuple(m for name in AUGMENTED.get(protocol, ()) if (m := wanted.model_of(name)) is not None)
    return run_protocol(
        protocol,
        models,
        Asked(limit=wanted.limit, also_augmented=both, detectors=detectors_of(wanted.runs) if gain else ()),
        path=path,
        command=command,
        report=sys.stderr.write,
        refused=lambda model, error: notes.append(f"{protocol}, {model}: {error}"),
    )


def pair(text: str) -> tuple[str, str]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"expected NAME=FILE; got {text}; for example jasrnet=runs/long/jasrnet.pt")
    return name, file


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate_papers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--runs", type=Path, nargs="+", default=[Path("runs")], metavar="FOLDER", help="of training.train's --out"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the files (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="PROTOCOL", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--limit", type=count, metavar="N", help="the first N pictures of each alone")
    parser.add_argument(
        "--use", nargs="+", default=[], type=pair, metavar="NAME=FILE", help="files that are taken for these networks"
    )
    parser.add_argument("--finished", action="store_true", help="leave out runs in progress")
    args = parser.parse_args(arguments)
    command = recorded_command("training.evaluate_papers", sys.argv[1:] if arguments is None else arguments)
    wanted = Wanted(tuple(args.runs), args.results, tuple(args.only), args.limit, not args.finished, dict(args.use))
    try:
        lines = evaluate_all(wanted, command=command)
    except FaceTRTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("\n".join(["", *lines, ""]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
