"""What a judge is: a verdict on each image, held out from training and search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.metrics.prompt_metadata import check_prompt_metadata
from hypernoise_pl.types import Prompt, check_images, check_shape


@dataclass(frozen=True)
class Verdict:
    """What is decided of one image.

    Args:
        correct: whether every clause holds.
        reason: a line for each clause that does not, in the reference evaluation's words; empty if all do.
    """

    correct: bool
    reason: str = ""


def unjudged_message(lacks: Sequence[str], count: int) -> str:
    """Why validations are without a judge, in words.

    Args:
        lacks: what each prompt that cannot be judged lacks, one at least.
        count: of all prompts.
    """
    return f"{len(lacks)} of {count} validation prompts cannot be; the first {lacks[0]}"


class Judge(KeepsArguments, ABC):
    """Says of each image whether it shows what its prompt asks for."""

    @torch.no_grad()
    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Judge images.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: B prompts with the metadata this judge reads.

        Returns:
            [B] bool.

        Raises:
            ValueError: if the shapes do not fit, images are bytes or not in [0, 1], a prompt lacks metadata, or the
                verdicts are no booleans.
        """
        check_images(images, len(prompts))
        self.check(prompts)
        if not len(images):
            return torch.zeros(0, dtype=torch.bool, device=images.device)
        verdicts, name = self._judge(images, list(prompts)), type(self).__name__
        check_shape(f"verdicts of {name}", verdicts, (len(prompts),))
        if verdicts.dtype != torch.bool:
            raise ValueError(
                f"verdicts of {name} must be bool, got {verdicts.dtype}; compare its scores with a threshold"
            )
        return verdicts

    @torch.no_grad()
    def verdicts(self, images: Tensor, prompts: Sequence[Prompt]) -> list[Verdict]:
        """Judge images, and say what is wrong with them where the judge knows; takes and raises what a call does."""
        check_images(images, len(prompts))
        self.check(prompts)
        found = self._verdicts(images, list(prompts)) if len(images) else []
        if len(found) != len(prompts):
            raise ValueError(f"{type(self).__name__} gave {len(found)} verdicts for {len(prompts)} images")
        return found

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Check, before any image is made, that these prompts can be judged.

        Raises:
            ValueError: if one cannot: how many, the first of them, and what it lacks.
        """
        check_prompt_metadata(f"{type(self).__name__} cannot judge", prompts, self.missing_metadata)

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """What a prompt's metadata lacks for this judge, as "has no ..."; None if nothing.

        GenEval's clauses are needed: ``include``, a list of objects with ``class`` and ``count``.
        """
        clauses = prompt.metadata.get("include")
        if not clauses:
            return "has no 'include' clauses"
        if not isinstance(clauses, list) or not all(
            isinstance(c, dict) and {"class", "count"} <= {*c} for c in clauses
        ):
            return "has 'include' clauses that are no list of objects with 'class' and 'count'"
        return None

    def _verdicts(self, images: Tensor, prompts: list[Prompt]) -> list[Verdict]:
        return [Verdict(correct) for correct in self(images, prompts).tolist()]

    def display_name(self) -> str:
        """What judges, in words: models by their names."""
        return type(self).__name__

    def credit(self) -> str:
        """What the figures are by, and what to know of them, in sentences that stand below a table."""
        return f"Judged by {self.display_name()}."

    @abstractmethod
    def _judge(self, images: Tensor, prompts: list[Prompt]) -> Tensor: ...
