"""PicoSpot: the network, the scenes it learns from, its maps and loss, and a training that goes on bit for bit."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from mac_counter import macs_of

from sdk.errors import InputError, ModelError
from sdk.image.crop import landmark_box, square_windows
from training import checkpoint
from training.data.packs import open_pack
from training.data.scenes import SceneExamples, SceneRule
from training.losses_detection import maps_of, spot_loss, windows_of_maps
from training.models.picospot import PicoSpot, PicoSpotConfig
from training.train_detector import SceneTask, main

NARROW = PicoSpotConfig(channels=(4, 8, 8, 16, 16), up_channels=8, blocks=(1, 1, 1, 1))


@pytest.fixture
def scenes(face_pack):
    rule = SceneRule(side_px=128, size_px=(8.0, 50.0))
    return SceneExamples([open_pack(face_pack)], "train", seed=1, rule=rule)


def test_the_network_is_small_enough_and_keeps_its_promise_of_shapes():
    model = PicoSpot().eval()
    assert sum(p.numel() for p in model.parameters()) < 500_000
    with torch.inference_mode():
        out = model(torch.rand(2, 3, 64, 96))
    assert out["centres"].shape == (2, 1, 16, 24) and out["places"].shape == (2, 3, 16, 24)
    assert macs_of(PicoSpot().to("meta"), torch.zeros(1, 3, 736, 1280, device="meta")) < 1.2e9


def test_as_training_begins_hardly_a_cell_is_a_centre():
    torch.manual_seed(0)
    with torch.inference_mode():
        sure = PicoSpot().eval()(torch.rand(1, 3, 64, 64))["centres"].sigmoid()
    assert 0.001 < float(sure.mean()) < 0.05


def test_the_folded_network_is_equal_and_runs_in_onnxruntime():
    torch.manual_seed(0)
    model = PicoSpot(NARROW).train()
    for _ in range(3):
        model(torch.rand(4, 3, 64, 64))  # statistics of its own
    deploy, frame = model.eval().folded(), torch.rand(1, 3, 64, 96)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in deploy.modules())
    with torch.inference_mode():
        raw, folded = model(frame), deploy(frame)
    assert folded["centres"].numpy() == pytest.approx(raw["centres"].sigmoid().numpy(), abs=1e-5)
    assert folded["places"].numpy() == pytest.approx(raw["places"].numpy(), abs=1e-4)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter uses names that torch deprecates
        torch.onnx.export(deploy, (frame,), file, dynamo=True, opset_version=18, verbose=False)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    centres, places = session.run(None, {session.get_inputs()[0].name: frame.numpy()})
    assert centres == pytest.approx(folded["centres"].numpy(), abs=1e-4)
    assert places == pytest.approx(folded["places"].numpy(), abs=1e-3)


def test_scenes_are_the_same_each_time_and_differ_from_each_other(scenes):
    again, other = scenes.scene(5), scenes.scene(6)
    assert (scenes.scene(5).picture == again.picture).all() and (again.picture != other.picture).any()
    for number in range(10):
        scene = scenes.scene(number)
        assert scene.picture.shape == (128, 128, 3) and scene.picture.dtype == np.uint8
        sides = scene.windows[:, 2:] - scene.windows[:, :2]
        assert np.allclose(sides[:, 0], sides[:, 1]) and (sides >= 1.5 * 7.9).all() and (sides <= 1.5 * 50.1).all()


def test_a_window_of_a_scene_is_the_one_its_landmarks_give(face_pack):
    """A single face, neither turned nor photographed: found again by matching the picture itself."""
    import cv2

    pack = open_pack(face_pack)
    rule = SceneRule(
        side_px=160, faces=(1, 1), empty=0.0, size_px=(60.0, 60.001), with_surroundings=1.0, blur=0.0,
        noise_levels=0.0, jpeg_share=0.0,
    )  # fmt: skip
    scenes = SceneExamples([pack], "train", seed=3, rule=rule)
    row = pack.select("train")[0]
    box = landmark_box(pack.points[row["id"]][None].astype(float))
    scale = 60.0 / float((box[0, 2:] - box[0, :2]).max())
    expected = square_windows(box, kind="landmarks")[0] * scale
    template = cv2.resize(pack.picture(row), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    sides = [scenes.scene(n).windows[0] for n in range(6) if len(scenes.scene(n).windows)]
    assert sides and all(w[2] - w[0] == pytest.approx(90.0, abs=0.1) for w in sides)
    assert expected[2] - expected[0] == pytest.approx(90.0, abs=0.1) and template.shape[0] < 160


def test_maps_and_windows_are_each_other_s_inverse():
    rng = np.random.default_rng(0)
    places = np.array([[30, 40], [90, 30], [60, 100], [120.5, 118.25]]) + rng.uniform(-2, 2, (4, 2))
    half = np.array([[6.0], [11.0], [20.0], [5.0]])
    windows = np.concatenate([places - half, places + half], axis=1)
    centres, where, known = maps_of(windows, 160)
    assert known.sum() == 4 and centres.max() == 1.0
    found, scores = windows_of_maps(centres[0], where, threshold=0.99)
    order = [int(np.argmin(np.abs(found - window).sum(axis=1))) for window in windows]
    assert found[order] == pytest.approx(windows, abs=1e-3) and (scores == 1.0).all()


def test_faces_outside_the_scene_and_no_faces_give_empty_maps():
    centres, _, known = maps_of(np.array([[-80.0, -80.0, -40.0, -40.0]]), 64)
    assert known.sum() == 0 and centres.sum() == 0
    assert maps_of(np.zeros((0, 4)), 64)[0].sum() == 0


def test_the_loss_is_centernet_s_formula():
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(size=(1, 1, 8, 8)).astype(np.float32))
    centres, places, known = maps_of(np.array([[6.0, 6.0, 22.0, 22.0]]), 32)
    out = {"centres": logits, "places": torch.zeros(1, 3, 8, 8)}
    given = [torch.from_numpy(a)[None] for a in (centres, places, known)]
    terms = spot_loss(out, *given)
    p, y = 1 / (1 + np.exp(-logits.numpy()[0, 0])), centres[0]
    expected = 0.0
    for row in range(8):
        for column in range(8):
            if known[0, row, column]:
                expected -= (1 - p[row, column]) ** 2 * np.log(p[row, column])
            else:
                expected -= (1 - y[row, column]) ** 4 * p[row, column] ** 2 * np.log(1 - p[row, column])
    assert float(terms["centre"]) == pytest.approx(expected, rel=1e-4)
    assert float(terms["side"]) == pytest.approx(np.log(16.0 / 8.0), rel=1e-4)


def test_a_few_steps_lower_the_loss_on_one_batch(scenes):
    torch.manual_seed(0)
    model, task = PicoSpot(NARROW).train(), SceneTask(scenes, scenes, batch=4)
    picture, *maps = task.batch(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss = torch.stack(list(spot_loss(model(picture), *maps).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_the_command_goes_on_bit_for_bit(face_pack, tmp_path, monkeypatch):
    monkeypatch.setattr("training.train_detector.VALIDATED", 2)
    common = ["--packs", str(face_pack), "--batch", "2"]
    assert main([*common, "--out", str(tmp_path / "a"), "--steps", "4"]) == 0
    monkeypatch.setattr("training.loop.SAVE_EVERY_S", 0.0)

    class Stopping:
        asked = False

        def close(self):
            pass

    stop = Stopping()
    monkeypatch.setattr("training.train_detector.StopSignal", lambda: stop)
    monkeypatch.setattr("training.loop.Loop._progress", lambda self, *a: setattr(stop, "asked", True) or "")
    monkeypatch.setattr("training.loop.REPORT_EVERY_S", -1.0)
    assert main([*common, "--out", str(tmp_path / "b"), "--steps", "4"]) == 130
    monkeypatch.setattr("training.loop.REPORT_EVERY_S", 1e9)
    stop.asked = False
    assert main([*common, "--out", str(tmp_path / "b"), "--steps", "4"]) == 0
    whole, broken = (checkpoint.load(tmp_path / name / "last.pt") for name in "ab")
    assert whole["step"] == broken["step"] == 4
    for key, value in whole["weights"].items():
        assert torch.equal(value, broken["weights"][key]), key
    assert isinstance(checkpoint.build(whole), PicoSpot)
    assert main([*common, "--out", str(tmp_path / "b"), "--steps", "4", "--seed", "9"]) == 2


def test_bad_input_is_refused(face_pack):
    pack = open_pack(face_pack)
    with pytest.raises(InputError, match="no such split"):
        SceneExamples([pack], "no such split", seed=0)
    pack.points.clear()
    with pytest.raises(InputError, match="68 points"):
        SceneExamples([pack], "train", seed=0)
    with pytest.raises(ModelError, match="5 numbers"):
        PicoSpotConfig(channels=(1, 2))
