"""LFW's protocol against brute force, recognisers from files, face parsing."""

import cv2
import numpy as np
import onnx
import pytest
from made_papers import drawn, pairs_archive
from onnx import TensorProto, helper

from sdk.errors import InputError, ModelError
from sdk.image.metrics import iou
from sdk.spec import ModelSpec
from training.data.packs import open_pack
from training.parsing_iou import Parser, labels_of, parse_scores
from training.predictors import Network
from training.protocol_run import Asked, run_protocol
from training.verification import Embedder, Pairs, accuracies, best_threshold, open_embedder, read_pairs, verify


def lfw_archive(folder, *, people=6):
    """Two pictures of each person that differ in brightness; pairs of the same and of neighbours, in three folds."""
    rng = np.random.default_rng(4)
    (folder / "img").mkdir(parents=True)
    lines, pairs = ["id,file,split,kind,w,h"], ["left,right,same,fold"]
    for person in range(people):
        face = drawn(rng, 128, 128)
        for shot, gain in enumerate((1.0, 0.8)):
            name = f"p{person}_{shot}"
            cv2.imwrite(str(folder / "img" / f"{name}.png"), (face * gain).astype(np.uint8)[..., ::-1])
            lines.append(f"{name},img/{name}.png,lfw,HR,128,128")
        pairs.append(f"p{person}_0,p{person}_1,1,{person % 3}")
        pairs.append(f"p{person}_0,p{(person + 1) % people}_0,0,{person % 3}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    (folder / "pairs.csv").write_text("\n".join(pairs) + "\n")
    return folder


def test_thresholds_by_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(50):
        similarity = rng.integers(0, 8, 30) / 8.0  # many ties
        same = rng.random(30) < similarity
        at = best_threshold(similarity, same)
        tried = [np.mean((similarity >= t) == same) for t in [*np.arange(-0.05, 1.1, 1 / 16), np.inf]]
        assert np.mean((similarity >= at) == same) == max(tried)


def test_a_fold_is_judged_by_the_others_threshold():
    """Fold 1's own best threshold would be right for all of it; the other fold's is right for half."""
    similarity = np.array([0.9, 0.1, 0.5, 0.2])
    pairs = Pairs(*np.zeros((2, 4), int), np.array([True, False, False, False]), np.array([0, 0, 1, 1]))
    assert accuracies(similarity, pairs).tolist() == [0.5, 0.5 + 0.5 * (0.5 < (0.9 + 0.1) / 2)]


def test_verification_of_methods_bicubic_and_truth(tmp_path):
    pack = lfw_archive(tmp_path / "lfw")
    asked = Asked(pack=str(pack), embedder="grey")
    rows = run_protocol("lfw", ["picoface_x8"], asked, path=None, command="", report=lambda text: None)
    assert [(r["model"], r["embedder"], r["n"], len(r["folds"])) for r in rows] == [
        (name, "grey", 12, 3) for name in ("bicubic", "truth", "picoface_x8")
    ]
    assert rows[1]["accuracy"] == 1.0 and rows[0]["psnr"] < 40 and 0 <= rows[2]["accuracy"] <= 1
    with pytest.raises(InputError, match="all pictures"):
        run_protocol("lfw", [], Asked(embedder="grey", limit=3), path=None, command="", report=lambda text: None)


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_recogniser_from_a_file(tmp_path, batch):
    """One that averages each channel: the vector is the mean colour, in ArcFace's range."""
    node = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 112, 112])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3, 1, 1])
    graph = helper.make_graph([node], "mean", [given], [found])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "mean.onnx")
    embedder = open_embedder(str(tmp_path / "mean.onnx"))
    pictures = np.stack([np.full((20, 20, 3), colour, np.uint8) for colour in ((255, 0, 51), (0, 255, 102))])
    expected = (np.array([[255, 0, 51], [0, 255, 102]]) - 127.5) / 127.5
    tolerance = 1e-4  # a float32 sum of 12,544 numbers
    assert embedder.embed(pictures) == pytest.approx(expected, abs=tolerance) and embedder.name == "mean"


