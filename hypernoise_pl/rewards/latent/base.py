"""The contract of latent verifiers, which score a sample before it is decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.types import Conditioning, check_shape


class LatentVerifier(KeepsArguments, nn.Module, ABC):
    """Scores clean latents against their prompts; higher is better.

    Attributes:
        nfe: evaluations of the generator's network per scored sample.
        decodes: decoded images per scored sample.
    """

    nfe: ClassVar[int] = 0
    decodes: ClassVar[int] = 0

    def forward(
        self,
        generator: Generator,
        latents: Tensor,
        conditioning: Conditioning,
        prompts: Sequence[str],
        network: nn.Module | None = None,
    ) -> Tensor:
        """Score latents.

        Args:
            generator: generator of the latents.
            latents: [M, *Z] clean latents.
            conditioning: encoded prompts.
            prompts: M texts.
            network: network that produced the latents; None for the generator's own.

        Returns:
            [M] scores in float32.

        Raises:
            ValueError: if the numbers of latents, prompts and conditionings differ.
        """
        check_shape("latents", latents, (len(prompts), *[None] * (latents.dim() - 1)))
        check_shape("embeddings", conditioning.embeddings, (len(prompts), None, None))
        return self._score(generator, latents, conditioning, list(prompts), network).float()

    def check(self, generator: Generator) -> None:
        """Check that this verifier can score a generator's latents.

        Raises:
            ValueError: if it cannot.
        """
        return

    @abstractmethod
    def _score(
        self,
        generator: Generator,
        latents: Tensor,
        conditioning: Conditioning,
        prompts: list[str],
        network: nn.Module | None,
    ) -> Tensor: ...
