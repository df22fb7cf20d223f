"""Archives with mistakes inside: each is named when the archive is opened."""

import lzma

import numpy as np
import pytest

from sdk.errors import InputError
from training.data.packs import open_pack
from training.data.store import load_store


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"id,file\n\xff\xfe,x.png\n", "UTF-8"),
        (b"file,split\nx.png,val\n", "columns `id`"),
        (b"id,file,file128\na,,\n", "row 2"),
        (b"id,file\na,x.png\nb\n", "row 3"),
        (b"id,file\n,x.png\n", "blank"),
        (b"id,file\na,x.png,more\n", "no more values"),
        (b"id,file\na,../x.png\n", "inside the archive"),
        (b"id,file128\na,/etc/x.png\n", "inside the archive"),
        (b"id,file,w\na,x.png,wide\n", "a number as `w`"),
        (b"id,file,w\na,x.png,nan\n", "a number as `w`"),
        (b"id,file,scene,w\na,x.png,s.png,9\n", "a number as `scene_x0`"),
    ],
)
def test_an_index_with_a_mistake_is_refused(tmp_path, content, words):
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_pack(tmp_path)


def test_an_index_may_begin_with_a_byte_order_mark_and_have_short_rows(tmp_path):
    (tmp_path / "index.csv").write_bytes(b"\xef\xbb\xbfid,file,kind\na,x.png\n")
    assert open_pack(tmp_path).rows == [{"id": "a", "file": "x.png", "kind": ""}]


def savez(**arrays):
    return lambda path: np.savez(path, **arrays)


IDS, POINTS = np.array(["a", "b"]), np.zeros((2, 68, 2), np.float32)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_bytes(b"no archive"), "arrays `id`"),
        (lambda path: path.write_bytes(b""), "arrays `id`"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut"), "arrays `id`"),
        (
            lambda path: np.save(path.with_suffix(".npy"), POINTS) or path.with_suffix(".npy").rename(path),
            "arrays `id`",
        ),
        (savez(id=IDS, points=POINTS), "arrays `id`"),
        (savez(id=IDS.astype(object), pts68=POINTS), "arrays `id`"),
        (savez(id=IDS, pts68=POINTS[:, :5]), "numeric pts68"),
        (savez(id=IDS, pts68=POINTS[:1]), "numeric pts68"),
        (savez(id=IDS, pts68=POINTS.astype(str)), "numeric pts68"),
        (savez(id=IDS, pts68=np.where(np.arange(2)[:, None, None] == 1, np.nan, POINTS)), "infinity for b"),
    ],
)
def test_points_with_a_mistake_are_refused(face_pack, write, words):
    write(face_pack / "landmarks.npz")
    with pytest.raises(InputError, match=words):
        open_pack(face_pack)


def test_a_damaged_xz_is_no_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("FACETRT_CACHE", str(tmp_path / "cache"))
    packed = bytearray(lzma.compress(np.random.default_rng(0).bytes(20_000)))
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "bad.tar.xz").write_bytes(bytes(packed))
    with pytest.raises(InputError, match="readable tar"):
        open_pack(tmp_path / "bad.tar.xz")


def test_the_store_takes_square_pictures_only(face_pack):
    import cv2

    cv2.imwrite(str(face_pack / "img" / "face_00.png"), np.zeros((160, 120, 3), np.uint8))
    pack = open_pack(face_pack)
    with pytest.raises(InputError, match="face_00 of 120 x 160"):
        load_store(pack, pack.rows, canvas=80)
