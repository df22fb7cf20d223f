"""What a paper's network learns from: batches of its pipeline as tensors, and how well it does on held-out pictures."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sdk.errors import InputError
from sdk.image.points68 import OUTER_EYES
from training import processes
from training.data.ahead import Ahead
from training.data.examples import Arrays, FaceExamples, PatchExamples
from training.losses import centroid, psnr_y
from training.losses_heatmap import parsing_maps
from training.objectives import Batch, Networks, outputs_of
from training.recipes.stage import Stage

VALIDATED = 32  # faces
SHOWN = 8


class PaperTask:
    """Examples on a device, `size` of them a batch over all processes."""

    def __init__(
        self, examples: FaceExamples | PatchExamples, stage: Stage, *, size: int, device: torch.device, workers: int = 0
    ) -> None:
        """workers: processes that make batches ahead; close() ends them. Raises InputError: an uneven share."""
        if size % processes.world():
            raise InputError(f"a number of processes that divides {size}", str(processes.world()), "start fewer")
        self.examples, self.stage, self.size, self.device = examples, stage, size, device
        place = {"rank": processes.rank(), "world": processes.world()}
        self.ahead = Ahead(examples, workers, size=size, **place) if workers else None
        held = examples.validation(count=VALIDATED)
        self.held_out = [self._moved(a) for a in (held if isinstance(held, list) else [held])]
        self.to_rgb = to_rgb(examples.rule.colour, examples.rule.value_range)

    def batch(self, step: int) -> Batch:
        if self.ahead is not None:
            return self._moved(self.ahead.batch(step))
        return self.batch_here(step)

    def batch_here(self, step: int) -> Batch:
        """batch(), made by this process: steps may come in any order."""
        share = self.examples.batch(step, size=self.size, rank=processes.rank(), world=processes.world())
        return self._moved(share)

    def close(self) -> None:
        if self.ahead is not None:
            self.ahead.close()

    def _moved(self, arrays: Arrays) -> Batch:
        fields = vars(arrays).values()
        return Batch(*(None if a is None else torch.from_numpy(a.copy()).to(self.device) for a in fields))

    @torch.inference_mode()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """psnr_y in dB over whole pictures; nme in % of the outer eyes' distance where the network finds 68 points;
        parsing: % of the cells whose class is right."""
        found: dict[str, list[Tensor]] = {}
        for batch in self.held_out:
            for at in torch.arange(len(batch.lr)).split(8):
                part = batch.part(at)
                for name, values in self._scores(model, part).items():
                    found.setdefault(name, []).append(values)
        means = {name: torch.cat(values) for name, values in found.items()}
        return {name: float(values.mean()) for name, values in means.items() if len(values)}

    def _scores(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        out = outputs_of(Networks(model), batch, self.stage)
        scores = {}
        if "sr" in out:
            sr, hr = self.to_rgb(out["sr"].float()), self.to_rgb(batch.hr)
            error = (sr.clamp(0.0, 1.0) - hr).square().mean(dim=(1, 2, 3))
            scores["psnr_y"] = psnr_y(sr, hr) if sr.shape[1] == 3 else -10.0 * torch.log10(error + 1e-12)
        maps = out.get("heatmaps")
        if maps is not None and maps.shape[1] == batch.points.shape[1]:
            side = batch.hr.shape[-1]
            points = (centroid(maps.float().cpu(), radius=4) + 0.5) * (side / maps.shape[-1]) - 0.5
            truth = batch.points.cpu()
            eyes = (truth[:, OUTER_EYES[0]] - truth[:, OUTER_EYES[1]]).norm(dim=1)
            nme = 100.0 * (points - truth).norm(dim=2).mean(dim=1) / eyes
            scores["nme"] = nme[torch.isfinite(nme)]
        if "parsing" in out and batch.classes is not None:
            count, size = out["parsing"].shape[1], out["parsing"].shape[-1]
            target, known = parsing_maps(batch.classes, count=count, size=size)
            right = (out["parsing"].argmax(dim=1) == target.argmax(dim=1)).float().mean(dim=(1, 2))
            scores["parsing"] = 100.0 * right[known[:, 0] > 0]
        return scores

    @torch.inference_mode()
    def sample(self, model: nn.Module) -> list[Tensor]:
        """Rows of pictures: what is fed, what comes out, the truth; of a FAN, what is fed and its maps."""
        batch = self.held_out[0].part(slice(SHOWN))
        out = outputs_of(Networks(model), batch, self.stage)
        side = batch.hr.shape[-2:]
        rows = [batch.lr, out["sr"], batch.hr] if "sr" in out else [batch.hr]
        sheet = [self.to_rgb(row.float()).clamp(0.0, 1.0) for row in rows]
        if "sr" not in out:
            sheet.append(out["heatmaps"].float().amax(dim=1, keepdim=True).clamp(0.0, 1.0))
        sheet = [torch.nn.functional.interpolate(row, size=side) for row in sheet]
        return [row.expand(-1, 3, -1, -1).cpu() for row in sheet]


def to_rgb(colour: str, value_range: tuple[float, float]) -> Callable[[Tensor], Tensor]:
    """From a pipeline's pictures to RGB (or Y) in [0,1]."""
    low, high = value_range

    def convert(picture: Tensor) -> Tensor:
        picture = (picture - low) / (high - low)
        return picture.flip(1) if colour == "bgr" else picture

    return convert
