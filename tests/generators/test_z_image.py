"""What is particular to Z-Image: its velocity points to clean latents, it has guidance, and reads chat."""

import pytest
import torch

from tests.families import FAMILIES
from tests.families.family import PROMPTS, noise_for

FAMILY = FAMILIES["z-image"]


@pytest.fixture(scope="module")
def folder(pipeline_folder):
    return pipeline_folder("z-image")


@pytest.mark.parametrize("steps", [1, 8])
def test_guidance_equals_the_pipelines_own(folder, steps):
    generator = FAMILY.generator(folder, guidance=4.0)
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps)
    theirs = FAMILY.images(generator.pipeline, steps=steps, latents=noise, guidance_scale=4.0)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_prediction_is_what_one_step_adds(folder):
    generator = FAMILY.generator(folder)
    noise, conditioning = noise_for(generator), generator.encode(PROMPTS)
    clean = noise + generator.predict(generator.network, noise, conditioning)
    torch.testing.assert_close(clean, generator.latents(noise, conditioning))


def test_the_chat_around_a_prompt_is_not_what_is_cut(folder):
    with pytest.warns(UserWarning, match="not read: 'circle in the dark"):
        FAMILY.generator(folder).encode(["a red circle" + " in the dark circle" * 20])
