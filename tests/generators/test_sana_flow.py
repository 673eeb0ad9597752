"""The SANA backend against diffusers' own pipeline."""

import pytest
import torch

from hypernoise_pl.generators.sana_flow import Sana
from tests.generators import checks
from tests.generators.tiny_sana import save_sana

PROMPTS = ["a red circle", "three stars in the dark"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sana_folder):
    return save_sana(tmp_path_factory.mktemp("flow"), sana_folder)


def pipelines_own(generator: Sana, noise: torch.Tensor, steps: int, instruction=None) -> torch.Tensor:
    generator.pipeline.set_progress_bar_config(disable=True)
    compression = generator.pipeline.vae_scale_factor
    return generator.pipeline(
        PROMPTS,
        latents=noise,
        num_inference_steps=steps,
        guidance_scale=generator.guidance_scale,
        height=generator.noise_shape[1] * compression,
        width=generator.noise_shape[2] * compression,
        max_sequence_length=generator.max_sequence_length,
        complex_human_instruction=instruction,
        clean_caption=False,
        use_resolution_binning=False,
        output_type="pt",
    ).images


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("steps", [1, 2, 4, 20])
def test_images_equal_the_pipelines_own(folder, steps, guidance):
    generator = Sana(str(folder), guidance_scale=guidance, max_sequence_length=20)
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps)
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, pipelines_own(generator, noise, steps), rtol=0, atol=1e-4)


def test_sides_may_differ_and_an_instruction_may_lead(folder):
    instruction = ["a ring", "a star"]
    generator = Sana(str(folder), height=32, width=64, instruction=instruction, max_sequence_length=20)
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), 4)
    assert ours.shape[2:] == (32, 64)
    torch.testing.assert_close(ours, pipelines_own(generator, noise, 4, instruction), rtol=0, atol=1e-4)


def test_the_network_is_told_the_schedulers_own_timesteps(folder):
    generator = Sana(str(folder), guidance_scale=1.0, max_sequence_length=20)
    noise, conditioning = checks.noise_for(generator), generator.encode(PROMPTS)
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
    generator = Sana(str(folder), guidance_scale=1.0, max_sequence_length=20)
    noise, conditioning = checks.noise_for(generator), generator.encode(PROMPTS)
    velocity = generator.predict(generator.network, noise, conditioning)
    clean = noise - generator.levels(1)[0] * velocity
    torch.testing.assert_close(clean, generator.latents(noise, conditioning))


@pytest.mark.parametrize("steps", [1, 3])
def test_gradient_of_images_with_respect_to_noise(folder, steps):
    # SANA's linear attention computes in float32 whatever it is given: a step well above float32's grain
    checks.check_gradient(Sana(str(folder), max_sequence_length=20).double(), PROMPTS, steps, step=1e-3)


def test_checkpointing_changes_no_gradient(folder):
    checks.check_checkpointing(lambda: Sana(str(folder), max_sequence_length=20), PROMPTS, 2)


def test_a_hypernetwork_learns_over_it(folder):
    checks.check_hypernetwork(Sana(str(folder), max_sequence_length=20), PROMPTS)


def test_searches_walk_it(folder):
    checks.check_walks(Sana(str(folder), max_sequence_length=20), PROMPTS)


def test_levels(folder):
    checks.check_levels(Sana(str(folder), max_sequence_length=20), PROMPTS)


def test_a_cut_prompt_is_warned_about_with_what_is_not_read(folder):
    with pytest.warns(UserWarning, match="not read: 'red circle a red circle'"):
        Sana(str(folder), max_sequence_length=20).encode(["a red circle " * 8])


def test_what_does_not_fit_is_one_clear_line(folder, tmp_path):
    import shutil

    with pytest.raises(ValueError, match="multiples of 32, got 32 x 48"):
        Sana(str(folder), width=48)
    other = shutil.copytree(folder, tmp_path / "other")
    config = other / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"use_flow_sigmas": true', '"use_flow_sigmas": false'))
    with pytest.raises(ValueError, match="DPMSolverMultistepScheduler with use_flow_sigmas"):
        Sana(str(other))
