"""Our networks, run through the SDK end to end, and the same open network bare.

Both share one session (or engine): two sessions would have two sets of threads, and what one does while it spins for
work would be counted as the other's time.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.bench.enqueue import device_ms, enqueued
from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.runner import Query, subject_of
from benchmarks.bench.workload import FRAME_HW, Scene, faces_batch, scene
from sdk.enhancer import FaceEnhancer
from sdk.errors import BackendError
from sdk.image.crop import crop, square_windows, window_affine
from sdk.image.heatmap import decode
from sdk.image.pixels import from_network, to_network
from sdk.runtime.opening import Opened, open_network

STAGE_TURNS = 15  # of which the median is taken


def open_ours(file: ModelFile, backend: str, precision: str, *, threads: int, device: str | None = None) -> Opened:
    """The network as FaceEnhancer opens it. Raises what sdk.runtime.opening.open_network() raises.

    Raises BackendError for int8 on the CPU when no file of it exists: building one takes minutes and calibrates.
    """
    assert file.spec is not None, file
    on_cpu = backend == "onnxruntime" and device in (None, "cpu")
    if on_cpu and precision == "int8" and file.int8() is None:
        remedy = f"make one: trt-build {file.path.name} --precision int8 --target cpu"
        raise BackendError(f"an int8 file of {file.name} for the CPU", "none", remedy)
    return open_network(file.path, backend, device=device, threads=threads or None, precision=precision)


class SdkRunner:
    """Frame and boxes in, pictures and points out: FaceEnhancer.enhance."""

    def __init__(self, file: ModelFile, opened: Opened, backend: str, *, threads: int) -> None:
        self.opened, self.threads = opened, threads
        self.subject = subject_of(file.name, backend, opened.precision, way="sdk", span="end-to-end")
        self.frame_hw: tuple[int, int] | None = FRAME_HW
        self.spec = opened.network.spec
        self._enhancer = FaceEnhancer(opened.network, min_confidence=0.0)

    def query(self, faces: int) -> Query:
        return self.query_of(scene(faces, side_px=self.spec.lr_size))

    def enhance(self, frame: Any, boxes: Any) -> Any:
        """Faces of tight landmark boxes [N, 4] in a frame [H, W, 3]."""
        return self._enhancer.enhance(frame, boxes, box_kind="landmarks")

    def query_of(self, of: Scene) -> Query:
        """A query of any scene: frames of other sizes too."""
        return lambda: self.enhance(of.frame, of.boxes)

    def stages_ms(self, faces: int, *, longest_s: float = 10.0) -> dict[str, float]:
        """Median of each stage, run by hand as sdk.pipeline runs them; "rest" is what enhance() adds around them."""
        of, spec = scene(faces, side_px=self.spec.lr_size), self.spec
        windows = square_windows(of.boxes, kind="landmarks")
        times: dict[str, list[float]] = {}

        def timed(name: str, call: Callable[[], Any]) -> Any:
            started = time.perf_counter()
            result = call()
            times.setdefault(name, []).append(1000 * (time.perf_counter() - started))
            return result

        started_s = time.perf_counter()
        for turn in range(STAGE_TURNS):
            if turn and time.perf_counter() - started_s > longest_s:
                break
            timed("whole", self.query_of(of))
            crops = timed("crop", lambda: crop(of.frame, windows, size=spec.lr_size)[..., ::-1])
            batch = timed("to_network", lambda c=crops: to_network(c, spec))
            outputs = timed("engine", lambda b=batch: self.opened.network.run(b))
            timed("picture", lambda c=crops, o=outputs: [p.copy() for p in from_network(o["sr"], spec, lr=c)])
            if spec.heatmap_kind == "landmarks":
                maps = outputs["heatmaps"]
                timed("decode", lambda m=maps: decode(m, mode=spec.decoder, radius=spec.decoder_radius))
                timed("affine", lambda m=maps: window_affine(windows, size=m.shape[-1]))
        medians = {name: float(np.median(ms)) for name, ms in times.items()}
        whole = medians.pop("whole")
        return {**medians, "rest": max(0.0, whole - sum(medians.values()))}

    def close(self) -> None:
        self._enhancer.close()
        self.opened.network.close()


class BareRunner:
    """The network alone: session.run of onnxruntime on a batch that is ready, or the engine's own bare enqueue."""

    def __init__(self, ours: SdkRunner, *, way: str = "bare") -> None:
        subject = ours.subject
        self._ours, self.threads = ours, ours.threads
        self.subject = subject_of(subject.model, subject.backend, subject.precision, way=way, span="engine")
        self.frame_hw: tuple[int, int] | None = None

    def query(self, faces: int) -> Query:
        spec, network = self._ours.spec, self._ours.opened.network
        if hasattr(network, "lease"):  # TensorRT's backend
            return enqueued(network, self._shape(faces))
        batch = faces_batch(spec, faces)
        session = vars(network).get("_session")  # onnxruntime's, without the two lines around it
        if session is None:
            return lambda: network.run(batch)
        feed, names = {session.get_inputs()[0].name: batch}, list(spec.output_names)
        return lambda: session.run(names, feed)

    def stages_ms(self, faces: int, *, longest_s: float = 10.0) -> dict[str, float] | None:
        """What CUDA events say of the same; None on the CPU."""
        network = self._ours.opened.network
        return {"device": device_ms(network, self._shape(faces))} if hasattr(network, "lease") else None

    def _shape(self, faces: int) -> tuple[int, int, int, int]:
        spec = self._ours.spec
        return faces, spec.channels, spec.input_size, spec.input_size

    def close(self) -> None:
        """Nothing: the network is the other runner's."""
