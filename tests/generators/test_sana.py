"""What is particular to SANA: many steps of a solver, whole timesteps, and an instruction before a prompt."""

import pytest
import torch

from tests.families import FAMILIES
from tests.families.family import PROMPTS, noise_for

FAMILY = FAMILIES["sana"]


@pytest.fixture(scope="module")
def folder(pipeline_folder):
    return pipeline_folder("sana")


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("steps", [2, 20])
def test_many_steps_equal_the_pipelines_own(folder, steps, guidance):
    generator = FAMILY.generator(folder, guidance_scale=guidance)
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps)
    theirs = FAMILY.images(generator.pipeline, steps=steps, latents=noise, guidance_scale=guidance)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_an_instruction_may_lead(folder):
    instruction = ["a ring", "a star"]
    generator = FAMILY.generator(folder, instruction=instruction)
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), 4)
    theirs = FAMILY.images(generator.pipeline, steps=4, latents=noise, complex_human_instruction=instruction)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_the_network_is_told_the_schedulers_own_timesteps(folder):
    generator = FAMILY.generator(folder, guidance_scale=1.0)
    noise, conditioning = noise_for(generator), generator.encode(PROMPTS)
    told = []
    generator.network.register_forward_pre_hook(
        lambda _, args, options: told.append(int(options["timestep"][0])), with_kwargs=True
    )
    for steps in range(1, 31):
        told.clear()
        generator.latents(noise, conditioning, steps)
        generator.pipeline.scheduler.set_timesteps(steps)
        assert told == generator.pipeline.scheduler.timesteps.tolist()


def test_prediction_is_the_velocity_of_one_step(folder):
    generator = FAMILY.generator(folder, guidance_scale=1.0)
    noise, conditioning = noise_for(generator), generator.encode(PROMPTS)
    velocity = generator.predict(generator.network, noise, conditioning)
    clean = noise - generator.time_grid(1)[0] * velocity
    torch.testing.assert_close(clean, generator.latents(noise, conditioning))
