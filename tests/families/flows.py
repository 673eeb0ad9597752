"""Tiny flow matching pipelines of the real classes with random weights, saved as the real ones are."""

from pathlib import Path

import torch

from tests.families.parts import clip, decoder, gemma, qwen_tokenizer, t5


def build_flux(folder: Path, guidance: bool = False) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    (tokenizer, encoder), (tokenizer_2, encoder_2) = clip(16, projected=False), t5(16)
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
        vae=decoder(0.3611, 0.1159),
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
    first, second, third = clip(8, projected=True), clip(8, projected=True), t5(24)
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
        vae=decoder(1.5305, 0.0609),
        text_encoder=first[1],
        tokenizer=first[0],
        text_encoder_2=second[1],
        tokenizer_2=second[0],
        text_encoder_3=third[1],
        tokenizer_3=third[0],
    ).save_pretrained(folder)


def build_sana_sprint(folder: Path) -> None:
    from diffusers import AutoencoderDC, SanaSprintPipeline, SanaTransformer2DModel, SCMScheduler

    torch.manual_seed(0)
    tokenizer, encoder = gemma()
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
        tokenizer, encoder, vae=decoder, transformer=transformer, scheduler=SCMScheduler()
    ).save_pretrained(folder)


def build_sana(folder: Path) -> None:
    """Made of a tiny SANA-Sprint's parts."""
    from diffusers import DPMSolverMultistepScheduler, SanaPipeline, SanaSprintPipeline, SanaTransformer2DModel

    build_sana_sprint(folder / "sprint")
    sprint = SanaSprintPipeline.from_pretrained(folder / "sprint")
    torch.manual_seed(0)
    told = {"guidance_embeds": False, "qk_norm": None}
    transformer = SanaTransformer2DModel.from_config({**sprint.transformer.config, **told})
    scheduler = DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction")
    pipeline = SanaPipeline(sprint.tokenizer, sprint.text_encoder, sprint.vae, transformer, scheduler)
    pipeline.save_pretrained(folder)


def build_z_image(folder: Path) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    text = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[128, 32, 32],
    )
    with torch.no_grad():
        for token in (transformer.x_pad_token, transformer.cap_pad_token):
            token.normal_(std=0.1)
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=decoder(0.3611, 0.1159),
        text_encoder=Qwen3Model(text),
        tokenizer=tokenizer,
        transformer=transformer,
    ).save_pretrained(folder)


def build_qwen_image(folder: Path, dynamic: bool = False) -> None:
    """With uniform times shifted threefold, or with the published model's own."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImagePipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(0)
    tokenizer = qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": 16,
        "fullatt_block_indexes": [0],
    }
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.8, 1.1, 2.0],
    )
    shifts = {"use_dynamic_shifting": True, "max_shift": 0.9, "shift_terminal": 0.02} if dynamic else {"shift": 3.0}
    QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**shifts),
        vae=vae,
        text_encoder=Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)),
        tokenizer=tokenizer,
        transformer=transformer,
    ).save_pretrained(folder)


def save_qwen_lora(folder: Path) -> dict[str, torch.Tensor]:
    """A LoRA on one layer, saved as published ones are; and its two matrices."""
    from diffusers import QwenImagePipeline

    draws = torch.Generator().manual_seed(1)
    layer = "transformer_blocks.0.attn.to_q"
    weights = {
        f"{layer}.lora_A.weight": torch.randn(2, 32, generator=draws),
        f"{layer}.lora_B.weight": torch.randn(32, 2, generator=draws),
    }
    QwenImagePipeline.save_lora_weights(folder, transformer_lora_layers=weights)
    return weights
