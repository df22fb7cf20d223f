"""Everything about engines that only a GPU can tell: `python -m benchmarks.gpu_check KIT --json OUT`.

KIT is a folder that `python -m export.gpu_kit KIT` wrote, here or elsewhere. Builds both networks in fp32, fp16 and
int8, reads the layers back, compares with onnxruntime's stored answers, then looks at batches, CUDA graphs, threads,
leaks, arrays of other libraries, times, and runs trt-build and compute-sanitizer where they are. Each check ends as
ok, failed or not run, with the reason; docs/GPU.md has the steps for a host without a network.

With --only, the results replace those of the same names in OUT, so that two Pythons can share one report.
Exit: 0 nothing failed, 1 something did, or there is no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import json
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import gpu_arrays, gpu_chain, gpu_engines, gpu_kernels, gpu_runtime, gpu_tails
from benchmarks.gpu_arrays import LIBRARIES, NotPossible
from benchmarks.gpu_engines import Kit
from sdk.errors import BackendError, FaceTRTError
from sdk.runtime.gpu import probe
from sdk.runtime.manifest import this_machine
from sdk.runtime.trt_api import TensorRT, load
from sdk.runtime.trt_backend import TrtBackend

__all__ = ["Check", "checks_for", "main", "report", "run_checks"]

PRECISIONS = ("fp32", "fp16", "int8")
APART = {"fp32": 0.002, "fp16": 0.05, "int8": 0.2}  # of a face between batch sizes: other kernels round otherwise
SANITIZER_S, TRT_BUILD_S = 480, 480  # time limits
QUERY = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,temperature.gpu,power.draw,utilization.gpu"
REMEDY = "run it on a machine with one; docs/GPU.md has the steps, also for a host without a network"

Check = tuple[str, Callable[[], dict[str, Any]]]  # name, what gives its numbers or raises


class _Host:
    """What the checks share: the kit, the folder of engines, and TensorRT, looked for when first needed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: Path = options.engines
        self._trt: TensorRT | None = None

    @property
    def trt(self) -> TensorRT:
        if self._trt is None:
            try:
                self._trt = load(self.options.flavour)
            except FaceTRTError as error:
                raise NotPossible(f"no TensorRT in this Python: {error}") from error
        return self._trt

    @property
    def kit(self) -> Kit:
        return Kit(self.options.kit)

    def build(self, model: str, precision: str) -> dict[str, Any]:
        dialect = "typed" if self.trt.typed else "flags"
        entries = [e for e in self.kit.graphs(dialect) if (e["model"], e["precision"]) == (model, precision)]
        if not entries:
            raise NotPossible(f"the kit has no {precision} graph of {model} in the dialect {dialect}")
        sources = self.options.tactic_sources
        return gpu_engines.build_graph(self.kit, entries[0], trt=self.trt, out=self.folder, tactic_sources=sources)

    def engine(self, model: str, precision: str) -> Path:
        path = self.folder / f"{model}.{precision}.engine"
        if not path.is_file():
            raise NotPossible(f"no engine {path.name}: its build did not run or failed")
        self.trt  # noqa: B018 - raises where engines cannot be opened
        return path

    def compare(self, model: str, precision: str) -> dict[str, Any]:
        with contextlib.closing(TrtBackend(self.engine(model, precision))) as backend:
            return gpu_engines.compare(self.kit, backend, model=model, precision=precision)

    def batch(self, model: str) -> Any:
        return self.kit.arrays(model)["batch"]

    def times(self, model: str) -> dict[str, Any]:
        found = {p: path for p in PRECISIONS if (path := self.folder / f"{model}.{p}.engine").is_file()}
        if len(found) < 2:
            raise NotPossible(f"fewer than two engines of {model}")
        self.engine(model, next(iter(found)))
        return {**gpu_runtime.times(found, self.batch(model)), "clocks_after": clocks()}

    def in_graph(self, entry: dict[str, Any]) -> dict[str, Any]:
        plain = self.folder / f"{entry['model']}.{entry['precision']}.engine"
        sources = self.options.tactic_sources
        return gpu_tails.check(self.kit, entry, trt=self.trt, out=self.folder, plain=plain, tactic_sources=sources)

    def trt_build(self, model: str, precision: str) -> dict[str, Any]:
        """The command people type, in a process of its own, with gate and read-back."""
        self.trt  # noqa: B018
        missing = [name for name in ("onnx", "onnxruntime", "PIL") if importlib.util.find_spec(name) is None]
        if missing:
            raise NotPossible(f"trt-build needs {', '.join(missing)} in this Python")
        out = self.folder / f"trt_build.{model}.{precision}.engine"
        command = [sys.executable, "-m", "export.cli", model, "--precision", precision, "-o", str(out), "--json"]
        if self.options.tactic_sources:
            command += ["--tactic-sources", ",".join(self.options.tactic_sources)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRT_BUILD_S)
        last = (done.stdout.strip().splitlines() or ["{}"])[-1]
        event: dict[str, Any] = json.loads(last) if last.startswith("{") else {}
        if done.returncode or event.get("event") != "done":
            raise gpu_engines.Broken(f"{shlex.join(command)}: exit {done.returncode}; {last} {done.stderr[-500:]}")
        manifest = event["manifest"]
        return {key: manifest[key] for key in ("build_s", "found", "gate", "kept_fp16", "engine_bytes")}

    def sanitizer(self, model: str, precision: str) -> dict[str, Any]:
        """memcheck over opening, running with and without graphs, arrays on the GPU, and closing."""
        path, tool = self.engine(model, precision), shutil.which("compute-sanitizer")
        if tool is None:
            raise NotPossible("no compute-sanitizer on the PATH (it comes with the CUDA toolkit)")
        program = [sys.executable, "-m", "benchmarks.gpu_check", str(self.options.kit), "--smoke", str(path)]
        command = [tool, "--tool", "memcheck", "--leak-check", "full", "--error-exitcode", "9", *program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SANITIZER_S)
        summary = [line for line in done.stdout.splitlines() if "SUMMARY" in line]
        if "Device not supported" in done.stdout:
            raise NotPossible("compute-sanitizer says that it does not support this device")
        if done.returncode:
            raise gpu_engines.Broken(f"exit {done.returncode}: {summary or (done.stdout + done.stderr)[-800:]}")
        return {"summary": summary}


