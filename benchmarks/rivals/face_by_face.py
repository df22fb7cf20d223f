"""Decode and paste of all faces of a frame: ours, and face by face as people write it with OpenCV and NumPy.

Ours: sdk.image.heatmap.decode on all maps at once, sdk.image.paste.paste on the pixels round the faces, in place.
The other: benchmarks.rivals.plain_faces.points and paste. Same maps, same pictures, same places.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.bench.runner import Query, subject_of
from benchmarks.bench.workload import FRAME_HW, SEED, scene
from benchmarks.rivals import plain_faces
from sdk.image.crop import apply_affine, square_windows, window_affine
from sdk.image.heatmap import decode, encode
from sdk.image.paste import paste
from sdk.spec import ModelSpec

WINDOW_PX = 100.0  # of a face in the frame: a large one, so that the region-only way has something to do


class PasteRunner:
    """way "sdk" or "face-by-face"; a query is a frame of `faces` faces."""

    def __init__(self, model: str, spec: ModelSpec, way: str, *, threads: int = 0) -> None:
        assert spec.heatmap_kind == "landmarks" and way in ("sdk", "face-by-face"), (spec, way)
        self._spec, self.threads = spec, threads
        self._ours = way == "sdk"
        if not self._ours:
            plain_faces.opencv()
        self.subject = subject_of(model, "numpy", "fp32", way=way, span="stage:decode+paste")
        self.frame_hw: tuple[int, int] | None = FRAME_HW

    def query(self, faces: int) -> Query:
        spec, of = self._spec, scene(faces, side_px=WINDOW_PX)
        windows = square_windows(of.boxes, kind="landmarks")
        affines = window_affine(windows, size=spec.hr_size)  # [N, 2, 3] face px -> frame px
        rng = np.random.default_rng(SEED)
        pictures = rng.integers(0, 256, (faces, spec.hr_size, spec.hr_size, 3), dtype=np.uint8)
        cells = spec.heatmap_size
        centres = cells / 2 + cells / 4 * rng.uniform(-1, 1, (faces, spec.heatmap_count, 2))
        heatmaps = encode(centres, (cells, cells), sigma_cells=spec.sigma_cells)
        to_frame = window_affine(windows, size=cells)
        canvas = of.frame.copy()

        def ours() -> Any:
            found = decode(heatmaps, mode=spec.decoder, radius=spec.decoder_radius)
            points = apply_affine(found.points, to_frame)
            return points, paste(canvas, pictures, affines, landmarks=points, out=canvas)

        def by_face() -> Any:
            points = plain_faces.points(heatmaps, windows)
            return points, plain_faces.paste(canvas, list(pictures), affines)

        chosen: Callable[[], Any] = ours if self._ours else by_face
        return chosen

    def close(self) -> None:
        """Nothing is open."""
