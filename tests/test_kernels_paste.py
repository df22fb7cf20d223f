"""paste_match and paste on the CPU runner: a case by eye, their contract, random faces against sdk.image's paste."""

import ctypes

import numpy as np
import pytest
from kernel_host import Kernels, Memory, agreed, needs_compiler, sanitized
from test_sdk_image_paste import oval, turned

from sdk.image.crop import window_affine
from sdk.image.nv12 import Nv12Frame, rgb_to_yuv_matrix, yuv_to_rgb_matrix
from sdk.image.nv12_paste import paste_nv12
from sdk.image.paste import paste

pytestmark = needs_compiler

POINTERS = ("frame", "uv", "faces", "maps", "landmarks", "strength", "count", "placed", "status")
INTEGERS = ("width", "height", "size", "capacity", "color_match")
PLACED_BYTES = 148  # sizeof(PasteFace)
DONE, BAD, OUTSIDE, POISON = 0, 1, 2, -0x5A5A5A5B


class PasteArgs(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in POINTERS],
        ("pitch", ctypes.c_int64),
        ("uv_pitch", ctypes.c_int64),
        ("to_rgb", ctypes.c_float * 12),
        ("to_yuv", ctypes.c_float * 12),
        *[(name, ctypes.c_float) for name in ("siting_x", "feather", "amount")],
        *[(name, ctypes.c_int32) for name in INTEGERS],
    ]


def padded(plane, padding):
    return np.pad(plane.reshape(len(plane), -1), ((0, 0), (0, padding)), constant_values=99)


def run(
    frame,
    faces,
    maps,
    *,
    landmarks=None,
    strength=1.0,
    color_match=True,
    feather=0.08,
    count=None,
    padding=0,
    tiles=3,
    schedule=0,
):
    """(planes, status) after both kernels; planes: [H, W, 3], or Y and UV one behind the other."""
    nv12 = isinstance(frame, Nv12Frame)
    planes = [frame.y, frame.uv] if nv12 else [frame]
    N, S = faces.shape[:2]
    with Memory() as memory:
        optional = {"landmarks": landmarks, "strength": None if np.isscalar(strength) else strength}
        given = {k: memory.put(np.asarray(v, np.float32)) for k, v in optional.items() if v is not None}
        buffers = [memory.poisoned(padded(p, padding).shape, np.uint8) for p in planes]
        for buffer, plane in zip(buffers, planes, strict=True):
            buffer.view()[...] = padded(plane, padding)
        status = memory.poisoned((N,), np.int32)
        args = PasteArgs(
            frame=buffers[0].pointer, uv=buffers[1].pointer if nv12 else None, faces=memory.put(faces),
            maps=memory.put(np.asarray(maps, np.float32)), placed=memory.poisoned((N, PLACED_BYTES), np.uint8).pointer,
            count=None if count is None else memory.put(np.array([count], np.int32)), status=status.pointer, **given,
            pitch=buffers[0].shape[1], uv_pitch=buffers[-1].shape[1], width=planes[0].shape[1],
            height=planes[0].shape[0], size=S, capacity=N, color_match=color_match, feather=feather,
            amount=strength if np.isscalar(strength) else np.nan,
        )  # fmt: skip
        if nv12:
            args.to_rgb[:] = yuv_to_rgb_matrix(frame.matrix, full_range=frame.full_range).ravel()
            args.to_yuv[:] = rgb_to_yuv_matrix(frame.matrix, full_range=frame.full_range).ravel()
            args.siting_x = 0.25 if frame.siting == "left" else 0.0
        form, block = "nv12" if nv12 else "bgr", (256, 1, 1)
        Kernels("paste_match.cu").launch(
            f"paste_match_{form}", args, grid=(max(1, N), 1, 1), block=block, schedule=schedule
        )
        Kernels("paste.cu").launch(f"paste_{form}", args, grid=(tiles, max(1, N), 1), block=block, schedule=schedule)
        out = [buffer.get() for buffer in buffers]
        for rows, plane in zip(out, planes, strict=True):
            assert np.all(rows[:, plane[0].size :] == 99), "the rows' padding was written"
        cut = [rows[:, : plane[0].size].reshape(plane.shape) for rows, plane in zip(out, planes, strict=True)]
        return (np.concatenate([plane.ravel() for plane in cut]) if nv12 else cut[0]), status.get()


