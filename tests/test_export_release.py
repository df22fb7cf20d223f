"""Every network of the papers from a checkpoint to a released file that FaceEnhancer finds by name: small, untrained.

torch is the reference: a released network gives, through the SDK, the picture that its checkpoint gives.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from paper_networks import shaken
from paper_recipes import SMALL

from export import release, to_onnx
from export.faces import load_faces, lr_batch
from export.release_check import Found, measured, points_of
from sdk.cli import main as face_enhance
from sdk.enhancer import FaceEnhancer
from sdk.errors import ModelError
from sdk.image.pixels import from_network, to_network
from sdk.pictures import encode_picture
from sdk.runtime.backend import open_backend
from sdk.runtime.onnx_file import read_onnx
from sdk.zoo import PAPERS as NAMES
from sdk.zoo import POINTS_ALONE, model_path
from training import checkpoint
from training.models import MODELS
from training.recipes.papers import PAPERS

# torch's exporter and onnx's own helpers warn of their own deprecations
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

RELEASED = ("srinc", "jasrnet", "mtun")  # the others' exports have tests of their own
SLIM = ("jasrnet", "mtun")
PICTURES = [name for name in SMALL if name != "fan_64"]
LANDMARKS = ("jasrnet", "fsrnet", "fsrgan", "super_fan_64")
RUN = {"part": "pixel", "packs": ["made_faces"], "batch": 2, "lr": 1e-4, "lr_sizes": [16], "steps": 7, "minutes": 0.1}


def network(name, config=None):
    torch.manual_seed(0)
    return shaken(MODELS[PAPERS[name].model](config or SMALL[name]), by=0.02)


def checkpoint_of(name, folder):
    """A finished run's file, as training writes it."""
    model = network(name)
    payload = {"model": PAPERS[name].model, "config": model.config.as_dict(), "weights": model.state_dict()}
    payload |= {"runs": [{**RUN, "name": name, "seed": 0}], "perceptual": "none"}
    checkpoint.save(folder / f"{name}.pt", payload)
    return folder / f"{name}.pt"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """All of RELEASED in one folder."""
    runs, out = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("release")
    lines, code = release.release(
        [checkpoint_of(name, runs) for name in RELEASED], out, slim=list(SLIM), limit_mb=60, command="the command"
    )
    assert code == 0, lines
    return out


@pytest.fixture
def found_by_name(released, monkeypatch):
    monkeypatch.setenv("FACETRT_MODELS", str(released))


@pytest.fixture
def photo():
    """RGB [96, 120, 3] with a blob in the window of the box."""
    rng = np.random.default_rng(3)
    picture = np.full((96, 120, 3), 90, np.uint8)
    picture[30:62, 40:72] = rng.integers(0, 255, (8, 8, 3)).repeat(4, axis=0).repeat(4, axis=1)
    return picture


BOX = [[40.0, 30.0, 72.0, 62.0]]


class InTorch:
    """A network as a Backend: what FaceEnhancer does with its answers needs no export."""

    def __init__(self, name, config=None):
        self.model = network(name, config)
        self.spec = self.model.spec(name)

    def run(self, batch):
        return to_onnx.answers(self.model, self.spec, batch)

    def close(self):
        pass


@pytest.mark.parametrize("name", PICTURES)
def test_every_network_through_face_enhancer_on_a_photo(name, photo):
    """A picture that render() puts in, points of those that have them, and of the others a word why not."""
    backend = InTorch(name)
    with FaceEnhancer(backend, color="rgb", min_confidence=0.0, refine=0) as enhancer:
        (result,) = enhancer.enhance(photo, BOX, box_kind="face")
        rendered = enhancer.render(photo, [result])
    assert result.image.dtype == np.uint8 and result.image.ndim == 3 and result.model == name
    assert len(result.image) % backend.spec.hr_size == 0
    assert rendered.shape == photo.shape and (rendered[:20] == photo[:20]).all()
    told = result.to_dict()
    if name in LANDMARKS:
        assert result.landmarks.shape == (68, 2) and np.isfinite(result.landmarks).all()
        assert told["no_landmarks"] == "" and result.components is None
        return
    assert (rendered != photo).any(), "where there are points, untrained ones may enclose nothing"
    assert result.landmarks is None and result.scores is None and np.isnan(result.confidence)
    if name == "mtun":
        assert result.components.shape == (4, 64, 64)
        assert told["no_landmarks"] == "mtun gives 4 maps of parts of the face, and no landmarks"
    else:
        assert result.components is None and told["no_landmarks"] == f"{name} gives a picture alone"


