"""SDXL's samplers and the LoRAs that are fused into it, against diffusers' own pipeline; and one step by hand."""

import math

import pytest
import torch
from safetensors.torch import save_file

from hypernoise_pl.generators.fused_lora import FusedLora
from hypernoise_pl.generators.stable_diffusion import SDTurbo
from hypernoise_pl.generators.stable_diffusion_xl import SDXLTurbo
from tests.families import FAMILIES
from tests.families.family import noise_for

PROMPTS = ["a red circle", "three stars in the dark"]
SEEDS = [3, 4]
FAMILY = FAMILIES["sdxl-turbo"]


@pytest.fixture(scope="module")
def folder(pipeline_folder):
    return pipeline_folder("sdxl-turbo")


@pytest.fixture(scope="module")
def lora_folder(tmp_path_factory, folder):
    """A LoRA with weights that are not zero, saved as trainers save theirs."""
    from diffusers import StableDiffusionXLPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    where = tmp_path_factory.mktemp("lora")
    unet = StableDiffusionXLPipeline.from_pretrained(folder).unet
    unet.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v", "conv1"], init_lora_weights=False))
    StableDiffusionXLPipeline.save_lora_weights(where, unet_lora_layers=get_peft_model_state_dict(unet))
    return where


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize(
    ("sampler", "eta"),
    [
        ("ddim", 0.0),
        ("dpm", 0.0),
        ("euler", 0.0),
        ("euler_ancestral", 0.0),
        ("lcm", 0.0),
        ("tcd", 0.0),
        ("tcd", 0.3),
        ("tcd", 1.0),
    ],
)
def test_every_sampler_equals_the_pipelines_own(folder, sampler, eta, steps):
    generator = SDXLTurbo(str(folder), sampler=sampler, eta=eta)
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), steps, seeds=SEEDS)
    generator.pipeline.set_progress_bar_config(disable=True)
    theirs = generator.pipeline(
        PROMPTS,
        num_inference_steps=steps,
        guidance_scale=0.0,
        eta=eta,
        latents=noise,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        height=16,
        width=16,
        output_type="pt",
    ).images
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("timesteps", [[399], [999, 749, 499, 249]])
def test_given_timesteps_equal_the_pipelines_own(folder, timesteps):
    generator = SDXLTurbo(str(folder), sampler="lcm", timesteps=timesteps)
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(PROMPTS), len(timesteps), seeds=SEEDS)
    generator.pipeline.set_progress_bar_config(disable=True)
    theirs = generator.pipeline(
        PROMPTS,
        timesteps=timesteps,
        guidance_scale=0.0,
        latents=noise,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        height=16,
        width=16,
        output_type="pt",
    ).images
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    other = SDXLTurbo(str(folder), sampler="lcm")
    assert other.time_grid(len(timesteps)) != generator.time_grid(len(timesteps))


def test_samplers_differ_where_they_should(folder):
    one = {sampler: SDXLTurbo(str(folder), sampler=sampler) for sampler in ("euler", "euler_ancestral", "lcm")}
    noise = noise_for(one["lcm"])
    images = {
        sampler: [g.generate(noise, g.encode(PROMPTS), steps, seeds=SEEDS) for steps in (1, 4)]
        for sampler, g in one.items()
    }
    assert torch.equal(images["euler"][0], images["euler_ancestral"][0])
    assert (images["euler"][1] - images["euler_ancestral"][1]).abs().max() > 1e-3
    assert (images["lcm"][1] - images["euler_ancestral"][1]).abs().max() > 1e-3


