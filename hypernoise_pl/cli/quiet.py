"""Warnings: third-party ones that users cannot act on are silenced, and cut prompts are counted."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator

from hypernoise_pl.progress.truncation import collect_truncations

_WARNINGS = (
    ".*does not have many workers.*",
    ".*Checkpoint directory.*",
    ".*litlogger.*",
    ".*Experiment logs directory.*",
    ".*weights_only.*",
    ".*args parameter is intended to run from within Python.*",
    ".*sync_dist=True.*",
    ".*overridden `transfer_batch_to_device`.*",
    "Found .* module.* in eval mode.*",
    "Mismatch dtype between input and weight.*",
    ".*`isinstance.treespec, LeafSpec.`.*",
)
_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.trainer.connectors.checkpoint_connector",
    "lightning.pytorch.trainer.connectors.signal_connector",
    "lightning.fabric.utilities.seed",
    "transformers",
)


@contextlib.contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Silence third-party warnings that users cannot act on, and print the others as one line."""
    with warnings.catch_warnings():
        if not verbose:
            warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
            for category in (FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            for text in _WARNINGS:
                warnings.filterwarnings("ignore", text)
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.WARNING)
        yield


@contextlib.contextmanager
def count_cut_prompts() -> Iterator[None]:
    """Print at the end, on the first process, the share of prompts that each text encoder has cut."""
    with collect_truncations() as encoders:
        try:
            yield
        finally:
            if int(os.environ.get("LOCAL_RANK", 0)) == 0:
                for line in filter(None, (encoder.summary() for encoder in encoders)):
                    print(f"warning: {line}", file=sys.stderr)
