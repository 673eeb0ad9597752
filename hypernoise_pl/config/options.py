"""The flags of a command that are not keys of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from hypernoise_pl.types import Prompt


@dataclass
class Options:
    """The flags of a command that are not keys of the configuration.

    Args:
        config: YAML files or their short names, merged in this order.
        output: run folder that the user names.
        folder: run folder in use, which ``cli.build`` sets.
        made: run folder that was made for this run, which goes again if it stays empty; ``cli.build`` sets it.
        begun: whether the run folder is known; ``cli.build`` sets it.
        chosen: whether the user, or the process that started this one, chose the run folder; ``cli.build`` sets it.
        verbose: tracebacks instead of one-line errors.
        json: print ``result`` on standard output, and everything else on standard error.
        help_all: print every option of every class and stop.
        help_class: class to describe; then stop.
        print_config: print the configuration and stop.
        dry_run: look at everything that would be read, say what is missing and what would be done, and stop.
        ckpt_path: ``last`` or a checkpoint file, of ``fit``.
        changed: what a continued run has otherwise than its own configuration; ``cli.build`` sets it.
        checkpoint: file that ``ckpt_path`` stands for, of ``fit``; ``cli.build`` sets it.
        adapter: adapter folder, of the commands that measure.
        shard: share of the units, such as ``0/4``, of ``compare`` and ``score``.
        budget_seconds: seconds of search an image, of ``compare``.
        prompt: texts, of ``predict``.
        prompts: file of prompts, of ``predict``.
        seeds: whole numbers with commas between, of ``predict``; None for 0, or for as many as the benchmark has.
        steps: network evaluations an image, of ``predict``.
        strength: share of the residual to add, of ``predict``.
        run: run folder of the adapter's fit, of ``export``.
        format: of the adapter's files, of ``export``.
        push: repository to upload to, of ``export``.
        private: whether a new repository is, of ``export``.
        action: of ``configs``: list, show or copy.
        name: of a configuration, of ``configs``.
        file: to write, of ``configs``.
        benchmark: whose figures are wanted, of ``score``; whose prompts and folder are, of ``predict``.
        images: folder or file of them, of ``score``.
        detections: file of what a detector found, of ``score``.
        metadata: file of the benchmark's prompts and what is asked of their images, of ``score`` and ``predict``.
        detector: what found the objects, in words, of ``score``.
        method: whose images alone are scored, of ``score``.
        against: images that others are compared with, of ``score``.
        batch_size: images at once, of ``score``.
        workers: fits at a time, of ``sweep``.
        storage: URL of a database, of ``sweep``.
        callbacks: more of the Trainer's callbacks, of ``fit``; whoever starts the fit sets them.
        result: what the command found, for ``json``; the command sets it.
        requested: prompts of ``predict``, of its texts and its file; ``cli.build`` sets them.
        seed_numbers: ``seeds``, as numbers; ``cli.build`` sets them.
        layout: ``ImageFolder`` of the benchmark, of ``predict``; ``cli.build`` sets it.
        scratch: run folder of a trial run (``fast_dev_run``), removed at its end; ``cli.build`` sets it.
    """

    config: list[str] = field(default_factory=list)
    output: Path | None = None
    folder: Path = Path("runs")
    made: Path | None = None
    begun: bool = False
    chosen: bool = False
    verbose: bool = False
    json: bool = False
    help_all: bool = False
    help_class: str | None = None
    print_config: bool = False
    dry_run: bool = False
    ckpt_path: str | None = None
    changed: str = ""
    checkpoint: Path | None = None
    adapter: Path | None = None
    shard: str | None = None
    budget_seconds: str | None = None
    prompt: list[str] = field(default_factory=list)
    prompts: Path | None = None
    seeds: str | None = None
    steps: int | None = None
    strength: float = 1.0
    run: Path | None = None
    format: str = "own"
    push: str | None = None
    private: bool = False
    action: str = "list"
    name: str | None = None
    file: Path | None = None
    benchmark: str | None = None
    images: Path | None = None
    detections: Path | None = None
    metadata: Path | None = None
    detector: str | None = None
    method: str | None = None
    against: Path | None = None
    batch_size: int = 8
    workers: int = 1
    storage: str | None = None
    callbacks: list[Any] = field(default_factory=list)
    result: Any = None
    requested: list[Prompt] = field(default_factory=list)
    seed_numbers: list[int] = field(default_factory=list)
    layout: Any = None
    scratch: TemporaryDirectory[str] | None = None
