"""The papers' protocols on made archives: what each feeds and compares, eight-fold augmentation, poses."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from made_papers import doubled, identity, pairs_archive, sets_archive

from sdk.errors import InputError
from sdk.image.metrics import PROTOCOLS, psnr, ssim
from sdk.image.points68 import mirror_points
from sdk.image.resample import resize
from training.data.packs import open_pack
from training.data.pipelines import PIPELINES
from training.eightfold import VERSIONS, EightFold, turned, turned_back
from training.evaluate_protocol import FAILED_AT, evaluate, input_of
from training.pose import HEAD, POINTS, bin_of, yaw_deg
from training.predictors import Network
from training.protocol_examples import enlarged_by, examples, moved_input
from training.protocols import PRESETS, preset


def bicubic(path=None, **spec):
    return identity(path, **spec)


def test_presets_name_what_exists():
    for name, rule in PRESETS.items():
        assert set(rule.metrics) <= set(PROTOCOLS) and rule.normaliser in FAILED_AT, name
        assert rule.cut is None or rule.cut in PIPELINES, name
        assert rule.kind in ("pictures", "gain", "verification", "parsing") and rule.differs, name
    with pytest.raises(InputError, match="fsrnet_helen50"):
        preset("fsrnet")


def test_fsrnet_s_files_are_fed_and_compared_with(tmp_path):
    pack, rule = open_pack(pairs_archive(tmp_path / "pairs")), PRESETS["fsrnet_helen50"]
    chosen = examples(rule, pack, split="helen", limit=None)
    row, same = evaluate(None, rule, chosen), evaluate(bicubic(), rule, chosen)
    hr, lr = (cv2.imread(str(pack.root / f"img/0_{kind}.png"))[..., ::-1] for kind in ("HR", "LR_8x"))
    y = [np.floor(p @ np.array([65.481, 128.553, 24.966]) / 255 + 16.5) for p in (lr, hr)]
    assert row["per_image"]["psnr"][0] == pytest.approx(10 * np.log10(255**2 / np.mean((y[0] - y[1]) ** 2)), abs=1e-3)
    assert same["per_image"] == row["per_image"] and same["input"] == "enlarged files"
    small = Network(
        "small", replace(bicubic().spec, input_upscaled=False), lambda x: {"sr": x.repeat(8, 2).repeat(8, 3)}
    )
    fed, large, told = input_of(small, rule, chosen[0])
    assert large is None and told == "16 px" and np.array_equal(fed, resize(hr, (16, 16)))
    assert len(examples(rule, pack, split="helen", limit=2)) == 2


def test_the_mean_of_eight_bicubics_is_bicubic(tmp_path):
    """PAPERS 11.8: augmentation leaves an operator alone that turns with its input."""
    pack, rule = open_pack(pairs_archive(tmp_path / "pairs")), replace(PRESETS["fsrnet_helen50"], lr_files=False)
    chosen = examples(rule, pack, split="helen", limit=2)
    plain, eight = (evaluate(model, rule, chosen) for model in (bicubic(), EightFold(bicubic())))
    assert eight["augmented"] and not plain["augmented"]
    assert eight["psnr"] == pytest.approx(plain["psnr"], abs=0.02)  # grey levels at .5 may round either way
    picture = np.arange(2 * 3 * 5 * 4.0).reshape(2, 3, 5, 4)  # [N, C, H, W]
    for version in VERSIONS:
        moved = turned(np.moveaxis(picture, 1, 3), *version)
        assert np.array_equal(turned_back(np.moveaxis(moved, 3, 1), *version), picture), version
    shapes = {turned(np.moveaxis(picture, 1, 3), *v).tobytes() for v in VERSIONS}
    assert len(shapes) == 8


def test_augmentation_averages_before_it_rounds():
    """A network that lights the top row alone: its eightfold mean lights all four borders by a quarter."""

    def top(batch):
        sr = np.zeros_like(batch)
        sr[:, :, 0] = 1.0
        return {"sr": sr}

    network = Network("top", replace(bicubic().spec, lr_size=6, scale=1), top)
    picture = EightFold(network)(np.zeros((1, 6, 6, 3), np.uint8))[0][0]
    assert picture[0, 0, 0] == 128 and picture[0, 3, 0] == 64 and picture[3, 5, 0] == 64 and picture[2, 2, 0] == 0


def test_srinc_s_sets_by_luminance_at_every_scale(tmp_path):
    pack = open_pack(sets_archive(tmp_path / "sets"))
    for scale in (2, 3):
        rule = PRESETS[f"srinc_set5_x{scale}"]
        chosen = examples(rule, pack, split="Set5", limit=None)
        assert [e.hr.shape[0] for e in chosen] == [48, 60]
        network = bicubic(colour="y", any_size=True, lr_size=32, scale=4)
        row = evaluate(network, replace(rule), chosen)  # the x4 network at x2 and x3
        weights = np.array([65.481, 128.553, 24.966]) / 255
        planes = []
        for e in chosen:
            large = resize(e.lr.astype(np.float32), e.hr.shape[:2])
            both = [np.floor(np.clip(p @ weights + 16, 0, 255) + 0.5).astype(np.uint8) for p in (large, e.hr)]
            planes.append([p[scale:-scale, scale:-scale] for p in both])
        assert row["psnr"] == pytest.approx(np.mean([psnr(*p) for p in planes]), abs=0.02)
        assert row["ssim"] == pytest.approx(np.mean([ssim(*p) for p in planes]), abs=1e-3)
        assert len(row["cumulative_psnr_db"]) == 255 and np.all(np.diff(row["cumulative_psnr_db"]) >= 0)
    for other, words in ((bicubic(), "at its own scale"), (bicubic(scale=2), "any size")):
        with pytest.raises(InputError, match=words):
            evaluate(other, PRESETS["srinc_set5_x2"], chosen)
    with pytest.raises(InputError, match="x4 of Set5"):
        examples(PRESETS["srinc_set5_x4"], pack, split="Set5", limit=None)


def test_sets_without_small_pictures_are_reduced(tmp_path):
    pack = open_pack(sets_archive(tmp_path / "sets", scales=(1,), small=False))
    chosen = examples(PRESETS["srinc_set5_x3"], pack, split="Set5", limit=None)
    assert chosen[0].lr.shape == (16, 20, 3) and np.array_equal(chosen[0].lr, resize(chosen[0].hr, (16, 20)))


def test_bicubic_is_the_literature_s_on_set5():
    """33.66, 30.39 and 28.42 dB, SRINC's Table 1."""
    try:
        pack = open_pack("srbench")
    except InputError:
        pytest.skip("the archive srbench is not in the cache")
    for scale, expected in ((2, 33.66), (3, 30.39), (4, 28.42)):
        rule = PRESETS[f"srinc_set5_x{scale}"]
        row = evaluate(None, rule, examples(rule, pack, split="Set5", limit=None))
        assert row["n"] == 5 and row["psnr"] == pytest.approx(expected, abs=0.05)


