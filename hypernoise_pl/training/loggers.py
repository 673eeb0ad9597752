"""Logs of a run: how they resume, where they are, and what is added to them."""

from __future__ import annotations

import csv
import io
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from PIL.Image import Image

from hypernoise_pl.config.flat import hyper_parameters
from hypernoise_pl.report.figures import to_tensor
from hypernoise_pl.system.files import write_text

VERSIONS = "loggers"  # entry of a checkpoint


def logger_versions(loggers: Sequence[Logger]) -> list[list[Any]]:
    """The class and version of each logger, as a checkpoint stores them; a version identifies a run."""
    return [[type(logger).__name__, logger.version] for logger in loggers]


def resume_logs(loggers: Sequence[Logger], checkpoint: Mapping[str, Any]) -> None:
    """Make loggers continue the logs of the run that wrote a checkpoint.

    A CSV file keeps the rows up to the checkpoint's step; Lightning's logger alone would empty it. A Weights & Biases
    run keeps its id, unless the logger has another one. TensorBoard appends to its folder without help.

    Args:
        loggers: loggers of a Trainer, before their first use.
        checkpoint: entries of the checkpoint.
    """
    kept = [version for name, version in checkpoint.get(VERSIONS, []) if name == WandbLogger.__name__]
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            _keep_rows_until(logger, checkpoint["global_step"])
        elif isinstance(logger, WandbLogger) and kept:
            version = kept.pop(0)
            if logger._wandb_init["id"] is None:  # what WandbLogger(id=...) sets
                logger._wandb_init["id"] = logger._id = version


def log_picture(logger: Logger, name: str, picture: Image, step: int) -> None:
    """Log a picture if the logger supports pictures."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, to_tensor(picture), step)
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [picture], step)


def log_config(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Log a run's configuration to Weights & Biases and, as text, to TensorBoard."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            text = yaml.safe_dump(dict(config), sort_keys=False, width=120)
            logger.experiment.add_text("configuration", textwrap.indent(text, "    "))  # a code block in Markdown
        if isinstance(logger, WandbLogger):
            logger.experiment.config.update(config, allow_val_change=True)  # a resumed run may have another one


def log_summary(loggers: Sequence[Logger], config: Mapping[str, Any], summary: Mapping[str, Any], step: int) -> None:
    """Log a run's hyper-parameters and final figures to TensorBoard's HParams tab.

    Args:
        loggers: loggers of the Trainer.
        config: resolved configuration.
        summary: content of ``summary.json``.
        step: number of the last step.
    """
    trained = summary["methods"]["hypernetwork"]
    figures = {
        "gain": trained["gain"] if summary["gain_by"] == "judge" else None,
        "reward": trained["weighted_reward"],
        "diversity": trained["diversity"],
        "win_rate": trained["win_rate"],
        "fit_seconds": summary["fit"]["seconds"],
    }
    known = {f"final/{name}": value for name, value in figures.items() if value is not None}
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(hyper_parameters(config), known, step)
            logger.experiment.flush()


def close_loggers(loggers: Sequence[Logger]) -> None:
    """Close the loggers that would otherwise continue into the next run of this process."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def log_location(logger: Logger) -> tuple[str, str]:
    """The name of a log, and the command that shows it or the file that holds it."""
    if isinstance(logger, TensorBoardLogger):
        return "TensorBoard", shlex.join(["tensorboard", "--logdir", str(logger.log_dir)])
    if isinstance(logger, CSVLogger):
        return "metrics", str(Path(logger.log_dir) / "metrics.csv")
    if isinstance(logger, WandbLogger):
        run: Any = logger.experiment
        folder = Path(run.dir).parent
        if not run.offline:
            return "W&B", f"{run.url} ({folder})"
        parts = sorted(folder.parent.glob(f"offline-run-*-{run.id}*"))  # each resumption adds one
        return "W&B", shlex.join(["wandb", "sync", *map(str, parts)])
    return type(logger).__name__, str(logger.save_dir or logger.name)


def _keep_rows_until(logger: CSVLogger, step: int) -> None:
    file = Path(logger.log_dir) / "metrics.csv"
    if not file.is_file():
        return
    with file.open(newline="") as opened:
        table = csv.DictReader(opened)
        rows = [row for row in table if not row["step"] or int(float(row["step"])) <= step]
        names = list(table.fieldnames or [])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    backup = file.with_name(f".{file.name}.before")
    file.replace(backup)  # the logger deletes a file of this name
    logger.experiment.metrics_keys = names
    write_text(file, text.getvalue())
    backup.unlink()
