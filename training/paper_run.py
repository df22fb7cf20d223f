"""One stage of a paper's recipe in one folder: updates of network and critic, checkpoints that go on bit for bit."""

import copy
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training import checkpoint, processes
from training.data.pipelines import pipeline
from training.loop import Loop, plain
from training.losses_perceptual import frozen, load_features
from training.models import MODELS
from training.objectives import Networks, critic_loss, make_critic, network_terms, outputs_of
from training.optimisers import clip_gradients, make_optimiser, parameter_groups, set_rate
from training.paper_task import PaperTask
from training.recipes.stage import PaperRecipe, Stage
from training.schedule import Plan, adversarial_weight, clock, learning_rate
from training.settling import settle
from training.starting import asked_of, check_same_run, fitting_weights, told_of
from training.sync_norm import share_batch_norms

FROZEN = ("teacher", "features")  # networks that a checkpoint keeps beside the ones that learn


class OwnFeatures(nn.Module):
    """A part of the network as it entered the stage, in place of ImageNet's: picture [N,3,H,W] -> [features]."""

    def __init__(self, model: nn.Module, part: str) -> None:
        super().__init__()
        names = ("first", "body") if part == "body" else (part,)  # SRResNet's body reads its first layer
        self.parts = nn.Sequential(*[copy.deepcopy(attrgetter(name)(model)) for name in names])

    def forward(self, picture: Tensor) -> list[Tensor]:
        return [self.parts(picture)]


