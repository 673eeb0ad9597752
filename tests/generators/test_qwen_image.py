"""What is particular to Qwen-Image: a fused LoRA, its own schedule or a shift, and no tiny decoder."""

import pytest
import torch

from hypernoise_pl.generators.fused_lora import FusedLora
from hypernoise_pl.generators.loading import DecoderOptions
from tests.families import FAMILIES
from tests.families.family import PROMPTS, noise_for
from tests.families.flows import build_qwen_image, save_qwen_lora

FAMILY = FAMILIES["qwen-image"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the published model's schedule."""
    built = tmp_path_factory.mktemp("qwen")
    build_qwen_image(built, dynamic=True)
    return built


def check(generator, steps: int) -> torch.Tensor:
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps)
    theirs = FAMILY.images(generator.pipeline, steps=steps, **FAMILY.start(noise))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    return ours


@pytest.mark.parametrize(("shift", "steps"), [(3.0, 1), (3.0, 4), (None, 4)])
def test_images_equal_the_pipelines_own_by_either_schedule(folder, shift, steps):
    generator = FAMILY.generator(folder, shift=shift)
    check(generator, steps)
    assert (generator.time_grid(4) == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])) == (shift is not None)


def test_a_lora_is_fused_into_the_weights(folder, tmp_path):
    down, up = save_qwen_lora(tmp_path).values()
    plain, fused = FAMILY.generator(folder), FAMILY.generator(folder, lora=FusedLora(str(tmp_path)))
    layer = "transformer_blocks.0.attn.to_q.weight"
    change = fused.network.get_parameter(layer) - plain.network.get_parameter(layer)
    torch.testing.assert_close(change, up @ down, rtol=1e-4, atol=1e-5)
    assert fused.network.state_dict().keys() == plain.network.state_dict().keys()
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert (check(fused, 4) - check(plain, 4)).abs().max() > 1e-3


def test_prediction_is_what_one_step_subtracts(pipeline_folder):
    generator = FAMILY.generator(pipeline_folder("qwen-image"))
    noise, conditioning = noise_for(generator), generator.encode(PROMPTS)
    clean = noise - generator.predict(generator.network, noise, conditioning)
    torch.testing.assert_close(clean, generator.latents(noise, conditioning))


def test_a_prompt_is_encoded_alike_in_any_batch(folder):
    generator = FAMILY.generator(folder)
    one, both = generator.encode(PROMPTS[:1]), generator.encode(PROMPTS)
    torch.testing.assert_close(one.embeddings[0], both.embeddings[0])


def test_what_does_not_fit_is_one_clear_line(folder):
    with pytest.raises(ValueError, match=r"decoding.tiny: Qwen-Image's latents have a time axis"):
        FAMILY.generator(folder, decoding=DecoderOptions(tiny="somewhere"))
    with pytest.raises(FileNotFoundError, match=r"LoRA ./nowhere: no such folder"):
        FAMILY.generator(folder, lora=FusedLora("./nowhere"))