def checks_for(options: argparse.Namespace) -> Iterator[Check]:
    """All checks in the order in which they depend on each other."""
    host = _Host(options)
    models = sorted(host.kit.about["models"])
    for model in models:
        for precision in PRECISIONS:
            yield f"build {model} {precision}", lambda m=model, p=precision: host.build(m, p)
            yield f"compare {model} {precision}", lambda m=model, p=precision: host.compare(m, p)
    for entry in host.kit.tails:
        yield f"in graph {entry['model']} {entry['precision']}", lambda e=entry: host.in_graph(e)
    for model in models:

        def on(check: Callable[..., dict[str, Any]], precision: str, model: str = model, **more: Any) -> Any:
            return lambda: check(host.engine(model, precision), host.batch(model), **more)

        for precision in PRECISIONS:
            yield f"batches {model} {precision}", on(gpu_runtime.batches, precision, bound=APART[precision])
            yield f"graphs {model} {precision}", on(gpu_runtime.graphs, precision)
        for precision in ("fp32", "fp16"):
            yield f"chain {model} {precision}", on(gpu_chain.chain, precision)
        yield f"threads {model}", on(gpu_runtime.threads, "fp16")
        yield f"leaks {model}", on(gpu_runtime.leaks, "fp16", runs=options.runs)
        yield f"reopening {model}", on(gpu_runtime.reopening, "fp16")
        yield f"times {model}", lambda m=model: host.times(m)
        for name in LIBRARIES:
            yield f"{name} into {model}", on(functools.partial(gpu_arrays.with_engine, name), "fp16")
    first = models[-1]
    yield "refusals", lambda: gpu_runtime.refusals(host.engine(first, "fp16"))
    for name in LIBRARIES:
        yield f"{name} arrays", lambda n=name: gpu_arrays.round_trip(n)
    for precision in ("fp16", "int8"):
        yield f"trt-build {first} {precision}", lambda p=precision: host.trt_build(first, p)
    yield from gpu_kernels.checks()
    yield "compute-sanitizer", lambda: host.sanitizer(first, "fp16")


