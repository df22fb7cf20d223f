"""The teacher's labels: found by a stand-in, cut anew, and kept out where it contradicts itself."""

import numpy as np
import pytest
import torch

from sdk.image.heatmap import encode
from training import pseudo_label
from training.data.packs import open_pack
from training.data.store import load_pseudo


class Finder:
    """Sees where the dark dots of the drawn faces are, by knowing the picture: the truth moves with the window."""

    def __init__(self, disagree: float = 0.0) -> None:
        self.disagree = disagree

    def heatmaps(self, lr: torch.Tensor) -> torch.Tensor:
        """Points on a circle in the left picture; in the mirrored one the same seen in a mirror, plus an error."""
        angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        points = np.stack([15.5 + 8 * np.cos(angle), 15.5 + 8 * np.sin(angle)], axis=1)
        mirrored = pseudo_label.mirror_points(points, 32)
        mirrored[:, 1] += self.disagree
        return torch.from_numpy(encode(np.stack([points, mirrored]), (32, 32), sigma_cells=1.5))


def test_points_settle_in_the_landmark_window():
    """The circle spans half of the window, so each pass cuts 1.5 x 0.5 = 0.75 of the last window's side."""
    picture = np.full((160, 160, 3), 128, np.uint8)
    points, disagreement = pseudo_label.label(Finder(), picture)
    assert disagreement < 1e-3
    width = points[:, 0].max() - points[:, 0].min()
    assert width == pytest.approx(0.5 * 160 * 0.75**2, rel=0.02)


def test_faces_on_which_the_views_disagree_are_left_out(face_pack):
    pack = open_pack(face_pack)
    pack.points.clear()
    assert len(pseudo_label.label_pack(Finder(), pack, "train")) == 8
    assert not pseudo_label.label_pack(Finder(disagree=3.0), pack, "train")


def test_labelled_faces_are_not_labelled_again(face_pack):
    assert not pseudo_label.label_pack(Finder(), open_pack(face_pack), "train")


def test_pseudo_labelled_faces_are_cut_like_labelled_ones(face_pack):
    """In the cut, the larger side of the landmark box is 1 / 1.5 of the picture."""
    pack = open_pack(face_pack)
    store = load_pseudo(pack, {"face_01": pack.points["face_01"]}, canvas=96, trust=0.5)
    extent = (store.points[0].amax(dim=0) - store.points[0].amin(dim=0)).max()
    assert float(extent) == pytest.approx(96 / 1.5, abs=0.01) and store.trust.tolist() == [0.5]
    x, y = store.points[0, 40].round().long().tolist()
    assert int(store.pixels[0, :, y, x].sum()) < 250, "the dark dot that marks the point"
