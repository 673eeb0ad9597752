"""What is particular to Stable Diffusion 3: three text encoders, one of which may be left out, and a largest size."""

import pytest
import torch

from hypernoise_pl.generators.stable_diffusion_3 import StableDiffusion3
from tests.families import FAMILIES

PROMPTS = ["a red circle", "three stars in the dark"]
FAMILY = FAMILIES["sd-3-turbo"]


@pytest.fixture(scope="module")
def folder(pipeline_folder):
    return pipeline_folder("sd-3-turbo")


def test_one_step_subtracts_the_prediction(folder):
    generator = FAMILY.generator(folder)
    noise, conditioning = torch.randn(2, *generator.noise_shape), generator.encode(PROMPTS)
    latents = noise - generator.predict(generator.network, noise, conditioning)
    torch.testing.assert_close(latents, generator.latents(noise, conditioning), rtol=0, atol=1e-5)


def test_without_the_largest_text_encoder(folder):
    generator = FAMILY.generator(folder, t5=False)
    assert generator.text_encoder_3 is None
    noise = torch.randn(2, *generator.noise_shape)
    ours = generator.generate(noise, generator.encode(PROMPTS))
    theirs = FAMILY.images(generator.pipeline, latents=noise)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    with pytest.warns(UserWarning, match="it reads 20"):
        generator.encode(["a red circle " * 8])


def test_fresh_noise_where_the_scheduler_says_so(folder, tmp_path):
    from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

    pipeline = StableDiffusion3Pipeline.from_pretrained(folder)
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True)
    pipeline.save_pretrained(tmp_path)
    generator = FAMILY.generator(tmp_path)
    noise, conditioning = torch.randn(2, *generator.noise_shape), generator.encode(PROMPTS)
    first, again, other = (generator.latents(noise, conditioning, 4, seeds=seeds) for seeds in ([1, 2], [1, 2], [3, 4]))
    assert torch.equal(first, again) and (first - other).abs().max() > 1e-3


def test_the_largest_size_is_said(folder):
    with pytest.raises(ValueError, match="height and width: at most 64, got 128 x 64"):
        StableDiffusion3(str(folder), height=128, width=64)
