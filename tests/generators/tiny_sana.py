"""A SANA pipeline of the real classes, tiny and random, made of a tiny SANA-Sprint's parts."""

from pathlib import Path

import torch


def save_sana(folder: Path, sprint_folder: Path) -> Path:
    from diffusers import DPMSolverMultistepScheduler, SanaPipeline, SanaSprintPipeline, SanaTransformer2DModel

    sprint = SanaSprintPipeline.from_pretrained(sprint_folder)
    torch.manual_seed(0)
    told = {"guidance_embeds": False, "qk_norm": None}
    transformer = SanaTransformer2DModel.from_config({**sprint.transformer.config, **told})
    scheduler = DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction")
    pipeline = SanaPipeline(sprint.tokenizer, sprint.text_encoder, sprint.vae, transformer, scheduler)
    pipeline.save_pretrained(folder)
    return folder
