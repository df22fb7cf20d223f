"""What a branch learns from: batches as a pure function of (seed, step), the loss, and the validation score.

Batches depend on nothing else, so a resumed run sees exactly what an unbroken one would have seen.
"""

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sdk.errors import InputError
from sdk.image.points68 import OUTER_EYES
from training.data import augment
from training.data.degrade import ALL_AT_ONCE, CAMERA, Degradation, degrade, shift_colour
from training.data.packs import open_pack
from training.data.store import FaceStore, concatenate, load_pseudo, load_store
from training.losses import centroid, landmark_loss, log_mse, psnr_y
from training.models.picoface import PicoFace
from training.recipes.picoface import Recipe

COLOUR = Degradation(gain=(0.85, 1.15))

# Shares of a batch by archive, before normalising: exact points most often, weak and few ones seldom.
SHARES = {"faces68_helen_nc": 0.5, "faces68_ytf_weak_nc": 0.25, "faces_clean_ccby_pd": 0.05}
SHARE = 0.5  # any other archive
PSEUDO_SHARE = 0.4


class Task(Protocol):
    """One branch's data and loss."""

    def loss(self, model: PicoFace, step: int) -> Tensor: ...

    def validate(self, model: PicoFace) -> dict[str, float]: ...

    def sample(self, model: PicoFace) -> list[Tensor]: ...


def degrade_batch(hr: Tensor, size: int, rng: np.random.Generator, ranges: Degradation) -> Tensor:
    """[B,3,S,S] in [0,255] -> degraded [B,3,size,size] in [0,255]."""
    if len(hr) == 0:  # a small batch's share of degraded pictures may round to none
        return hr.new_zeros(0, 3, size, size)
    pictures = hr.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    low = np.stack([degrade(p, size, rng, ranges=ranges) for p in pictures])
    return torch.from_numpy(low).permute(0, 3, 1, 2).float()


