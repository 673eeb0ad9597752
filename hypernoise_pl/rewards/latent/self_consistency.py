"""Self-consistency: similarity of a sample and the generator's clean prediction from the noised sample."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.rewards.features import ImageFeatures
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.types import Conditioning


class SelfConsistency(LatentVerifier):
    """Cosine between the image features of a sample and of the clean prediction from the noised sample.

    The sample is mixed with noise, the network that produced it predicts a clean sample from the mix, and both samples
    are decoded. The verifier needs no labels and no reward model; the prompt acts only through the generator.

    Every sample is mixed with the same noise, drawn from the seed. The score is therefore a smooth function of the
    latents and independent of chunk and batch.

    Args:
        features: image encoder; the source uses CLIP or DINO.
        level: noise level in (0, 1), the time of flow matching.
        seed: seed of the noise.

    Raises:
        ValueError: if the level is not in (0, 1).

    Source: Ma et al. 2025, section 3.2 (self-supervised verifiers), at sigma 0.4. There the prediction comes from the
    sample's own trajectory; the trajectory of a few-step generator has no such level, so the sample is noised instead.
    """

    nfe: ClassVar[int] = 1
    decodes: ClassVar[int] = 2

    def __init__(self, features: ImageFeatures, level: float = 0.4, seed: int = 0) -> None:
        super().__init__()
        if not 0 < level < 1:
            raise ValueError(f"self-consistency: level must be in (0, 1), got {level}")
        self.features = features
        self.level = level
        self.seed = seed

    def _score(
        self,
        generator: Generator,
        latents: Tensor,
        conditioning: Conditioning,
        prompts: list[str],
        network: nn.Module | None,
    ) -> Tensor:
        noise = gaussian(latents.shape[1:], [seed_of(self.seed, round(1e6 * self.level))]).to(latents)
        noised = generator.add_noise(latents, noise, self.level)
        prediction = generator.denoise(noised, self.level, conditioning, network)
        return F.cosine_similarity(
            self.features(generator.decode(prediction)), self.features(generator.decode(latents))
        )
