"""The flags of the command line that are not keys of the configuration. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """The flags of a command that are not keys of the configuration, as the user wrote them.

    Args:
        config: YAML files or their short names, merged in this order.
        output: run folder; None for a new one.
        verbose: tracebacks instead of one-line errors.
        json: result on standard output, and everything else on standard error.
        help_all: every option of every class is printed, and nothing else is done.
        help_class: class that is described, and nothing else is done.
        print_config: the configuration is printed, and nothing else is done.
        dry_run: everything that would be read is looked at, and nothing is made.
        ckpt_path: ``last`` or a checkpoint file, for ``fit``.
        adapter: adapter folder, for the commands that measure one; None for that of the newest fit.
        shard: share of the work, such as ``0/4``, for ``compare`` and ``score``.
        budget_seconds: seconds of search per image, for ``compare``.
        prompt: prompts, for ``predict``.
        prompts: file of prompts, for ``predict``.
        seeds: whole numbers with commas between, for ``predict``; None for 0, or for as many as the benchmark asks for.
        steps: network evaluations per image, for ``predict``; None for the model's.
        strength: share of the residual that is added, for ``predict``.
        run: run folder of the adapter's fit, for ``export``.
        format: format of the adapter's files, for ``export``.
        push: repository on the hub, for ``export``.
        private: whether a new repository is private, for ``export``.
        action: ``list``, ``show`` or ``copy``, for ``configs``.
        name: name of a configuration, for ``configs``, or of a sweep, for ``sweep``.
        file: file to write, for ``configs``.
        benchmark: name of a benchmark, for ``score`` and ``predict``.
        images: folder or file of images, for ``score``.
        detections: file of a detector's detections, for ``score``.
        metadata: file of the benchmark's prompts, for ``score`` and ``predict``.
        detector: name of the detector of ``detections``, for ``score``.
        method: method whose images alone are scored, for ``score``.
        against: images that the others are compared with, for ``score``.
        batch_size: images per batch, for ``score``.
        workers: fits at a time, for ``sweep``.
        storage: URL of a database, for ``sweep``.
    """

    config: list[str] = field(default_factory=list)
    output: Path | None = None
    verbose: bool = False
    json: bool = False
    help_all: bool = False
    help_class: str | None = None
    print_config: bool = False
    dry_run: bool = False
    ckpt_path: str | None = None
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
