"""Two-tower and question-answering models of the real classes, tiny and random, saved as real ones are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hypernoise_pl.shapes.tokenizer import bert_tokenizer, clip_tokenizer

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def siglip(folder: Path) -> Path:
    from transformers import SiglipConfig, SiglipModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    text = {**SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": 12, "projection_size": 16}
    text |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 0}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config={**SIZES, "image_size": 16, "patch_size": 4}))
    _stir(model)
    model.logit_scale.data.fill_(1.7)
    model.logit_bias.data.fill_(-3.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    half = [0.5, 0.5, 0.5]
    SiglipImageProcessorPil(size={"height": 16, "width": 16}, image_mean=half, image_std=half).save_pretrained(folder)
    return folder


def blip_vqa(folder: Path) -> Path:
    from transformers import BlipConfig, BlipForQuestionAnswering
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    words = [*sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get), "yes", "no"]
    tokenizer = type(tokenizer)(vocab={word: index for index, word in enumerate(words)})
    text = {**SIZES, "encoder_hidden_size": 16, "vocab_size": len(tokenizer), "max_position_embeddings": 40}
    text |= {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0, "is_decoder": True}
    vision = {**SIZES, "image_size": 16, "patch_size": 4}
    model = BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=vision))
    _stir(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


@torch.no_grad()
def _stir(model: nn.Module) -> None:
    """Weights large enough that every picture looks another."""
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.normal_(0, 0.3)
