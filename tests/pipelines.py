"""Tiny pipelines of the real classes with random weights, saved as the real ones are, and how their own calls go."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.generators.base import SteppedGenerator
from hypernoise_pl.generators.flux import Flux
from hypernoise_pl.generators.sana import SanaSprint
from hypernoise_pl.generators.stable_diffusion import SDTurbo
from hypernoise_pl.generators.stable_diffusion_3 import StableDiffusion3
from hypernoise_pl.generators.stable_diffusion_xl import SDXLTurbo
from hypernoise_pl.shapes.caption import vocabulary
from hypernoise_pl.shapes.tokenizer import clip_tokenizer, gemma_tokenizer

TOKENS = 20
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@dataclass(frozen=True)
class Family:
    """A generator family as the contract suite sees it.

    Args:
        kind: of the generator.
        build: saves a tiny pipeline into a folder.
        options: of the generator, for the tiny pipeline.
        call: of the pipeline, so that it does what the generator does.
        wide: a size that is not square.
        pack: noise as the pipeline's ``latents``.
        compression: pixels a latent.
        tolerance: of gradients against finite differences in float64.
    """

    kind: type[SteppedGenerator]
    build: Callable[[Path], None]
    options: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    wide: tuple[int, int] = (16, 24)
    pack: Callable[[Tensor], Tensor] = lambda noise: noise
    compression: int = 2
    tolerance: float = 1e-4

    def generator(self, folder: Path, **options: Any) -> SteppedGenerator:
        return self.kind(str(folder), **self.options | options)

    def images(self, generator: Any, prompts: list[str], noise: Tensor, steps: int, seeds: list[int]) -> Tensor:
        """The pipeline's own images."""
        generator.pipeline.set_progress_bar_config(disable=True)
        _, height, width = generator.noise_shape
        images: Tensor = generator.pipeline(
            prompts,
            num_inference_steps=steps,
            latents=self.pack(noise),
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            height=height * self.compression,
            width=width * self.compression,
            output_type="pt",
            **self.call,
        ).images
        return images


def save_tiny_decoder(folder: Path, compression: int) -> None:
    """An ``AutoencoderTiny`` for four channels of latents."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(1)
    levels = compression.bit_length()
    one = (1,) * levels
    AutoencoderTiny(
        encoder_block_out_channels=(8,) * levels,
        decoder_block_out_channels=(8,) * levels,
        num_encoder_blocks=one,
        num_decoder_blocks=one,
    ).save_pretrained(folder)


def build_stable_diffusion(folder: Path) -> None:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    tokenizer, encoder = _clip(16, projected=False)
    StableDiffusionPipeline(
        vae=_decoder(0.18215),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**_UNET, cross_attention_dim=16),
        scheduler=EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="trailing"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def build_stable_diffusion_xl(folder: Path) -> None:
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    (tokenizer, encoder), (tokenizer_2, encoder_2) = _clip(16, projected=False), _clip(16, projected=True)
    unet = UNet2DConditionModel(
        **_UNET,
        cross_attention_dim=32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        use_linear_projection=True,
    )
    StableDiffusionXLPipeline(
        vae=_decoder(0.13025),
        text_encoder=encoder,
        text_encoder_2=encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"),
    ).save_pretrained(folder)


def build_flux(folder: Path, guidance: bool = False) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    (tokenizer, encoder), (tokenizer_2, encoder_2) = _clip(16, projected=False), _t5(16)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 4, 8),
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=guidance),
        vae=_decoder(0.3611, 0.1159),
        text_encoder=encoder,
        tokenizer=tokenizer,
        text_encoder_2=encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=transformer,
    ).save_pretrained(folder)


def build_flux_dev(folder: Path) -> None:
    build_flux(folder, guidance=True)


def build_stable_diffusion_3(folder: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(0)
    first, second, third = _clip(8, projected=True), _clip(8, projected=True), _t5(24)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        out_channels=4,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_decoder(1.5305, 0.0609),
        text_encoder=first[1],
        tokenizer=first[0],
        text_encoder_2=second[1],
        tokenizer_2=second[0],
        text_encoder_3=third[1],
        tokenizer_3=third[0],
    ).save_pretrained(folder)


def build_sana(folder: Path) -> None:
    from diffusers import AutoencoderDC, SanaSprintPipeline, SanaTransformer2DModel, SCMScheduler
    from transformers import Gemma2Config, Gemma2Model

    torch.manual_seed(0)
    tokenizer = gemma_tokenizer()
    text = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
        sample_size=8,
        patch_size=1,
        guidance_embeds=True,
        qk_norm="rms_norm_across_heads",
    )
    decoder = AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
        encoder_qkv_multiscales=((), (), (5,)),
        decoder_qkv_multiscales=((), (), (5,)),
        scaling_factor=0.41407,
    )
    SanaSprintPipeline(
        tokenizer, Gemma2Model(text), vae=decoder, transformer=transformer, scheduler=SCMScheduler()
    ).save_pretrained(folder)


_UNET: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}


def _decoder(scale: float, shift: float | None = None) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,  # tiles of 8 latents
        scaling_factor=scale,
        shift_factor=shift,
    )


def _clip(width: int, projected: bool) -> tuple[Any, Any]:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = clip_tokenizer()
    tokenizer.model_max_length = TOKENS
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer, (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _t5(width: int) -> tuple[Any, Any]:
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    words = ["\u2581" + word for word in vocabulary()]
    letters = ["\u2581", *(chr(code) for code in range(33, 127))]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    pieces += [(word, -1.0) for word in words] + [(letter, -10.0) for letter in letters]
    tokenizer: Any = T5Tokenizer(vocab=pieces, extra_ids=0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2, is_encoder_decoder=False
    )
    return tokenizer, T5EncoderModel(config)


def _flux_tokens(noise: Tensor) -> Tensor:
    from diffusers import FluxPipeline

    return FluxPipeline._pack_latents(noise, *noise.shape)


_READ = {"max_sequence_length": TOKENS}
_FLUX: dict[str, Any] = {"options": _READ | {"height": 16, "width": 16}, "call": _READ, "pack": _flux_tokens}

FAMILIES = {
    "flux-schnell": Family(Flux, build_flux, **_FLUX),
    "flux-dev": Family(Flux, build_flux_dev, **_FLUX | {"call": _READ | {"guidance_scale": 3.5}}),
    "sana-sprint": Family(
        SanaSprint,
        build_sana,
        _READ,
        _READ
        | {"complex_human_instruction": None, "clean_caption": False, "use_resolution_binning": False}
        | {"intermediate_timesteps": None},
        wide=(32, 64),
        compression=4,
        tolerance=1e-2,  # its linear attention computes in float32 whatever it is given
    ),
    "sd-turbo": Family(SDTurbo, build_stable_diffusion, call={"guidance_scale": 0.0}),
    "sd-3-turbo": Family(StableDiffusion3, build_stable_diffusion_3, _READ, _READ | {"guidance_scale": 0.0}),
    "sdxl-turbo": Family(SDXLTurbo, build_stable_diffusion_xl, call={"guidance_scale": 0.0}),
}
