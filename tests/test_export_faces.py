"""Calibration faces: the camera path's own pixels, the same every time, and every bad folder answered."""

import numpy as np
import pytest
from PIL import Image
from small_network import small_spec

from export.faces import MIN_FACES, load_faces, lr_batch
from sdk.enhancer import FaceEnhancer
from sdk.errors import InputError
from sdk.image.crop import crop
from sdk.image.pixels import to_network
from sdk.runtime.backend import open_backend
from sdk.zoo import model_path


@pytest.fixture(scope="module")
def spec():
    return small_spec(lr_size=16, heatmap_size=16)


def pictures(folder, count, *, size=(80, 64), start=0):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(start)
    for i in range(start, start + count):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(folder / f"{i:03d}.png")
    return folder


def test_builtin_faces_are_deterministic_and_of_the_asked_size(spec):
    first, second = (load_faces("builtin", spec=spec, count=64) for _ in range(2))
    assert first.hr.shape == (64, 32, 32, 3) and first.hr.dtype == np.uint8
    assert first.sha256 == second.sha256
    assert load_faces("builtin", spec=spec, count=64, seed=1).sha256 != first.sha256
    assert 20 < first.hr.std() < 90 and len(np.unique(first.hr[..., 0].mean(axis=(1, 2)).round())) > 30


def test_builtin_faces_look_like_faces_to_the_shipped_network():
    """Their heatmaps peak as high as real faces' do: ranges are measured where they matter."""
    spec = open_backend(model_path("picoface_x8"), "onnxruntime").spec
    faces = load_faces("builtin", spec=spec, count=64)
    with FaceEnhancer("picoface_x8", backend="onnxruntime", color="rgb") as enhancer:
        confidence = [result.confidence for result in enhancer.enhance_aligned(faces.hr)]
    assert np.median(confidence) > 0.75, np.median(confidence)


def test_the_halves_share_no_face_and_the_judging_half_has_points(spec):
    calibration, judging = load_faces("builtin", spec=spec, count=64).split()
    assert len(calibration) == len(judging) == 32
    assert not {f.tobytes() for f in calibration.hr} & {f.tobytes() for f in judging.hr}
    assert calibration.points is None
    assert judging.points.shape == (32, 68, 2) and judging.points_by == "picoface_x4 from 64 px"
    assert (judging.points.mean(axis=1) > 8).all() and (judging.points.mean(axis=1) < 24).all()  # in the middle


def test_the_network_is_fed_exactly_what_a_camera_crop_feeds_it(spec):
    faces = load_faces("builtin", spec=spec, count=64)
    frame = np.zeros((100, 90, 3), np.uint8)
    frame[20:52, 40:72] = faces.hr[5]
    window = np.array([[40.0, 20.0, 72.0, 52.0]])
    inner = slice(2, -2)  # the filter reaches over the window's border, where frame and picture differ
    expected = to_network(crop(frame, window, size=16), spec)[0]
    np.testing.assert_array_equal(lr_batch(faces, spec)[5][:, inner, inner], expected[:, inner, inner])


def test_a_folder_of_pictures_gives_middle_squares(tmp_path, spec):
    faces = load_faces(pictures(tmp_path / "faces", 70), spec=spec, count=64)
    assert len(faces) == 64 and faces.points is None and not faces.skipped
    again = load_faces(tmp_path / "faces", spec=spec, count=64)
    assert again.sha256 == faces.sha256


def test_broken_and_unfit_pictures_are_left_out_and_told(tmp_path, spec):
    folder = pictures(tmp_path / "faces", 66)
    (folder / "aaa.png").write_bytes(b"no picture")
    (folder / "aab.jpg").write_bytes(b"")
    Image.new("RGB", (900, 60)).save(folder / "strip.png")
    Image.new("RGB", (8, 8)).save(folder / "dot.png")
    faces = load_faces(folder, spec=spec, count=512)
    assert len(faces) == 66
    assert sorted(line.split(" ")[0] for line in faces.skipped) == ["aaa.png", "aab.jpg", "dot.png", "strip.png"]


def test_pictures_of_one_colour_and_copies_do_not_count(tmp_path, spec):
    """INT8 ranges of black would hold for nothing else, and a gate that sees only black would not notice."""
    folder = pictures(tmp_path / "faces", 66)
    Image.new("RGB", (80, 80)).save(folder / "black.png")
    Image.new("RGB", (80, 80), (200, 30, 90)).save(folder / "pink.png")
    (folder / "copy.png").write_bytes(sorted(folder.glob("*.png"))[0].read_bytes())
    faces = load_faces(folder, spec=spec, count=512)
    assert len(faces) == 66 and len(faces.skipped) == 3
    assert [line for line in faces.skipped if "a single colour in black.png" in line or "in pink.png" in line]
    assert sum("the same picture as another one" in line for line in faces.skipped) == 1
    for one in sorted(folder.glob("*.png"))[:5]:
        one.unlink()
    with pytest.raises(InputError, match="at least 64 pictures of faces"):
        load_faces(folder, spec=spec, count=64)


@pytest.mark.parametrize("count", [0, 3, MIN_FACES - 1])
def test_a_folder_with_too_few_pictures_is_refused(tmp_path, spec, count):
    folder = pictures(tmp_path / "faces", count)
    with pytest.raises(InputError, match=rf"at least 64 pictures.*got {count} in .*--calib builtin"):
        load_faces(folder, spec=spec, count=64)


def test_a_folder_of_broken_pictures_names_the_first(tmp_path, spec):
    folder = tmp_path / "faces"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match=r"got 0 in .* and 5 that are none, the first: \d\.png"):
        load_faces(folder, spec=spec, count=64)


@pytest.mark.parametrize("count", [63, 513, 0])
def test_counts_outside_the_range_are_refused(spec, count):
    with pytest.raises(InputError, match="64 to 512 calibration faces"):
        load_faces("builtin", spec=spec, count=count)


def test_a_source_that_does_not_exist(spec):
    with pytest.raises(InputError):
        load_faces("no/such/folder", spec=spec, count=64)


def test_an_archive_brings_its_points_in_pixels_of_the_output(face_pack, spec, monkeypatch):
    monkeypatch.setattr("export.faces.MIN_FACES", 4)
    faces = load_faces(face_pack, spec=spec, count=4)
    assert faces.source.endswith("(val)") and faces.points_by == "archive"
    with np.load(face_pack / "landmarks.npz") as truth:
        expected = (truth["pts68"][::3] + 0.5) * (32 / 160) - 0.5  # the split val is every third face
    np.testing.assert_allclose(faces.points, expected, atol=1e-4)
