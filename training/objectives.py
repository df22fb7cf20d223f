"""Loss terms of the papers' networks: what a stage of a recipe names, put together from training.losses_*.

Every term comes weighted, so their sum is the loss. Pictures are in the pipeline's colours and range.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.losses_adversarial import discriminator_loss, generator_loss, wgan_critic_loss, wgan_generator_loss
from training.losses_heatmap import (
    JASRNET_CUTOFF,
    cells,
    component_maps,
    fan_loss,
    fsrnet_loss,
    jasrnet_loss,
    mtun_loss,
    parsing_maps,
    point_maps,
    super_fan_loss,
    with_background,
)
from training.losses_perceptual import perceptual_loss
from training.losses_pixel import PIXEL_LOSSES
from training.models.baselines import URDGNDiscriminator
from training.models.fsrnet import Critic as ConditionalCritic
from training.models.mtun import Discriminator
from training.models.srresnet import SRGANDiscriminator
from training.models.super_fan import Critic
from training.recipes.stage import PaperRecipe, Stage

Terms = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch, as the pipeline makes it."""

    lr: Tensor  # [N,C,h,w] what the network is fed
    hr: Tensor  # [N,C,H,W] the truth
    points: Tensor  # [N,68,2] pixels of the truth; NaN: unknown
    weight: Tensor  # [N,68] 1 where a point is known and inside
    classes: Tensor | None = None  # [N,H,W] uint8, parsing labels where they are learned; UNKNOWN: a face without

    def part(self, which: Tensor | slice) -> "Batch":
        """Some of its examples."""
        return Batch(*(None if value is None else value[which] for value in vars(self).values()))


@dataclass(eq=False)
class Networks:
    """Who takes part in a stage. Only the model and the critic learn."""

    model: nn.Module
    critic: nn.Module | None = None
    teacher: nn.Module | None = None  # Super-FAN's second FAN, frozen
    features: nn.Module | None = None  # of the perceptual loss, frozen
    to_rgb: Callable[[Tensor], Tensor] = lambda picture: picture  # the pipeline's pictures -> RGB in [0,1]


def make_critic(name: str, *, hr_px: int) -> nn.Module:
    if name == "wgan":
        return Critic(hr_px)
    if name == "srgan":
        return SRGANDiscriminator(hr_px)
    return {"conditional": ConditionalCritic, "mtun": Discriminator, "urdgn": URDGNDiscriminator}[name]()


def outputs_of(networks: Networks, batch: Batch, stage: Stage) -> dict[str, Tensor]:
    """The network's outputs; a FAN reads the truth, enlarged to its own size."""
    model = networks.model
    if stage.heatmap_loss != "fan":
        return model(batch.lr)
    if hasattr(model, "fan"):
        return model.fan(model.fan_input(batch.hr))
    return model(_sized(batch.hr, model.config.input_size))


