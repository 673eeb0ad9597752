"""The SANA-Sprint backend against diffusers' own pipeline, on the real classes and on the shapes world's."""

import pytest
import torch

from hypernoise_pl.generators.sana import SanaSprint

PROMPTS = ["a red circle", "three stars in the dark"]


@pytest.fixture(scope="module")
def generator(sana_folder) -> SanaSprint:
    return SanaSprint(str(sana_folder), max_sequence_length=20)


def noise_for(generator: SanaSprint, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(2, *generator.noise_shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_images_equal_the_pipelines_own(generator, steps):
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps, seeds=[3, 4])
    generator.pipeline.set_progress_bar_config(disable=True)
    theirs = generator.pipeline(
        PROMPTS,
        num_inference_steps=steps,
        intermediate_timesteps=1.3 if steps == 2 else None,
        latents=noise,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
        height=32,
        width=32,
        max_sequence_length=20,
        complex_human_instruction=None,
        clean_caption=False,
        use_resolution_binning=False,
        output_type="pt",
    ).images
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_prediction_is_what_one_step_subtracts(generator):
    noise, conditioning = noise_for(generator), generator.encode(PROMPTS)
    latent = noise - generator.predict(generator.network, noise, conditioning)
    images = generator.decoder.decode(latent / generator.decoder.config.scaling_factor).sample / 2 + 0.5
    torch.testing.assert_close(images.clamp(0, 1), generator.generate(noise, conditioning), rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_of_images_with_respect_to_noise(sana_folder, steps, checkpointing):
    generator = SanaSprint(str(sana_folder), max_sequence_length=20).double()
    if checkpointing:
        generator.checkpoint_activations()
    noise, conditioning = noise_for(generator, torch.float64), generator.encode(PROMPTS)

    def value(noise: torch.Tensor) -> torch.Tensor:
        return generator.generate(noise, conditioning, steps, seeds=[3, 4]).square().sum()

    leaf = noise.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    # SANA's linear attention computes in float32 whatever it is given, so differences are taken where they are
    # largest, along the gradient, and with a step well above float32's grain
    direction = gradient / gradient.norm()
    step = 1e-3
    finite = (value(noise + step * direction) - value(noise - step * direction)) / (2 * step)
    assert gradient.norm() > 1
    torch.testing.assert_close(gradient.norm(), finite, rtol=1e-2, atol=0)


def test_batching_equals_looping(generator):
    noise, conditioning = noise_for(generator), generator.encode(PROMPTS)
    together = generator.generate(noise, conditioning, 4, seeds=[3, 4])
    for row in range(2):
        alone = generator.generate(
            noise[row : row + 1], conditioning.map(lambda t, row=row: t[row : row + 1]), 4, seeds=[3 + row]
        )
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-4)


def test_nothing_is_trainable(generator):
    assert not any(p.requires_grad for p in generator.parameters())
    assert not generator.encode(PROMPTS).embeddings.requires_grad


def test_a_prompt_over_the_limit_is_warned_about_with_the_cut_text(generator):
    with pytest.warns(UserWarning, match="not read: 'red circle a red circle'"):
        generator.encode(["a red circle " * 8])


def test_wrong_shapes_are_one_clear_line(generator):
    conditioning = generator.encode(PROMPTS)
    with pytest.raises(ValueError, match=r"noise must have shape \[2, 4, 8, 8\], got \[1, 4, 8, 8\]"):
        generator.generate(noise_for(generator)[:1], conditioning)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        generator.generate(noise_for(generator), conditioning, 0)
    with pytest.raises(ValueError, match="at least one prompt"):
        generator.encode([])


def test_missing_and_damaged_weights(sana_folder, tmp_path):
    import shutil

    with pytest.raises(FileNotFoundError, match=f"generator {tmp_path}/nowhere"):
        SanaSprint(str(tmp_path / "nowhere"))
    damaged = tmp_path / "damaged"
    shutil.copytree(sana_folder, damaged)
    weights = damaged / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises((ValueError, FileNotFoundError), match=r"generator .*damaged"):
        SanaSprint(str(damaged))
