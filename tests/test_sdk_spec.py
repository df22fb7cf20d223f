"""sdk.spec and sdk.errors: every paper's convention fits, JSON goes there and back, mistakes are named."""

import json
import pickle

import pytest

from sdk import errors
from sdk.spec import SPEC_VERSION, ModelSpec

HEATMAPS = dict(heatmap_kind="landmarks", output_names=("sr", "heatmaps"))
PAPERS = {  # the table of sdk/spec.py
    "srinc": ModelSpec("srinc", 32, 2, channels=1, colour="y", input_upscaled=True, any_size=True),
    "super_fan": ModelSpec("super_fan", 16, 4, heatmap_count=68, heatmap_size=64, **HEATMAPS),
    "jasrnet": ModelSpec("jasrnet", 16, 8, input_upscaled=True, heatmap_count=68, heatmap_size=16, **HEATMAPS),
    "mtun": ModelSpec(
        "mtun", 16, 8, colour="bgr", value_range=(-1.0, 1.0), heatmap_kind="components", heatmap_count=4,
        heatmap_size=128, output_names=("sr", "heatmaps"),
    ),
    "fsrnet": ModelSpec(
        "fsrnet", 16, 8, input_upscaled=True, heatmap_kind="landmarks", heatmap_count=194, heatmap_size=64,
        parsing_count=11, landmark_scheme="helen194", output_names=("sr", "heatmaps", "parsing"),
    ),
}  # fmt: skip


def test_sizes_by_eye():
    assert (PAPERS["jasrnet"].hr_size, PAPERS["jasrnet"].input_size) == (128, 128)
    assert (PAPERS["super_fan"].hr_size, PAPERS["super_fan"].input_size) == (64, 16)
    assert PAPERS["super_fan"].heatmap_cells(32) == 128


@pytest.mark.parametrize("name", PAPERS)
def test_json_there_and_back(name):
    spec = PAPERS[name]
    text = spec.to_json()
    assert "\n" not in text and json.loads(text)["version"] == SPEC_VERSION
    assert ModelSpec.from_json(text) == spec


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(lr_size=0), "lr_size"),
        (dict(colour="grey"), "colour"),
        (dict(channels=1), "colour"),
        (dict(value_range=(0.0, 2.0)), "value_range"),
        (dict(std=(0.0,)), "std"),
        (dict(mean=(0.0, 0.0)), "mean"),
        (dict(heatmap_count=0), "heatmap_count"),
        (dict(decoder="softmax"), "decoder"),
        (dict(output_names=("sr",)), "output_names"),
        (dict(parsing_count=11), "output_names"),
        (dict(typo=1), "typo"),
        (dict(scale="8"), "scale"),
        (dict(any_size=1), "any_size"),
        (dict(output_names=["sr", 1]), "output_names"),
        (dict(version=99), "version 99"),
        (dict(name=None), "name"),
    ],
)
def test_a_wrong_field_is_named(change, words):
    values = {**json.loads(PAPERS["super_fan"].to_json()), **change}
    with pytest.raises(errors.ModelError, match=words):
        ModelSpec.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "not json", "[1]", "{}", '{"version": 1, "name": "a"}'])
def test_other_text_is_refused(text):
    with pytest.raises(errors.ModelError, match="expected .*; got .*; .*"):
        ModelSpec.from_json(text)


def test_errors_have_three_parts_and_survive_pickling():
    for error in (
        errors.InputError("x", "y", "do z"),
        errors.MissingPackageError("detecting", "opencv", "pip install opencv"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error) and str(copy) == str(error)
        assert (copy.expected, copy.got, copy.remedy) == (error.expected, error.got, error.remedy)
    assert str(errors.InputError("x", "y", "do z")) == "expected x; got y; do z"
    assert issubclass(errors.InputError, ValueError) and issubclass(errors.MissingPackageError, ImportError)
    message = str(errors.MissingPackageError("detecting", "opencv", "pip install opencv"))
    assert all(part in message for part in ("detecting", "opencv", "pip install opencv"))
