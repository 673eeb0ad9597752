"""The DiT backend against diffusers' own pipeline, with its own scheduler and with DPM-Solver++."""

import pytest
import torch

from hypernoise_pl.generators.dit import DiT
from tests.generators import checks
from tests.generators.tiny_dit import save_dit

PROMPTS = ["goldfish", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_dit(tmp_path_factory.mktemp("dit"))


@pytest.fixture(scope="module")
def solver_folder(tmp_path_factory):
    return save_dit(tmp_path_factory.mktemp("dpm"), "DPMSolverMultistepScheduler")


def pipelines_own(generator: DiT, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and images; the pipeline takes no noise, only the generators that draw it."""
    generator.pipeline.set_progress_bar_config(disable=True)
    images = generator.pipeline(
        [1, 2],
        guidance_scale=generator.guidance_scale,
        generator=torch.Generator().manual_seed(5),
        num_inference_steps=steps,
        output_type="pt",
    ).images
    return torch.randn(2, *generator.noise_shape, generator=torch.Generator().manual_seed(5)), images


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("steps", [1, 4, 10])
@pytest.mark.parametrize("spacing", [None, "trailing"])
def test_images_equal_the_pipelines_own(folder, steps, guidance, spacing):
    generator = DiT(str(folder), guidance_scale=guidance, spacing=spacing)
    noise, theirs = pipelines_own(generator, steps)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps)
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_images_equal_the_pipelines_own_with_another_scheduler(solver_folder, steps):
    generator = DiT(str(solver_folder))
    noise, theirs = pipelines_own(generator, steps)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_prompts_are_names_or_numbers(folder):
    generator = DiT(str(folder))
    numbers = generator.encode(["Tinca tinca", "WHITE SHARK", " 0 ", "999"]).embeddings
    assert numbers.shape == (4, 1, 1)
    assert numbers.flatten().tolist() == [0, 2, 0, 999]


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        ("goldfsh", r"no class is called 'goldfsh' \(did you mean 'goldfish'\?\)"),
        ("1000", "a number from 0 to 999"),
        ("a red circle", "one of the 6 class names"),
    ],
)
def test_other_prompts_are_one_clear_line(folder, prompt, line):
    with pytest.raises(ValueError, match=line):
        DiT(str(folder)).encode(["goldfish", prompt])


@pytest.mark.parametrize(("spacing", "steps"), [(None, 4), ("trailing", 1), ("trailing", 4)])
def test_gradient_of_images_with_respect_to_noise(folder, spacing, steps):
    checks.check_gradient(DiT(str(folder), spacing=spacing).double(), PROMPTS, steps, step=1e-5)


def test_checkpointing_changes_no_gradient(folder):
    checks.check_checkpointing(lambda: DiT(str(folder)), PROMPTS, 2)


def test_a_hypernetwork_learns_over_it(folder):
    checks.check_hypernetwork(DiT(str(folder), spacing="trailing"), PROMPTS)


def test_searches_walk_it(folder):
    checks.check_walks(DiT(str(folder)), PROMPTS)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_levels(folder, spacing):
    generator = DiT(str(folder), spacing=spacing)
    checks.check_levels(generator, PROMPTS)
    first = {"leading": 750, "trailing": 999}[spacing]
    assert generator._timestep(generator.levels(4)[0]) == pytest.approx(first, abs=1e-6)


def test_the_network_is_told_the_noisiest_timestep_by_a_hypernetwork(folder):
    generator = DiT(str(folder))
    noise, conditioning = checks.noise_for(generator), generator.encode(PROMPTS)
    wanted = generator.network(noise, timestep=torch.tensor([999, 999]), class_labels=torch.tensor([1, 2])).sample
    torch.testing.assert_close(generator.predict(generator.network, noise, conditioning), wanted[:, :4])


def test_schedulers_that_walk_otherwise_are_refused(folder):
    from diffusers import DDIMScheduler

    generator = DiT(str(folder))
    with pytest.raises(ValueError, match="clip_sample must be off"):
        generator._follow(DDIMScheduler())
    with pytest.raises(ValueError, match="timestep_spacing of leading or trailing"):
        generator._follow(DDIMScheduler(clip_sample=False, timestep_spacing="linspace"))
    with pytest.raises(ValueError, match="prediction_type must be epsilon, got 'sample'"):
        generator._follow(DDIMScheduler(clip_sample=False, prediction_type="sample"))
