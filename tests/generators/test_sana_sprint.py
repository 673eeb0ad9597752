"""What is particular to SANA-Sprint: two steps by the pipeline's own times, and one that subtracts; shapes, checked."""

import pytest
import torch

from tests.families import FAMILIES
from tests.families.family import PROMPTS, noise_for

FAMILY = FAMILIES["sana-sprint"]


@pytest.fixture(scope="module")
def generator(sana_folder):
    return FAMILY.generator(sana_folder)


def test_two_steps_have_the_pipelines_own_middle(generator):
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), 2, seeds=[3, 4])
    fresh = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    theirs = FAMILY.images(generator.pipeline, steps=2, latents=noise, generator=fresh, intermediate_timesteps=1.3)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_prediction_is_what_one_step_subtracts(generator):
    noise, conditioning = noise_for(generator), generator.encode(PROMPTS)
    latent = noise - generator.predict(generator.network, noise, conditioning)
    images = generator.decoder.decode(latent / generator.decoder.config.scaling_factor).sample / 2 + 0.5
    torch.testing.assert_close(images.clamp(0, 1), generator.generate(noise, conditioning), rtol=0, atol=1e-4)


def test_wrong_shapes_are_one_clear_line(generator):
    conditioning = generator.encode(PROMPTS)
    with pytest.raises(ValueError, match=r"noise must have shape \[2, 4, 8, 8\], got \[1, 4, 8, 8\]"):
        generator.generate(noise_for(generator)[:1], conditioning)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        generator.generate(noise_for(generator), conditioning, 0)
    with pytest.raises(ValueError, match="at least one prompt"):
        generator.encode([])