def test_points_of_another_scheme_beside_the_usual_ones(photo):
    """FSRNet with HELEN's 194 points and JASRNet with 68 in one frame: both are refined and both are painted."""
    helen, usual = InTorch("fsrnet", config=replace(SMALL["fsrnet"], landmarks=194)), InTorch("jasrnet")
    usual.spec = replace(usual.spec, lr_size=8)  # routed by size: the small face to it
    usual.run = lambda batch: {"sr": np.zeros((len(batch), 3, 64, 64), np.float32), "heatmaps": peaks(len(batch))}
    helen.run = lambda batch: {
        "sr": np.zeros((len(batch), 3, 128, 128), np.float32),
        "heatmaps": peaks(len(batch), 194),
    }
    boxes = [[40.0, 30.0, 72.0, 62.0], [10.0, 60.0, 18.0, 68.0]]
    with FaceEnhancer([usual, helen], color="rgb", min_confidence=0.0) as enhancer:
        results = enhancer.enhance(photo, boxes, box_kind="face")
        rendered = enhancer.render(photo, results)
    assert [len(result.landmarks) for result in results] == [194, 68]
    assert (rendered[40:52, 50:62] != photo[40:52, 50:62]).mean() > 0.9, "the window itself is the mask"


def peaks(count, points=68):
    """Heatmaps [count, points, 16, 16], their peaks all over the map."""
    maps = np.zeros((count, points, 16, 16), np.float32)
    cells = np.random.default_rng(0).permutation(256)[:points]
    maps[:, np.arange(points), cells // 16, cells % 16] = 1.0
    return maps


@pytest.mark.parametrize("name", RELEASED)
def test_pictures_are_those_of_torch(name, found_by_name):
    """FaceEnhancer on a window of exactly the network's size against the checkpoint's own network in torch."""
    with FaceEnhancer(name, color="rgb", threads=1) as enhancer:
        spec = enhancer._opened[0].network.spec
        assert (spec.min_confidence is None) == (name != "jasrnet")
        crop = np.random.default_rng(5).integers(0, 256, (spec.lr_size, spec.lr_size, 3)).astype(np.uint8)
        (result,) = enhancer.enhance_aligned([crop])
    crops = crop[None].astype(np.float32)
    wanted = to_onnx.answers(network(name), spec, to_network(crops, spec))
    picture = from_network(wanted["sr"], spec, lr=crops)[0].astype(int)
    levels = np.abs(result.image - picture)
    assert levels.max() <= (6 if name in SLIM else 1), levels.max()
    if name == "mtun":
        assert result.components.shape == (4, 64, 64)
        scale = np.abs(wanted["heatmaps"]).max()
        assert np.abs(result.components - wanted["heatmaps"][0]).max() < 0.1 * scale


@pytest.mark.parametrize("name", RELEASED)
def test_a_card_tells_files_training_and_verification(name, released):
    card = json.loads((released / f"{name}.json").read_text())
    assert {suffix for suffix in (".onnx", ".safetensors") if f"{name}{suffix}" in card["files"]} == {
        ".onnx",
        ".safetensors",
    }
    for file, told in card["files"].items():
        assert told["bytes"] == (released / file).stat().st_size
    assert card["store"] == ("int8" if name in SLIM else "fp16") and card["training"]["steps"] == 7
    assert card["licence"] == "the terms of its training data (made_faces)" and card["command"] == "the command"
    assert card["verified"]["sdk_max"] == 0.0 and card["verified"]["levels_max"] <= 6
    assert (released / f"{name}.onnx").stat().st_size < 400_000, "a graph alone"
    assert (card["points"] is None) == (name != "jasrnet")


def test_points_by_eye():
    """PicoFace's own maps are as near to its points as decoding is; noise is not."""
    backend = open_backend(model_path("picoface_x8"), "onnxruntime")
    faces = load_faces("builtin", spec=backend.spec, count=64).split()[1].take(slice(0, 6))
    maps = backend.run(lr_batch(faces, backend.spec))["heatmaps"]
    backend.close()
    good = points_of(backend.spec, maps, faces)
    assert good.nme_percent < 6 and 0.6 < good.median_peak < 1 and "NOT LEARNED" not in good.line()
    assert good.min_confidence == pytest.approx(0.65 * good.median_peak, abs=1e-3)
    bad = points_of(backend.spec, np.random.default_rng(0).random(maps.shape, np.float32), faces)
    assert bad.nme_percent > 30 and "NOT LEARNED: leave its landmarks alone" in bad.line()
    assert points_of(backend.spec, maps[:, :5], faces).nme_percent is None


def test_face_enhance_takes_a_name(found_by_name, photo, tmp_path, capsys):
    (tmp_path / "in.png").write_bytes(encode_picture(photo, ".png")[0])
    words = [str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png"), "--boxes", "40,30,72,62", "--model", "mtun"]
    assert face_enhance([*words, "--json", str(tmp_path / "r.json"), "--box-kind", "crop"]) == 0, (
        capsys.readouterr().err
    )
    (face,) = json.loads((tmp_path / "r.json").read_text())["files"][0]["faces"]
    assert face["landmarks_px"] is None and "no landmarks" in face["no_landmarks"] and face["model"] == "mtun"


def test_what_does_not_fit_is_left_out_and_said(tmp_path, monkeypatch, capsys):
    def made(path, **options):
        files = {suffix: bytes(100_000) for suffix in release.SUFFIXES}
        return release.Released(path.stem, files, Found(3, 0.0, 0, 0.0, 0.0))

    monkeypatch.setattr(release, "made", made)
    out = tmp_path / "out"
    paths = [str(checkpoint_of(name, tmp_path)) for name in ("urdgn", "srresnet_x8")]
    assert release.main([*paths, "-o", str(out), "--limit-mb", "0.5"]) == 1
    told = capsys.readouterr().out
    assert "LEFT OUT srresnet_x8: 0.3 MB of others and 0.3 MB pass 0.5 MB" in told and "--recipe srresnet_x8" in told
    assert {path.name for path in out.iterdir()} == {"urdgn.onnx", "urdgn.safetensors", "urdgn.json"}
    assert release.main([paths[0], "-o", str(out), "--limit-mb", "0.5"]) == 0, "in its own place"
    assert release.main([paths[0], paths[0], "-o", str(out)]) == 2, "twice the same"
    (tmp_path / "cut.pt").write_bytes((tmp_path / "urdgn.pt").read_bytes()[:999])
    assert release.main([str(tmp_path / "cut.pt"), paths[1], "-o", str(tmp_path / "two")]) == 2
    told = capsys.readouterr().out
    assert "cut.pt, which torch cannot read" in told and (tmp_path / "two/srresnet_x8.json").exists(), "the other is"


def test_points_alone_are_refused(tmp_path, capsys):
    path = checkpoint_of("fan_64", tmp_path)
    assert release.main([str(path), "-o", str(tmp_path / "out")]) == 2
    assert "a network that puts out a picture; got fan" in capsys.readouterr().out
    with pytest.raises(
        ModelError, match=r'a picture; got \'fan_64\'; it gives points and no picture; .*"super_fan_64"'
    ):
        model_path("fan_64")


def test_a_file_of_other_weights_is_not_released(released):
    other = MODELS["jasrnet"](SMALL["jasrnet"]).folded()
    spec = read_onnx(released / "jasrnet.onnx").spec
    faces = load_faces("builtin", spec=spec, count=64)
    with pytest.raises(ModelError, match=r"jasrnet\.onnx in int8 within 2 grey levels and 25 % of torch; got pictures"):
        measured(released / "jasrnet.onnx", other, spec, store="int8", faces=faces)


def test_every_recipe_has_a_name_and_every_name_a_recipe():
    assert set(NAMES) | set(POINTS_ALONE) == set(PAPERS)