class PaperRun(Loop):
    """One stage of one recipe, with the length of its plan."""

    def __init__(
        self,
        recipe: PaperRecipe,
        stage: Stage,
        folder: Path,
        *,
        seed: int,
        plan: Plan,
        device: torch.device,
        initial: dict[str, Any] | None = None,
        features: Path | None = None,
        caffe: bool = False,  # the features' colours
        bf16: bool = False,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.recipe, self.stage, self.folder, self.seed = recipe, stage, folder, seed
        self.plan, self.steps, self.device, self.bf16 = plan, plan.steps, device, bf16
        self.step, self.seconds, self.running, self.clock = 0, 0.0, 0.0, clock(device)
        self.history: list[dict[str, float]] = []
        self.earlier: list[dict[str, Any]] = []
        torch.manual_seed(seed)
        model = self._shared(MODELS[recipe.model](recipe.config))
        if initial is not None:
            fitting = fitting_weights(model, initial, name=recipe.model)
            model.load_state_dict(fitting, strict=False)
            report(f"starts from {len(fitting)} of {len(model.state_dict())} arrays of another checkpoint\n")
            self.earlier = checkpoint.runs_of(initial)
        if bf16:
            model = model.to(memory_format=torch.channels_last)  # a fifth to a quarter faster, on CPUs too
        self.networks = Networks(model.to(device))
        if stage.critic:
            critic = make_critic(stage.critic, hr_px=pipeline(recipe.pipeline).hr_px or 0)
            if initial is not None and "critic" in initial and initial["recipe"]["name"] == recipe.name:
                critic.load_state_dict(initial["critic"])
            self.networks.critic = self._shared(critic).to(device)
        self._add_frozen(features, report, caffe=caffe)
        self.average = copy.deepcopy(model).eval() if recipe.ema else model
        self._choose_learners()
        self.optimisers = {"model": make_optimiser(recipe, self.learners, stage.lr)}
        if self.networks.critic is not None:
            self.optimisers["critic"] = make_optimiser(recipe, list(self.networks.critic.parameters()), stage.lr)
        if self.path.exists():
            self._resume(checkpoint.load(self.path))

    @staticmethod
    def _shared(network: nn.Module) -> nn.Module:
        """Batch norm over all processes, where there are several."""
        return share_batch_norms(network) if processes.world() > 1 else network

    def _add_frozen(self, features: Path | None, report: Callable[[str], None], *, caffe: bool) -> None:
        """Super-FAN's second FAN and the perceptual network; says what the latter is."""
        model, stage = self.networks.model, self.stage
        if stage.heatmap_loss == "super_fan":
            self.networks.teacher = frozen(copy.deepcopy(model.fan))
        self.perceptual = "none"
        if not stage.weights.features:
            return
        if features is not None:
            network, self.perceptual = load_features(stage.features, features, caffe=caffe)
            self.networks.features = network.to(self.device)
        elif stage.own_features:
            self.networks.features = frozen(OwnFeatures(model, stage.own_features)).to(self.device)
            where = f"{self.recipe.model}.{stage.own_features}"
            self.perceptual = f"perceptual loss: NOT {stage.features} but {where} as trained before this stage"
        else:
            self.perceptual = f"perceptual loss: LEFT OUT; {stage.features} needs --features FILE"
        report(f"{self.perceptual}\n")

    def _choose_learners(self) -> None:
        """Parts that do not learn keep their statistics too."""
        model = self.networks.model
        model.requires_grad_(not self.stage.learns)
        for name in self.stage.learns:
            attrgetter(name)(model).requires_grad_(True)
        self.learners = parameter_groups(model, self.stage)

    def _train_mode(self) -> None:
        model = self.networks.model
        model.train(not self.stage.learns)
        for name in self.stage.learns:
            attrgetter(name)(model).train()
        if self.networks.critic is not None:
            self.networks.critic.train()

    def rate(self, step: int) -> float:
        return learning_rate(self.stage, step, steps=self.steps)

    def advance(self, task: PaperTask) -> float:
        """Update the critic, then the network; returns the latter's loss.

        Random numbers of a step (dropout, the penalty's mix) depend on seed, step and process alone.

        Raises:
            FloatingPointError: a loss or gradient that is not finite, before weights are spoilt.
        """
        state = np.random.SeedSequence([self.seed, self.step, processes.rank()]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> 1))
        self.networks.to_rgb = task.to_rgb
        self._train_mode()
        batch, networks = task.batch(self.step), self.networks
        with self._precision():
            out = outputs_of(networks, batch, self.stage)
        out = {name: value.float() for name, value in out.items()}
        rate = self.rate(self.step)
        if networks.critic is not None:
            with self._precision():
                loss = critic_loss(networks.critic, batch, self.recipe, stage=self.stage, fake=out["sr"].detach())
            self._update("critic", loss.float(), rate)
            networks.critic.requires_grad_(False)
        adversarial = adversarial_weight(self.stage, self.step, steps=self.steps)
        with self._precision():
            terms = network_terms(networks, batch, out, recipe=self.recipe, stage=self.stage, adversarial=adversarial)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        self._update("model", loss, rate)
        if networks.critic is not None:
            networks.critic.requires_grad_(True)
        processes.average_statistics(networks.model)
        self.step += 1
        if self.recipe.ema:
            self._follow()
        return float(loss.detach())

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def _update(self, who: str, loss: Tensor, rate: float) -> None:
        """One step of one optimiser. Raises FloatingPointError before it when the gradient is not finite."""
        optimiser = self.optimisers[who]
        learners = [p for group in optimiser.param_groups for p in group["params"]]
        set_rate(optimiser, rate)
        optimiser.zero_grad()
        loss.backward()
        processes.average_gradients(learners)
        norm = torch.nn.utils.get_total_norm([p.grad for p in learners if p.grad is not None])
        if not torch.isfinite(norm) or not torch.isfinite(loss.detach()):
            kept = f"{self.path} holds the last good weights" if self.path.exists() else "nothing was saved yet"
            got = f"loss {float(loss.detach())}, gradient {float(norm)} of the {who} at step {self.step}"
            raise FloatingPointError(f"expected a finite loss and gradient; got {got}; {kept}: lower the recipe's lr")
        if who == "model":
            clip_gradients(self.recipe, learners, rate)
        optimiser.step()

    @torch.no_grad()
    def _follow(self) -> None:
        """The averaged weights, which are evaluated and kept."""
        decay = min(self.recipe.ema, self.step / (self.step + 10.0))
        raw = dict(self.networks.model.named_parameters())
        for name, value in self.average.named_parameters():
            value.lerp_(raw[name], 1.0 - decay)
        statistics = dict(self.networks.model.named_buffers())
        for name, value in self.average.named_buffers():
            value.copy_(statistics[name])

    def _validate(self, task: PaperTask, report: Callable[[str], None]) -> None:
        self.settle(task)
        if processes.rank() == 0:
            self.average.eval()
            with self._precision():
                super()._validate(task, report)

    def settle(self, task: PaperTask) -> None:
        """Measures the statistics that are validated and kept. In all processes: their batch norms share them."""
        networks = replace(self.networks, model=self.average)
        with self._precision():
            settle(
                self.average, lambda n: outputs_of(networks, task.batch_here(n), self.stage), parts=self.stage.learns
            )
        processes.average_statistics(self.average)

    def save(self) -> None:
        if processes.rank() == 0:
            checkpoint.save(self.path, self.payload())
            self.write_log()

    def payload(self) -> dict[str, Any]:
        """What a run needs to go on, and what explains its weights."""
        networks, recipe = self.networks, self.recipe
        others = {name: getattr(networks, name) for name in ("critic", *FROZEN)}
        return {
            "model": recipe.model,
            "config": plain(recipe.config.as_dict()),
            "weights": self.average.state_dict(),
            "raw_weights": networks.model.state_dict(),
            **{name: network.state_dict() for name, network in others.items() if network is not None},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "step": self.step,
            "seconds": self.seconds,
            "seed": self.seed,
            "recipe": told_of(recipe, self.stage, bf16=self.bf16),
            "plan": self.plan.as_dict(),
            "perceptual": self.perceptual,
            "history": self.history,
            "running": self.running,
            "earlier": self.earlier,
        }

    def _resume(self, saved: dict[str, Any]) -> None:
        """Go on where the folder's checkpoint stopped. Raises InputError and ModelError as check_same_run."""
        asked = asked_of(self.recipe, self.stage, seed=self.seed, bf16=self.bf16, earlier=self.earlier)
        check_same_run(saved, {**asked, "perceptual": self.perceptual}, path=self.path)
        self.networks.model.load_state_dict(saved["raw_weights"])
        if self.recipe.ema:
            self.average.load_state_dict(saved["weights"])
        for name in ("critic", *FROZEN):
            network = getattr(self.networks, name)
            if network is not None:
                network.load_state_dict(saved[name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(saved["optimisers"][name])
        self.step, self.seconds, self.history = saved["step"], saved["seconds"], saved["history"]
        self.running, self.earlier = saved["running"], saved["earlier"]