def test_files_that_are_no_recognisers(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    for name, words in (("broken.onnx", "an ONNX network"), ("absent.onnx", "check the path")):
        with pytest.raises(ModelError, match=words):
            open_embedder(str(tmp_path / name))
    from sdk.zoo import model_path

    with pytest.raises(ModelError, match="fixed side"):
        open_embedder(str(model_path("picoface_x4")))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "training.data.convert lfw"),
        ("left,right,same,fold\na,b,2,0\n", "line 2"),
        ("left,right,same,fold\na,z,1,0\n", "'z', which is not there"),
        ("left,right,same,fold\na,b,1,zero\n", "fold 'zero'"),
        ("left,right,same,fold\na,b,1,0\n", "two folds"),
        ("left,right\na,b\n", "line 2"),
    ],
)
def test_lists_of_pairs_that_are_refused(tmp_path, text, words):
    if text is not None:
        (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_pairs(tmp_path / "pairs.csv", ["a", "b"])


def test_a_vector_of_zeros_is_no_crash():
    pairs = Pairs(np.array([0, 0]), np.array([1, 1]), np.array([True, False]), np.array([0, 1]))
    found = verify(Embedder("none", None, lambda p: np.zeros((len(p), 4))), [np.zeros((8, 8, 3), np.uint8)] * 2, pairs)
    assert 0.0 <= found["accuracy"] <= 1.0


def halves(path, *, classes=3):
    """A parser: class 2 where red is bright, else 0; class 1 never occurs."""

    def run(batch):
        red = batch[:, 0, ::2, ::2]
        return {"sr": batch, "parsing": np.stack([0.5 - red, np.full_like(red, -9.0), red - 0.5], axis=1)}

    names = {"parsing_count": classes, "output_names": ("sr", "parsing"), "input_upscaled": True}
    return Parser(Network("halves", ModelSpec("halves", 16, 8, **names), run, path=path))


def test_parsing_iou_by_labels_and_by_the_truth(tmp_path):
    (tmp_path / "parser.pt").write_bytes(b"weights")
    parser = halves(tmp_path / "parser.pt")
    picture, other = np.zeros((2, 128, 128, 3), np.uint8)
    picture[:, 64:], other[:, 96:] = 255, 255
    found = parse_scores(parser, [picture], lambda: [other], labels=None)
    assert found["reference"] == "truth" and found["iou_by_class"][1] is None
    assert found["iou_by_class"][2] == pytest.approx(0.5) and found["iou_by_class"][0] == pytest.approx(64 / 96)
    assert found["iou"] == pytest.approx((0.5 + 64 / 96) / 2)
    pack = pairs_archive(tmp_path / "pairs", faces=1)
    lines = (pack / "index.csv").read_text().splitlines()
    (pack / "index.csv").write_text("\n".join([lines[0] + ",parsing", lines[1] + ",label.png", lines[2] + ","]) + "\n")
    label = np.zeros((128, 128), np.uint8)
    label[:, 32:] = 2
    cv2.imwrite(str(pack / "label.png"), label)
    labels = labels_of(open_pack(pack), ["face_0"], size=64, classes=3)
    assert np.array_equal(labels[0], label[1::2, 1::2])
    scores = parse_scores(parser, [picture], lambda: [other], labels=labels)
    expected = iou(parser(picture[None]), labels, classes=3)
    assert scores["reference"] == "labels" and scores["iou"] == pytest.approx(np.nanmean(expected))
    cv2.imwrite(str(pack / "label.png"), np.full((9, 9), 7, np.uint8))
    with pytest.raises(InputError, match="class numbers below 3"):
        labels_of(open_pack(pack), ["face_0"], size=64, classes=3)
    assert labels_of(open_pack(pairs_archive(tmp_path / "plain")), ["face_0"], size=64, classes=3) is None


def test_networks_that_are_no_parsers(tmp_path):
    from training.predictors import open_network

    with pytest.raises(ModelError, match="another --parser"):
        Parser(open_network("picoface_x8"))
