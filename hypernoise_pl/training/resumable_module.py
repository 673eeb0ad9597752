"""Checkpoint content of a training module, and the checks before a run resumes from a checkpoint."""

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

_STATES = {"state_dict", "current_model_state"}  # weights in a checkpoint; Lightning's weight averaging adds the second


class ResumableModule(GuardedModule, LoggedModule, ABC):
    """Stores the trained weights and their settings in checkpoints; frozen weights are left out.

    Args:
        max_bad_steps: largest number of consecutive steps with a non-finite loss or gradient; one more stops the run.
    """

    def __init__(self, max_bad_steps: int = 10) -> None:
        super().__init__(max_bad_steps)
        self.strict_loading = False  # frozen weights are not in checkpoints
        self._saved: dict[str, Any] | None = None  # settings of the run that wrote the checkpoint
        self._own_numbers: tuple[dict[str, Any], dict[str, Any]] = ({}, {})  # settings of optimiser and schedule

    @abstractmethod
    def adapter_settings(self) -> dict[str, Any]:
        """The settings that the trained weights depend on, name -> value; a resumed run must have the same."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The other training settings, flag name -> value; a resumed run may change them."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Reduce a checkpoint to the trained weights, and add the run's settings."""
        names = self.trainable()
        checkpoint["bad_steps"] = [self.bad_steps, self._bad_in_a_row]
        checkpoint["bad_rewards"] = dict(self.bad_rewards)
        for key in _STATES & checkpoint.keys():
            checkpoint[key] = {name: weight for name, weight in checkpoint[key].items() if name in names}
        checkpoint["made_by"] = {
            "adapter": self.adapter_settings(),
            "classes": self._classes(),
            "settings": self._settings(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint fits this run and restore its counts; without a Trainer, check the weights only.

        Raises:
            ValueError: if it has another adapter, optimiser class or schedule class than this run.
        """
        saved, own = checkpoint["state_dict"], self.trainable()
        if "made_by" not in checkpoint:
            raise ValueError("the checkpoint does not record its settings; leave --ckpt_path out to start anew")
        made_by = checkpoint["made_by"]
        flags = {name: f"model.adapter.lora.{name}" for name in ("rank", "alpha", "targets")} | {
            "mode": "model.adapter.mode",
        }
        resuming.check_same(made_by["adapter"], self.adapter_settings(), flags)
        if {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in own.items()}:
            raise ValueError(
                f"the checkpoint's adapter does not fit: it has {len(saved)} tensors, this run trains {len(own)}; "
                "use the same generator, or leave --ckpt_path out to start anew"
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
        if checkpoint.keys() >= _STATES:  # WeightAveraging needs complete ones
            checkpoint.update({key: self.state_dict() | checkpoint[key] for key in _STATES})

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights; frozen weights, which checkpoints leave out, do not count as missing."""
        result: Any = super().load_state_dict(state_dict, strict, assign)
        return result._replace(missing_keys=[name for name in result.missing_keys if name in self.trainable()])

    def on_fit_start(self) -> None:
        """Check the optimiser's class against the checkpoint before its state is restored."""
        self._check_classes()
        self._own_numbers = self._numbers()

    def on_train_start(self) -> None:
        """Replace the checkpoint's optimiser and schedule settings by this run's; warn of the differences."""
        self._last_step = time.monotonic()
        if self._saved is None:
            return
        resuming.apply_settings(self.trainer.optimizers[0], self._schedule(), *self._own_numbers)
        if changes := resuming.differences(self._saved["settings"], self._settings()):
            rank_zero_warn(
                f"resuming at step {self.global_step}: this run's settings replace the checkpoint's: {changes}"
            )
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
        optimizer: Any = self.trainer.optimizers[0]
        return getattr(optimizer, "_optimizer", optimizer)

    def _schedule(self) -> Any:
        """The learning rate schedule; None if there is none."""
        configs = self.trainer.lr_scheduler_configs
        return configs[0].scheduler if configs else None
