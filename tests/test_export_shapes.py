"""Profiles from batches and sizes, or as given; what a graph cannot take is refused before TensorRT sees it."""

import pytest
from tiny_onnx import tiny_graph, tiny_spec

from export.arguments import parse
from export.graph import read_model
from export.shapes import profiles_for
from sdk.errors import InputError
from sdk.zoo import model_path


def profiles(name, line=""):
    model = read_model(model_path(name))
    return profiles_for(model.graph, model.spec, options=parse([name, *line.split()]))


def triple(batch, low, high):
    return {"lr": ((1, 3, low, low), (batch, 3, high, high), (batch, 3, high, high))}


def test_a_network_of_one_size_has_a_profile_for_each_batch():
    assert profiles("picoface_x8") == [triple(1, 16, 16), triple(8, 16, 16), triple(64, 16, 16)]


def test_a_network_of_any_size_takes_both_sizes_of_the_sdk_in_each():
    assert profiles("picoface_x4") == [triple(1, 32, 64), triple(8, 32, 64), triple(64, 32, 64)]
    assert profiles("picoface_x4", "--batches 2 --sizes 48") == [triple(2, 48, 48)]


def test_shapes_as_given_one_profile_each():
    line = "--min-shapes lr:2x3x16x16 --opt-shapes lr:3x3x16x16 --max-shapes lr:4x3x16x16"
    given = {"lr": ((2, 3, 16, 16), (3, 3, 16, 16), (4, 3, 16, 16))}
    assert profiles("picoface_x8", line) == [given]
    assert profiles("picoface_x8", f"{line} {line}") == [given, given]


def test_a_dla_gets_fixed_shapes():
    def fixed(batch, side):
        return {"lr": ((batch, 3, side, side),) * 3}

    assert profiles("picoface_x8", "--dla-core 0") == [fixed(1, 16)]
    line = "--dla-core 0 --batches 1,8 --sizes 32,64"
    assert profiles("picoface_x4", line) == [fixed(1, 32), fixed(8, 32), fixed(1, 64), fixed(8, 64)]
    shapes = "--dla-core 0 --min-shapes lr:{}x3x16x16 --opt-shapes lr:4x3x16x16 --max-shapes lr:4x3x16x16"
    assert profiles("picoface_x8", shapes.format(4)) == [fixed(4, 16)]
    with pytest.raises(InputError, match="one shape of lr for a DLA; got 1x3x16x16 / 4x3x16x16"):
        profiles("picoface_x8", shapes.format(1))


def test_a_network_whose_channels_are_free_gets_its_specs():
    spec = tiny_spec(scale=4, lr_size=32, any_size=True)
    graph = tiny_graph(spec)
    graph.graph.input[0].type.tensor_type.shape.dim[1].Clear()
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "channels"
    (one,) = profiles_for(graph, spec, options=parse(["m", "--batches", "2"]))
    assert one == triple(2, 32, 64)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("picoface_x8", "--sizes 32", "no --sizes for picoface_x8, which takes 16 px only"),
        (
            "picoface_x8",
            "{0} x:1x3x16x16 {1} x:1x3x16x16 {2} x:1x3x16x16",
            r"shapes for the inputs \['lr'\]; got \['x'\]",
        ),
        (
            "picoface_x8",
            "{0} lr:1x3x32x16 {1} lr:1x3x16x16 {2} lr:1x3x16x16",
            "a shape anyx3x16x16 for lr; got 1x3x32x16",
        ),
        ("picoface_x8", "{0} lr:1x3x16 {1} lr:1x3x16x16 {2} lr:1x3x16x16", "a shape anyx3x16x16 for lr; got 1x3x16"),
        (
            "picoface_x8",
            "{0} lr:8x3x16x16 {1} lr:4x3x16x16 {2} lr:9x3x16x16",
            "min <= opt <= max for lr; got 8x3x16x16 / 4",
        ),
        ("picoface_x4", "{0} lr:1x3x64x64 {1} lr:1x3x64x64 {2} lr:1x3x32x32", "min <= opt <= max for lr"),
    ],
)
def test_nonsense_is_refused(name, line, words):
    with pytest.raises(InputError, match=words):
        profiles(name, line.format("--min-shapes", "--opt-shapes", "--max-shapes"))