class SuperResolutionTask:
    """HR windows of the freely licensed faces, their reductions, and now and then a camera's damage."""

    CANVAS = 224  # the commonest stored side; larger pictures are reduced to it

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        packs = [open_pack(name) for name in recipe.packs]
        self.store = concatenate([load_store(p, p.select("train"), canvas=self.CANVAS) for p in packs])
        held_out = [load_store(p, p.select("val")[::3], canvas=recipe.hr_size, fit=True) for p in packs]
        self.held_out = concatenate(held_out)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        recipe, rng = self.recipe, np.random.default_rng([self.seed, step])
        chosen = rng.integers(0, len(self.store), recipe.batch)
        size = self.store.size[chosen].numpy()
        windows = augment.random_windows(
            rng, size, sides=recipe.window_sides, shift=recipe.shift, output=recipe.hr_size
        )
        # Mirrored at the borders: super-resolution of a mirrored texture is a task as good as any other.
        hr = augment.crop_windows(self.store.pixels[chosen], size, windows, n_out=recipe.hr_size, edge="reflect")
        hr, _ = augment.mirror(hr, torch.from_numpy(rng.random(recipe.batch) < 0.5))
        shifted = round(recipe.degraded_share * recipe.batch)
        hr[:shifted] = torch.from_numpy(shift_colour(hr[:shifted].numpy(), rng, ranges=COLOUR))
        size_lr = recipe.lr_sizes[step % len(recipe.lr_sizes)]
        lr = augment.reduce(hr, size_lr)
        ranges = replace(CAMERA, probability=recipe.degradation)
        lr[:shifted] = degrade_batch(hr[:shifted], size_lr, rng, ranges)
        return lr / 255.0, hr / 255.0

    def loss(self, model: PicoFace, step: int) -> Tensor:
        lr, hr = self.batch(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            sr = model.sr(lr.to(memory_format=torch.channels_last))
        return log_mse(sr.float(), hr, luma_share=self.recipe.luma_share)

    @torch.inference_mode()
    def validate(self, model: PicoFace) -> dict[str, float]:
        size = self.recipe.lr_sizes[0]
        hr = self.held_out.pixels.float()
        clean = augment.reduce(hr, size)
        rough = degrade_batch(hr, size, np.random.default_rng(0), ALL_AT_ONCE)
        scores = {}
        for name, low in (("psnr_y", clean), ("psnr_y_degraded", rough)):
            sr = torch.cat([model.sr(part / 255.0) for part in low.split(32)])
            scores[name] = float(psnr_y(sr, hr / 255.0).mean())
        return scores

    @torch.inference_mode()
    def sample(self, model: PicoFace) -> list[Tensor]:
        """Rows of pictures [n,3,128,128]: input, output, truth."""
        hr = self.held_out.pixels[:8].float()
        lr = augment.reduce(hr, self.recipe.lr_sizes[0])
        nearest = torch.nn.functional.interpolate(lr, self.recipe.hr_size)
        return [nearest / 255.0, model.sr(lr / 255.0).clamp(0.0, 1.0), hr / 255.0]


class LandmarkTask:
    """Labelled faces, rotated, scaled, moved, recoloured and reduced."""

    CANVAS = 160  # stored side; warped at 128 it needs no antialiasing

    def __init__(self, recipe: Recipe, seed: int, *, pseudo: dict[str, np.ndarray] | None = None) -> None:
        self.recipe, self.seed = recipe, seed
        stores: list[FaceStore] = []
        shares: list[float] = []
        self.held_out: dict[str, FaceStore] = {}
        for source in recipe.packs:
            pack = open_pack(source)
            labelled = {r["id"] for r in pack.select() if r["id"] in pack.points and r.get("suspect", "0") != "1"}
            train, val = ([r for r in pack.select(s) if r["id"] in labelled] for s in ("train", "val"))
            if train:
                trust = recipe.weak_weight if "weak" in pack.name else 1.0
                stores.append(load_store(pack, train, canvas=self.CANVAS, fit=True, trust=trust))
                shares.append(SHARES.get(pack.name, SHARE))
            if val:
                self.held_out[pack.name] = load_store(pack, val[:160], canvas=128, fit=True)
            found = {r["id"]: pseudo[r["id"]] for r in pack.select("train") if pseudo and r["id"] in pseudo}
            if found:
                stores.append(load_pseudo(pack, found, canvas=self.CANVAS, trust=recipe.pseudo_weight))
                shares.append(PSEUDO_SHARE)
        if not stores or not self.held_out:
            packs = ", ".join(recipe.packs)
            got = f"{sum(len(s) for s in stores)} to learn from and {len(self.held_out)} archives to validate on"
            raise InputError(f"faces with points in the splits train and val of {packs}", got, "see docs/DATA.md")
        self.store = concatenate(stores)
        chance = np.concatenate([np.full(len(s), share / len(s)) for s, share in zip(stores, shares, strict=True)])
        self.cumulative = np.cumsum(chance / chance.sum())

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        recipe, rng = self.recipe, np.random.default_rng([self.seed, step])
        chosen = np.searchsorted(self.cumulative, rng.random(recipe.batch)).clip(max=len(self.store) - 1)
        strength = recipe.polish_augment if self.polishing(step) else 1.0
        affine = augment.random_affine(
            rng,
            recipe.batch,
            rotation_rad=strength * recipe.rotation_rad,
            log_scale=strength * recipe.log_scale,
            shift=strength * recipe.shift,
            shear=strength * recipe.shear,
        )
        images, points = augment.warp(self.store.pixels[chosen].float(), self.store.points[chosen], affine, n_out=128)
        images, points = augment.mirror(images, torch.from_numpy(rng.random(recipe.batch) < 0.5), points)
        images = torch.from_numpy(shift_colour(images.numpy(), rng, ranges=COLOUR))
        size = recipe.lr_sizes[step % len(recipe.lr_sizes)]
        lr = augment.reduce(images, size)
        rough = round(strength * recipe.rough_share * recipe.batch)
        lr[:rough] = degrade_batch(images[:rough], size, rng, CAMERA)
        inside = ((points > -0.5) & (points < 127.5)).all(dim=2)
        weight = self.store.trust[chosen][:, None] * inside
        return lr / 255.0, points, weight

    def polishing(self, step: int) -> bool:
        return step >= self.recipe.steps * (1.0 - self.recipe.polish_share)

    def loss(self, model: PicoFace, step: int) -> Tensor:
        lr, points, weight = self.batch(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            heatmaps = model.heatmaps(lr.to(memory_format=torch.channels_last)).float()
        cells = (points + 0.5) * (heatmaps.shape[-1] / 128.0) - 0.5
        r = self.recipe
        sigma = r.sigma_cells * (heatmaps.shape[-1] / 32.0) ** 0.75  # a larger map is sharper, but not in proportion
        return landmark_loss(
            heatmaps, cells, weight,
            sigma=sigma, radius=r.radius, from_peak=self.polishing(step),
            map_weight=r.map_weight, point_weight=r.point_weight,
        )  # fmt: skip

    @torch.inference_mode()
    def predict(self, model: PicoFace, pictures: Tensor, size: int) -> Tensor:
        """Points [N,68,2] in pixels of the square pictures [N,3,S,S] uint8."""
        side = pictures.shape[-1]
        maps = torch.cat([model.heatmaps(augment.reduce(part.float(), size) / 255.0) for part in pictures.split(64)])
        return (centroid(maps, radius=self.recipe.radius) + 0.5) * (side / maps.shape[-1]) - 0.5

    @torch.inference_mode()
    def validate(self, model: PicoFace) -> dict[str, float]:
        scores = {}
        for name, store in self.held_out.items():
            for size in self.recipe.lr_sizes:
                error = (self.predict(model, store.pixels, size) - store.points).norm(dim=2).mean(dim=1)
                eyes = store.points[:, OUTER_EYES[0]] - store.points[:, OUTER_EYES[1]]
                scores[f"nme_{name}_{size}"] = float((100.0 * error / eyes.norm(dim=1)).mean())
        return scores

    @torch.inference_mode()
    def sample(self, model: PicoFace) -> list[Tensor]:
        """Rows of pictures [n,3,128,128] with the found points burnt in."""
        store = next(iter(self.held_out.values()))
        pictures = store.pixels[:8].clone()
        for picture, points in zip(
            pictures, self.predict(model, store.pixels[:8], self.recipe.lr_sizes[0]), strict=True
        ):
            x, y = points.round().long().clamp(0, 127).unbind(dim=1)
            picture[:, y, x] = torch.tensor([[0], [255], [0]], dtype=torch.uint8)
        return [pictures.float() / 255.0]


def make_task(recipe: Recipe, seed: int, *, pseudo: dict[str, np.ndarray] | None = None) -> Task:
    if recipe.part == "sr":
        return SuperResolutionTask(recipe, seed)
    return LandmarkTask(recipe, seed, pseudo=pseudo)
