"""A data module for prompt files: one file per split."""

from __future__ import annotations

from hypernoise_pl.data.files import PromptFile
from hypernoise_pl.data.sets import PromptSets


class TextPrompts(PromptSets):
    """Prompts from one file per split, without deduplication.

    Args:
        train: training file: text with one prompt per line, a table (``.csv``, ``.tsv``, ``.parquet``), or ``.jsonl``,
            ``.json`` or ``.yaml`` with ``prompt`` and optionally ``tag`` and a judge's clauses (GenEval's ``include``
            and ``exclude``).
        validation: file of validation prompts; the training file if left out.
        test: file of test prompts; the validation file if left out.
        batch_size: prompts per process and step.
        eval_batch_size: prompts per process at validation and test.
        seed: seed of the training order.
    """

    def __init__(
        self,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        validation = validation or train
        super().__init__(
            {"train": PromptFile(train)},
            {"validation": PromptFile(validation)},
            {"test": PromptFile(test or validation)},
            deduplicate=False,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
        )
