"""What the doctor asks in a child process: `python -m export.doctor_probe JOB`; one line of JSON on stdout.

An exception becomes {"error": ...}; a crash or a hang of a library is the parent's to see.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

from sdk.errors import FaceTRTError, MissingPackageError

__all__ = ["JOBS", "main"]

SIZE_PX = 16  # of the self-test's picture


def _probe() -> dict[str, Any]:
    from sdk.runtime.gpu import probe

    return asdict(probe())


def _cuda() -> dict[str, Any]:
    try:
        return {"version": metadata.version("cuda-bindings")}  # its import says nothing more without a GPU
    except metadata.PackageNotFoundError:
        return {"error": "no package cuda-bindings"}


def _tensorrt(flavour: str) -> dict[str, Any]:
    from sdk.runtime.gpu import probe
    from sdk.runtime.trt_api import load

    trt = load(flavour)
    gpus = [f"{one.name} ({one.sm})" for one in probe().gpus]
    if trt.portable:
        builds = f"builds for {', '.join(trt.targets())} without a GPU"
    elif gpus:
        builds = f"builds for {', '.join(gpus)}"
    else:
        builds = "builds nothing here: no GPU"
    typed = "precision from the graph" if trt.typed else "precision by builder flags"
    return {"version": trt.version, "builds": f"{builds}; {typed}"}


def _onnx() -> dict[str, Any]:
    import onnx

    return {"version": onnx.__version__}


def _onnxruntime() -> dict[str, Any]:
    import onnxruntime

    return {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}


def _tiny() -> bytes:
    """A convolution and a ReLU on [N, 3, 16, 16]."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.full((8, 3, 3, 3), 1 / 27, np.float32), "weights")
    picture = ["batch", 3, SIZE_PX, SIZE_PX]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["lr", "weights"], ["found"], "conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["found"], ["sr"], "relu"),
        ],
        "tiny",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, picture)],
        [helper.make_tensor_value_info("sr", TensorProto.FLOAT, ["batch", 8, SIZE_PX, SIZE_PX])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def _run() -> dict[str, Any]:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(_tiny(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"lr": np.ones((2, 3, SIZE_PX, SIZE_PX), np.float32)})[0]
    middle = float(found[0, 0, SIZE_PX // 2, SIZE_PX // 2])
    if abs(middle - 1.0) > 1e-4:  # 27 ones of weight 1/27
        return {"error": f"onnxruntime computed {middle:.6f} where 1 was due"}
    return {"did": "onnxruntime ran a convolution"}


def _build() -> dict[str, Any]:
    from sdk.runtime.gpu import probe
    from sdk.runtime.trt_api import load
    from sdk.runtime.trt_builder import Settings, build

    gpus = probe().gpus
    trt = load()
    if not gpus and not trt.portable:
        trt = load("tensorrt_rtx")  # builds without one
    shape = (1, 3, SIZE_PX, SIZE_PX)
    targets = () if not trt.portable else (gpus[0].sm,) if gpus and gpus[0].sm in trt.targets() else trt.targets()[-1:]
    settings = Settings([{"lr": (shape, shape, shape)}], targets=tuple(targets))
    built = build(trt, _tiny(), settings=settings, nodes=["conv", "relu"], sink=lambda severity, text: None)
    what = f"{trt.title} built {len(built.plan)} bytes"
    if not gpus:
        return {"did": f"{what} for {', '.join(targets)}; no GPU to run them"}
    engine = trt.open_engine(built.plan)
    names = [tensor.name for tensor in trt.io_tensors(engine)]
    return {"did": f"{what} and loaded them ({', '.join(names)})"}


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "probe": _probe,
    "cuda": _cuda,
    "tensorrt": _tensorrt,
    "onnx": _onnx,
    "onnxruntime": _onnxruntime,
    "run": _run,
    "build": _build,
}


def main(arguments: Sequence[str]) -> int:
    """Answer one job."""
    try:
        answer = JOBS[arguments[0]](*arguments[1:])
    except MissingPackageError as error:
        answer = {"error": error.got}
    except ModuleNotFoundError as error:
        answer = {"error": f"No module named {error.name!r}"}
    except FaceTRTError as error:
        answer = {"error": f"{error.got} in place of {error.expected}; {error.remedy}"}
    except Exception as error:  # whatever a library throws is an answer too
        answer = {"error": (str(error).strip().splitlines() or [type(error).__name__])[0][:300]}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