def test_jasrnet_s_window_and_enlargement(face_pack):
    pack, rule = open_pack(doubled(face_pack)), PRESETS["jasrnet_helen"]
    example = examples(rule, pack, split="val", limit=1)[0]
    points = pack.points[example.id].astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    side = 1.2 * (high - low).max()
    expected = (points - (low + high) / 2) * 128 / side + 63.5
    assert example.points == pytest.approx(expected, abs=1e-3)
    assert example.hr.shape == (128, 128, 3) and example.lr.shape == (16, 16, 3)
    enlarged = cv2.resize(example.lr, (128, 128), interpolation=cv2.INTER_CUBIC).astype(int)
    assert np.abs(enlarged_by("opencv", example.lr, (128, 128)).astype(int) - enlarged).max() <= 1
    row = evaluate(None, rule, [example])
    assert row["also"]["jasrnet_code"]["psnr"] == pytest.approx(row["psnr"])
    assert row["also"]["jasrnet_code"]["ssim"] > row["ssim"] and row["nme"] is None
    jasrnet = bicubic(name="jasrnet")
    assert input_of(jasrnet, rule, example)[2] == "OpenCV's bicubic"
    assert input_of(bicubic(), rule, example)[1:] == (None, "bicubic")


def test_truths_that_were_enlarged_have_no_psnr(face_pack):
    rule = replace(PRESETS["jasrnet_helen"], lr_px=32)  # a truth of 256 px from pictures of 160
    row = evaluate(None, rule, examples(rule, open_pack(face_pack), split="val", limit=2))
    assert row["n"] == 2 and row["psnr"] is None and row["per_image"]["ssim"] == [None, None]
    whole = replace(rule, cut=None)
    assert evaluate(None, whole, examples(whole, open_pack(face_pack), split="val", limit=2))["psnr"] is None


