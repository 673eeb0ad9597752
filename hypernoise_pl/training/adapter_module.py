"""What all modules that train a LoRA on a frozen model share: optimiser, guard, logging, adapter-only checkpoints."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from hypernoise_pl.distributed.fsdp import whole
from hypernoise_pl.noise import noise_statistics
from hypernoise_pl.objective import weighted_sum
from hypernoise_pl.training import resuming
from hypernoise_pl.training.precision import check_precision, check_trainer
from hypernoise_pl.types import Prompt, Rollout

_STATES = {"state_dict", "current_model_state"}  # weights in a checkpoint; both where Lightning averages them


class WarmupCosine(LambdaLR):
    """A linear warm-up, then a cosine down to a floor.

    Args:
        optimizer: optimiser, given by the module.
        warmup_steps: optimiser steps from 0 to the full rate.
        total_steps: optimiser steps in all; beyond them the rate stays at the floor.
        floor: share of the full rate that is left at the end, in [0, 1].

    Raises:
        ValueError: if there are no steps in all.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup_steps: int = 0, total_steps: int = 1000, floor: float = 0.1
    ) -> None:
        if not total_steps or total_steps < 1:  # none where trainer.max_steps is null
            raise ValueError(f"WarmupCosine: total_steps must be at least 1, got {total_steps}; set trainer.max_steps")
        self.warmup_steps, self.total_steps, self.floor = warmup_steps, total_steps, floor

        def rate(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / (warmup_steps + 1)
            done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
            return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

        super().__init__(optimizer, rate)


class NonFiniteError(RuntimeError):
    """Loss or gradient were not finite for too many steps in a row."""


class RewardError(RuntimeError):
    """A reward fails, or gives no gradient to train on."""


class AdapterModule(L.LightningModule, ABC):
    """Trains a LoRA; everything else is frozen, in eval mode, and never in a checkpoint.

    Args:
        optimizer: class and arguments of the optimiser; it is given the LoRA weights alone.
        lr_scheduler: class and arguments of a schedule, stepped with the optimiser; None for a constant rate.
        max_bad_steps: steps in a row with a loss or gradient that is not finite, each skipped and counted, after
            which the run stops.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        max_bad_steps: int = 10,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # frozen weights are not in checkpoints
        self._make_optimizer, self._make_schedule = optimizer, lr_scheduler
        self.max_bad_steps = max_bad_steps
        self.bad_steps = self._bad_in_a_row = 0
        self.bad_rewards: Counter[str] = Counter()  # reward -> skipped steps in which a score of it was not finite
        self._last_step = self._paused = time.monotonic()
        self.newest_reward: Tensor | None = None  # [B] of this process's newest training images
        self._since_step: list[Rollout] = []
        self._figures: list[dict[str, Tensor]] = []
        self._saved: dict[str, Any] | None = None  # what a checkpoint says of the run that made it
        self._own_numbers: tuple[dict[str, Any], dict[str, Any]] = ({}, {})  # of this run's optimiser and schedule

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name -> weight of all that trains."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    @abstractmethod
    def finite_parts(self, prompts: Sequence[Prompt]) -> dict[str, bool]:
        """Name of each part of the loss -> whether it and its gradient are finite on these training prompts."""

    def setup(self, stage: str) -> None:
        """Check the Trainer's precision.

        Raises:
            ValueError: if it is one that converts weights.
        """
        check_trainer(self.trainer)
        if stage == "fit":  # a module may be fitted again; a checkpoint's own counts come later
            self.bad_steps = self._bad_in_a_row = 0
            self.bad_rewards.clear()

    def train(self, mode: bool = True) -> AdapterModule:
        """Stay in eval mode: frozen networks must not drop out, and the LoRA has nothing that differs."""
        return super().train(False)

    @abstractmethod
    def adapter_settings(self) -> dict[str, Any]:
        """Name -> value of what gives the trained weights their meaning; a resumed run must have the same."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Name of a flag -> value of what else decides training; a resumed run may have others."""

    def configure_optimizers(self) -> Any:
        """The configured optimiser on the LoRA weights, its schedule stepped with it.

        Raises:
            ValueError: if the precision does not train right (see ``precision.check_precision``), or the schedule waits
                for a figure.
        """
        check_precision(self.trainer, self.trainable().values(), self.frozen_parts())
        optimizer = self._make_optimizer(self.trainable().values())
        if self._make_schedule is None:
            return optimizer
        schedule = self._make_schedule(optimizer)
        if isinstance(schedule, ReduceLROnPlateau):
            raise ValueError(
                "model.lr_scheduler ReduceLROnPlateau: the rate is a function of the step here, and no figure changes "
                "it; use WarmupCosine or another of torch.optim.lr_scheduler"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @abstractmethod
    def frozen_parts(self) -> dict[str, Sequence[nn.Module]]:
        """What is frozen and lets gradients through, by the name of the option that sets its precision."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Prompts are text; nothing to move."""
        return batch

    def guarded(self, loss: Tensor, rollout: Rollout) -> Tensor:
        """The loss; one that is not finite is given a gradient that is not finite either.

        Reduced over micro-steps and processes, the gradient then tells all processes alike to skip the step.
        """
        # the graph is not kept: a culprit is looked for by running the prompts again
        scores = {name: score.detach() for name, score in rollout.scores.items()}
        empty = rollout.noise.new_zeros(0)
        self._since_step.append(Rollout(rollout.prompts, empty, empty, empty, scores, rollout.nfe))
        return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip a step whose gradient is not finite; it is whole and reduced over processes by now.

        Raises:
            NonFiniteError: after more than ``max_bad_steps`` in a row.
        """
        gradients = [p.grad for p in self.trainable().values() if p.grad is not None]
        norm = whole(torch.nn.utils.get_total_norm(gradients)) if gradients else torch.zeros(())
        self.log("train/gradient_norm", norm, batch_size=1)
        seen, self._since_step = self._since_step, []
        if torch.isfinite(norm):
            self._bad_in_a_row = 0
            return
        optimizer.zero_grad(set_to_none=True)  # an optimiser passes over weights without a gradient
        if self._scale_is_searched():
            return
        names = self._without_a_score(seen)
        self.bad_rewards.update(names)
        if not self.bad_steps:
            rank_zero_warn(
                f"step {self.global_step} is skipped: its loss or gradient is not finite{_by(names)}; the last lines "
                "of the run say how many are"
            )
        self.bad_steps, self._bad_in_a_row = self.bad_steps + 1, self._bad_in_a_row + 1
        if self._bad_in_a_row > self.max_bad_steps:
            raise NonFiniteError(
                f"{self._bad_in_a_row} steps in a row without a finite loss and gradient, the last at step "
                f"{self.global_step}; gone bad: {self._culprits([rollout.prompts for rollout in seen])}; lower the "
                "learning rate or its weight"
            )

    def skipped(self) -> str:
        """How many optimiser steps were skipped, in words; empty if none."""
        if not self.bad_steps:
            return ""
        counts = [f"reward {name!r} {count}" for name, count in self.bad_rewards.most_common()]
        return f"{self.bad_steps} of {self.global_step} steps were skipped, whose loss or gradient was not finite" + (
            f" (scores that were not: {', '.join(counts)})" if counts else ""
        )

    def _without_a_score(self, seen: Sequence[Rollout]) -> list[str]:
        """Rewards with a score that is not finite, here or in any other process."""
        names = [name for name in (seen[0].scores if seen else {})]
        return self._anywhere(
            names, [all(bool(rollout.scores[name].isfinite().all()) for rollout in seen) for name in names]
        )

    def _anywhere(self, names: Sequence[str], fine: Sequence[bool]) -> list[str]:
        """The names that are not fine in this process or another one; all must ask together."""
        bad = torch.tensor([float(not well) for well in fine], device=self.device)
        bad = self.trainer.strategy.reduce(bad, reduce_op="sum")
        return [name for name, count in zip(names, bad.tolist()) if count]

    def _scale_is_searched(self) -> bool:
        """Whether float16's loss scaling has further to go down, so that an overflow is nobody's fault."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler is not None and scaler.get_scale() > 1

    def _culprits(self, batches: Sequence[Sequence[Prompt]]) -> str:
        """The parts of the loss that are not finite on this step's prompts, here or in any other process."""
        with self.trainer.precision_plugin.forward_context():
            looks = [self.finite_parts(prompts) for prompts in batches]
        names = list(looks[0])
        found = self._anywhere(names, [all(look[name] for look in looks) for name in names])
        return ", ".join(found) or "no single part, only their sum"

    def log_step(
        self, rollout: Rollout, terms: dict[str, Tensor], loss: Tensor, weights: dict[str, float], batch_idx: int
    ) -> None:
        """Log an optimiser step: rewards raw and weighted, the loss's terms, the noise's health, rate and speed.

        Every figure is of all micro-batches of the step in all processes.
        """
        trainer: Any = self.trainer
        every, parts = trainer.log_every_n_steps, trainer.accumulate_grad_batches
        is_last = (batch_idx + 1) % parts == 0
        self.newest_reward = terms["reward"].detach()
        if every and (self.global_step + 1) % every == 0:  # when Lightning's loggers write
            means = {"loss": loss} | {f"reward/{name}": score.mean() for name, score in rollout.scores.items()}
            means |= {name: term.mean() for name, term in terms.items()}
            means["residual"] = rollout.residual.square().mean()
            self._figures.append({name: value.detach().float() for name, value in means.items()})
            self._figures[-1]["refined"] = rollout.refined.detach()
            if is_last:
                self._log_figures(weights, len(rollout.prompts) * parts)
        if is_last:
            self._last_step, self._figures = time.monotonic(), []

    def _log_figures(self, weights: dict[str, float], images: int) -> None:
        rows = torch.cat([part.pop("refined") for part in self._figures])
        gathered: Any = self.all_gather(rows)
        refined = gathered.reshape(-1, *rows.shape[1:])
        names = list(self._figures[0])
        mean = torch.stack([torch.stack([part[name] for name in names]) for part in self._figures]).mean(0)
        means = dict(zip(names, self.trainer.strategy.reduce(mean, reduce_op="mean")))
        figures: dict[str, Any] = {f"noise/train/{name}": value for name, value in noise_statistics(refined).items()}
        figures["noise/train/residual"] = means.pop("residual").sqrt()
        figures |= {f"train/{name}": value for name, value in means.items() if name != "reward"}
        for name in weights:
            if f"reward/{name}" in means:
                figures[f"train/weighted/{name}"] = weighted_sum({name: means[f"reward/{name}"]}, weights)
        figures["train/learning_rate"] = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        seconds = max(1e-9, time.monotonic() - self._last_step)
        figures["speed/images_per_second"] = images * self.trainer.world_size / seconds
        figures["train/bad_steps"] = float(self.bad_steps)
        self.log_dict(figures, batch_size=images)
        self.log("train/reward", means["reward"], prog_bar=True, batch_size=images)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what trains, and the settings that it was trained with; the frozen models are where they came from."""
        names = self.trainable()
        checkpoint["bad_steps"] = [self.bad_steps, self._bad_in_a_row]
        checkpoint["bad_rewards"] = dict(self.bad_rewards)
        for kind in _STATES & checkpoint.keys():
            checkpoint[kind] = {k: v for k, v in checkpoint[kind].items() if k in names}
        checkpoint["made_by"] = {
            "adapter": self.adapter_settings(),
            "classes": self._classes(),
            "settings": self._settings(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what a checkpoint has, if it can be continued here; without a Trainer, its weights alone.

        Raises:
            ValueError: if it is of an adapter or of classes that this run does not have.
        """
        saved, own = checkpoint["state_dict"], self.trainable()
        if "made_by" not in checkpoint:
            raise ValueError("the checkpoint does not say what made it; leave --ckpt_path out to begin anew")
        made_by = checkpoint["made_by"]
        flags = {name: f"model.lora.{name}" for name in ("rank", "alpha", "targets")} | {"mode": "model.mode"}
        resuming.check_same(made_by["adapter"], self.adapter_settings(), flags)
        if {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in own.items()}:
            raise ValueError(
                f"the checkpoint's adapter does not fit: it has {len(saved)} tensors, this run trains {len(own)}; "
                "was the generator changed? leave --ckpt_path out to begin anew"
            )
        if self._trainer is None:  # ``load_from_checkpoint``
            return
        self._saved = made_by
        self._check_classes()
        self.bad_steps, self._bad_in_a_row = checkpoint["bad_steps"]
        self.bad_rewards = Counter(checkpoint["bad_rewards"])
        parts, before = resuming.stream_settings(self.trainer), made_by["settings"]
        changed = any(before.get(name) != value for name, value in parts.items())
        if changed or resuming.batches_done(checkpoint["loops"]) % self.trainer.accumulate_grad_batches:
            resuming.begin_epoch(checkpoint["loops"])
        if checkpoint.keys() >= _STATES:  # WeightAveraging takes whole ones
            checkpoint.update({kind: self.state_dict() | checkpoint[kind] for kind in _STATES})

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As PyTorch's; frozen weights that are left out, as in every checkpoint, do not count as missing."""
        found: Any = super().load_state_dict(state_dict, strict, assign)
        return found._replace(missing_keys=[name for name in found.missing_keys if name in self.trainable()])

    def on_fit_start(self) -> None:
        """Check the optimiser against a checkpoint, before its state is restored."""
        self._check_classes()
        self._own_numbers = self._numbers()

    def on_train_start(self) -> None:
        """Let this run's settings count from here on, where a checkpoint was made with others; say which they are."""
        self._last_step = time.monotonic()
        if self._saved is None:
            return
        resuming.put_back(self.trainer.optimizers[0], self._schedule(), *self._own_numbers)
        if found := resuming.differences(self._saved["settings"], self._settings()):
            rank_zero_warn(f"resuming at step {self.global_step}: from here on this run's settings count: {found}")
        self._saved = None

    def on_validation_start(self) -> None:
        """Stop the clock of the step under way."""
        self._paused = time.monotonic()

    def on_validation_end(self) -> None:
        """Let it go on: a step's speed has no validation in it."""
        self._last_step += time.monotonic() - self._paused

    def _check_classes(self) -> None:
        if self._saved is not None and self.trainer.optimizers:
            resuming.check_same(self._saved["classes"], self._classes(), {})

    def _classes(self) -> dict[str, str | None]:
        return {
            "optimizer": resuming.class_name(self._plain_optimizer()),
            "lr_scheduler": resuming.class_name(self._schedule()),
        }

    def _numbers(self) -> tuple[dict[str, Any], dict[str, Any]]:
        schedule = self._schedule()
        return (
            resuming.optimizer_settings(self.trainer.optimizers[0]),
            {} if schedule is None else resuming.schedule_settings(schedule),
        )

    def _settings(self) -> dict[str, Any]:
        numbers, arguments = self._numbers()
        own = {f"model.optimizer.{name}": value for name, value in numbers.items()}
        own |= {f"model.lr_scheduler.{name}": value for name, value in arguments.items()}
        return (
            own
            | resuming.stream_settings(self.trainer)
            | {"trainer.precision": self.trainer.precision}
            | self.settings()
        )

    def _plain_optimizer(self) -> Any:
        found: Any = self.trainer.optimizers[0]
        return getattr(found, "_optimizer", found)

    def _schedule(self) -> Any:
        """The schedule of the rate; None if there is none."""
        configs = self.trainer.lr_scheduler_configs
        return configs[0].scheduler if configs else None


def _by(names: Sequence[str]) -> str:
    return f" (scores of {', '.join(repr(name) for name in names)})" if names else ""
