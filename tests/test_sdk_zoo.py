"""Names of networks: where they are looked for, in which order, and what is said when there is none."""

import pytest
from small_network import save_small
from tiny_onnx import save_tiny, tiny_spec

from export.graph import read_model
from sdk import zoo
from sdk.enhancer import FaceEnhancer
from sdk.errors import ModelError
from sdk.zoo import MODELS_VARIABLE, available_names, is_name, model_folders, model_path


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders of $FACETRT_MODELS, a home and a checkout, all empty."""
    for name in (
        "a",
        "b",
        "home/.cache/facetrt/models",
        "checkout/sdk",
        "checkout/release",
        "checkout/training/models",
    ):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv(MODELS_VARIABLE, f"{tmp_path / 'a'}:{tmp_path / 'absent'}:{tmp_path / 'b'}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(zoo, "ROOT", tmp_path / "checkout" / "sdk")
    monkeypatch.chdir(tmp_path / "a")
    return tmp_path


def put(folder, name="jasrnet"):
    return save_tiny(folder / f"{name}.onnx", tiny_spec(name=name))


def test_the_first_folder_that_has_it_decides(folders):
    places = [folders / "checkout/release", folders / "home/.cache/facetrt/models", folders / "b", folders / "a"]
    for folder in places:  # from the last that is looked at to the first
        path = put(folder)
        assert model_path("jasrnet") == path
    (folders / "a" / "jasrnet").write_bytes(b"a path comes before all folders")
    assert model_path("jasrnet").read_bytes().startswith(b"a path")


def test_a_folder_named_like_a_network_is_not_in_the_way(folders):
    (folders / "a" / "jasrnet").mkdir()
    path = put(folders / "b")
    assert model_path("jasrnet") == path


def test_absent_papers_network_says_where_it_looked_and_how_to_get_it(folders):
    put(folders / "b", "mine")
    with pytest.raises(ModelError) as caught:
        model_path("jasrnet")
    error = caught.value
    assert error.expected == "the network jasrnet (JASRNet: 16 -> 128 px and 68 points)"
    for folder in ("a", "absent (no such folder)", "b", "home/.cache/facetrt/models", "checkout/release"):
        assert str(folders / folder) in error.got
    assert "python -m training.train --recipe jasrnet --out runs/jasrnet" in error.remedy
    assert "python -m export.release runs/jasrnet/jasrnet.pt" in error.remedy
    assert "here are picoface_x8, picoface_x4, mine" in error.remedy


def test_unknown_names_and_paths(folders):
    with pytest.raises(ModelError, match=r"a paper's \(srinc, .*urdgn.*\) or the path.*'jasernet'.*check the spelling"):
        model_path("jasernet")
    with pytest.raises(ModelError, match=r"'gone/jasrnet\.onnx', where there is no file; check the spelling"):
        model_path("gone/jasrnet.onnx")
    for text in ("", "../a/jasrnet", "a b", "jasrnet.onnx", "x" * 5000 + "/", "null\0name"):
        assert not is_name(text)
        with pytest.raises(ModelError):
            model_path(text)
    with pytest.raises(ModelError):
        model_path("x" * 5000)


def test_no_checkout_no_release_folder(folders):
    (folders / "checkout/training/models").rmdir()
    put(folders / "checkout/release")
    assert folders / "checkout/release" not in model_folders()
    with pytest.raises(ModelError, match="the network jasrnet"):
        model_path("jasrnet")


def test_names_that_are_there(folders):
    put(folders / "b"), put(folders / "a", "other"), put(folders / "a", "picoface_x8")
    (folders / "a" / "no name.onnx").write_bytes(b"")
    (folders / "a" / "dir.onnx").mkdir()
    assert available_names() == ["picoface_x8", "picoface_x4", "jasrnet", "other"]


def test_both_commands_and_the_class_take_a_name(folders):
    path = save_small(folders / "b" / "jasrnet.onnx")
    assert read_model("jasrnet").path == path
    with FaceEnhancer("jasrnet", threads=1) as enhancer:
        assert str(path) in enhancer.describe()