def expected(frame, faces, maps, *, feather=0.08, **options):
    """The NumPy definition on the same float32 arguments."""
    maps, feather = np.asarray(maps, np.float32), float(np.float32(feather))
    if not isinstance(frame, Nv12Frame):
        return paste(frame, faces, maps, feather=feather, **options)
    copy = Nv12Frame(frame.y.copy(), frame.uv.copy(), frame.matrix, frame.full_range, frame.siting)
    paste_nv12(copy, faces, maps, feather=feather, **options)
    return np.concatenate([copy.y.ravel(), copy.uv.ravel()])


def random_frame(rng, height, width, *, nv12):
    if not nv12:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    y = rng.integers(0, 256, (height, width), dtype=np.uint8)
    uv = rng.integers(0, 256, (-(-height // 2), -(-width // 2), 2), dtype=np.uint8)
    kind = {"matrix": str(rng.choice(["bt601", "bt709"])), "siting": str(rng.choice(["left", "center"]))}
    return Nv12Frame(y, uv, full_range=bool(rng.integers(2)), **kind)


def random_faces(rng, height, width, *, N=4):
    """Faces [N, S, S, 3], maps [N, 2, 3], landmarks [N, 68, 2]: straight and turned, tiny and large, over borders."""
    S = int(rng.choice([1, 5, 16, 23]))
    sides = np.exp(rng.uniform(np.log(1.0), np.log(1.5 * max(height, width)), (N, 1)))
    low = rng.uniform(-0.5, 1.0, (N, 2)) * (width, height) - 0.2 * sides
    maps = window_affine(np.concatenate([low, low + sides], axis=1), size=S)
    if rng.integers(2):
        maps = np.concatenate([turned(maps[k : k + 1], rng.uniform(-3, 3), S) for k in range(N)])
    points = np.stack([oval(a + b / 2, 0.33 * float(b[0])) for a, b in zip(low, sides, strict=True)])
    return rng.integers(0, 256, (N, S, S, 3), dtype=np.uint8), maps.astype(np.float32), points.astype(np.float32)


def test_a_grey_face_on_grey_by_eye():
    frame, face = np.full((12, 14, 3), 100, np.uint8), np.full((1, 8, 8, 3), 200, np.uint8)
    maps = window_affine(np.array([[3.0, 2.0, 11.0, 10.0]]), size=8)
    out, status = agreed(lambda s: run(frame, face, maps, color_match=False, feather=0.25, schedule=s))
    # An edge of 2 px: the outermost pixels are a quarter into it, the next three quarters: 0.15625 and 0.84375.
    assert out[6, :, 0].tolist() == [100] * 3 + [116, 184, 200, 200, 200, 200, 184, 116] + [100] * 3
    assert out[2, 3].tolist() == [102] * 3  # 0.15625 squared in the corner
    assert status.tolist() == [DONE]


@pytest.mark.parametrize("nv12", [False, True])
@pytest.mark.parametrize("seed", range(14))
def test_equals_numpy(nv12, seed):
    rng = np.random.default_rng(50 * nv12 + seed)
    height, width = int(rng.integers(1, 80)), int(rng.integers(1, 110))
    frame = random_frame(rng, height, width, nv12=nv12)
    faces, maps, points = random_faces(rng, height, width)
    options = {"landmarks": points if rng.integers(2) else None, "color_match": bool(rng.integers(3))}
    options |= {"feather": float(rng.choice([1e-6, 0.08, 0.4]))}
    options["strength"] = 1.0 if rng.integers(2) else np.float32([1.0, 0.0, 0.3, 0.9])
    padding, tiles = int(rng.integers(0, 9)), int(rng.integers(1, 6))
    out, status = agreed(lambda s: run(frame, faces, maps, padding=padding, tiles=tiles, schedule=s, **options), (0, 8))
    wanted = expected(frame, faces, maps, **options)
    # float32 moves values by about 0.001 levels, 0.1 on the edge of a feather of nothing: a level where they are
    # rounded, in about as many of 100 pixels. A later face over that adds none, since it blends the difference away.
    difference = np.abs(out.astype(int) - wanted)
    assert difference.max() <= 1 and difference.mean() < 0.01, (difference.max(), difference.mean())
    assert set(status.tolist()) <= {DONE, OUTSIDE}


@pytest.mark.parametrize("nv12", [False, True])
def test_many_overlapping_faces_keep_their_order(nv12):
    rng = np.random.default_rng(9)
    frame = random_frame(rng, 40, 60, nv12=nv12)
    corner = rng.uniform(0, 30, (270, 2))  # more than one round of 256
    maps = window_affine(np.concatenate([corner, corner + 9.0], axis=1), size=4)
    faces = rng.integers(0, 256, (270, 4, 4, 3), dtype=np.uint8)
    out, _ = agreed(lambda s: run(frame, faces, maps, schedule=s, tiles=1), (0, 1))
    difference = np.abs(out.astype(int) - expected(frame, faces, maps))
    assert difference.max() <= 1 and difference.mean() < 0.01


def test_a_large_region_and_a_face_shrunk_a_lot():
    rng = np.random.default_rng(10)
    frame = random_frame(rng, 200, 300, nv12=False)
    faces = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    windows = np.array([[-20.0, -40.0, 330.0, 310.0], [100.3, 90.1, 104.3, 94.1], [50.0, 50.0, 50.8, 50.8]])
    out, status = run(frame, faces, window_affine(windows, size=64), tiles=7)
    assert np.abs(out.astype(int) - expected(frame, faces, window_affine(windows, size=64))).max() <= 1
    assert status[:2].tolist() == [DONE, DONE]


@pytest.mark.parametrize("nv12", [False, True])
def test_bad_faces_touch_nothing_and_say_so(nv12):
    frame = random_frame(np.random.default_rng(11), 30, 41, nv12=nv12)
    before = np.concatenate([frame.y.ravel(), frame.uv.ravel()]) if nv12 else frame.copy()
    faces, good = np.zeros((8, 6, 6, 3), np.uint8), window_affine(np.array([[4.0, 5.0, 20.0, 21.0]]), size=6)[0]
    maps, points, strength = np.repeat(good[None], 8, 0), np.repeat(oval(12.0, 5.0)[None], 8, 0), np.ones(8, np.float32)
    maps[0, 0, 0], maps[1, 1, 2], maps[2], points[3, 40, 1], points[4, 0, 0] = np.nan, np.inf, 0.0, np.nan, -np.inf
    strength[5], strength[6], maps[7, 0, 2] = np.nan, 1.5, 500.0
    out, status = agreed(lambda s: run(frame, faces, maps, landmarks=points, strength=strength, schedule=s))
    assert status.tolist() == [BAD] * 7 + [OUTSIDE]
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize(("count", "used"), [(0, 0), (2, 2), (3, 3), (7, 3), (-1, 0), (None, 3)])
def test_only_the_faces_counted_are_pasted(count, used):
    rng = np.random.default_rng(12)
    frame, (faces, maps, _) = random_frame(rng, 30, 40, nv12=False), random_faces(rng, 30, 40, N=3)
    out, status = run(frame, faces, maps, count=count)
    assert np.abs(out.astype(int) - expected(frame, faces[:used], maps[:used])).max() <= 1
    assert (status != POISON).tolist() == [True] * used + [False] * (3 - used)


def under_sanitizers():
    rng = np.random.default_rng(13)
    for nv12 in (False, True):
        for height, width in ((23, 31), (1, 1), (40, 6)):
            frame, (faces, maps, points) = random_frame(rng, height, width, nv12=nv12), random_faces(rng, height, width)
            run(frame, faces, maps, landmarks=points, strength=np.ones(4, np.float32), count=3)
            run(frame, faces, maps, tiles=1)


def test_sanitizers_find_nothing():
    done = sanitized("test_kernels_paste:under_sanitizers")
    assert done.returncode == 0, done.stderr
