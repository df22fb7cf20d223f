"""What a run does beside its matrix: cold start, decode and paste, limits, predictions, scaling, the trace.

Each part stands for itself: one that fails is listed under `missing`, and the others go on.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Protocol

from benchmarks.bench import named
from benchmarks.bench.cold import cold_start
from benchmarks.bench.ledger import Ledger
from benchmarks.bench.model_files import ModelFile
from benchmarks.bench.options import Options
from benchmarks.bench.ours import SdkRunner, open_ours
from benchmarks.bench.results import Measurement
from benchmarks.bench.rounds import Pair
from benchmarks.bench.runner import Runner, told
from benchmarks.bench.sampling import Clock
from benchmarks.bench.scenarios import Point
from benchmarks.rivals.face_by_face import PasteRunner
from sdk.errors import FaceTRTError
from sdk.runtime.opening import Opened

PASTED = 16  # faces in the frame of the decode-and-paste ratio
PROBE_S = 2.0
FACES = 8  # of the trace


class Run(Protocol):
    """What of a Session is used here."""

    options: Options
    ledger: Ledger
    say: Callable[[str], None]
    clock: Clock

    def point(self, runner: Runner, point: Point) -> Measurement: ...

    def ratio(self, pair: Pair, fast: Runner, slow: Runner, batch: int, *, always: bool = False) -> None: ...


def has_gpu() -> bool:
    """Is there an NVIDIA driver with a GPU?"""
    from sdk.runtime.gpu import probe

    return bool(probe().gpus)


def backend_of(word: str) -> tuple[str, str | None]:
    """A word of --backends as (backend, device) of sdk.runtime.opening.open_network."""
    return {"onnxruntime": ("onnxruntime", "cpu"), "onnxruntime-cuda": ("onnxruntime", "cuda:0")}.get(
        word, (word, None)
    )


def subject_backend(opened: Opened) -> str:
    """ "onnxruntime-cpu", "onnxruntime-cuda", "tensorrt", "tensorrt-rtx" """
    if opened.runtime == "onnxruntime":
        return "onnxruntime-cpu" if opened.device == "cpu" else "onnxruntime-cuda"
    return "tensorrt-rtx" if "RTX" in opened.runtime else "tensorrt"


def all_of(run: Run, files: Sequence[ModelFile]) -> None:
    """Everything beside the matrix, in order of what is asked for most."""
    steps: list[tuple[str, Callable[[], None]]] = []
    ours = [file for file in files if file.spec is not None]
    if run.options.cold:
        steps += [(f"cold start of {file.name}", partial(_cold, run, file)) for file in ours]
    landmarks = [file for file in ours if file.spec and file.spec.heatmap_kind == "landmarks"]
    if landmarks and run.options.rivals != ("none",):
        steps.append(("decode and paste face by face", partial(_decode_and_paste, run, landmarks[0])))
    steps.append(("limits", partial(_limits, run, files)))
    devices = _devices(run)
    if devices:
        steps += [(f"predictions of {file.name}", partial(_predictions, run, file, devices)) for file in files]
    if run.options.scaling:
        steps += [(f"scaling of {file.name}", partial(_scaling, run, file)) for file in ours]
    if run.options.profile is not None:
        steps += [(f"trace of {file.name}", partial(_trace, run, file, alone=len(ours) == 1)) for file in ours]
    for name, step in steps:
        try:
            step()
        except Exception as error:  # as in a point: one part must not cost the others
            run.ledger.lacks(name, told(error))
            run.say(f"{name}: left out: {told(error)}")


def _cold(run: Run, file: ModelFile) -> None:
    """Of every way of the model through the SDK that was measured."""
    assert file.spec is not None, file
    for subject in list(run.ledger.subjects.values()):
        if subject.model != file.name or subject.way != "sdk" or subject.span != "end-to-end":
            continue
        backend = "onnxruntime" if subject.backend.startswith("onnxruntime") else "tensorrt"
        device = "cuda:0" if subject.backend == "onnxruntime-cuda" else None
        found = cold_start(
            subject.id, str(file.path.absolute()), backend, subject.precision,
            lr_size=file.spec.lr_size, threads=run.options.threads, device=device,
        )  # fmt: skip
        run.ledger.cold.append(found)
        run.say(f"{subject.id}: cold: {found.import_ms + found.load_ms + found.context_ms + found.first_run_ms:.0f} ms")


def _decode_and_paste(run: Run, file: ModelFile) -> None:
    assert file.spec is not None, file
    ours, by_face = (PasteRunner(file.name, file.spec, way) for way in ("sdk", "face-by-face"))
    for runner in (ours, by_face):
        run.point(runner, Point("Offline", PASTED, run.options.duration_s))
    run.ratio(named.decode_and_paste(ours.subject, by_face.subject, PASTED), ours, by_face, PASTED, always=True)


def _limits(run: Run, files: Sequence[ModelFile]) -> None:
    """The roofline of every model, precision and batch that was measured, by rates measured here."""
    from benchmarks.bench import graph_cost, probe, roofline

    backends = {subject.backend for subject in run.ledger.subjects.values()}
    measured: dict[str, Any] = {}
    if backends & {"onnxruntime-cpu", "torch-cpu", "openvino-cpu"}:
        measured["onnxruntime-cpu"] = probe.probe_cpu(threads=run.options.threads, seconds=PROBE_S)
        run.ledger.probe.update(measured["onnxruntime-cpu"].record())
    on_gpu = sorted(backends & {"onnxruntime-cuda", "tensorrt", "tensorrt-rtx"})
    if on_gpu:
        rates = probe.probe_gpu(seconds=PROBE_S)
        run.ledger.probe.update({f"gpu_{key}": value for key, value in rates.record().items()})
        measured.update(dict.fromkeys(on_gpu, rates))
    for file in files:
        batches = {m.batch for m in run.ledger.measurements if m.subject.startswith(file.name + "/") and m.latency_ms}
        for batch in sorted(batches - {PASTED} if PASTED not in run.options.batches else batches):
            with _or_missing(run, f"limits of {file.name}, batch {batch}"):
                cost = graph_cost.count(file.path, batch=batch, input_hw=_sizes(run.options, file))
                _describe(run, file, cost.inputs)
                for operator in cost.uncounted:
                    run.ledger.lacks(f"limits of {file.name}", f"the arithmetic of {operator} is not counted")
                for backend, rates in measured.items():
                    for precision in _precisions(run, file, backend):
                        with _or_missing(run, f"limits of {file.name} {precision} on {backend}"):
                            found = roofline.limit(cost, rates, backend=backend, precision=precision)
                            if batch != max(batches):  # one set of layers is enough to see what bounds them
                                found = dataclasses.replace(found, layers=())
                            run.ledger.limits.setdefault(file.name, []).append(found)


@contextlib.contextmanager
def _or_missing(run: Run, what: str) -> Generator[None, None, None]:
    """An error of ours inside is listed under `missing`; what comes after goes on."""
    try:
        yield
    except FaceTRTError as error:
        run.ledger.lacks(what, told(error))


def _scaling(run: Run, file: ModelFile) -> None:
    from benchmarks.bench.scaling import knee_text
    from benchmarks.bench.sweeps import sweeps

    for backend, device in dict.fromkeys(backend_of(word) for word in run.options.backends):
        points, ended = sweeps(file, backend, run.options.precisions[0], device, run.options, run.clock)
        known = [point for point in points if point.subject in run.ledger.subjects]
        run.ledger.scaling += known
        for kind in dict.fromkeys(point.kind for point in points):
            run.say(f"{file.name}: {knee_text([point for point in points if point.kind == kind])}")
        for text in ended:
            run.ledger.lacks(f"scaling of {file.name}", text)


def _trace(run: Run, file: ModelFile, *, alone: bool) -> None:
    """TRACE.json of the first backend and precision; of several models TRACE.MODEL.json each."""
    from benchmarks.bench import graph_cost, roofline, stage_profile
    from benchmarks.bench.devices import Rates

    path, options = run.options.profile, run.options
    assert path is not None, file
    path = path if alone else path.with_name(f"{path.stem}.{file.name}{path.suffix}")
    word, device = backend_of(options.backends[0])
    opened = open_ours(file, word, options.precisions[0], threads=options.threads, device=device)
    label = subject_backend(opened)
    rates = Rates.from_record(run.ledger.probe, prefix="" if opened.device == "cpu" else "gpu_")
    cost = limit = None
    if rates is not None and rates.peak(opened.precision):  # layers are held against what was probed
        cost = graph_cost.count(file.path, batch=FACES)
        limit = roofline.limit(cost, rates, backend=label, precision=opened.precision)
    with contextlib.closing(SdkRunner(file, opened, label, threads=options.threads)) as sdk:
        layers = stage_profile.write_trace(
            path,
            opened.network,
            onnx_file=opened.path if opened.runtime == "onnxruntime" else None,
            enhance=sdk.enhance,
            cost=cost,
            limit=limit,
            faces=FACES,
            threads=options.threads,
        )
    run.say(f"{file.name}: trace of {len(layers)} layers in {path}")


def _precisions(run: Run, file: ModelFile, backend: str) -> list[str]:
    subjects = run.ledger.subjects.values()
    return sorted({s.precision for s in subjects if s.model == file.name and s.backend == backend})


def _describe(run: Run, file: ModelFile, inputs: dict[str, str]) -> None:
    run.ledger.models = [
        dataclasses.replace(model, inputs=dict(inputs)) if model.name == file.name and not model.inputs else model
        for model in run.ledger.models
    ]


def _sizes(options: Options, file: ModelFile) -> tuple[int, int] | None:
    """Rows and columns of a foreign model's first input with a shape of the caller's."""
    shapes = [shape for shape in options.shapes.values() if len(shape) == 4]
    return (shapes[0][2], shapes[0][3]) if shapes and file.spec is None else None


def _devices(run: Run) -> tuple[str, ...]:
    """Those that were asked for, and the GPU at hand where it was measured: its prediction then meets its figures."""
    measured = any(subject.backend.startswith("tensorrt") for subject in run.ledger.subjects.values())
    if not measured:
        return run.options.predict
    from benchmarks.bench.agreement import device_here

    here = device_here()
    return tuple(dict.fromkeys((*run.options.predict, *([here] if here else []))))


def _predictions(run: Run, file: ModelFile, devices: Sequence[str]) -> None:
    from benchmarks.bench import graph_cost, predict

    count = partial(_count, graph_cost.count, file, _sizes(run.options, file))
    batches = run.options.batches
    run.ledger.predictions += predict.predict(
        file.name, count, devices=devices, precisions=run.options.precisions, batches=batches
    )


def _count(count: Callable[..., Any], file: ModelFile, sizes: tuple[int, int] | None, batch: int) -> Any:
    return count(file.path, batch=batch, input_hw=sizes)
