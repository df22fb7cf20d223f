"""Faces to calibrate on and to judge by: cut and converted by the very code that serves a camera.

    "builtin"   faces drawn from a shipped statistical model, and views of a public-domain portrait
    a folder    pictures of faces, each whole picture one window
    an archive  index.csv, pictures and landmarks.npz (checkout only: training.data.packs reads it); split "val"

Faces without points of their own are given those that the shipped picoface_x4 finds in fp32 from 64 px, twice the size
that any network is judged at: not the truth, but nearer to it than what is judged.

Deterministic: the same source, count and seed give the same faces, whose digest goes into the manifest.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import FaceTRTError, InputError, MissingPackageError
from sdk.image.crop import crop
from sdk.image.heatmap import cells_to_image, decode
from sdk.image.pixels import to_network, ycbcr_to_rgb
from sdk.image.resample import resize, round_8bit
from sdk.pictures import read_picture
from sdk.runtime.backend import Backend, open_backend
from sdk.spec import ModelSpec
from sdk.zoo import model_path

__all__ = ["MAX_FACES", "MIN_FACES", "Faces", "load_faces", "lr_batch", "lr_crops"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

MIN_FACES, MAX_FACES = 64, 512  # fewer leave ranges to chance, more change nothing measurable
MIN_SIDE_PX = 32  # a calibration picture below that shows nothing the network would see
LEAST_CONTRAST = 2.0  # grey levels, standard deviation: ranges of a picture without any hold for no other
LONGEST = 4  # times the shorter side; a longer picture is no face
MODEL_FILE = Path(__file__).resolve().parent / "eigenfaces.npz"
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
TEACHER = "picoface_x4"  # the shipped network of any size
EDGES = 0.25  # share of drawn faces behind a hard edge
LUMINANCE_SIDE = 64  # px of the statistical model
# Grey levels of noise, as pores and cameras give: detail that no network restores. Real faces have as much; without it
# the truth were so smooth that INT8's rounding weighed three times what it does on photographs.
GRAIN = 6.0
PORTRAIT_SHARE = 4  # every fourth builtin face is a view of the portrait: real sharpness, where the model is soft


@dataclass(frozen=True, eq=False)
class Faces:
    """Square windows around faces at the network's output size. `sha256` is of the pixels and points."""

    source: str
    hr: U8  # [N, S, S, 3] RGB
    points: F32 | None  # [N, 68, 2] in px of hr, pixel centres at integers; None: not looked for yet
    points_by: str = ""  # who set the points: "archive", or the network that found them
    skipped: tuple[str, ...] = ()  # pictures that could not be used, with the reason

    def __len__(self) -> int:
        return len(self.hr)

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256(self.hr.tobytes())
        digest.update(b"" if self.points is None else self.points.tobytes())
        return digest.hexdigest()

    def take(
        self,
        index: npt.NDArray[np.intp] | slice,  # [n]
    ) -> Faces:
        points = None if self.points is None else self.points[index]
        return dataclasses.replace(self, hr=self.hr[index], points=points)

    def split(self) -> tuple[Faces, Faces]:
        """(for calibration, for judging with points): every second face, so that both halves see all of the source."""
        judging = self.take(slice(1, None, 2))
        return self.take(slice(0, None, 2)), judging if judging.points is not None else _with_points(judging)


def _with_points(faces: Faces) -> Faces:
    """The faces with what picoface_x4 finds in them from 64 px."""
    backend = open_backend(model_path(TEACHER), "onnxruntime")
    spec, size = backend.spec, 2 * backend.spec.lr_size
    batch = lr_batch(faces, spec, lr_size=size)
    cells = np.concatenate([_decoded(backend, batch[i : i + 8]) for i in range(0, len(batch), 8)])  # [N, 68, 2]
    backend.close()
    side, hm = faces.hr.shape[1], spec.heatmap_cells(size)
    points = cells_to_image(cells, (hm, hm), (side, side)).astype(np.float32)
    return dataclasses.replace(faces, points=points, points_by=f"{TEACHER} from {size} px")


def _decoded(
    backend: Backend,
    batch: F32,  # [n, C, h, w]
) -> F32:
    spec = backend.spec
    return decode(backend.run(batch)["heatmaps"], mode=spec.decoder, radius=spec.decoder_radius).points


