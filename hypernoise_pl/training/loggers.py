"""A run's logs: continued where the run is, shown where they are, and given the pictures that they can take."""

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
    """Class and version of each logger, by which a service knows a run again; for a checkpoint."""
    return [[type(logger).__name__, logger.version] for logger in loggers]


def resume_logs(loggers: Sequence[Logger], checkpoint: Mapping[str, Any]) -> None:
    """Have loggers go on with the logs of the run that wrote a checkpoint.

    A CSV file keeps the rows up to the checkpoint's step; Lightning's logger would begin it anew. A Weights & Biases
    run keeps its id, unless the logger was given another. TensorBoard's files are added to as it is.

    Args:
        loggers: a Trainer's, not used yet.
        checkpoint: a run's.
    """
    kept = [version for name, version in checkpoint.get(VERSIONS, []) if name == WandbLogger.__name__]
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            _keep_rows(logger, checkpoint["global_step"])
        elif isinstance(logger, WandbLogger) and kept:
            version = kept.pop(0)
            if logger._wandb_init["id"] is None:  # what WandbLogger(id=...) sets
                logger._wandb_init["id"] = logger._id = version


def log_picture(logger: Logger, name: str, picture: Image, step: int) -> None:
    """Log a picture, where a logger takes pictures."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, to_tensor(picture), step)
    elif isinstance(logger, WandbLogger):
        logger.log_image(name, [picture], step)


def log_config(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Enter a run's configuration where a logger shows it: in Weights & Biases and, as text, in TensorBoard."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            text = yaml.safe_dump(dict(config), sort_keys=False, width=120)
            logger.experiment.add_text("configuration", textwrap.indent(text, "    "))  # Markdown's code
        if isinstance(logger, WandbLogger):
            logger.experiment.config.update(config, allow_val_change=True)  # a resumed run's may differ


def log_summary(loggers: Sequence[Logger], config: Mapping[str, Any], summary: Mapping[str, Any], step: int) -> None:
    """Enter what a run has come to beside its hyper-parameters: a row of TensorBoard's HParams tab.

    Args:
        loggers: a Trainer's.
        config: resolved.
        summary: content of the test's ``summary.json``.
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
    """Close what would go on into the next run of this process."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def log_location(logger: Logger) -> tuple[str, str]:
    """What a log is called, and the command or the file to look at it by."""
    if isinstance(logger, TensorBoardLogger):
        return "TensorBoard", shlex.join(["tensorboard", "--logdir", str(logger.log_dir)])
    if isinstance(logger, CSVLogger):
        return "metrics", str(Path(logger.log_dir) / "metrics.csv")
    if isinstance(logger, WandbLogger):
        run: Any = logger.experiment
        folder = Path(run.dir).parent
        if not run.offline:
            return "W&B", f"{run.url} ({folder})"
        parts = sorted(folder.parent.glob(f"offline-run-*-{run.id}*"))  # one more for each continuation
        return "W&B", shlex.join(["wandb", "sync", *map(str, parts)])
    return type(logger).__name__, str(logger.save_dir or logger.name)


def _keep_rows(logger: CSVLogger, step: int) -> None:
    file = Path(logger.log_dir) / "metrics.csv"
    if not file.is_file():
        return
    with file.open(newline="") as opened:
        table = csv.DictReader(opened)
        rows = [row for row in table if not row["step"] or int(float(row["step"])) <= step]
        names = list(table.fieldnames or [])
    text = io.StringIO(newline="")
    written = csv.DictWriter(text, names)
    written.writeheader()
    written.writerows(rows)
    aside = file.with_name(f".{file.name}.before")
    file.replace(aside)  # the logger removes what it finds under this name
    logger.experiment.metrics_keys = names
    write_text(file, text.getvalue())
    aside.unlink()
