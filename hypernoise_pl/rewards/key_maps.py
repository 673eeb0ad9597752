r"""Key rules that convert each author's checkpoint to transformers' models or our own modules.

A row is a pattern of the author's keys and their targets; ``\1`` is the pattern's first group.
"""

from __future__ import annotations

from hypernoise_pl.checkpoints.conversion import KeyRule


def _open_clip_blocks(theirs: str, ours: str) -> tuple[KeyRule, ...]:
    source, target = rf"{theirs}transformer\.resblocks\.(\d+)\.", rf"{ours}.encoder.layers.\1."
    return (
        KeyRule(source + r"ln_([12])\.(weight|bias)", (target + r"layer_norm\2.\3",)),
        KeyRule(source + r"attn\.in_proj_(weight|bias)", tuple(target + rf"self_attn.{x}_proj.\2" for x in "qkv")),
        KeyRule(source + r"attn\.out_proj\.(weight|bias)", (target + r"self_attn.out_proj.\2",)),
        KeyRule(source + r"mlp\.c_fc\.(weight|bias)", (target + r"mlp.fc1.\2",)),
        KeyRule(source + r"mlp\.c_proj\.(weight|bias)", (target + r"mlp.fc2.\2",)),
    )


# open_clip's CLIP -> transformers' CLIPModel. HPSv2 and HPSv2.1 have these keys too.
OPEN_CLIP = (
    KeyRule(r"logit_scale", ("logit_scale",)),
    KeyRule(r"token_embedding\.weight", ("text_model.embeddings.token_embedding.weight",)),
    KeyRule(r"positional_embedding", ("text_model.embeddings.position_embedding.weight",)),
    *_open_clip_blocks("", "text_model"),
    KeyRule(r"ln_final\.(weight|bias)", (r"text_model.final_layer_norm.\1",)),
    KeyRule(r"text_projection", ("text_projection.weight",), transpose=True),
    KeyRule(r"visual\.class_embedding", ("vision_model.embeddings.class_embedding",)),
    KeyRule(r"visual\.conv1\.weight", ("vision_model.embeddings.patch_embedding.weight",)),
    KeyRule(r"visual\.positional_embedding", ("vision_model.embeddings.position_embedding.weight",)),
    KeyRule(r"visual\.ln_pre\.(weight|bias)", (r"vision_model.pre_layrnorm.\1",)),  # transformers spells it so
    *_open_clip_blocks(r"visual\.", "vision_model"),
    KeyRule(r"visual\.ln_post\.(weight|bias)", (r"vision_model.post_layernorm.\1",)),
    KeyRule(r"visual\.proj", ("visual_projection.weight",), transpose=True),
    KeyRule(r"attn_mask|(.*\.)?position_ids"),  # constants
)

# indices of the linear layers in the heads of ImageReward and of the aesthetic predictor; the others are dropout
_LINEAR = (0, 2, 4, 6, 7)


def _head(theirs: str, ours: str) -> tuple[KeyRule, ...]:
    return tuple(
        KeyRule(rf"{theirs}layers\.{place}\.(weight|bias)", (rf"{ours}{index}.\1",))
        for index, place in enumerate(_LINEAR)
    )


# ImageReward v1.0, which is BLIP (a timm ViT and a MED BERT) -> our BlipScorer
_VIT, _OURS = r"blip\.visual_encoder\.", "vision."
_BLOCK, _LAYER = _VIT + r"blocks\.(\d+)\.", _OURS + r"encoder.layers.\1."
IMAGE_REWARD = (
    KeyRule(_VIT + "cls_token", (_OURS + "embeddings.class_embedding",)),
    KeyRule(_VIT + "pos_embed", (_OURS + "embeddings.position_embedding",)),
    KeyRule(_VIT + r"patch_embed\.proj\.(weight|bias)", (_OURS + r"embeddings.patch_embedding.\1",)),
    KeyRule(_BLOCK + r"norm([12])\.(weight|bias)", (_LAYER + r"layer_norm\2.\3",)),
    KeyRule(_BLOCK + r"attn\.qkv\.(weight|bias)", (_LAYER + r"self_attn.qkv.\2",)),
    KeyRule(_BLOCK + r"attn\.proj\.(weight|bias)", (_LAYER + r"self_attn.projection.\2",)),
    KeyRule(_BLOCK + r"mlp\.(fc[12])\.(weight|bias)", (_LAYER + r"mlp.\2.\3",)),
    KeyRule(_VIT + r"norm\.(weight|bias)", (_OURS + r"post_layernorm.\1",)),
    KeyRule(r"blip\.text_encoder\.embeddings\.position_ids"),  # a constant
    KeyRule(r"blip\.text_encoder\.(.+)", (r"text.\1",)),
    KeyRule(r"blip\.(vision_proj|text_proj|itm_head)\..+"),  # of BLIP's own training
    *_head(r"mlp\.", "head."),
)

# LAION's aesthetic predictors: version 1 is one linear layer, version 2 (and its copies) five
AESTHETIC_V1 = (KeyRule(r"(weight|bias)", (r"0.\1",)),)
AESTHETIC_V2 = _head("", "")

# HPSv3, whose Qwen2-VL has the keys of transformers 4.45 (the authors' later code saves those of 4.52 and after)
# -> our HPSv3Scorer. All weights were fine-tuned; there is no LoRA to merge.
HPSV3 = (
    KeyRule(r"(?:model\.)?visual\.(.+)", (r"network.visual.\1",)),
    KeyRule(r"lm_head\.weight"),  # predicts words
    KeyRule(r"model\.(?:language_model\.)?(.+)", (r"network.language_model.\1",)),
    KeyRule(r"rm_head\.0\.(weight|bias)", (r"head.0.\1",)),
    KeyRule(r"rm_head\.3\.(weight|bias)", (r"head.2.\1",)),  # after dropout, which is off
    KeyRule(r"rm_head\.5\.(weight|bias)", (r"head.4.\1",)),
)
