"""Two-tower and question-answering models of the real classes, tiny and random, saved as real ones are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hypernoise_pl.rewards.hpsv3_prompt import CONVERSATION
from hypernoise_pl.shapes.tokenizer import bert_tokenizer, clip_tokenizer
from tests.families.parts import qwen_tokenizer

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


QWEN2_VL_TOKENS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


def hpsv3(folder: Path) -> Path:
    """A Qwen2-VL's tokenizer and config.json, as its authors publish them, and an HPSv3 made of it."""
    torch.manual_seed(0)
    tokenizer = qwen_tokenizer(sorted(set(re.findall(r"(?<= )[A-Za-z]+", CONVERSATION))), QWEN2_VL_TOKENS)
    tokenizer.padding_side = "left"  # as Qwen2-VL's own
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(_qwen2_vl_config(tokenizer)))
    save_file(hpsv3_weights(folder), folder / "HPSv3.safetensors")
    return folder


def hpsv3_weights(folder: Path) -> dict[str, Tensor]:
    """Random weights by the names of HPSv3.safetensors: half precision, and a head in single precision."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    torch.manual_seed(0)
    config = Qwen2VLConfig.from_pretrained(folder)
    config.text_config.vocab_size -= 3  # with one token more than the tokenizer; Qwen2-VL itself has spare rows
    model = Qwen2VLForConditionalGeneration(config)
    _stir(model)
    found = {}
    for name, weight in model.state_dict().items():
        name = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
        found[name] = weight.bfloat16().clone()
    for place, (rows, columns) in {0: (1024, SIZES["hidden_size"]), 3: (16, 1024), 5: (2, 16)}.items():
        found[f"rm_head.{place}.weight"] = torch.randn(rows, columns) / columns**0.5
        found[f"rm_head.{place}.bias"] = torch.randn(rows) / 10
    return found


def _qwen2_vl_config(tokenizer: Any) -> dict[str, Any]:
    """A flat file, as transformers 4.45 wrote it."""
    ids = dict(zip(QWEN2_VL_TOKENS, tokenizer.convert_tokens_to_ids(QWEN2_VL_TOKENS), strict=True))
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "in_chans": 3, "patch_size": 2}
    return {
        **SIZES,
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "num_key_value_heads": 1,
        "vocab_size": len(tokenizer) + 4,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "eos_token_id": ids["<|im_end|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_config": vision | {"mlp_ratio": 2, "spatial_merge_size": 2, "temporal_patch_size": 2},
    }


@torch.no_grad()
def _stir(model: nn.Module) -> None:
    """Weights large enough that every picture looks another."""
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.normal_(0, 0.3)
