"""Networks on TensorRT: an engine and its manifest -> run(batch), or run_device(array) without leaving the GPU.

A face's result does not depend on the other faces of its batch, but it may differ in the last bits between batch sizes,
for which TensorRT may choose other kernels. NaN in an output is passed on.

Threads: each has a lane of its own (stream, contexts, buffers, graphs; see lane_pool), up to `lanes` of them.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import BackendError, EngineError, InputError
from sdk.runtime import device_run, manifest, trt_context
from sdk.runtime.device import Device, device_index
from sdk.runtime.interop import DeviceArray
from sdk.runtime.lane import Lane, LoadedEngine
from sdk.runtime.lane_pool import LanePool
from sdk.runtime.profiles import Profile
from sdk.runtime.trt_api import IoTensor, TensorRT, load
from sdk.spec import ModelSpec

__all__ = ["TrtBackend"]

LANES = 4  # threads that run side by side; more wait their turn
EXIT_TIMEOUT_S = 2.0  # when the process ends with a thread still in run()
EDGE_TYPES = (np.dtype(np.float32), np.dtype(np.float16))  # of inputs and outputs
PICTURE_TYPE = np.dtype(np.uint8)  # of the output `image`
REBUILD = "build it again: trt-build MODEL -o {name}"

log = logging.getLogger("facetrt")


class TrtBackend:
    """An engine that trt-build wrote, with its manifest beside it; see sdk.runtime.backend.Backend.

    Raises EngineError for an engine that is damaged, not verified, or made for another machine (the message names the
    fields that differ), MissingPackageError without TensorRT or cuda-python, BackendError without a GPU or memory.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str | None = None,  # "cuda:0"; None: the same
        graphs: bool = True,  # False: no CUDA graphs
        lanes: int = LANES,  # threads that may run side by side; each costs the memory of its buffers
    ) -> None:
        path = Path(path)
        self.name = path.name
        if lanes < 1:
            raise BackendError("lanes to be at least 1", str(lanes), "leave it out for the default")
        index = device_index(device)
        plan, about = manifest.read_engine(path)
        if about.flavour == "onnxruntime":
            raise EngineError("an engine of TensorRT", f"{path.name}, an ONNX file of the CPU", 'use device="cpu"')
        _check_machine(about, index, path)
        self.spec: ModelSpec = about.model_spec
        self.manifest = about
        gpu = Device(index)
        with gpu.current():
            engine = _load(path, plan, about, gpu, load(about.flavour), graphs=graphs)
        self._engine: LoadedEngine | None = engine
        self._pool = LanePool(path.name, gpu, lambda: Lane(engine), limit=lanes)
        self._finalizer = weakref.finalize(self, self._pool.close, EXIT_TIMEOUT_S)

    @property
    def device(self) -> str:
        """The GPU it runs on: "cuda:0"."""
        return f"cuda:{self._open().device.index}"

    @property
    def lanes(self) -> int:
        """Lanes that exist now."""
        return self._pool.lanes

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The input shapes that the engine takes."""
        return self._open().profiles

    def run(
        self,
        batch: npt.NDArray[np.float32],  # [N, C, h, w]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """See Backend.run. Batches above the largest profile run in parts. Safe from several threads at once.

        Raises InputError for an array of another kind, BackendError for faces of a size outside all profiles.
        """
        self._check(tuple(batch.shape), np.dtype(batch.dtype), np.dtype(np.float32))
        with self._pool.lease() as lane:
            return lane.run(batch)

    def run_device(
        self,
        batch: object,  # [N, C, h, w] on the GPU, C order, of the engine's input type
        *,
        out: Mapping[str, object] | None = None,  # arrays on the GPU to write to, by output; None: new ones
        stream: object | None = None,  # the caller's stream, or its handle
    ) -> dict[str, DeviceArray]:
        """Like run() for arrays of cupy, torch or pycuda, without a copy and without waiting for the GPU.

        Arrays are borrowed until the work is done: this object keeps them alive, the caller must not write to `batch`
        or read `out` meanwhile except on a stream that waits. With `stream` that is taken care of: the work starts
        after what is on it now, and what is put on it later starts after the work. Without, use what the results say:
        their `stream`, DLPack, or copy_to_host(). New results stay valid after close().

        Raises InputError for an array of another type, shape, layout or device; otherwise like run().
        """
        engine = self._open()
        with self._pool.lease() as lane:
            ours = device_run.borrow_input(lane, batch, stream)
            self._check(ours.shape, ours.dtype, engine.source.dtype)
            return device_run.run(lane, ours, out=out, stream=stream)

    def lease(self) -> contextlib.AbstractContextManager[Lane]:
        """A lane for this thread alone, with the GPU current: what sdk.runtime.face_runner works in."""
        self._open()
        return self._pool.lease()

    def close(self) -> None:
        """Frees everything on the GPU; runs still going on in other threads finish first."""
        self._engine = None  # first: nobody begins a run
        self._finalizer.detach()
        self._pool.close()

    def _open(self) -> LoadedEngine:
        if self._engine is None:
            raise BackendError("an open model", f"{self.name} after close()", "open it again")
        return self._engine

    def _check(self, shape: tuple[int, ...], dtype: np.dtype[Any], wanted: np.dtype[Any]) -> None:
        """Raises InputError unless the batch is [N >= 1, C, h, w] of the wanted type and the spec's size."""
        self._open()
        size = self.spec.input_size
        side = "h, w" if self.spec.any_size else f"{size}, {size}"
        fixed = self.spec.any_size or shape[2:] == (size, size)
        if len(shape) != 4 or shape[0] < 1 or shape[1] != self.spec.channels or not fixed or dtype != wanted:
            expected = f"a batch {wanted} [N >= 1, {self.spec.channels}, {side}] for {self.name}"
            raise InputError(expected, f"{dtype} {list(shape)}", "use sdk.image.pixels.to_network for pictures")


