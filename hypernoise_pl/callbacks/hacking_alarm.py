"""Alarm of reward hacking during a fit."""

from __future__ import annotations

from typing import Any

import lightning as L

from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.progress import say
from hypernoise_pl.report.signs import Limits, signs, validated


class HackingAlarm(L.Callback):
    """Prints a line for each sign of reward hacking that begins at a validation.

    The signs: the weighted reward rises and the judge, or a reward of weight 0, falls below the 95 % interval that it
    had at its best; the judge or such a reward is lower than the base's; a trained reward is lower than the base's
    while the weighted sum is higher; the images of a prompt become alike; the KL of the noise grows while the reward
    stalls. The number of signs is logged as ``alarm/signs``; EarlyStop can monitor it. ``live.html`` lists the signs
    and marks their steps in its curves. A sign that lasts is printed once.

    Args:
        diversity: smallest share of the base's diversity without a sign, in [0, 1].
        deviations: largest drop of a trained reward without a sign, in standard deviations of the base's scores.
        growth: largest growth factor of the KL, since the best reward, while the reward rises by less than 5 %.
        kl: bound of ``noise/kl/total`` (nats per image, logged by NoiseHealth) or, where that is not logged, of
            ``train/penalty``; None for no bound.

    Raises:
        ValueError: if a limit is out of its range.
    """

    def __init__(
        self, diversity: float = 0.8, deviations: float = 0.1, growth: float = 1.5, kl: float | None = None
    ) -> None:
        if not 0 <= diversity <= 1:
            raise ValueError(f"HackingAlarm: diversity must be a share of the base's in [0, 1], got {diversity}")
        if not growth >= 1:
            raise ValueError(f"HackingAlarm: growth must be a factor of at least 1, got {growth}")
        for name, value in (("deviations", deviations), ("kl", kl)):
            if value is not None and not value >= 0:
                raise ValueError(f"HackingAlarm: {name} must be at least 0, got {value}")
        self.limits = Limits(diversity, -deviations, growth, kl)
        self._validations: list[dict[str, Any]] = []
        self._begun: set[str] = set()  # signs of the newest validation

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Look for signs in the rows of ``Evaluate``, which runs first."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        evaluate = next((callback for callback in callbacks if isinstance(callback, Evaluate)), None)
        if evaluate is None or not evaluate.rows:
            return
        step, weights = trainer.global_step, pl_module.ensemble.weights
        row = {"step": step} | validated(evaluate.rows, evaluate.diversity(), weights, trainer.callback_metrics)
        self._validations = [*(earlier for earlier in self._validations if earlier["step"] < step), row]
        newest = signs(self._validations, self.limits)
        pl_module.log("alarm/signs", float(len(newest)))
        if trainer.is_global_zero:
            for sign in newest:
                if sign.name not in self._begun:
                    say(f"alarm: step {step:,}: {sign.text}")
        self._begun = {sign.name for sign in newest}

    def state_dict(self) -> dict[str, Any]:
        """The validations so far, and the signs of the newest."""
        return {"validations": self._validations, "begun": sorted(self._begun)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the validations of an interrupted run."""
        self._validations, self._begun = state_dict["validations"], set(state_dict["begun"])
