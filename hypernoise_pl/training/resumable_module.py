"""Checkpoints of a training: what trains, what made it, and the checks before a run continues from one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from hypernoise_pl.training import resuming
from hypernoise_pl.training.step_guard import GuardedModule
from hypernoise_pl.training.step_log import LoggedModule

_STATES = {"state_dict", "current_model_state"}  # weights in a checkpoint; both where Lightning averages them


class ResumableModule(GuardedModule, LoggedModule, ABC):
    """Keeps what trains and its settings in a checkpoint; frozen weights are not in it.

    Args:
        max_bad_steps: steps in a row with a loss or gradient that is not finite, after which the run stops.
    """

    def __init__(self, max_bad_steps: int = 10) -> None:
        super().__init__(max_bad_steps)
        self.strict_loading = False  # frozen weights are not in checkpoints
        self._saved: dict[str, Any] | None = None  # settings of the run that made the checkpoint
        self._own_numbers: tuple[dict[str, Any], dict[str, Any]] = ({}, {})  # of this run's optimiser and schedule

    @abstractmethod
    def adapter_settings(self) -> dict[str, Any]:
        """Name -> value of what gives the trained weights their meaning; a resumed run must have the same."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Name of a flag -> value of what else decides training; a resumed run may have others."""

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
        flags = {name: f"model.adapter.lora.{name}" for name in ("rank", "alpha", "targets")} | {
            "mode": "model.adapter.mode",
            "adapts": "model.adapter",
        }
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
            resuming.restart_epoch(checkpoint["loops"])
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
        resuming.apply_settings(self.trainer.optimizers[0], self._schedule(), *self._own_numbers)
        if found := resuming.differences(self._saved["settings"], self._settings()):
            rank_zero_warn(f"resuming at step {self.global_step}: from here on this run's settings count: {found}")
        self._saved = None

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