def run_checks(checks: Iterator[Check], only: Sequence[str], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Runs those whose names hold one of `only`, or all; an error of one does not keep the next from running."""
    rows: list[dict[str, Any]] = []
    for name, check in checks:
        if only and not any(part in name for part in only):
            continue
        started_s = time.monotonic()
        row: dict[str, Any] = {"check": name, "status": "ok"}
        try:
            row["numbers"] = check()
        except NotPossible as missing:
            row.update(status="not run", why=str(missing))
        except Exception as error:  # whatever it is, it is this check's result
            row.update(status="failed", why=f"{type(error).__name__}: {error}")
        row["seconds"] = round(time.monotonic() - started_s, 1)
        say(f"{row['status']:8} {name} ({row['seconds']} s) {row.get('why', '')}".rstrip())
        rows.append(row)
    return rows


def clocks() -> dict[str, str]:
    """What nvidia-smi says of the GPU right now; {} without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    done = subprocess.run([tool, f"--query-gpu={QUERY}", "--format=csv,noheader"], capture_output=True, text=True)
    values = (done.stdout.splitlines() or [""])[0].split(", ")
    return dict(zip(QUERY.split(","), values, strict=False)) if done.returncode == 0 else {}


def report(rows: list[dict[str, Any]], options: argparse.Namespace, *, command: str) -> dict[str, Any]:
    """Rows with the conditions they were measured under, beside older rows of other names in the same file."""
    older: dict[str, Any] = {"checks": []}
    if options.only and options.json and options.json.is_file():
        older = json.loads(options.json.read_text(encoding="utf-8"))
    names = {row["check"] for row in rows}
    python = f"{platform.python_version()} ({sys.executable})"
    conditions = {"command": command, "python": python, "clocks_before": options.clocks, "clocks_after": clocks()}
    with contextlib.suppress(FaceTRTError):  # no TensorRT in this Python
        conditions["machine"] = vars(this_machine(options.flavour))
    for row in rows:
        row["run"] = len(older.get("runs", []))
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "runs": [*older.get("runs", []), conditions],
        "checks": [*(row for row in older["checks"] if row["check"] not in names), *rows],
    }


def smoke(kit: Kit, path: Path) -> None:
    """A little of everything, for compute-sanitizer."""
    batch = kit.arrays(path.name.split(".")[0])["batch"][:3]
    for graphs in (True, False):
        with contextlib.closing(TrtBackend(path, graphs=graphs)) as backend:
            for N in (3, 3, 3, 1):
                backend.run(batch[:N])
            backend.run_device(gpu_runtime.on_gpu(batch))["sr"].copy_to_host()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kit", type=Path, help="folder of export.gpu_kit")
    parser.add_argument("--json", type=Path, help="report")
    parser.add_argument("--engines", type=Path, help="folder for engines, layers and logs (default: KIT/engines)")
    parser.add_argument("--only", nargs="+", default=[], help="checks whose names hold one of these words")
    parser.add_argument("--flavour", choices=("tensorrt", "tensorrt_rtx"), help="which TensorRT")
    parser.add_argument("--tactic-sources", nargs="+", help="libraries TensorRT may use, e.g. jit_convolutions")
    parser.add_argument("--runs", type=int, default=10_000, help="of the leak check (default: %(default)s)")
    parser.add_argument("--smoke", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.engines = options.engines or options.kit / "engines"
    found = probe()
    if not found.gpus:
        sys.stderr.write(f"gpu-check: {BackendError('an NVIDIA GPU', found.reason, REMEDY)}\n")
        return 1
    try:
        if options.smoke:
            smoke(Kit(options.kit), options.smoke)
            return 0
        options.engines.mkdir(parents=True, exist_ok=True)
        options.clocks = clocks()
        rows = run_checks(checks_for(options), options.only, _say)
    except FaceTRTError as error:
        sys.stderr.write(f"gpu-check: {error}\n")
        return 1
    if options.json:
        command = shlex.join(["python", "-m", "benchmarks.gpu_check", *arguments])
        text = json.dumps(report(rows, options, command=command), indent=1) + "\n"
        options.json.write_text(text, encoding="utf-8")
    return int(any(row["status"] == "failed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
