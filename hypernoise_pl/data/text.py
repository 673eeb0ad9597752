"""Prompts of one's own, from files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hypernoise_pl.data.base import PromptDataModule, Split
from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.data.source import call_all
from hypernoise_pl.types import Prompt


class TextPrompts(PromptDataModule):
    """Prompts from files.

    Args:
        train: file of prompts: text with a prompt a line, a table (``.csv``, ``.tsv``, ``.parquet``), or ``.jsonl``,
            ``.json`` or ``.yaml`` with ``prompt`` and, if there are, ``tag`` and a judge's clauses (GenEval's
            ``include`` and ``exclude``).
        validation: the same; the training file if left out.
        test: the same; the validation file if left out.
        batch_size: prompts per process and step.
        eval_batch_size: prompts per process at validation and test.
        seed: of the training order.
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
        super().__init__(batch_size, eval_batch_size, seed)
        validation = validation or train
        self.files: dict[Split, Path] = {
            "train": Path(train),
            "validation": Path(validation),
            "test": Path(test or validation),
        }
        # a bad file is told of before any model is loaded
        call_all(partial(read_prompts, file) for file in dict.fromkeys(self.files.values()))

    def prompts(self, split: Split) -> list[Prompt]:
        """The prompts of a split's file, in its order."""
        return read_prompts(self.files[split])