def test_mtun_s_input_moves_and_is_turned_back(face_pack):
    hr = examples(PRESETS["jasrnet_helen"], open_pack(face_pack), split="val", limit=1)[0].hr
    lr, upright = moved_input(hr, 16, np.random.default_rng(3))
    still = resize(hr, (16, 16)).astype(int)
    errors = [np.abs(p.astype(int) - still)[4:12, 4:12].mean() for p in (lr, upright)]
    assert errors[1] < 0.6 * errors[0]
    assert np.array_equal(moved_input(hr, 16, np.random.default_rng(3))[0], lr)
    rule = replace(PRESETS["mtun"], lr_files=False)
    example = examples(rule, open_pack(face_pack), split="val", limit=1)[0]
    assert np.array_equal(example.baseline, enlarged_by("bicubic", example.upright, (128, 128)))
    maps = {"heatmap_kind": "components", "heatmap_count": 4, "heatmap_size": 64, "output_names": ("sr", "heatmaps")}
    mtun = Network("mtun", replace(bicubic().spec, input_upscaled=False, **maps), lambda x: {"sr": x})
    other = Network("other", replace(bicubic().spec, input_upscaled=False), lambda x: {"sr": x})
    assert np.array_equal(input_of(mtun, rule, example)[0], example.lr)
    fed, _, told = input_of(other, rule, example)
    assert np.array_equal(fed, example.upright) and told == "16 px, turned back"


def test_yaw_of_turned_heads():
    for yaw in (-75.0, -20.0, 0.0, 35.0):
        angle = np.radians(yaw)
        turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
        points = np.zeros((1, 68, 2))
        points[0, list(POINTS)] = (0.3 * HEAD @ turn.T)[:, :2] + (70.0, 55.0)
        assert yaw_deg(points) == pytest.approx([yaw], abs=1e-6)
        assert yaw_deg(mirror_points(points, 128)) == pytest.approx([-yaw], abs=1e-6)
    assert [bin_of(yaw) for yaw in (0, -29.9, 30, -75, 120)] == ["0-30", "0-30", "30-60", "60-90", "60-90"]
    with pytest.raises(InputError, match="finite"):
        yaw_deg(np.full((1, 68, 2), np.nan))


def test_bins_of_labelled_and_estimated_poses(face_pack):
    lines = (face_pack / "index.csv").read_text().splitlines()
    yaws = iter(("5", "40", "-50", "80"))
    labelled = [f"{line},{next(yaws) if ',val,' in line else ''}" for line in lines[1:]]
    rule = PRESETS["superfan_helen"]
    assert examples(rule, open_pack(face_pack), split="val", limit=1)[0].yaw_from == "points"
    (face_pack / "index.csv").write_text("\n".join([f"{lines[0]},yaw", *labelled]) + "\n")
    chosen = examples(rule, open_pack(face_pack), split="val", limit=None)
    row = evaluate(None, rule, chosen)
    assert [b["n"] for b in row["bins"]] == [1, 2, 1] and chosen[0].yaw_from == "label"
    assert row["model"] == "bilinear" and row["bins"][1]["psnr"] == pytest.approx(
        np.mean(row["per_image"]["psnr"][1:3]), abs=1e-3
    )
    text = (face_pack / "index.csv").read_text()
    (face_pack / "index.csv").write_text(text.replace(",40\n", ",nan\n").replace(",-50\n", ",left\n"))
    told = [e.yaw_from for e in examples(rule, open_pack(face_pack), split="val", limit=None)]
    assert told == ["label", "points", "points", "label"]
    empty = evaluate(None, rule, chosen[:1])["bins"][2]
    assert empty["n"] == 0 and empty["psnr"] is None
