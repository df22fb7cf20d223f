"""Archives and checkpoints for the tests of the papers' protocols: tiny, in the documented formats."""

import cv2
import numpy as np
from paper_recipes import SMALL

from sdk.image.resample import resize
from sdk.spec import ModelSpec
from training import checkpoint
from training.models import MODELS
from training.predictors import Network
from training.recipes.papers import PAPERS


def drawn(rng, height, width):
    """A smooth coloured picture [height, width, 3] uint8."""
    return resize(rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8), (height, width))


def pairs_archive(folder, *, faces=3, split="helen"):
    """As fsrnet_val_nc: 128-px truths and enlarged inputs, which are given another level so that they can be told."""
    rng = np.random.default_rng(1)
    (folder / "img").mkdir(parents=True)
    lines = ["id,file,split,kind,w,h"]
    for number in range(faces):
        hr = drawn(rng, 128, 128)
        lr = np.clip(resize(resize(hr, (16, 16)), (128, 128)).astype(int) + 3, 0, 255).astype(np.uint8)
        for kind, picture in (("HR", hr), ("LR_8x", lr)):
            file = f"img/{number}_{kind}.png"
            cv2.imwrite(str(folder / file), picture[..., ::-1])
            lines.append(f"face_{number},{file},{split},{kind},128,128")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


def sets_archive(folder, *, scales=(2, 3), split="Set5", small=True):
    """As srbench: pictures of any size at some scales, with or without their small ones."""
    rng = np.random.default_rng(2)
    (folder / "img").mkdir(parents=True)
    lines = ["id,file,split,scale,kind,w,h"]
    for scale in scales:
        for number, (height, width) in enumerate(((48, 60), (60, 48))):
            hr = drawn(rng, height, width)
            both = [("HR", hr), ("LR", resize(hr, (height // scale, width // scale)))]
            for kind, picture in both[: 1 + small]:
                name = f"img_{number}_SRF_{scale}_{kind}"
                cv2.imwrite(str(folder / "img" / f"{name}.png"), picture[..., ::-1])
                told = str(scale) if small else ""
                lines.append(f"{name},img/{name}.png,{split},{told},{kind},{picture.shape[1]},{picture.shape[0]}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


def doubled(folder):
    """The archive with pictures of twice the side, large enough for windows of 128 px."""
    for path in sorted((folder / "img").glob("*.png")):
        picture = cv2.imread(str(path))
        cv2.imwrite(str(path), resize(picture, (2 * picture.shape[0], 2 * picture.shape[1])))
    with np.load(folder / "landmarks.npz") as points:
        ids, moved = points["id"], (points["pts68"] + 0.5) * 2.0 - 0.5
    np.savez(folder / "landmarks.npz", id=ids, pts68=moved.astype(np.float32))
    text = (folder / "index.csv").read_text()
    (folder / "index.csv").write_text(text.replace(",160,160", ",320,320"))
    return folder


def checkpoint_of(path, name, *, steps=20, seed=0, finished=True):
    """A small network of a paper's recipe, saved as training leaves it."""
    import torch

    torch.manual_seed(seed)
    recipe = PAPERS[name]
    model = MODELS[recipe.model](SMALL[name])
    stage = recipe.stages[-1]
    told = {"name": name, "part": stage.name, "packs": list(recipe.packs), "batch": 4, "lr": stage.lr, "lr_sizes": [16]}
    payload = {"model": recipe.model, "config": model.config.as_dict(), "weights": model.state_dict()}
    payload["perceptual"] = "none"
    if finished:
        payload["runs"] = [{**told, "steps": steps, "minutes": 2.0, "seed": 0}]
        payload["spec"] = model.spec(name).to_json()
    else:
        plan = {"steps": 100, "paper_steps": 1000, "seconds_a_step": 1.0, "budget_s": 600.0}
        payload |= {"recipe": told, "plan": plan, "step": steps, "seconds": 120.0, "seed": 0, "earlier": []}
    checkpoint.save(path, payload)
    return path


def identity(path, *, colour="rgb", name="same", **spec):
    """A network that puts out the enlarged picture it is given."""
    channels = 1 if colour == "y" else 3
    given = {"lr_size": 16, "scale": 8, "input_upscaled": True, **spec}
    return Network(name, ModelSpec(name, colour=colour, channels=channels, **given), lambda x: {"sr": x}, path=path)