def lr_crops(
    faces: Faces,
    lr_size: int,
) -> F32:
    """The faces as a camera's crop of that size would be, float32 [N, lr, lr, 3] RGB 0..255."""
    side = float(faces.hr.shape[1])
    window = np.array([[0.0, 0.0, side, side]])
    return np.concatenate([crop(picture, window, size=lr_size) for picture in faces.hr])


def lr_batch(
    faces: Faces,
    spec: ModelSpec,
    *,
    lr_size: int | None = None,  # None: the spec's; another one for networks of any size
) -> F32:
    """The network's input for every face, float32 [N, C, h, w], by sdk.image.crop and sdk.image.pixels."""
    return to_network(lr_crops(faces, lr_size or spec.lr_size), spec)


def load_faces(
    source: str | Path,
    *,
    spec: ModelSpec,
    count: int = 256,
    seed: int = 0,
) -> Faces:
    """`count` faces (fewer where a folder or archive holds fewer) at the spec's output size.

    Raises:
        InputError: a count outside 64..512, no such source, or fewer than 64 usable pictures in it.
    """
    if not MIN_FACES <= count <= MAX_FACES:
        raise InputError(f"{MIN_FACES} to {MAX_FACES} calibration faces", str(count), "give another --calib-count")
    path = Path(source)
    if str(source) == "builtin":
        return _builtin(spec.hr_size, count, seed)
    if path.is_dir() and not (path / "index.csv").is_file():
        return _folder(path, spec.hr_size, count, seed)
    return _archive(str(source), spec.hr_size, count, seed)


def _chosen(total: int, count: int, seed: int) -> list[int]:
    """`count` of `total` numbers in rising order, the same for the same seed."""
    order = np.random.default_rng(seed).permutation(total)
    return sorted(order[:count].tolist())


def _enough(found: Sequence[Any], skipped: Sequence[str], source: str) -> None:
    if len(found) >= MIN_FACES:
        return
    got = f"{len(found)} in {source}"
    if skipped:
        got += f" and {len(skipped)} that are none, the first: {skipped[0]}"
    remedy = "add pictures of faces, or use --calib builtin"
    raise InputError(f"at least {MIN_FACES} pictures of faces to calibrate and judge by", got, remedy)


def _folder(root: Path, side: int, count: int, seed: int) -> Faces:
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    hr: list[U8] = []
    skipped: list[str] = []
    seen: set[bytes] = set()
    for number in np.random.default_rng(seed).permutation(len(files)).tolist():
        if len(hr) == count:
            break
        name = files[number].name
        try:
            face = _square(read_picture(files[number]).pixels, side, name)
        except FaceTRTError as error:
            skipped.append(f"{name} ({error.got})")
            continue
        digest = hashlib.sha256(face.tobytes()).digest()
        if digest in seen:  # one copy would calibrate and the other judge
            skipped.append(f"{name} (the same picture as another one)")
            continue
        seen.add(digest)
        hr.append(face)
    _enough(hr, skipped, str(root))
    return Faces(str(root), np.stack(hr), None, skipped=tuple(skipped))


def _square(
    rgb: U8,  # [H, W, 3]
    side: int,
    name: str,
) -> U8:
    """The middle square at side x side. Raises InputError for a picture that cannot be a face's window."""
    height, width = rgb.shape[:2]
    short = min(height, width)
    if short < MIN_SIDE_PX or max(height, width) > LONGEST * short:
        expected = f"a face's picture of {MIN_SIDE_PX} px or more, at most {LONGEST} times as long as wide"
        raise InputError(expected, f"{width} x {height} px in {name}", "cut the face out")
    x0, y0 = (width - short) / 2, (height - short) / 2
    window = np.array([[x0, y0, x0 + short, y0 + short]])
    face: U8 = round_8bit(crop(rgb, window, size=side))[0].astype(np.uint8)
    if face.std(axis=(0, 1)).max() < LEAST_CONTRAST:
        raise InputError("a face's picture", f"a single colour in {name}", "leave it out")
    return face