def _sized(picture: Tensor, side: int) -> Tensor:
    if picture.shape[-1] == side:
        return picture
    return F.interpolate(picture, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def network_terms(
    networks: Networks,
    batch: Batch,
    out: dict[str, Tensor],
    *,
    recipe: PaperRecipe,
    stage: Stage,
    adversarial: float,  # weight at this step
) -> Terms:
    """Terms of the network's own loss, from its outputs."""
    weights, terms = stage.weights, Terms()
    if weights.pixel:
        terms["pixel"] = weights.pixel * PIXEL_LOSSES[stage.pixel_loss](out["sr"], batch.hr)
    if weights.coarse:
        terms["coarse"] = weights.coarse * PIXEL_LOSSES[stage.pixel_loss](out["coarse"], batch.hr)
    if weights.heatmap and stage.heatmap_loss:
        terms["heatmap"] = weights.heatmap * HEATMAP_TERMS[stage.heatmap_loss](networks, batch, out, recipe)
    if weights.features and networks.features is not None:
        sr, hr = networks.to_rgb(out["sr"]), networks.to_rgb(batch.hr)
        terms["features"] = weights.features * perceptual_loss(networks.features, sr, hr)
    if adversarial and networks.critic is not None:
        judge = judge_of(networks.critic, batch, stage)
        loss = wgan_generator_loss if stage.critic == "wgan" else generator_loss
        terms["adversarial"] = adversarial * loss(judge, out["sr"])
    return terms


def critic_loss(critic: nn.Module, batch: Batch, recipe: PaperRecipe, *, stage: Stage, fake: Tensor) -> Tensor:
    judge = judge_of(critic, batch, stage)
    if stage.critic != "wgan":
        return discriminator_loss(judge, fake, batch.hr)
    mix = torch.rand(len(fake), device=fake.device)
    return wgan_critic_loss(judge, fake, batch.hr, penalty=recipe.options["penalty"], mix=mix)


def judge_of(critic: nn.Module, batch: Batch, stage: Stage) -> Callable[[Tensor], Tensor]:
    """FSRGAN's critic sees the enlarged input beside the picture."""
    if stage.critic == "conditional":
        return lambda picture: critic(picture, batch.lr)
    return critic


def target_maps(
    batch: Batch,
    maps: Tensor,  # [N,...,h,w] those of the network, for their size
    recipe: PaperRecipe,
    *,
    cutoff: float = 0.0,
    draw: Callable[..., Tensor] = point_maps,
) -> Tensor:
    size, hr_px = maps.shape[-1], batch.hr.shape[-1]
    points = cells(batch.points, hr_px=hr_px, size=size)
    extra = {"cutoff": cutoff} if cutoff else {}
    return draw(points, size, sigma=recipe.heatmap_sigma_px * size / hr_px, **extra)


def _jasrnet(networks: Networks, batch: Batch, out: dict[str, Tensor], recipe: PaperRecipe) -> Tensor:
    target = target_maps(batch, out["stages"], recipe, cutoff=JASRNET_CUTOFF)
    weight = batch.weight
    if out["stages"].shape[2] > target.shape[1]:
        known = weight.amax(dim=1, keepdim=True)  # without points there is no background either
        target, weight = with_background(target), torch.cat([weight, known], dim=1)
    return jasrnet_loss(out["stages"], target, weight)


def _fsrnet(networks: Networks, batch: Batch, out: dict[str, Tensor], recipe: PaperRecipe) -> Tensor:
    """β of the paper weighs one prior: points and, where they are learned, parsing maps, each a sum of squares."""
    terms = []
    if "heatmaps" in out:
        terms.append(fsrnet_loss(out["heatmaps"], target_maps(batch, out["heatmaps"], recipe), batch.weight))
    if "parsing" in out and batch.classes is not None:
        count, size = out["parsing"].shape[1], out["parsing"].shape[-1]
        target, known = parsing_maps(batch.classes, count=count, size=size)
        terms.append(fsrnet_loss(out["parsing"], target, known))
    return torch.stack(terms).sum()


def _fan(networks: Networks, batch: Batch, out: dict[str, Tensor], recipe: PaperRecipe) -> Tensor:
    return fan_loss(out["stages"], target_maps(batch, out["stages"], recipe), batch.weight)


def _mtun(networks: Networks, batch: Batch, out: dict[str, Tensor], recipe: PaperRecipe) -> Tensor:
    """Hidden points are left out of their component; pictures without any point are left out altogether."""
    hidden = batch.weight[..., None] == 0.0
    shown = Batch(batch.lr, batch.hr, batch.points.masked_fill(hidden, torch.nan), batch.weight)
    target = target_maps(shown, out["stages"], recipe, draw=component_maps)
    known = batch.weight.amax(dim=1, keepdim=True).expand(-1, target.shape[1])
    return mtun_loss(out["stages"], target, known)


def _super_fan(networks: Networks, batch: Batch, out: dict[str, Tensor], recipe: PaperRecipe) -> Tensor:
    """Needs no points: the frozen FAN's maps of the truth are the target."""
    assert networks.teacher is not None, "the frozen FAN"
    with torch.no_grad():
        target = networks.teacher(networks.model.fan_input(batch.hr))["heatmaps"]
    return super_fan_loss(out["heatmaps"], target)


HEATMAP_TERMS: dict[str, Callable[[Networks, Batch, dict[str, Tensor], PaperRecipe], Tensor]] = {
    "jasrnet": _jasrnet,
    "fsrnet": _fsrnet,
    "fan": _fan,
    "mtun": _mtun,
    "super_fan": _super_fan,
}