def test_one_step_of_euler_by_hand(pipeline_folder):
    generator = SDTurbo(str(pipeline_folder("sd-turbo")))
    noise, conditioning = noise_for(generator), generator.encode(PROMPTS)
    cumulative = generator.pipeline.scheduler.alphas_cumprod[-1].item()
    sigma = math.sqrt((1 - cumulative) / cumulative)
    latents = sigma * (noise - generator.predict(generator.network, noise, conditioning))
    torch.testing.assert_close(latents, generator.latents(noise, conditioning), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_lora_is_fused_and_leaves_no_trace(folder, lora_folder, scale):
    generator = SDXLTurbo(str(folder), sampler="lcm", lora=FusedLora(str(lora_folder), scale=scale))
    plain = SDXLTurbo(str(folder), sampler="lcm")
    noise = noise_for(plain)
    ours = generator.generate(noise, generator.encode(PROMPTS), 1)
    plain.pipeline.load_lora_weights(str(lora_folder), weight_name="pytorch_lora_weights.safetensors")
    plain.pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 1, "guidance_scale": 0.0, "latents": noise, "height": 16, "width": 16}
    with_lora = plain.pipeline(PROMPTS, cross_attention_kwargs={"scale": scale}, output_type="pt", **options).images
    torch.testing.assert_close(ours, with_lora, rtol=0, atol=1e-4)
    plain.pipeline.unload_lora_weights()
    assert (ours - plain.generate(noise, plain.encode(PROMPTS), 1)).abs().max() > 1e-2
    assert [name for name, _ in generator.network.named_modules()] == [
        name for name, _ in plain.network.named_modules()
    ]
    assert not any(p.requires_grad for p in generator.parameters())
    assert generator.name == f"{folder} + {scale:g} x {lora_folder}"


def test_a_lora_may_be_a_file(folder, lora_folder):
    file = lora_folder / "pytorch_lora_weights.safetensors"
    by_folder, by_file = (SDXLTurbo(str(folder), lora=FusedLora(str(where))) for where in (lora_folder, file))
    for left, right in zip(by_folder.network.parameters(), by_file.network.parameters(), strict=True):
        assert torch.equal(left, right)


def test_sdxls_own_decoder_stays_out_of_half_precision(folder):
    half = SDXLTurbo(str(folder), dtype="float16")
    assert half.network.dtype == torch.float16 and half.decoder.dtype == torch.float32
    assert SDXLTurbo(str(folder), dtype="bfloat16").decoder.dtype == torch.bfloat16


def test_loras_that_do_not_fit_are_one_clear_line(folder, lora_folder, pipeline_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"LoRA {tmp_path}/nowhere: no such folder"):
        SDXLTurbo(str(folder), lora=FusedLora(str(tmp_path / "nowhere")))
    with pytest.raises(FileNotFoundError, match=f"LoRA {lora_folder}: .*other.safetensors"):
        SDXLTurbo(str(folder), lora=FusedLora(str(lora_folder), "other.safetensors"))
    with pytest.raises(ValueError, match=r"0 files in the folder; name one with weight_name"):
        SDXLTurbo(str(folder), lora=FusedLora(str(tmp_path)))
    with pytest.raises(ValueError, match=r"LoRA .*: not read: "):  # SDXL's has other shapes
        SDTurbo(str(pipeline_folder("sd-turbo")), lora=FusedLora(str(lora_folder)))
    save_file({"unet.nowhere.lora_A.weight": torch.zeros(2, 4)}, tmp_path / "empty.safetensors")
    with pytest.raises(ValueError, match=r"LoRA .*: it has no layer of this network"):
        SDXLTurbo(str(folder), lora=FusedLora(str(tmp_path)))


def test_wrong_options_are_one_clear_line(folder):
    with pytest.raises(
        ValueError, match="sampler must be one of ddim, dpm, euler, euler_ancestral, lcm, tcd, got 'heun'"
    ):
        SDXLTurbo(str(folder), sampler="heun")
    with pytest.raises(ValueError, match=r"timesteps must fall and be in 1 to 999, got \[499, 749\]"):
        SDXLTurbo(str(folder), timesteps=[499, 749])
    with pytest.raises(ValueError, match=r"eta must be in \[0, 1\]"):
        SDXLTurbo(str(folder), eta=1.5)
