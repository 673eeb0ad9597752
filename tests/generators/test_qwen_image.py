"""The Qwen-Image backend against diffusers' own pipeline."""

import pytest
import torch

from hypernoise_pl.generators.pipeline import DecoderOptions
from hypernoise_pl.generators.qwen_image import QwenImage
from tests.generators import checks
from tests.generators.tiny_qwen_image import save_lora, save_qwen_image

PROMPTS = ["a red circle", "three stars in the dark"]
LENGTH = 200  # the tiny tokenizer spells the chat around a prompt, which the real one has in 34 tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_qwen_image(tmp_path_factory.mktemp("qwen_image"))


def small(folder, height=16, width=16, shift=3.0, **options) -> QwenImage:
    return QwenImage(str(folder), height=height, width=width, shift=shift, max_sequence_length=LENGTH, **options)


def pipelines_own(generator: QwenImage, noise: torch.Tensor, steps: int) -> torch.Tensor:
    generator.pipeline.set_progress_bar_config(disable=True)
    batch, channels, height, width = noise.shape
    return generator.pipeline(
        list(PROMPTS),
        latents=generator.pipeline._pack_latents(noise, batch, channels, height, width),
        num_inference_steps=steps,
        true_cfg_scale=1.0,
        height=height * generator.pipeline.vae_scale_factor,
        width=width * generator.pipeline.vae_scale_factor,
        max_sequence_length=LENGTH,
        output_type="pt",
    ).images


@pytest.mark.parametrize(("shift", "steps"), [(3.0, 1), (3.0, 4), (None, 4)])
def test_images_equal_the_pipelines_own(folder, shift, steps):
    generator = small(folder, shift=shift)
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps)
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, pipelines_own(generator, noise, steps), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(16, 32), (24, 20)])
def test_sides_may_differ(folder, height, width):
    generator = small(folder, height, width)
    noise = checks.noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), 4)
    assert ours.shape[2:] == (height, width)
    torch.testing.assert_close(ours, pipelines_own(generator, noise, 4), rtol=0, atol=1e-4)


def test_a_lora_is_fused_into_the_weights(folder, tmp_path):
    down, up = save_lora(tmp_path).values()
    plain, fused = small(folder), small(folder, lora=str(tmp_path))
    layer = "transformer_blocks.0.attn.to_q.weight"
    change = fused.network.get_parameter(layer) - plain.network.get_parameter(layer)
    torch.testing.assert_close(change, up @ down, rtol=1e-4, atol=1e-5)
    assert fused.network.state_dict().keys() == plain.network.state_dict().keys()
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    noise = checks.noise_for(fused)
    ours = fused.generate(noise, fused.encode(PROMPTS), 4)
    assert (ours - plain.generate(noise, plain.encode(PROMPTS), 4)).abs().max() > 1e-3
    torch.testing.assert_close(ours, pipelines_own(fused, noise, 4), rtol=0, atol=1e-4)


def test_prompts_of_other_lengths_in_the_batch_change_nothing(folder):
    generator = small(folder)
    noise, conditioning = checks.noise_for(generator), generator.encode(PROMPTS)
    together = generator.generate(noise, conditioning, 2)
    alone = generator.generate(noise[:1], conditioning.map(lambda t: t[:1]), 2)
    torch.testing.assert_close(alone[0], together[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(generator.encode(PROMPTS[:1]).embeddings[0], conditioning.embeddings[0])


def test_prediction_is_what_one_step_subtracts(folder):
    generator = small(folder)
    noise, conditioning = checks.noise_for(generator), generator.encode(PROMPTS)
    clean = noise - generator.predict(generator.network, noise, conditioning)
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
    checks.check_levels(small(folder), PROMPTS)
    assert small(folder).levels(4) == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])
    assert small(folder, shift=None).levels(4)[-2] == pytest.approx(0.02, rel=1e-5)
    with pytest.raises(ValueError, match="no one-step schedule"):
        small(folder, shift=None).levels(1)


def test_a_cut_prompt_is_warned_about_with_what_is_not_read(folder):
    with pytest.warns(UserWarning, match=r"not read: '(in |the |dark |circle )+"):
        small(folder).encode(["a red circle" + " in the dark circle" * 40])


def test_what_does_not_fit_is_one_clear_line(folder):
    with pytest.raises(ValueError, match="multiples of 4, got 18 x 16"):
        small(folder, height=18)
    with pytest.raises(ValueError, match=r"decoding.tiny: Qwen-Image's latents have a time axis"):
        small(folder, decoding=DecoderOptions(tiny="somewhere"))
    with pytest.raises(FileNotFoundError, match=r"LoRA ./nowhere: no such file or folder"):
        small(folder, lora="./nowhere")
