"""Orders of points in the mirror: tables against named points and shapes, and orders found from faces alone."""

import numpy as np
import pytest

from sdk.errors import InputError
from sdk.image.metrics import nme
from training.data.mirror import FLIPS, NORMALISERS, error_of, mirror_order

RNG = np.random.default_rng(3)
AFLW = "brow1 brow2 brow3 BROW3 BROW2 BROW1 eye1 eye2 eye3 EYE3 EYE2 EYE1 ear nose tip NOSE EAR lip mouth LIP chin"
NAMES = {  # capitals: the same on the picture's right
    "5": ["eye", "EYE", "nose", "lip", "LIP"],
    "21": AFLW.split(),
    "19": [name for name in AFLW.split() if name.lower() != "ear"],
}
# PAPERS 7.3, pair by pair
PAIRS_68 = [
    *((n, 16 - n) for n in range(17)),
    *((n, 43 - n) for n in range(17, 27)),
    *((n, n) for n in range(27, 31)),
    *((n, 66 - n) for n in range(31, 36)),
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (51, 51), (55, 59), (56, 58), (57, 57)),
    *((60, 64), (61, 63), (62, 62), (65, 67), (66, 66)),
]


def symmetric(order: np.ndarray) -> np.ndarray:
    """A shape [K, 2] that its mirror image, in this order, is equal to; no two points near each other."""
    count = len(order)
    while True:
        shape = np.zeros((count, 2))
        for n, other in enumerate(order):
            if n == other:
                shape[n] = 0.0, RNG.uniform(-1, 1)
            elif n < other:
                shape[n] = RNG.uniform(0.04, 1), RNG.uniform(-1, 1)
                shape[other] = shape[n] * (-1, 1)
        apart = np.linalg.norm(shape[:, None] - shape[None], axis=2) + np.eye(count)
        if apart.min() > 0.5 / count:
            return shape


def faces(shape: np.ndarray, count: int, *, noise: float) -> np.ndarray:
    """The shape as annotated: turned up to 25 degrees, of many sizes and places, each point off a little."""
    angle = np.radians(RNG.uniform(-25, 25, count))
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], 1), np.stack([np.sin(angle), np.cos(angle)], 1)], 1)
    size = RNG.uniform(30, 300, (count, 1, 1))
    off = shape + noise * RNG.normal(size=(count, *shape.shape))
    return np.einsum("nij,nkj->nki", turn, off) * size + RNG.uniform(0, 500, (count, 1, 2))


@pytest.mark.parametrize("scheme", sorted(NAMES))
def test_tables_swap_names_of_left_and_right(scheme):
    names = NAMES[scheme]
    partner = [name.swapcase() if name.swapcase() in names else name for name in names]
    assert [names[k] for k in FLIPS[scheme]] == partner


def test_the_table_of_68_is_the_papers():
    table = np.full(68, -1)
    for a, b in PAIRS_68:
        table[a], table[b] = b, a
    np.testing.assert_array_equal(FLIPS["68"], table)


@pytest.mark.parametrize("scheme", sorted(FLIPS))
def test_a_mirrored_face_in_its_order_is_a_face_again(scheme):
    """What a flip does to a picture's points gives back a symmetric shape, and only by the table."""
    order = FLIPS[scheme]
    shape = symmetric(order)
    mirrored = (shape * (-1, 1))[order]
    np.testing.assert_allclose(mirrored, shape)
    assert np.abs(shape * (-1, 1) - shape).max() > 0.1
    np.testing.assert_array_equal(mirror_order(faces(shape, 400, noise=0.002)), order)


def test_an_order_of_194_is_found_from_faces():
    order = np.arange(194)
    shuffled = RNG.permutation(194)[:180].reshape(90, 2)  # 14 points on the axis
    for a, b in shuffled:
        order[a], order[b] = b, a
    found = mirror_order(faces(symmetric(order), 500, noise=0.002))
    np.testing.assert_array_equal(found, order)


def test_faces_that_do_not_tell_are_refused():
    profile = np.stack([np.linspace(0, 1, 39) ** 2, np.linspace(-1, 1, 39)], axis=1)
    with pytest.raises(InputError, match="for each of 39 points"):
        mirror_order(faces(profile, 300, noise=0.002))
    for bad in (np.zeros((5, 2)), np.full((3, 68, 2), np.nan), np.zeros((0, 68, 2))):
        with pytest.raises(InputError, match="finite points"):
            mirror_order(bad)


def test_errors_are_divided_by_the_papers_lengths():
    """One pixel off everywhere, over lengths measured by hand."""
    for scheme, count in (("68", 68), ("19", 19), ("194", 194), ("68-3d", 68)):
        truth = RNG.uniform(0, 100, (2, count, 2))
        truth[:, 0], truth[:, 1] = (0.0, 0.0), (100.0, 64.0)
        box = np.array([[0.0, 0.0, 25.0, 100.0], [10.0, 10.0, 35.0, 26.0]])
        length = {
            "outer_eye": np.linalg.norm(truth[:, 36 % count] - truth[:, 45 % count], axis=1),
            "sqrt_box": np.array([50.0, 20.0]),
            "sqrt_landmark_box": np.sqrt((truth[..., 0].max(1)) * (truth[..., 1].max(1))),
        }[NORMALISERS[scheme]]
        np.testing.assert_allclose(error_of(scheme, truth + (1.0, 0.0), truth, box=box), 1.0 / length)
    seen = np.arange(68) % 2 == 0
    pred = np.where(seen[:, None], truth[:, :68] + 1.0, np.nan_to_num(truth[:, :68] * 9.0))
    shown = error_of("68", pred[:, :68], truth[:, :68], visible=np.tile(seen, (2, 1)))
    np.testing.assert_allclose(shown, nme(truth[:, :68] + 1.0, truth[:, :68]))
    for scheme in ("21", "39", "5"):
        with pytest.raises(InputError, match="whose normaliser the papers give"):
            error_of(scheme, truth, truth)
