"""The statistical model of faces: principal components as NumPy's SVD finds them, and a file that gives faces."""

import numpy as np

from export import faces as faces_module
from training.eigenfaces import CHROMA_SIDE, SIDE, learn, main, portrait, vectors_of


def test_components_are_those_of_a_singular_value_decomposition():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(0, 1, (200, 3)) * [30, 10, 3] @ rng.normal(0, 1, (3, 40)) + 100).astype(np.float32)
    model = learn(vectors, 3)
    _, values, directions = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    components = model["components"].astype(np.float64) * model["scale"][:, None]
    np.testing.assert_allclose(np.abs(components @ directions[:3].T), np.eye(3), atol=0.02)  # int8 rounding
    np.testing.assert_allclose(model["deviation"], values[:3] / np.sqrt(199), rtol=1e-3)
    assert model["explained"] > 0.999


def test_a_vector_is_luminance_then_chroma():
    grey = np.full((1, SIDE, SIDE, 3), 100, np.uint8)
    vector = vectors_of(grey)
    assert vector.shape == (1, SIDE**2 + 2 * CHROMA_SIDE**2)
    np.testing.assert_allclose(vector[0, SIDE**2 :], 128.0, atol=0.01)
    assert np.ptp(vector[0, : SIDE**2]) < 0.01


def test_the_portrait_has_a_face_in_the_middle_two_thirds():
    from sdk.enhancer import FaceEnhancer

    picture = portrait()
    assert picture.shape == (224, 224, 3)
    third = 224 / 6
    with FaceEnhancer(color="rgb") as enhancer:
        (face,) = enhancer.enhance(picture, np.array([[third, third, 224 - third, 224 - third]]), box_kind="crop")
    assert face.confidence > 0.8


def test_the_command_writes_a_file_that_faces_are_drawn_from(face_pack, tmp_path, monkeypatch, capsys):
    out = tmp_path / "model.npz"
    for where, side in (("training.eigenfaces.SIDE", 24), ("export.faces.LUMINANCE_SIDE", 24)):
        monkeypatch.setattr(where, side)  # the eigenvectors of 64 px take 15 s
    monkeypatch.setattr("training.eigenfaces.COMPONENTS", 5)
    assert main(["--pack", str(face_pack), "-o", str(out)]) == 0
    assert "% of the variance" in capsys.readouterr().out
    monkeypatch.setattr(faces_module, "MODEL_FILE", out)
    faces = faces_module._builtin(32, 8, 0)
    assert faces.hr.shape == (8, 32, 32, 3)
    assert main(["--pack", str(tmp_path / "nothing"), "-o", str(out)]) == 2
