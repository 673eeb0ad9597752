"""The self-supervised verifier: is what the generator sees in a noised image the image itself?"""

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
    """Cosine of the image features of a sample and of the clean prediction from the sample noised to a level.

    The sample is mixed with noise, the network that made it is evaluated once there, and both are decoded. It needs no
    label and no other model of quality, and sees a prompt only as the generator does: no text is compared.

    Every sample is mixed with the same noise, drawn from the seed: so candidates differ by themselves alone, the score
    is a smooth function of the latents, and neither chunk nor batch changes it (fresh noise from a digest of the
    latents does: the last bit of a latent depends on the batch it was made in).

    Args:
        features: what encodes the images; the source takes CLIP's or DINO's.
        level: time t of the noised sample, in (0, 1): 0 is clean, 1 is noise alone.
        seed: of the noise.

    Raises:
        ValueError: if the level is not in (0, 1).

    Source: Ma et al. 2025, section 3.2 (self-supervised verifiers), at sigma 0.4. There the prediction is one on the
    sample's own way; a few-step generator has none at that level, so the sample is noised to it.
    """

    nfe: ClassVar[int] = 1
    decodes: ClassVar[int] = 2

    def __init__(self, features: ImageFeatures, level: float = 0.4, seed: int = 0) -> None:
        super().__init__()
        if not 0 < level < 1:
            raise ValueError(f"self-consistency needs a level inside (0, 1), got {level}")
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
        seen = generator.denoise(noised, self.level, conditioning, network)
        return F.cosine_similarity(self.features(generator.decode(seen)), self.features(generator.decode(latents)))
