"""The shapes world's prompts, as a LightningDataModule."""

from __future__ import annotations

from hypernoise_pl.data.base import PromptDataModule, Split
from hypernoise_pl.shapes.caption import sample_prompts
from hypernoise_pl.types import Prompt

SEEDS: dict[Split, int] = {"train": 1, "validation": 2, "test": 3}


class ShapesPrompts(PromptDataModule):
    """Prompts in GenEval's six tags about coloured shapes; the splits share no combination of facts.

    Args:
        train: number of training prompts.
        validation: number of validation prompts.
        test: number of test prompts.
        batch_size: prompts per process and step.
        eval_batch_size: prompts per process at validation and test.
        seed: seed of the training order; the prompts are always the same.
    """

    def __init__(
        self,
        train: int = 6000,
        validation: int = 60,
        test: int = 120,
        batch_size: int = 64,
        eval_batch_size: int = 60,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed)
        self.counts: dict[Split, int] = {"train": train, "validation": validation, "test": test}

    def prompts(self, split: Split) -> list[Prompt]:
        """Prompts of a split with equal shares of the six tags."""
        return [prompt for prompt, _ in sample_prompts(split, self.counts[split], SEEDS[split])]
