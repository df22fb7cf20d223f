"""A paper's recipe from its first stage to its last: training.train calls it. A budget is measured, not guessed."""

import math
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from sdk.errors import InputError
from training import checkpoint, processes
from training.data.examples import FaceExamples, PatchExamples, make_examples
from training.loop import no_room
from training.models import MODELS
from training.paper_run import PaperRun
from training.paper_task import PaperTask
from training.recipes.stage import PaperRecipe, Stage
from training.schedule import Plan, clock, paper_steps, seconds
from training.starting import alone, asked_of, check_kind, check_order, check_same_run

MEASURED_STEPS = 3  # after one that is not counted
VALIDATED_SHARE = 0.1  # of a budget at most, but for the last validation
LABELLED = {"fan": "only", "jasrnet": "half", "fsrnet": "half", "mtun": "half"}  # by heatmap loss
SMALLEST_BATCH = {"mtun": 2}  # batch norm on maps of one cell
Report = Callable[[str], None]


def train_recipe(
    recipe: PaperRecipe, folder: Path, args: Namespace, *, report: Report, should_stop: Callable[[], bool]
) -> bool:
    """All stages, each from the one before; True when the last step of the last was reached.

    Raises InputError, ModelError, OutputError, and FloatingPointError when a loss is not finite.
    """
    device = _device(args.device)
    with alone(folder) if processes.rank() == 0 else nullcontext():
        return _train_stages(recipe, folder, args, device=device, report=report, should_stop=should_stop)


def _train_stages(
    recipe: PaperRecipe,
    folder: Path,
    args: Namespace,
    *,
    device: torch.device,
    report: Report,
    should_stop: Callable[[], bool],
) -> bool:
    own_report = report if processes.rank() == 0 else lambda text: None
    recipe = with_changes(recipe, args)
    check_options(recipe, args)
    initial = None if args.init is None else checkpoint.load(args.init)
    stages = stages_of(recipe, initial)
    check_order(folder, [stage.name for stage in stages])
    total = sum(stage.epochs for stage in stages)
    for stage in stages:
        run_args = {
            "seed": args.seed,
            "device": device,
            "features": args.features,
            "bf16": args.bf16,
            "caffe": args.caffe,
        }
        share = stage.epochs / total
        stage_folder = folder / stage.name
        done = _train_stage(
            recipe, stage, stage_folder, args, initial=initial, share=share, run_args=run_args,
            report=own_report, should_stop=lambda: processes.any_of(should_stop()),
        )  # fmt: skip
        if not done:
            return False
        initial = checkpoint.load(stage_folder / "last.pt")
    if processes.rank() == 0:
        path = folder / f"{recipe.name}.pt"
        checkpoint.save(path, finished(recipe, initial))
        report(f"wrote {path}\n")
    return True


def with_changes(recipe: PaperRecipe, args: Namespace) -> PaperRecipe:
    """The recipe with the archives, the batch and the learning rates that were asked for in place of the paper's."""
    if args.packs is not None:
        recipe = replace(recipe, packs=tuple(args.packs))
    if args.batch is not None:
        recipe = replace(recipe, batch=args.batch)
    times = args.lr_times
    stages = tuple(replace(stage, lr=stage.lr * times, lr_end=stage.lr_end * times) for stage in recipe.stages)
    return replace(recipe, stages=stages) if times != 1.0 else recipe


def check_options(recipe: PaperRecipe, args: Namespace) -> None:
    """Raises InputError: options that this recipe cannot take, or would ignore."""
    if args.features is not None and not any(stage.weights.features for stage in recipe.stages):
        raise InputError("a recipe with a perceptual loss", f"--features with {recipe.name}", "leave --features out")
    if args.caffe and args.features is None:
        raise InputError("--features FILE with --caffe", "--caffe alone", "leave it out, or name the weights")
    least = SMALLEST_BATCH.get(recipe.model, 1)
    if recipe.batch < least:
        raise InputError(f"a batch of {least} or more for {recipe.model}", str(recipe.batch), "give another --batch")


def stages_of(recipe: PaperRecipe, initial: dict[str, Any] | None) -> tuple[Stage, ...]:
    """Those that are to be trained: not again Super-FAN's FAN, or a GAN's first stage, when a checkpoint brings it."""
    if initial is None:
        return recipe.stages
    if initial.get("model") == "fan" and recipe.model != "fan":
        return tuple(stage for stage in recipe.stages if stage.learns != ("fan",))
    if initial.get("model") == recipe.model and len(recipe.stages) > 1:
        known = {run.get("part") for run in checkpoint.runs_of(initial)}
        return tuple(stage for stage in recipe.stages if stage.name not in known) or recipe.stages
    return recipe.stages


