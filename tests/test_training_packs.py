"""Archives: folders and tars, broken ones, and the store."""

import os
import tarfile

import numpy as np
import pytest

from sdk.errors import InputError
from training.data.packs import open_pack
from training.data.store import load_store


def test_a_folder_and_its_tar_give_the_same(face_pack, tmp_path, monkeypatch):
    monkeypatch.setenv("FACETRT_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "made.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(face_pack, arcname="any_name")
    folder, packed = open_pack(face_pack), open_pack(archive)
    assert packed.rows == folder.rows and len(packed.select("val")) == 4
    np.testing.assert_array_equal(packed.picture(packed.rows[0]), folder.picture(folder.rows[0]))
    assert open_pack("made").rows == folder.rows  # by name, from the cache
    assert not list((tmp_path / "cache").glob("tmp*"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "an archive folder"),
        (lambda p: p.write_bytes(b""), "readable tar"),
        (lambda p: p.write_bytes(b"no tar at all" * 99), "readable tar"),
    ],
)
def test_what_is_no_archive_is_said_to_be_none(tmp_path, monkeypatch, make, words):
    monkeypatch.setenv("FACETRT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "broken.tar.xz"
    make(path)
    with pytest.raises(InputError, match=words):
        open_pack(path)
    assert not (tmp_path / "cache" / "broken").exists()


def test_a_truncated_tar_leaves_nothing_behind(face_pack, tmp_path, monkeypatch):
    monkeypatch.setenv("FACETRT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "cut.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        tar.add(face_pack, arcname="made")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="readable tar"):
        open_pack(path)
    assert not (tmp_path / "cache" / "cut").exists()


def test_a_split_that_is_not_there_names_those_that_are(face_pack):
    with pytest.raises(InputError, match=r"\['train', 'val'\]"):
        open_pack(face_pack).select("test")


def test_an_index_without_files_is_refused(tmp_path):
    (tmp_path / "index.csv").write_text("id,name\n1,x\n")
    with pytest.raises(InputError, match="file128"):
        open_pack(tmp_path)


def test_the_store_moves_points_with_the_pixels(face_pack):
    """A picture of 160 px stored at 80: edges map to edges, so a point p becomes (p + 0.5) / 2 - 0.5."""
    pack = open_pack(face_pack)
    store = load_store(pack, pack.rows, canvas=80)
    np.testing.assert_allclose(store.points[0].numpy(), (pack.points["face_00"] + 0.5) / 2 - 0.5, atol=1e-5)
    assert store.pixels.shape == (12, 3, 80, 80) and store.size.tolist() == [80] * 12
    roomy = load_store(pack, pack.rows, canvas=200)
    assert roomy.size.tolist() == [160] * 12 and not roomy.pixels[:, :, 160:].any()


def pack_up(folder, path):
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname="made")
    return path


def test_names_with_dots_do_not_share_a_folder_and_a_new_tar_is_read_again(face_pack, tmp_path, monkeypatch):
    monkeypatch.setenv("FACETRT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "faces.v2").mkdir(parents=True)  # an empty leftover
    first = pack_up(face_pack, tmp_path / "faces.v1.tar")
    index = face_pack / "index.csv"
    index.write_text("\n".join(index.read_text().splitlines()[:4]) + "\n")
    second = pack_up(face_pack, tmp_path / "faces.v2.tar")
    assert (len(open_pack(first).rows), len(open_pack(second).rows)) == (12, 3)
    assert open_pack("faces.v1").name == "faces.v1"
    pack_up(face_pack, first)  # built again under the same name
    os.utime(first, ns=(1, 1))
    assert len(open_pack(first).rows) == 3 and len(open_pack("faces.v1").rows) == 3
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["faces.v1", "faces.v2"]


def test_a_cached_folder_made_by_hand_stays(face_pack, tmp_path, monkeypatch):
    monkeypatch.setenv("FACETRT_CACHE", str(tmp_path))
    path = pack_up(face_pack, tmp_path / f"{face_pack.name}.tar")
    assert len(open_pack(path).rows) == 12 and not (face_pack / ".source").exists()
    with pytest.raises(InputError, match="an archive folder"):
        open_pack(tmp_path / "nowhere" / path.name)  # a path, not the name of a cached one
    (face_pack / "index.csv").unlink()
    with pytest.raises(InputError, match="something else"):
        open_pack(path)
