"""The LightningCLI that checks a configuration, and builds model, data and trainer from it."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

import yaml
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.callbacks.follow_load import FollowLoad
from hypernoise_pl.cli.errors import type_error
from hypernoise_pl.compare.config import Comparison
from hypernoise_pl.config.interpolation import restore_interpolations
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.progress import in_terminal, phase
from hypernoise_pl.rewards.ensemble import check_names


class HyperNoiseCLI(LightningCLI):
    """Checks a configuration, and builds model, data and trainer from it.

    Args:
        command: name of the command.
        arguments: resolved configuration, or arguments such as ``--help``.
        written: the configuration with every ``${...}`` as it was written.
        check_only: whether nothing is built.
        check: called with the full configuration before anything is built.

    Attributes:
        config_yaml: configuration as YAML, every default filled in and every ``${...}`` as it was written.

    Raises:
        ConfigError: for a value of the wrong type, or rewards without weights.
    """

    def __init__(
        self,
        command: str,
        arguments: Any,
        written: Any = None,
        check_only: bool = False,
        check: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.command, self.written, self.check_only, self.check = command, written, check_only, check
        self.config_yaml = ""
        super().__init__(
            HyperNoiseModule,
            PromptDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=None,
            run=False,
            args=arguments,
            parser_kwargs={"prog": f"python -m hypernoise_pl {command}", "exit_on_error": False},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the keys that are not Lightning's."""
        parser.add_argument("--description", default="", help="purpose of the run, shown in its first line")
        parser.add_argument("--output", default="runs/fit", help="run folder")
        parser.add_argument("--judge", type=Judge | None, default=None, help="held out; null for none")
        if self.command == "compare":
            parser.add_argument("--compare", type=Comparison, help="methods, prompts and noises")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the configuration.

        Raises:
            ConfigError: for a value of the wrong type.
        """
        try:
            super().parse_arguments(parser, args)
        except argparse.ArgumentError as error:
            raise ConfigError(type_error(str(error), prefix="--")) from None

    def before_instantiate_classes(self) -> None:
        """Check the rewards and the full configuration, and write it as YAML."""
        arguments = self.config.model.init_args
        try:
            check_names(arguments.rewards or {}, arguments.reward_weights or {})
        except ValueError as error:
            raise ConfigError(f"model.{error}") from None
        full = yaml.safe_load(self.parser.dump(self.config, skip_none=False, skip_check=True))
        full.pop("config", None)
        if self.check is not None:
            self.check(full)
        self.config_yaml = yaml.safe_dump(restore_interpolations(full, self.written), sort_keys=False, width=120)

    def instantiate_classes(self) -> None:
        """Build model, data and trainer, unless only the configuration is to be checked."""
        if not self.check_only:
            with phase(f"{self.command}: loading models"):
                super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the trainer, with the callbacks that every run has."""
        trainer: Any = super().instantiate_trainer(**kwargs)
        if any(isinstance(callback, Evaluate) for callback in trainer.callbacks):
            raise ConfigError("trainer.callbacks: Evaluate is always there; its judge is the key `judge`")
        trainer.callbacks.insert(0, Evaluate(self.config_init.judge))
        trainer.callbacks.append(FollowLoad())
        if not in_terminal():  # a log has the lines of Progress
            trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, ProgressBar)]
        return trainer


def print_all_options(command: str) -> None:
    """Print every option of every class."""
    with contextlib.suppress(SystemExit):
        HyperNoiseCLI(command, ["--help"])
