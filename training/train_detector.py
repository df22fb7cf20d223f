"""Train PicoSpot on composed scenes: `python -m training.train_detector --packs A B --grounds set291 --steps 20000`.

Killed at any moment, the same command goes on from the last save and ends with the same weights: scenes depend on
(seed, number) alone. OUT gets last.pt, log.csv, log.json and samples/*.png.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdk.errors import FaceTRTError, InputError
from training import checkpoint
from training.data.packs import open_pack
from training.data.scenes import SceneExamples
from training.loop import Loop
from training.losses_detection import maps_of, spot_loss, windows_of_maps
from training.models.picospot import PicoSpot, PicoSpotConfig
from training.schedule import clock
from training.train import StopSignal, load_pseudo_points, positive

LR, WARM_UP, EMA, CLIP, WEIGHT_DECAY = 2e-3, 200, 0.999, 10.0, 1e-4
VALIDATED = 60  # scenes
VALIDATE_EVERY = 500
THRESHOLD = 0.3
SAME_FACE_IOU = 0.5
SIZES_PX = (8, 12, 16, 24, 48, 120)  # bins of the landmarks' box, a window's side by 1.5


class SceneTask:
    """Batches of scenes, and recall by size on held-out ones."""

    def __init__(self, shown: SceneExamples, held_out: SceneExamples, *, batch: int) -> None:
        self.shown, self.held_out, self.size = shown, held_out, batch

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures [B,3,S,S] in [0,1], and what maps_of gives for each."""
        scenes = [self.shown.scene(step * self.size + i) for i in range(self.size)]
        pictures = np.stack([s.picture for s in scenes]).astype(np.float32) / 255.0
        maps = [maps_of(s.windows, s.picture.shape[0]) for s in scenes]
        centres, places, known = (torch.from_numpy(np.stack(kind)) for kind in zip(*maps, strict=True))
        return torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()), centres, places, known

    @torch.inference_mode()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Recall at IoU 0.5 in % by size, and false windows a scene."""
        found: dict[str, list[bool]] = {}
        false = 0
        for number in range(VALIDATED):
            scene = self.held_out.scene(number)
            windows, _ = self._found(model, scene.picture)
            hits = _iou(scene.windows, windows) >= SAME_FACE_IOU
            false += int((~hits.any(axis=0)).sum())
            for window, hit in zip(scene.windows, hits.any(axis=1), strict=True):
                size = (window[2] - window[0]) / 1.5
                upper = next((b for b in SIZES_PX[1:] if size < b), None)
                if upper is not None and size >= SIZES_PX[0]:
                    found.setdefault(f"recall_{upper}", []).append(bool(hit))
        recall = {key: 100.0 * float(np.mean(hits)) for key, hits in sorted(found.items())}
        return {**recall, "false": false / VALIDATED}

    def _found(self, model: nn.Module, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frame = torch.from_numpy(picture.astype(np.float32).transpose(2, 0, 1)[None] / 255.0)
        out = model(frame)
        return windows_of_maps(
            out["centres"].float().sigmoid()[0, 0].numpy(), out["places"].float()[0].numpy(), threshold=THRESHOLD
        )

    @torch.inference_mode()
    def sample(self, model: nn.Module) -> list[Tensor]:
        """Rows: scenes, and their centre maps."""
        pictures = [self.held_out.scene(number).picture for number in range(6)]
        frames = torch.from_numpy(np.stack(pictures).astype(np.float32).transpose(0, 3, 1, 2) / 255.0)
        heat = model(frames)["centres"].float().sigmoid()
        heat = torch.nn.functional.interpolate(heat, size=frames.shape[-2:])
        return [frames, heat.expand(-1, 3, -1, -1)]


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[A, B] of boxes [A, 4] and [B, 4]."""
    inner = (np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (a, b)]
    return inner / (areas[0][:, None] + areas[1][None] - inner)


