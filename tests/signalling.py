"""Parts of a run that send its own process a signal at a given moment."""

import os
from pathlib import Path

import lightning as L

from hypernoise_pl.data.text import TextPrompts


class SignalAt(L.Callback):
    """Sends this process a signal within an optimiser step.

    Args:
        step: steps that are complete by then.
        signum: the signal.
        rank: process that is sent it.
    """

    def __init__(self, step: int, signum: int, rank: int = 0) -> None:
        self.step, self.signum, self.rank, self.sent = step, signum, rank, False

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and trainer.global_rank == self.rank and not self.sent:
            self.sent = True  # not with each micro-batch of the step
            os.kill(os.getpid(), self.signum)


class RaiseAt(L.Callback):
    """Raises before the third optimiser step, as a bug would."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 2:
            raise RuntimeError("out of luck")


class SignalsOnce(TextPrompts):
    """Prompts that send this process a signal when they are first asked for in an evaluation.

    Args:
        train: file of prompts.
        signum: the signal.
        batch_size: prompts per step.
        eval_batch_size: prompts per evaluation.
    """

    def __init__(self, train: str, signum: int, batch_size: int = 2, eval_batch_size: int = 2) -> None:
        super().__init__(train, batch_size=batch_size, eval_batch_size=eval_batch_size)
        self.signum, self.sent = signum, Path(train).with_suffix(".sent")

    def prompts(self, split):
        if split != "train" and not self.sent.exists():
            self.sent.touch()
            os.kill(os.getpid(), self.signum)
        return super().prompts(split)
