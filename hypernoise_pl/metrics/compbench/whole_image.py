"""T2I-CompBench's judges on the whole image: questions about attributes, and the CLIP cosine."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from hypernoise_pl.metrics.benchmark import Outcome
from hypernoise_pl.metrics.compbench.category_judge import CategoryJudge
from hypernoise_pl.metrics.compbench.parsed_prompts import ParsedPrompts
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.clip import CLIPCosine
from hypernoise_pl.system.autocast import without_autocast
from hypernoise_pl.types import Prompt

SURE = 0.5  # probability below which a chunk is named as the reason


class Attributes(CategoryJudge):
    """Product over a prompt's noun chunks of the probability that the image shows the chunk.

    Args:
        reward: reward that is the probability, 0 to 1, for an image and a chunk.
        parses: parsed prompts.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350), BLIP-VQA.
    """

    def __init__(self, reward: Reward, parses: ParsedPrompts) -> None:
        super().__init__()
        self.reward, self.parses = reward, parses

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The noun chunks that a prompt lacks; None if it has some."""
        return None if self.parses[prompt.text].chunks else "has no noun chunk to ask about; name some in a file"

    def judge(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        """Outcomes with the probability of each chunk; chunks below 1/2 are the reason."""
        chunks = [self.parses[prompt.text].chunks for prompt in prompts]
        asked: list[list[tuple[str, float]]] = [[] for _ in prompts]
        for place in range(max(map(len, chunks))):
            rows = [row for row, own in enumerate(chunks) if place < len(own)]
            found = self.reward(images[rows], [_question(chunks[row][place]) for row in rows]).tolist()
            for row, probability in zip(rows, found, strict=True):
                asked[row].append((chunks[row][place], probability))
        return [_outcome(own) for own in asked]


class NonSpatial(CategoryJudge):
    """CLIP cosine of an image and its prompt.

    Args:
        clip: CLIP model.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350), CLIPScore.
    """

    def __init__(self, clip: CLIPCosine) -> None:
        super().__init__()
        self.clip = clip

    def judge(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        """Outcomes without reasons."""
        return [Outcome(value) for value in self.cosines(images, [prompt.text for prompt in prompts])]

    def cosines(self, images: Tensor, texts: list[str]) -> list[float]:
        """Cosines of B images with B texts."""
        with without_autocast(images.device):
            return self.clip.cosine(images, texts).tolist()


def _question(chunk: str) -> str:
    """A chunk without the punctuation that BLIP's preprocessing removes."""
    return re.sub(r'[.!"()*#:;~]', "", chunk)


def _outcome(asked: Sequence[tuple[str, float]]) -> Outcome:
    value = float(torch.tensor([probability for _, probability in asked], dtype=torch.float64).prod())
    unsure = [f"{chunk!r} {probability:.2f}" for chunk, probability in asked if not probability >= SURE]
    return Outcome(value, "; ".join(unsure), details={"chunks": [[*pair] for pair in asked]})
