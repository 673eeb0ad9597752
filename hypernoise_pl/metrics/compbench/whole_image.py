"""The parts of T2I-CompBench that look at the whole image: questions about its attributes, and agreement in CLIP."""

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
        reward: that gives the probability, 0 to 1, of an image and a chunk.
        parses: of the prompts.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350), BLIP-VQA.
    """

    def __init__(self, reward: Reward, parses: ParsedPrompts) -> None:
        super().__init__()
        self.reward, self.parses = reward, parses

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """Noun chunks to ask about."""
        return None if self.parses[prompt.text].chunks else "has no noun chunk to ask about; name some in a file"

    def judge(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        """Outcomes with each chunk's probability; those below a half are the reason."""
        chunks = [self.parses[prompt.text].chunks for prompt in prompts]
        asked: list[list[tuple[str, float]]] = [[] for _ in prompts]
        for place in range(max(map(len, chunks))):
            rows = [row for row, own in enumerate(chunks) if place < len(own)]
            found = self.reward(images[rows], [_question(chunks[row][place]) for row in rows]).tolist()
            for row, probability in zip(rows, found, strict=True):
                asked[row].append((chunks[row][place], probability))
        return [_outcome(own) for own in asked]


class NonSpatial(CategoryJudge):
    """The cosine of an image and its prompt.

    Args:
        agreement: a CLIP model.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350), CLIPScore.
    """

    def __init__(self, agreement: CLIPCosine) -> None:
        super().__init__()
        self.agreement = agreement

    def judge(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        """Outcomes without a reason."""
        return [Outcome(value) for value in self.cosines(images, [prompt.text for prompt in prompts])]

    def cosines(self, images: Tensor, texts: list[str]) -> list[float]:
        """Cosines of B images and texts."""
        with without_autocast(images.device):
            return self.agreement.cosine(images, texts).tolist()


def _question(chunk: str) -> str:
    """A chunk without the signs that BLIP's questions are written without."""
    return re.sub(r'[.!"()*#:;~]', "", chunk)


def _outcome(asked: Sequence[tuple[str, float]]) -> Outcome:
    value = float(torch.tensor([probability for _, probability in asked], dtype=torch.float64).prod())
    unsure = [f"{chunk!r} {probability:.2f}" for chunk, probability in asked if not probability >= SURE]
    return Outcome(value, "; ".join(unsure), details={"chunks": [[*pair] for pair in asked]})
