"""What is known before the work: the machine, its TensorRT, what a target means for the options, the stages to come."""

from __future__ import annotations

import os
from dataclasses import dataclass

from export import targets
from export.cpu import cpu_machine
from export.graph import model_file
from export.options import Options
from export.progress import Stage
from sdk.runtime.gpu import Gpu, probe
from sdk.runtime.machine import Machine, this_machine
from sdk.runtime.trt_api import ENVIRONMENT, TensorRT, load

__all__ = ["LOSSY", "Setup", "prepare", "stages_for"]

LOSSY = ("int8", "fp8")  # precisions that need calibration and lose what can be seen


@dataclass(frozen=True, eq=False)
class Setup:
    """What is known before the work: the machine, its TensorRT (None for the CPU), and the options with a target's."""

    options: Options
    machine: Machine
    gpu: Gpu | None
    trt: TensorRT | None
    lines: list[str]

    @property
    def runs(self) -> bool:
        """Can the engine run here, so that the gate judges it and not its graph alone?"""
        here = self.gpu is not None and (not self.options.targets or self.gpu.sm in self.options.targets)
        return self.trt is None or (here and not self.options.strip_weights)


def stages_for(options: Options, *, runs: bool) -> list[Stage]:
    """What will be done, in order, with a guess of its seconds."""
    lossy = options.precision in LOSSY
    engine = options.target != "cpu"
    scans = lossy and engine and (options.auto_mixed or options.explain)
    slow = 40.0 if runs and engine else 2.0  # TensorRT times its tactics on the GPU, RTX does not
    wanted = [
        ("read model", 0.2, True),
        ("draw faces", 2.0, True),
        ("measure layers", 60.0, scans),
        ("choose layers", 20.0, scans and options.auto_mixed),
        ("write precision", 3.0 if lossy else 0.2, True),
        ("gate the graph", 2.0, engine),
        ("build", slow, engine),
        ("gate the engine", 1.0, runs),
        ("time the engine", slow if engine else 4.0, runs and lossy),
        ("save", 0.2, True),
    ]
    return [Stage(name, weight_s) for name, weight_s, needed in wanted if needed]


def prepare(options: Options) -> Setup:
    """Machine, TensorRT and target. Raises ModelError, MissingPackageError, BackendError, BuildError first of all."""
    model_file(options.model)  # a mistyped name is the commonest mistake: told before the machine is looked at
    if options.target == "cpu":
        return Setup(options, cpu_machine(), None, None, [])
    gpus = probe().gpus
    flavour = options.flavour
    if flavour is None and not os.environ.get(ENVIRONMENT):
        only_rtx = options.targets or (options.target == "desktop" and not gpus)
        device = targets.DEVICES.get(options.target or "")
        flavour = "tensorrt_rtx" if only_rtx else device.flavour if device else None
    trt = load(flavour)
    machine = this_machine(trt.flavour, options.device)
    gpu = next((one for one in gpus if one.index == options.device), None)
    options, lines = targets.choose(options, gpu, portable=trt.portable)
    targets.refuse_impossible(options, gpu, trt=trt)
    setup = Setup(options, machine, gpu, trt, lines)
    if setup.runs:
        from sdk.runtime.gpu import driver  # the engine gate needs cuda-python: say so now, not after the build

        driver()
    return setup