def _archive(source: str, side: int, count: int, seed: int) -> Faces:
    try:
        from training.data.packs import open_pack  # late: training/ is in a checkout, not in the wheel
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("training"):
            raise
        got = f"{source!r} and no training/ beside this package"
        remedy = "run from a checkout, or give a folder of pictures, or builtin"
        raise InputError("a folder of pictures, or builtin", got, remedy) from error
    pack = open_pack(source)
    splits = {row.get("split") for row in pack.rows}
    rows = pack.select("val" if "val" in splits else None, kind="HR")
    hr: list[U8] = []
    points: list[F32] = []
    for number in _chosen(len(rows), count, seed):
        picture = pack.square_picture(rows[number])
        found = pack.points.get(rows[number]["id"])
        scale = side / picture.shape[0]
        hr.append(picture if picture.shape[0] == side else resize(picture, (side, side)).astype(np.uint8))
        if found is not None:
            points.append(((found + 0.5) * scale - 0.5).astype(np.float32))
    _enough(hr, (), source)
    truth = np.stack(points) if len(points) == len(hr) else None
    name = f"{pack.name} ({'val' if 'val' in splits else 'all'})"
    return Faces(name, np.stack(hr), truth, "" if truth is None else "archive")


def _builtin(side: int, count: int, seed: int) -> Faces:
    if not MODEL_FILE.is_file():
        raise MissingPackageError("the builtin faces", "facetrt", "pip install --force-reinstall facetrt")
    with np.load(MODEL_FILE) as model:
        arrays = {name: model[name] for name in model.files}
    rng = np.random.default_rng(seed)
    drawn, views = _drawn(arrays, side, rng), _views(arrays["portrait"], side, rng)
    hr = [next(views if i % PORTRAIT_SHARE == PORTRAIT_SHARE - 1 else drawn) for i in range(count)]
    return Faces("builtin", np.stack(hr), None)


def _drawn(model: dict[str, npt.NDArray[Any]], side: int, rng: np.random.Generator) -> Iterator[U8]:
    """Faces of the statistical model with grain, uint8 [side, side, 3]: normal coefficients, cut at 2.5 deviations."""
    components = model["components"].astype(np.float32) * model["scale"][:, None]
    luminance = LUMINANCE_SIDE**2
    small = int(np.sqrt((len(model["mean"]) - luminance) // 2))
    while True:
        z = np.clip(rng.standard_normal(len(components)), -2.5, 2.5) * model["deviation"]  # [128]
        vector = model["mean"] + z.astype(np.float32) @ components  # [4608]
        planes = vector[luminance:].reshape(2, small, small).transpose(1, 2, 0)  # [16, 16, 2]
        y = resize(np.ascontiguousarray(vector[:luminance].reshape(LUMINANCE_SIDE, LUMINANCE_SIDE, 1)), (side, side))
        chroma = resize(np.ascontiguousarray(planes, np.float32), (side, side))
        grain = GRAIN * rng.standard_normal((side, side, 1))
        ycbcr = np.concatenate([y + grain.astype(np.float32), chroma], axis=-1)
        face = np.clip(np.round(ycbcr_to_rgb(ycbcr.astype(np.float32))), 0, 255).astype(np.uint8)
        if rng.random() < EDGES:  # something black or white in front of the face: the largest contrast there can be
            x0, y0 = rng.integers(-side // 2, side, 2)
            width, height = rng.integers(side // 8, side, 2)
            face[max(0, y0) : max(0, y0 + height), max(0, x0) : max(0, x0 + width)] = 255 * rng.integers(0, 2)
        yield face


def _views(
    portrait: U8,  # [224, 224, 3]; the face's window is the middle two thirds
    side: int,
    rng: np.random.Generator,
) -> Iterator[U8]:
    """The portrait through moved and scaled windows, mirrored or not, darker or brighter, uint8 [side, side, 3]."""
    full = portrait.shape[0]
    while True:
        half = full / 3 * rng.uniform(0.9, 1.1)
        centre = full / 2 + rng.uniform(-0.06, 0.06, 2) * full
        cut = crop(portrait, np.concatenate([centre - half, centre + half])[None], size=side)[0]
        cut = cut[:, ::-1] if rng.random() < 0.5 else cut
        gain, lift = rng.uniform(0.6, 1.2), rng.uniform(-20, 20)
        yield round_8bit(np.clip(cut * gain + lift, 0, 255).astype(np.float32)).astype(np.uint8)
