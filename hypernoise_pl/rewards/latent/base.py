"""What scores a sample before it is decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from hypernoise_pl.config.arguments import KeepsArguments
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.types import Conditioning, check_shape


class LatentVerifier(KeepsArguments, nn.Module, ABC):
    """Scores clean latents against prompts; higher is better.

    Attributes:
        nfe: evaluations of the generator's network that scoring one sample takes.
        decodes: images that scoring one sample decodes.
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
            generator: that made them.
            latents: [M, *Z] clean.
            conditioning: what the generator reads of the M prompts.
            prompts: M texts.
            network: view of the generator's network that made them; None for its own.

        Returns:
            [M] scores in float32.

        Raises:
            ValueError: if there is not one prompt and one conditioning a sample.
        """
        check_shape("latents", latents, (len(prompts), *[None] * (latents.dim() - 1)))
        check_shape("embeddings", conditioning.embeddings, (len(prompts), None, None))
        return self._score(generator, latents, conditioning, list(prompts), network).float()

    def check(self, generator: Generator) -> None:
        """Say before anything is spent what a generator lacks for this verifier.

        Raises:
            ValueError: if it cannot serve.
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
