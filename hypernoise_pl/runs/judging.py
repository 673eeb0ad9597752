"""Checks that a run's judge can judge its prompts, made before anything is trained or generated."""

from __future__ import annotations

from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.data.base import Split
from hypernoise_pl.metrics.judge import Judge, unjudged_message
from hypernoise_pl.progress import say
from hypernoise_pl.runs.context import RunContext


def check_judge(run: RunContext, *splits: Split) -> Judge | None:
    """The run's judge, once it has checked the prompts of some splits; None without one.

    Raises:
        ConfigError: if it cannot judge one of the prompts.
    """
    if run.judge is None:
        return None
    for split in splits:
        try:
            run.judge.check(run.datamodule.prompts(split))
        except ValueError as error:
            raise ConfigError(
                f"judge: {error}; give {split} prompts that have it (data.{split}), or --judge=null to measure rewards "
                "alone"
            ) from None
    return run.judge


def skip_unjudged_validation(run: RunContext) -> None:
    """Leave the judge out of a fit's validations, with a message, if their prompts lack what it reads."""
    if run.judge is None:
        return
    prompts = run.datamodule.prompts("validation")
    lacks = [lack for prompt in prompts if (lack := run.judge.missing_metadata(prompt)) is not None]
    if lacks:
        evaluate_callback(run).unjudged.add("validation")
        if run.trainer.is_global_zero:
            say(f"fit: validations are not judged, the test is: {unjudged_message(lacks, len(prompts))}")


def evaluate_callback(run: RunContext) -> Evaluate:
    """The callback that measures at validation and test; every Trainer has one."""
    return next(callback for callback in run.trainer.callbacks if isinstance(callback, Evaluate))
