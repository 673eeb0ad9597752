"""The PixArt backend against diffusers' own pipelines: Sigma with its solver, alpha with DMD's one step and LCM's few."""

import pytest
import torch

from hypernoise_pl.generators.pixart import PixArt
from tests.generators import checks
from tests.generators.tiny_pixart import save_pixart, schedulers

PROMPTS = ["a red circle", "three stars in the dark"]


@pytest.fixture(scope="module")
def sigma(tmp_path_factory):
    return save_pixart(tmp_path_factory.mktemp("sigma"), sigma=True)


@pytest.fixture(scope="module")
def alpha(tmp_path_factory):
    return save_pixart(tmp_path_factory.mktemp("alpha"), large=True)


def small(folder, height=16, width=16, **options) -> PixArt:
    return PixArt(str(folder), height=height, width=width, **options)


def pipelines_own(generator: PixArt, noise: torch.Tensor, **options) -> torch.Tensor:
    generator.pipeline.set_progress_bar_config(disable=True)
    return generator.pipeline(
        PROMPTS,
        latents=noise,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
        height=generator.height,
        width=generator.width,
        guidance_scale=generator.guidance_scale,
        max_sequence_length=generator.max_sequence_length,
        clean_caption=False,
        use_resolution_binning=False,
        output_type="pt",
        **options,
    ).images


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("steps", [1, 2, 4, 20])
def test_sigma_equals_its_pipeline(sigma, steps, guidance):
    generator = PixArt(str(sigma), guidance_scale=guidance)
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps)
    assert ours.std() > 0.01
    theirs = pipelines_own(generator, noise, num_inference_steps=steps)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(16, 32), (24, 16)])
def test_sides_may_differ(alpha, height, width):
    generator = small(alpha, height, width, max_sequence_length=20)
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), 4)
    assert ours.shape[2:] == (height, width)
    torch.testing.assert_close(ours, pipelines_own(generator, noise, num_inference_steps=4), rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4])
def test_dmd_equals_its_pipeline(alpha, steps):
    generator = small(alpha, first_timestep=400)
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps, seeds=[3, 4])
    assert ours.std() > 0.01
    # DMD's own scheduler knows one step; LCM's has the same fresh noise for more
    generator.pipeline.scheduler = schedulers("ddpm" if steps == 1 else "lcm")
    times = [400, 300, 200, 100][:steps]
    theirs = pipelines_own(generator, noise, timesteps=times, num_inference_steps=steps)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4])
def test_lcm_equals_its_pipeline(tmp_path, steps):
    generator = PixArt(str(save_pixart(tmp_path, scheduler="lcm")))
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps, seeds=[3, 4])
    theirs = pipelines_own(generator, noise, num_inference_steps=steps)
    assert generator.guidance_scale == 1.0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_weights_published_alone_take_the_transformers_place(sigma, alpha):
    generator = small(sigma, transformer=str(alpha), first_timestep=400)
    own, other = PixArt(str(sigma)), small(alpha)
    weight = generator.network.proj_out.weight
    assert torch.equal(weight, other.network.proj_out.weight)
    assert generator.network.use_additional_conditions and not own.network.use_additional_conditions
    assert generator.name == f"{sigma}+{alpha}"


def test_prediction_is_the_noise_that_one_step_takes_away(alpha):
    generator = small(alpha, first_timestep=400)
    noise, conditioning = checks.noise_for(generator), generator.encode(PROMPTS)
    signal = float(schedulers("ddpm").alphas_cumprod[400])
    seen = generator.predict(generator.network, noise, conditioning)
    clean = (noise - (1 - signal) ** 0.5 * seen) / signal**0.5
    torch.testing.assert_close(clean, generator.latents(noise, conditioning), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("first_timestep", "steps"), [(400, 1), (400, 2), (None, 1), (None, 4)])
def test_gradient_of_images_with_respect_to_noise(alpha, first_timestep, steps):
    generator = small(alpha, first_timestep=first_timestep, max_sequence_length=20).double()
    checks.check_gradient(generator, PROMPTS, steps, step=1e-5)


def test_checkpointing_changes_no_gradient(sigma):
    checks.check_checkpointing(lambda: PixArt(str(sigma), max_sequence_length=20), PROMPTS, 2)


@pytest.mark.parametrize("first_timestep", [None, 400])
def test_a_hypernetwork_learns_over_it(alpha, first_timestep):
    checks.check_hypernetwork(small(alpha, first_timestep=first_timestep, max_sequence_length=20), PROMPTS)


@pytest.mark.parametrize("first_timestep", [None, 400])
def test_searches_walk_it(alpha, first_timestep):
    checks.check_walks(small(alpha, first_timestep=first_timestep, max_sequence_length=20), PROMPTS)


@pytest.mark.parametrize("first_timestep", [None, 400])
def test_levels(alpha, first_timestep):
    generator = small(alpha, first_timestep=first_timestep, max_sequence_length=20)
    checks.check_levels(generator, PROMPTS)
    low, high = generator._level(299), generator._level(300)
    assert generator._timestep(low) == pytest.approx(299, abs=1e-6)
    assert 299 < generator._timestep((low + high) / 2) < 300


def test_a_cut_prompt_is_warned_about_with_what_is_not_read(alpha):
    generator = small(alpha, max_sequence_length=8)
    with pytest.warns(UserWarning, match="has 10 tokens, the generator reads 8; not read: 'red circle'"):
        generator.encode(["a red circle a red circle a red circle"])


def test_what_does_not_fit_is_one_clear_line(alpha, sana_folder, tmp_path):
    from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler

    with pytest.raises(ValueError, match="multiples of 4, got 18 x 16"):
        PixArt(str(alpha), height=18, width=16)
    with pytest.raises(ValueError, match="a SanaSprintPipeline, not a PixArtAlphaPipeline or PixArtSigmaPipeline"):
        PixArt(str(sana_folder))
    with pytest.raises(ValueError, match="first_timestep must be from 1 to 999, got 1000"):
        small(alpha, first_timestep=1000)
    generator = small(alpha)
    with pytest.raises(ValueError, match=r"must be DPMSolver.*got EulerDiscreteScheduler"):
        generator._follow(EulerDiscreteScheduler())
    with pytest.raises(ValueError, match="solver_order must be 1 or 2, got 3"):
        generator._follow(DPMSolverMultistepScheduler(solver_order=3))
    with pytest.raises(ValueError, match="use_karras_sigmas must be off"):
        generator._follow(DPMSolverMultistepScheduler(use_karras_sigmas=True))
