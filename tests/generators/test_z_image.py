"""The Z-Image backend against diffusers' own pipeline."""

import pytest
import torch

from hypernoise_pl.generators.z_image import ZImage
from tests.generators import checks
from tests.generators.tiny_z_image import save_z_image

PROMPTS = ["a red circle", "three stars in the dark"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_z_image(tmp_path_factory.mktemp("z_image"))


def small(folder, height=16, width=16, **options) -> ZImage:
    return ZImage(str(folder), height=height, width=width, max_sequence_length=40, **options)


def pipelines_own(generator: ZImage, noise: torch.Tensor, steps: int, guidance: float = 0.0) -> torch.Tensor:
    generator.pipeline.set_progress_bar_config(disable=True)
    compression = generator.pipeline.vae_scale_factor
    return generator.pipeline(
        list(PROMPTS),  # it writes its chat into the list it is given
        latents=noise,
        num_inference_steps=steps,
        guidance_scale=guidance,
        height=generator.noise_shape[1] * compression,
        width=generator.noise_shape[2] * compression,
        max_sequence_length=generator.max_sequence_length,
        output_type="pt",
    ).images


@pytest.mark.parametrize("guidance", [0.0, 4.0])
@pytest.mark.parametrize("steps", [1, 4, 8])
def test_images_equal_the_pipelines_own(folder, steps, guidance):
    generator = small(folder, guidance=guidance)
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps)
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, pipelines_own(generator, noise, steps, guidance), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(16, 32), (24, 20)])
def test_sides_may_differ(folder, height, width):
    generator = small(folder, height, width)
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), 4)
    assert ours.shape[2:] == (height, width)
    torch.testing.assert_close(ours, pipelines_own(generator, noise, 4), rtol=0, atol=1e-4)


def test_levels_shift_with_the_size_where_the_scheduler_says_so(folder):
    generator = small(folder)
    kind, config = type(generator.pipeline.scheduler), generator.pipeline.scheduler.config
    generator.pipeline.scheduler = kind.from_config(config, use_dynamic_shifting=True, base_image_seq_len=1)
    noise = checks.noise_for(generator)
    assert generator.levels(4) != small(folder).levels(4)
    ours = generator.generate(noise, generator.encode(PROMPTS), 4)
    torch.testing.assert_close(ours, pipelines_own(generator, noise, 4), rtol=0, atol=1e-4)


def test_prompts_of_other_lengths_in_the_batch_change_nothing(folder):
    generator = small(folder)
    noise, conditioning = checks.noise_for(generator), generator.encode(PROMPTS)
    together = generator.generate(noise, conditioning, 2)
    alone = generator.generate(noise[:1], conditioning.map(lambda t: t[:1]), 2)
    torch.testing.assert_close(alone[0], together[0], rtol=0, atol=1e-4)


def test_prediction_is_what_one_step_adds(folder):
    generator = small(folder)
    noise, conditioning = checks.noise_for(generator), generator.encode(PROMPTS)
    clean = noise + generator.predict(generator.network, noise, conditioning)
    torch.testing.assert_close(clean, generator.latents(noise, conditioning))


@pytest.mark.parametrize("steps", [1, 2])
def test_gradient_of_images_with_respect_to_noise(folder, steps):
    # its rotary embedding computes in float32 whatever it is given
    checks.check_gradient(small(folder).double(), PROMPTS, steps, step=1e-3)


def test_checkpointing_changes_no_gradient(folder):
    checks.check_checkpointing(lambda: small(folder), PROMPTS, 2)


def test_a_hypernetwork_learns_over_it(folder):
    checks.check_hypernetwork(small(folder), PROMPTS)


def test_searches_walk_it(folder):
    checks.check_walks(small(folder), PROMPTS)


def test_levels(folder):
    generator = small(folder)
    checks.check_levels(generator, PROMPTS)
    assert generator.levels(4) == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])


def test_a_cut_prompt_is_warned_about_with_what_is_not_read(folder):
    generator = small(folder)
    with pytest.warns(UserWarning, match="not read: 'circle in the dark"):
        generator.encode(["a red circle" + " in the dark circle" * 20])


def test_what_does_not_fit_is_one_clear_line(folder, tmp_path):
    import shutil

    with pytest.raises(ValueError, match="multiples of 4, got 18 x 16"):
        small(folder, height=18)
    other = shutil.copytree(folder, tmp_path / "other")
    config = other / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"stochastic_sampling": false', '"stochastic_sampling": true'))
    with pytest.raises(ValueError, match="with stochastic_sampling and invert_sigmas off"):
        small(other)