class DetectorRun(Loop):
    """One training in one folder."""

    def __init__(self, folder: Path, *, steps: int, seed: int, told: dict[str, Any], bf16: bool) -> None:
        self.folder, self.steps, self.seed, self.told, self.bf16 = folder, steps, seed, told, bf16
        self.history: list[dict[str, float]] = []
        self.clock = clock(torch.device("cpu"))
        torch.manual_seed(seed)
        self.model = PicoSpot(PicoSpotConfig()).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model).eval()
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
        if self.path.exists():
            self._resume(checkpoint.load(self.path))

    def rate(self, step: int) -> float:
        """Warm-up, then a cosine to 0."""
        if step < WARM_UP:
            return LR * (step + 1) / WARM_UP
        return LR * 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - WARM_UP) / max(1, self.steps - WARM_UP))))

    def advance(self, task: SceneTask) -> float:
        """One update. Raises FloatingPointError before weights are spoilt."""
        self.model.train()
        picture, centres, places, known = task.batch(self.step)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            out = self.model(picture.to(memory_format=torch.channels_last))
        loss = torch.stack(list(spot_loss({k: v.float() for k, v in out.items()}, centres, places, known).values()))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step)
        self.optimiser.zero_grad()
        loss.sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        if not torch.isfinite(norm):
            kept = f"{self.path} holds the last good weights"
            raise FloatingPointError(f"expected a finite gradient; got {float(norm)} at step {self.step}; {kept}")
        self.optimiser.step()
        self.step += 1
        decay = min(EMA, self.step / (self.step + 10.0))
        with torch.no_grad():
            for mine, raw in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mine.lerp_(raw, 1.0 - decay)
            for mine, raw in zip(self.average.buffers(), self.model.buffers(), strict=True):
                mine.copy_(raw)
        return float(loss.sum().detach())

    def save(self) -> None:
        part = {"name": "picospot", "part": "detector", "lr": LR, "lr_sizes": [self.told["side_px"]], **self.told}
        checkpoint.save(
            self.path,
            {
                "model": "picospot", "config": self.average.config.as_dict(), "weights": self.average.state_dict(),
                "raw_weights": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step,
                "seconds": self.seconds, "seed": self.seed, "recipe": part, "history": self.history,
                "running": self.running,
            },
        )  # fmt: skip
        self.write_log()

    def _resume(self, saved: dict[str, Any]) -> None:
        """Raises InputError when the folder holds another run."""
        for name, value in {"seed": self.seed, **self.told}.items():
            found = saved["seed"] if name == "seed" else saved["recipe"].get(name)
            if found != value:
                expected = f"{name}={found!r} as in the run of {self.path}"
                raise InputError(expected, repr(value), "give another --out for another run")
        self.model.load_state_dict(saved["raw_weights"])
        self.average.load_state_dict(saved["weights"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.seconds, self.history = saved["step"], saved["seconds"], saved["history"]
        self.running = saved["running"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.train_detector", description=(__doc__ or "").split(":")[0]
    )
    parser.add_argument("--packs", nargs="+", required=True, help="archives of faces with 68 points")
    parser.add_argument("--grounds", nargs="*", default=[], help="archives of pictures without people")
    parser.add_argument("--pseudo", type=Path, help="npz of more points (training.pseudo_label)")
    parser.add_argument("--out", type=Path, default=Path("runs") / "picospot")
    parser.add_argument("--steps", type=positive, default=20_000, help="(default: %(default)s)")
    parser.add_argument("--batch", type=positive, default=16, help="scenes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--bf16", action="store_true", help="convolutions in bfloat16")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    stop = StopSignal()
    try:
        packs, grounds = [open_pack(p) for p in args.packs], [open_pack(p) for p in args.grounds]
        pseudo = None if args.pseudo is None else load_pseudo_points(args.pseudo)
        shown = SceneExamples(packs, "train", seed=args.seed, grounds=grounds, pseudo=pseudo, report=_report)
        held_out = SceneExamples(packs, "val", seed=2**31, grounds=grounds, pseudo=pseudo)
        args.out.mkdir(parents=True, exist_ok=True)
        names = [pack.name for pack in (*packs, *grounds)]
        told = {"packs": names, "batch": args.batch, "side_px": shown.rule.side_px}
        run = DetectorRun(args.out, steps=args.steps, seed=args.seed, told=told, bf16=args.bf16)
        task = SceneTask(shown, held_out, batch=args.batch)
        run.fit(task, validate_every=VALIDATE_EVERY, report=_report, should_stop=lambda: stop.asked)
        _report(f"\npicospot: {'finished' if run.step >= run.steps else 'stopped'} at step {run.step}; {run.path}\n")
    except (FaceTRTError, FloatingPointError) as error:
        _report(f"{error}\n")
        return 2
    finally:
        stop.close()
    return 0 if run.step >= run.steps else 130


def _report(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
