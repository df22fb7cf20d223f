"""The build from end to end: model, faces, typed graph, gate, engine, read-back, gate again, save.

Nothing is written before the last stage, and that only when the gate holds (or --allow-loss says so in so many words).
An engine that gives NaN is refused in any case.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import proof
from export.build_engine import Engine, build_engine
from export.cpu import cpu_typed
from export.faces import Faces, load_faces
from export.gate import Answer, Runner, Verdict, answer, judge, not_finite, onnx_runner
from export.graph import Model, read_model
from export.layers import explained_rows, explanation
from export.options import Options
from export.precision import Typed, typed_graph
from export.prepare import LOSSY, Setup
from export.progress import Progress
from export.record import check_out, make_manifest, out_path, save
from export.refusal import GateRefused
from export.sensitivity import LayerLoss, auto_mixed, scan
from export.tail import watched
from sdk.errors import BuildError, ModelError
from sdk.runtime.manifest import Manifest

__all__ = ["Outcome", "run_build"]

BROKEN = "use --precision fp32: in fp16 nothing may go beyond 65504"
TOO_MUCH = {  # precision -> what may help
    "fp32": "report it: fp32 should lose nothing",
    "fp16": "use --precision fp32, or accept it with --allow-loss",
    "int8": "try --auto-mixed, use --precision fp16, or accept it with --allow-loss",
    "fp8": "use --precision fp16, or accept it with --allow-loss",
}
TIMED_BATCHES = (1, 8)


@dataclass(frozen=True)
class Outcome:
    """What a build left behind."""

    path: Path
    manifest: Manifest


def run_build(setup: Setup, progress: Progress, *, on_log: Callable[[str, str], None] | None = None) -> Outcome:
    """Raises FaceTRTError: GateRefused when too much is lost, others as the stages do. KeyboardInterrupt: Ctrl-C."""
    options = setup.options
    for line in setup.lines:
        progress.say(line)
    progress.stage("read model")
    model = read_model(options.model)
    path = out_path(options, model.spec.name)
    check_out(path, model.path)
    progress.stage("draw faces")
    faces = load_faces(options.calib, spec=model.spec, count=options.calib_count)
    for reason in faces.skipped:
        progress.say(f"skipped {reason}")
    calibration, judging = faces.split()
    run = _Run(setup, progress, model, calibration, judging, on_log)
    return run.cpu(path) if options.target == "cpu" else run.engine(path)


@dataclass(eq=False)
class _Run:
    """One build's parts and what was found on the way."""

    setup: Setup
    progress: Progress
    model: Model
    calibration: Faces
    judging: Faces
    on_log: Callable[[str, str], None] | None

    def __post_init__(self) -> None:
        self.options = self.setup.options
        self.fp32 = self.wide()

    def wide(self) -> Answer:
        """What the fp32 network says. Raises ModelError when it says nothing, before its precisions take any time."""
        model = self.model
        try:
            found = answer(onnx_runner(model.graph), self.judging, model.spec)
        except BuildError as error:
            remedy = "export it again: opset 18, a free batch, and no sizes written into Reshape and the like"
            raise ModelError(f"{error.expected}: {model.path.name}", error.got, remedy) from error
        broken = "; ".join(not_finite(found, "the fp32 network"))
        if broken:
            raise ModelError(
                f"numbers from {model.path.name}", broken, "train or export it again from a sound checkpoint"
            )
        return found

    def engine(self, path: Path) -> Outcome:
        options = self.options
        losses, kept = self.sensitive()
        self.progress.stage("write precision")
        typed = self.graph(options.precision, kept)
        self.progress.stage("gate the graph")
        gate = self.finished(self.judged(options.precision, onnx_runner(watched(typed.graph)), ran="not run"))
        self.progress.stage("build")
        built = self.built(typed, options)
        self.explained(typed.asked, built.readback.layers, losses)
        manifest = self.manifest(
            built.plan,
            typed.asked,
            built.readback.found,
            kept_fp16=kept,
            build_s=built.build_s,
            profiles=built.profiles,
            fell_back_to_gpu=built.fell_back_to_gpu,
            targets=built.targets,
        )
        for name in built.fell_back_to_gpu:
            self.progress.say(f"not on the DLA, but on the GPU: {name}")
        if self.setup.runs:
            self.progress.stage("gate the engine")
            with proof.opened(path.name, built.plan, manifest=manifest, device=options.device) as run:
                verdict = self.judged(options.precision, run, ran="engine")
                speed = self.against_fp16(run, path.name) if options.precision in LOSSY else {}
                gate = self.finished(verdict, **speed)
        return self.saved(path, built.plan, dataclasses.replace(manifest, gate=gate))

    def cpu(self, path: Path) -> Outcome:
        """int8 for onnxruntime: the file is the engine."""
        self.progress.stage("write precision")
        typed, build_s = cpu_typed(self.model, self.calibration)
        data = typed.graph.SerializeToString()
        manifest = self.manifest(data, typed.asked, Counter(typed.asked.values()), build_s=build_s)
        self.progress.stage("gate the engine")
        with (
            proof.opened(path.name, data, manifest=manifest, device=0) as run,
            proof.opened(path.name, self.model.graph.SerializeToString(), manifest=manifest, device=0) as wide,
        ):
            verdict = self.judged("int8", run, ran="engine")
            self.progress.stage("time the engine")
            gate = self.finished(verdict, **self.compared(run, wide, above="fp32"))
        self.explained(typed.asked, typed.asked, [])
        return self.saved(path, data, dataclasses.replace(manifest, gate=gate))

    def sensitive(self) -> tuple[list[LayerLoss], list[str]]:
        """What each layer alone costs (only where asked for), and the layers to keep in fp16."""
        options, kept = self.options, list(self.options.keep_fp16)
        if options.precision not in LOSSY or not (options.auto_mixed or options.explain):
            return [], kept
        self.progress.stage("measure layers")
        losses = scan(
            self.model, self.calibration, self.judging, on_layer=lambda done, of: self.progress.fraction(done / of)
        )
        if options.auto_mixed:
            self.progress.stage("choose layers")
            chosen = auto_mixed(self.model, self.calibration, self.judging, losses=losses)
            self.progress.say(f"kept in fp16: {', '.join(chosen) or 'none, the gate holds without'}")
            kept += [name for name in chosen if name not in kept]
        return losses, kept

    def graph(self, precision: str, kept: list[str]) -> Typed:
        assert self.setup.trt is not None
        return typed_graph(
            self.model,
            precision,
            calibration=self.calibration,
            keep_fp16=kept,
            dialect="typed" if self.setup.trt.typed else "flags",
            quantiser=self.options.quantizer,
        )

    def judged(self, precision: str, run: Runner, *, ran: str) -> Verdict:
        """Raises GateRefused unless it passes or the loss is allowed; NaN is never allowed."""
        verdict = judge(self.model, run, self.judging, precision=precision, ran=ran, fp32=self.fp32)
        broken = any("NaN" in reason for reason in verdict.reasons)
        if broken or not (verdict.passed or self.options.allow_loss):
            got = "; ".join(verdict.reasons)
            remedy = BROKEN if broken and precision != "fp32" else TOO_MUCH[precision]
            remedy = remedy.replace("try --auto-mixed, ", "") if self.options.auto_mixed else remedy
            raise GateRefused(
                f"{precision} of {self.model.spec.name} within the gate",
                got,
                remedy,
                verdict.as_dict(),
                verdict.table(),
            )
        self.progress.say(verdict.table() + ("" if verdict.passed else "\n  allowed by --allow-loss"))
        return verdict

    def built(self, typed: Typed, options: Options) -> Engine:
        assert self.setup.trt is not None
        return build_engine(
            typed,
            self.model.spec,
            options=options,
            trt=self.setup.trt,
            gpu=self.setup.gpu,
            on_progress=self.progress.fraction,
            on_log=self.on_log,
        )

    def manifest(self, data: bytes, asked: Mapping[str, str], found: Mapping[str, int], **more: Any) -> Manifest:
        gate = proof.PROVISIONAL
        about = dict(options=self.options, machine=self.setup.machine, gate=gate, asked=asked, found=found)
        return make_manifest(self.model, data, **about, **more)

    def finished(self, verdict: Verdict, **more: Any) -> dict[str, Any]:
        """The gate's part of the manifest."""
        return {**verdict.as_dict(), **more, "allowed_loss": not verdict.passed}

    def against_fp16(self, run: Runner, name: str) -> dict[str, Any]:
        """The same network in fp16, built only to be timed beside this one."""
        self.progress.stage("time the engine")
        options = dataclasses.replace(self.options, precision="fp16", keep_fp16=(), auto_mixed=False, explain=False)
        typed = self.graph("fp16", [])
        wide = self.built(typed, options)
        manifest = dataclasses.replace(
            self.manifest(wide.plan, typed.asked, wide.readback.found, build_s=0.0), precision="fp16"
        )
        with proof.opened(name, wide.plan, manifest=manifest, device=options.device) as other:
            return self.compared(run, other, above="fp16")

    def compared(self, run: Runner, wider: Runner, *, above: str) -> dict[str, Any]:
        spec = self.model.spec
        batches = [n for n in TIMED_BATCHES if n <= max(self.options.batches)]
        mine, other = (proof.times_ms(one, spec, batches=batches) for one in (run, wider))
        numbers, sentence = proof.worth(mine, other, precision=self.options.precision, above=above)
        self.progress.say(sentence)
        return {"speed": numbers, "worth": sentence}

    def saved(self, path: Path, data: bytes, manifest: Manifest) -> Outcome:
        self.progress.stage("save")
        save(path, data, manifest=manifest)
        return Outcome(path, manifest)

    def explained(self, asked: Mapping[str, str], found: Mapping[str, str], losses: Sequence[LayerLoss]) -> None:
        """The table of --explain."""
        if self.options.explain:
            rows = explained_rows(asked, found, losses)
            self.progress.layers("\n".join(explanation(asked, found, losses)), rows)