def _check_machine(about: manifest.Manifest, index: int, path: Path) -> None:
    """Raises EngineError when the engine was not made for this machine, or cannot run anywhere."""
    if about.weights_stripped:
        remedy = "refit it with TensorRT's OnnxParserRefitter, or build it without --strip-weights"
        raise EngineError(f"{path.name} with its weights", "an engine built without them", remedy)
    machine = manifest.this_machine(about.flavour, index)
    reasons = manifest.misfits(about, machine)
    if reasons:
        raise EngineError(f"{path.name} to fit this machine", "; ".join(reasons), REBUILD.format(name=path.name))
    for note in manifest.notes(about, machine):
        log.info("%s: %s", path.name, note)


def _load(
    path: Path, plan: bytes, about: manifest.Manifest, gpu: Device, api: TensorRT, *, graphs: bool
) -> LoadedEngine:
    """The engine with its inputs and outputs compared with the spec. Raises EngineError."""
    spec = about.model_spec
    try:
        native = api.open_engine(plan, host_code=about.version_compatible)
    except EngineError as error:
        raise EngineError(f"{error.expected}: {path.name}", error.got, error.remedy) from error
    tensors = api.io_tensors(native)
    remedy = REBUILD.format(name=path.name)
    sources = [one for one in tensors if one.is_input]
    outputs = tuple(one for one in tensors if not one.is_input)
    if len(sources) != 1 or len(sources[0].shape) != 4:
        got = ", ".join(f"{one.name} {list(one.shape)}" for one in sources) or "none"
        raise EngineError(f"one input [N, C, h, w] in {path.name}", got, remedy)
    taken = {False: (*EDGE_TYPES, PICTURE_TYPE), True: EDGE_TYPES}  # by is_input
    odd = [f"{one.name} {one.dtype}" for one in tensors if one.dtype not in taken[one.is_input]]
    if odd:
        raise EngineError(f"inputs and outputs of float32 or float16 in {path.name}", ", ".join(odd), remedy)
    missing = sorted(set(spec.output_names) - {one.name for one in outputs})
    if missing:
        raise EngineError(f"outputs {spec.output_names} in {path.name}", f"none named {missing}", remedy)
    profiles = _profiles(api, native, sources[0], path)
    size = spec.input_size
    if not any(profile.takes_face((spec.channels, size, size)) for profile in profiles) and not spec.any_size:
        expected = f"an input of {spec.channels} channels and {size} x {size} px in {path.name}"
        raise EngineError(expected, f"shape {list(sources[0].shape)}", remedy)
    return LoadedEngine(
        name=path.name,
        api=api,
        device=gpu,
        native=native,
        plan=None if trt_context.shares_profiles(api) else plan,
        source=sources[0],
        outputs=outputs,
        wanted=spec.output_names,
        profiles=profiles,
        graphs=graphs,
        making_context=threading.Lock(),
    )


def _profiles(api: TensorRT, native: Any, source: IoTensor, path: Path) -> tuple[Profile, ...]:
    """The optimisation profiles; an engine of one fixed shape has that as its only one."""
    found: list[Profile] = []
    for index, shapes in enumerate(api.profiles(native)):
        triple = shapes.get(source.name, ())
        if len(triple) == 3 and all(len(shape) == 4 for shape in triple):
            found.append(Profile(index, triple[0], triple[2]))
    if found:
        return tuple(found)
    if -1 not in source.shape:
        return (Profile(0, source.shape, source.shape),)
    got = f"none for its input {source.name} {list(source.shape)}"
    raise EngineError(f"optimisation profiles in {path.name}", got, REBUILD.format(name=path.name))
