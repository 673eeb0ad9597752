"""The contract of judges: a verdict on each image, held out from training and search."""

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
    """The verdict on one image.

    Args:
        correct: whether every clause holds.
        reason: one line per violated clause, in the reference evaluation's words; empty for a correct image.
    """

    correct: bool
    reason: str = ""


def unjudged_message(lacks: Sequence[str], count: int) -> str:
    """Message for validation prompts that the judge cannot judge.

    Args:
        lacks: missing metadata of each such prompt, at least one.
        count: number of all prompts.
    """
    return f"{len(lacks)} of {count} validation prompts cannot be; the first {lacks[0]}"


class Judge(KeepsArguments, ABC):
    """Decides for each image whether it shows its prompt."""

    @torch.no_grad()
    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Judge images.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: B prompts with this judge's metadata.

        Returns:
            [B] bool.

        Raises:
            ValueError: if the shapes do not match, images are bytes or not in [0, 1], a prompt lacks metadata, or the
                verdicts are not booleans.
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
        """Judge images and give reasons; arguments and errors are those of a call."""
        check_images(images, len(prompts))
        self.check(prompts)
        found = self._verdicts(images, list(prompts)) if len(images) else []
        if len(found) != len(prompts):
            raise ValueError(f"{type(self).__name__} gave {len(found)} verdicts for {len(prompts)} images")
        return found

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Check, before any image is generated, that these prompts have the required metadata.

        Raises:
            ValueError: with the number of prompts that lack metadata, the first of them and its missing metadata.
        """
        check_prompt_metadata(f"{type(self).__name__} cannot judge", prompts, self.missing_metadata)

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The metadata that a prompt lacks, as "has no ..."; None if it is complete.

        Required are GenEval's clauses: ``include``, a list of objects with ``class`` and ``count``.
        """
        clauses = prompt.metadata.get("include")
        if not clauses:
            return "has no 'include' clauses"
        if not isinstance(clauses, list) or not all(
            isinstance(c, dict) and {"class", "count"} <= {*c} for c in clauses
        ):
            return "has 'include' clauses that are not a list of objects with 'class' and 'count'"
        return None

    def _verdicts(self, images: Tensor, prompts: list[Prompt]) -> list[Verdict]:
        return [Verdict(correct) for correct in self(images, prompts).tolist()]

    def display_name(self) -> str:
        """Names of the judging models."""
        return type(self).__name__

    def credit(self) -> str:
        """Sentences below a table: the judge, and caveats about its figures."""
        return f"Judged by {self.display_name()}."

    @abstractmethod
    def _judge(self, images: Tensor, prompts: list[Prompt]) -> Tensor: ...
