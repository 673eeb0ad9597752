"""Loading of CLIP models: transformers' format, OpenAI's names, open_clip's checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypernoise_pl.checkpoints.conversion import ENDINGS, convert_keys, load_strict, read_checkpoint, skip_init
from hypernoise_pl.checkpoints.loading import load_pretrained, load_pretrained_strict
from hypernoise_pl.rewards.key_maps import OPEN_CLIP
from hypernoise_pl.types import did_you_mean

TOKENIZER = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"  # all CLIP models have the same tokenizer

OPENAI = {
    "ViT-B/32": "openai/clip-vit-base-patch32",
    "ViT-B/16": "openai/clip-vit-base-patch16",
    "ViT-L/14": "openai/clip-vit-large-patch14",
    "ViT-L/14@336px": "openai/clip-vit-large-patch14-336",
}

# open_clip's model configs; ``-quickgelu`` marks the activation of OpenAI's weights
_VIT_B_32 = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
_VIT_L_14 = {
    "embed_dim": 768,
    "vision_cfg": {"image_size": 224, "layers": 24, "width": 1024, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12},
}
_VIT_H_14 = {
    "embed_dim": 1024,
    "vision_cfg": {"image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24},
}
ARCHITECTURES: dict[str, Mapping[str, Any]] = {
    "ViT-B-32": _VIT_B_32,
    "ViT-B-32-quickgelu": {**_VIT_B_32, "quick_gelu": True},
    "ViT-L-14": _VIT_L_14,
    "ViT-L-14-quickgelu": {**_VIT_L_14, "quick_gelu": True},
    "ViT-H-14": _VIT_H_14,
}


def load_clip(model: str, what: str, architecture: str = "ViT-H-14", attention: str | None = None) -> Any:
    """Load a transformers ``CLIPModel`` in float32.

    Args:
        model: folder or hub id in transformers' format; or OpenAI's name, such as ``ViT-L/14``; or a checkpoint file in
            open_clip's format.
        what: caller's kind, for messages: ``reward`` or ``features``.
        architecture: open_clip's name for the architecture of a checkpoint file (``ARCHITECTURES``), or a file of its
            model config (``open_clip_config.json``). A wrong activation raises no error; it lowers the quality.
        attention: transformers' ``attn_implementation``; transformers' default if left out.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if a file is damaged, or its weights are not those of the architecture.
    """
    from transformers import CLIPModel

    if not is_checkpoint(model):
        name = model if Path(model).exists() else OPENAI.get(model, model)
        return load_pretrained_strict(CLIPModel, name, what, attn_implementation=attention)
    tensors = convert_keys(read_checkpoint(Path(model), what), OPEN_CLIP, f"{what} {model}")
    config = clip_config(model_config(architecture, what))
    clip = skip_init(CLIPModel._from_config, config, attn_implementation=attention)
    load_strict(clip, tensors, f"{what} {model} as {architecture}")
    return clip


def load_tokenizer(model: str, tokenizer: str | None, clip: Any) -> Any:
    """Load the ``CLIPTokenizer`` of a model from ``load_clip``.

    Args:
        model: argument of ``load_clip``.
        tokenizer: folder or hub id; if left out, that of the model, or LAION's for a checkpoint file.
        clip: the loaded model.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if its end token differs from the model's.
    """
    from transformers import CLIPTokenizer

    own = TOKENIZER if is_checkpoint(model) else model if Path(model).exists() else OPENAI.get(model, model)
    loaded = load_pretrained(CLIPTokenizer, tokenizer or own, "reward")
    end = clip.config.text_config.eos_token_id
    if end not in (2, loaded.eos_token_id):  # old configs say 2; transformers then takes the largest token id
        raise ValueError(
            f"reward tokenizer {tokenizer or own}: its end token is {loaded.eos_token_id}, the model's is {end}"
        )
    return loaded


def is_checkpoint(model: str) -> bool:
    """Whether ``model`` is a checkpoint file, by its suffix."""
    return Path(model).suffix in ENDINGS and not Path(model).is_dir()


def model_config(architecture: str, what: str) -> Mapping[str, Any]:
    """An open_clip model config, by name or from a JSON file.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the name is unknown, or the file is damaged.
    """
    if Path(architecture).suffix != ".json":
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"{what}: unknown architecture {architecture!r}{did_you_mean(architecture, ARCHITECTURES)}"
            )
        return ARCHITECTURES[architecture]
    if not Path(architecture).exists():
        raise FileNotFoundError(f"{what} architecture {architecture}: no such file")
    try:
        config = json.loads(Path(architecture).read_text())
    except ValueError as error:
        raise ValueError(f"{what} architecture {architecture}: damaged file: {error}") from error
    return config.get("model_cfg", config)


def clip_config(config: Mapping[str, Any]) -> Any:
    """Convert an open_clip model config to transformers' ``CLIPConfig``."""
    from transformers import CLIPConfig

    vision, text, width = config["vision_cfg"], config["text_cfg"], config["embed_dim"]
    activation = "quick_gelu" if config.get("quick_gelu") else "gelu"
    shared = {"hidden_act": activation, "layer_norm_eps": 1e-5, "projection_dim": width}
    vision_config = {
        "hidden_size": vision["width"],
        "intermediate_size": int(vision["width"] * vision.get("mlp_ratio", 4)),
        "num_hidden_layers": vision["layers"],
        "num_attention_heads": vision["width"] // vision.get("head_width", 64),
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
    }
    text_config = {
        "hidden_size": text["width"],
        "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4)),
        "num_hidden_layers": text["layers"],
        "num_attention_heads": text["heads"],
        "max_position_embeddings": text["context_length"],
        "vocab_size": text["vocab_size"],
        "bos_token_id": text["vocab_size"] - 2,  # the last two tokens of CLIP's vocabulary are the start and the end
        "eos_token_id": text["vocab_size"] - 1,
        "pad_token_id": text["vocab_size"] - 1,
    }
    return CLIPConfig(text_config=shared | text_config, vision_config=shared | vision_config, projection_dim=width)