def finished(recipe: PaperRecipe, saved: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a trained network: averaged weights, the runs that made them, what a runtime must know."""
    kept = {key: saved[key] for key in ("model", "config", "weights", "perceptual")}
    kept["runs"] = checkpoint.runs_of(saved)
    model = MODELS[recipe.model](recipe.config)
    if hasattr(model, "spec"):
        packs = sorted({pack for run in kept["runs"] for pack in run["packs"]})
        told = [r.get("told", f"{r['name']} {r['part']}: {r['steps']} steps of {r['batch']}") for r in kept["runs"]]
        terms = f"the terms of its training data ({', '.join(packs)})"
        kept["spec"] = model.spec(recipe.name, licence=terms, notes="; ".join(told)).to_json()
    return kept


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("a GPU that torch can use", "none", "leave --device out")
    return processes.start(torch.device(name))


def _train_stage(
    recipe: PaperRecipe,
    stage: Stage,
    folder: Path,
    args: Namespace,
    *,
    initial: dict[str, Any] | None,
    share: float,  # of the steps or the budget
    run_args: dict[str, Any],
    report: Report,
    should_stop: Callable[[], bool],
) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("a folder to write to", f"{folder} ({error.strerror})", "give another --out") from error
    saved = checkpoint.load(folder / "last.pt") if (folder / "last.pt").exists() else None
    if saved is not None:
        check_kind(saved, path=folder / "last.pt")
    plan = None if saved is None else _saved_plan(saved, args, share)
    if plan is not None and saved is not None and saved["step"] >= plan.steps:
        earlier = [] if initial is None else checkpoint.runs_of(initial)
        asked = asked_of(recipe, stage, seed=args.seed, bf16=args.bf16, earlier=earlier)
        check_same_run(saved, asked, path=folder / "last.pt")
        return True
    report(f"{recipe.name}, stage {stage.name}\n")
    examples = _examples(recipe, stage, folder, args, report)
    task = PaperTask(examples, stage, size=recipe.batch, device=run_args["device"], workers=args.workers)
    try:
        return _fit(
            recipe, stage, folder, args, task=task, plan=plan, initial=initial, share=share, run_args=run_args,
            report=report, should_stop=should_stop,
        )  # fmt: skip
    finally:
        task.close()


def _examples(
    recipe: PaperRecipe, stage: Stage, folder: Path, args: Namespace, report: Report
) -> FaceExamples | PatchExamples:
    """What a stage learns from; what cannot be used is counted, and listed in the stage's folder."""
    labelled = LABELLED.get(stage.heatmap_loss, "any")
    examples = make_examples(
        recipe.pipeline, recipe.packs, args.seed, patch_filter=recipe.patch_filter, labelled=labelled, report=report,
        classes=getattr(recipe.config, "parsing", 0),
    )  # fmt: skip
    if len(examples.skips) and processes.rank() == 0:
        try:
            examples.skips.write(folder / "skipped.csv")
        except OSError as error:
            raise no_room(folder / "skipped.csv", error) from error
        report(f"{examples.skips.report(shown=3)}\nall of them in {folder / 'skipped.csv'}\n")
    return examples


def _fit(
    recipe: PaperRecipe,
    stage: Stage,
    folder: Path,
    args: Namespace,
    *,
    task: PaperTask,
    plan: Plan | None,
    initial: dict[str, Any] | None,
    share: float,
    run_args: dict[str, Any],
    report: Report,
    should_stop: Callable[[], bool],
) -> bool:
    full = paper_steps(stage, examples=len(task.examples), batch=recipe.batch)
    if plan is None:
        plan = make_plan(recipe, stage, task, args, full=full, share=share, initial=initial, run_args=run_args)
    told = f"{plan.steps} steps, {100 * plan.steps / full:.2g} % of the paper's schedule on these pictures"
    report(f"{told}; lr and its changes are scaled to that\n")
    run = PaperRun(recipe, stage, folder, plan=plan, initial=initial, report=report, **run_args)
    every = args.validate_every or math.ceil(plan.steps / plan.validations)
    if plan.budget_s is None:
        every = min(every, 1000)
    run.fit(task, validate_every=every, report=report, should_stop=should_stop)
    processes.wait()
    done = run.step >= run.steps
    report(f"\n{recipe.name}, {stage.name}: {'finished' if done else 'stopped'} at step {run.step}; saved {run.path}\n")
    return done


def _saved_plan(saved: dict[str, Any], args: Namespace, share: float) -> Plan:
    """The plan that a run began with, or a longer or shorter one by --steps. Raises InputError: another budget."""
    known = {field.name for field in fields(Plan)}
    plan = Plan(**{key: value for key, value in saved["plan"].items() if key in known})
    if args.steps is not None:
        return replace(plan, steps=max(1, round(share * args.steps)))
    if args.budget is not None and not math.isclose(plan.budget_s or 0.0, share * seconds(args.budget), rel_tol=1e-6):
        asked = f"--budget {args.budget}"
        expected = f"the budget that this run began with ({plan.budget_s} s for this stage)"
        raise InputError(expected, asked, "leave --budget out, or give another --out")
    return plan


def make_plan(
    recipe: PaperRecipe,
    stage: Stage,
    task: PaperTask,
    args: Namespace,
    *,
    full: int,
    share: float,
    initial: dict[str, Any] | None,
    run_args: dict[str, Any],
) -> Plan:
    """Steps by --steps, by --budget and the measured time of a step, or all of the paper's.

    The time of measuring counts, and so do the validations; reading the archives does not.
    """
    if args.steps is not None:
        return Plan(max(1, round(share * args.steps)), full)
    if args.budget is None:
        return Plan(full, full)
    now = clock(run_args["device"])
    budget_s, started = share * seconds(args.budget), now()
    trial = PaperRun(recipe, stage, Path("measured and not kept"), plan=Plan(full, full), initial=initial, **run_args)
    trial.advance(task)
    begun = now()
    counted = 0
    while counted < MEASURED_STEPS and (counted == 0 or now() - started < budget_s / 10):
        trial.advance(task)
        counted += 1
    step_s = processes.largest_of((now() - begun) / counted)
    begun = now()
    trial.settle(task)
    task.validate(trial.average.eval())
    task.sample(trial.average)
    validation_s = processes.largest_of(now() - begun)
    left = budget_s - processes.largest_of(now() - started)
    if args.validate_every:
        steps = left / (step_s + validation_s / args.validate_every)
        return Plan(min(full, max(1, int(steps))), full, step_s, budget_s)
    count = max(1, min(Plan.validations, int(VALIDATED_SHARE * budget_s / validation_s)))
    steps = int((left - count * validation_s) / step_s)
    return Plan(min(full, max(1, steps)), full, step_s, budget_s, count)
