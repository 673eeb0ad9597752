"""Scoring of a search's samples: by images, by images and rows of prompts, or by latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.types import Conditioning, check_not_modified

Scorer = Callable[[Tensor, list[str]], Tensor]


@dataclass(frozen=True)
class ByRow:
    """A scorer that gets the rows of prompts: two prompts of one text may have different metadata.

    Args:
        score: function of images [M, 3, H, W] and the M rows of their prompts in the problem; gives scores [M].
    """

    score: Callable[[Tensor, list[int]], Tensor]


AnyScorer = Scorer | ByRow | LatentVerifier


@dataclass(frozen=True)
class Scoring:
    """One interface to a scorer of any kind.

    Args:
        scorer: scorer of the problem.
        generator: generator of the latents; it decodes them for scorers of images.
        prompts: B texts.
        network: view of the generator's network, for a latent verifier; None for its own.
    """

    scorer: AnyScorer
    generator: Generator
    prompts: Sequence[str]
    network: nn.Module | None = None

    def check(self) -> None:
        """Check a latent verifier against the generator.

        Raises:
            ValueError: if a latent verifier does not fit the generator.
        """
        if isinstance(self.scorer, LatentVerifier):
            self.scorer.check(self.generator)

    @property
    def nfe(self) -> int:
        """Network evaluations that scoring one sample takes."""
        return self.scorer.nfe if isinstance(self.scorer, LatentVerifier) else 0

    @property
    def decodes(self) -> int:
        """Latents that are decoded to score one sample."""
        return self.scorer.decodes if isinstance(self.scorer, LatentVerifier) else 1

    def __call__(self, latents: Tensor, rows: Tensor, conditioning: Conditioning) -> tuple[Tensor | None, Tensor]:
        """Score latents.

        Args:
            latents: [M, *Z] clean.
            rows: [M] rows of their prompts.
            conditioning: conditioning of these prompts.

        Returns:
            Images [M, 3, H, W], None if none were decoded, and [M] or [M, K] scores.

        Raises:
            ValueError: if the scores are not one, or one row, an image.
        """
        texts = [self.prompts[row] for row in rows.tolist()]
        if isinstance(self.scorer, LatentVerifier):
            return None, self.scorer(self.generator, latents, conditioning, texts, self.network)
        images = self.generator.decode(latents)
        with check_not_modified(images, "the scorer"):
            if isinstance(self.scorer, ByRow):
                scores = self.scorer.score(images, rows.tolist())
            else:
                scores = self.scorer(images, texts)
        if not isinstance(scores, Tensor) or scores.dim() not in (1, 2) or len(scores) != len(texts):
            given = f"shape {list(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
            raise ValueError(f"the scorer must give a tensor of {len(texts)} scores for as many images, got {given}")
        return images, scores


def gradient(score: Tensor, noise: Tensor) -> Tensor:
    """[M, *Z] gradient of scores [M] at their noises; 0 for a noise with a gradient that is not finite.

    Raises:
        ValueError: if the scores do not depend on the noise by operations that are differentiated.
    """
    found = torch.autograd.grad(score.sum(), noise, allow_unused=True)[0] if score.requires_grad else None
    if found is None:
        raise ValueError(
            "the scores have no gradient at the noise: they are computed from detached images, in NumPy, under no_grad "
            "or in inference mode; give this method a reward that is differentiated"
        )
    fine = found.flatten(1).isfinite().all(1)
    return found.where(fine.view(-1, *[1] * (found.dim() - 1)), 0.0)
