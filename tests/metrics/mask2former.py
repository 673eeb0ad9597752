"""A tiny random Mask2Former of the real class; its weights by mmdet's names, entered one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypernoise_pl.metrics.geneval.classes import COCO_NAMES, class_names

WIDTH, QUERIES = 32, 10


def labels() -> dict[int, str]:
    """COCO's names by their places."""
    coco = {ours: theirs for theirs, ours in COCO_NAMES.items()}
    return {place: coco.get(name, name) for place, name in enumerate(class_names())}


def network(**options: Any) -> Any:
    """Random, and sure enough of classes and masks that many objects are found."""
    import transformers.models.mask2former.modeling_mask2former as module
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    swin = SwinConfig(
        embed_dim=8,
        depths=[1, 1, 2, 1],
        num_heads=[1, 2, 2, 4],
        window_size=3,
        image_size=32,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    sizes = {"feature_size": WIDTH, "mask_feature_size": WIDTH, "hidden_dim": WIDTH, "num_attention_heads": 4}
    sizes |= {"encoder_feedforward_dim": 48, "dim_feedforward": 40, "encoder_layers": 2, "decoder_layers": 4}
    sizes |= {"num_queries": QUERIES, "id2label": labels()} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "requires_backends", lambda *_: None)  # its loss asks for SciPy, detection does not
        torch.manual_seed(0)
        made = Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=swin, **sizes)).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "class_predictor" in name:
                weight.normal_(0, 1.5)
            elif "queries" in name:  # each looks for something of its own
                weight.normal_(0, 2)
            elif weight.dim() > 1:
                weight.normal_(0, 0.5 if "mask_" in name else 0.1 if "transformer_module" in name else 0.2)
            else:  # norms and biases too: every tensor counts
                weight.add_(0.1 * torch.randn(weight.shape))
        last = made.model.pixel_level_module.decoder.mask_projection
        last.weight.sub_(last.weight.mean(1, keepdim=True))  # features are positive: masks would cover all or nothing
        last.bias.normal_(0, 0.8)  # some masks are large, some small
    return made


def folder(where: Path, **options: Any) -> Path:
    """As transformers saves it."""
    network(**options).save_pretrained(where)
    return where


def as_mmdet(made: Any, version: int) -> dict[str, Tensor]:
    """Its weights as mmdet 2.x or 3.x has them."""
    found: dict[str, Tensor] = {}

    def enter(name: str, layer: nn.Module) -> None:
        found.update({f"{name}.{part}": weight.detach().clone() for part, weight in layer.named_parameters()})

    level = made.model.pixel_level_module
    swin = level.encoder.swin
    enter("backbone.patch_embed.projection", swin.embeddings.patch_embeddings.projection)
    enter("backbone.patch_embed.norm", swin.embeddings.norm)
    for i, stage in enumerate(swin.encoder.layers):
        for j, block in enumerate(stage.blocks):
            here = f"backbone.stages.{i}.blocks.{j}"
            enter(f"{here}.norm1", block.layernorm_before)
            enter(f"{here}.norm2", block.layernorm_after)
            attention = block.attention
            found |= {f"{here}.attn.w_msa.qkv.{part}": joined(attention, part) for part in ("weight", "bias")}
            enter(f"{here}.attn.w_msa.proj", attention.o_proj)
            enter(f"{here}.attn.w_msa", attention.relative_position_bias)
            found[f"{here}.attn.w_msa.relative_position_index"] = torch.zeros(9, 9, dtype=torch.long)
            enter(f"{here}.ffn.layers.0.0", block.mlp.fc1)
            enter(f"{here}.ffn.layers.1", block.mlp.fc2)
        if stage.downsample is not None:
            here = f"backbone.stages.{i}.downsample"
            found[f"{here}.reduction.weight"] = channels_first(stage.downsample.reduction.weight.detach())
            for part in ("weight", "bias"):
                found[f"{here}.norm.{part}"] = channels_first(getattr(stage.downsample.norm, part).detach()[None])[0]
        enter(f"backbone.norm{i}", level.encoder.hidden_states_norms[f"stage{i + 1}"])
    _pixel_decoder(level.decoder, enter, version)
    found["panoptic_head.pixel_decoder.level_encoding.weight"] = level.decoder.level_embed.detach().clone()
    _transformer(made.model.transformer_module, enter, found, version)
    enter("panoptic_head.cls_embed", made.class_predictor)
    return found


def _pixel_decoder(decoder: Any, enter: Any, version: int) -> None:
    head = "panoptic_head.pixel_decoder"
    for i in range(3):
        enter(f"{head}.input_convs.{i}.conv", decoder.input_projections[i][0])
        enter(f"{head}.input_convs.{i}.gn", decoder.input_projections[i][1])
    for i, layer in enumerate(decoder.encoder.layers):
        here = f"{head}.encoder.layers.{i}"
        enter(f"{here}.{'attentions.0' if version == 2 else 'self_attn'}", layer.self_attn)
        enter(f"{here}.norms.0", layer.self_attn_layer_norm)
        enter(f"{here}.norms.1", layer.final_layer_norm)
        enter(f"{here}.{'ffns.0' if version == 2 else 'ffn'}.layers.0.0", layer.fc1)
        enter(f"{here}.{'ffns.0' if version == 2 else 'ffn'}.layers.1", layer.fc2)
    for theirs, ours in (("lateral_convs", decoder.adapter_1), ("output_convs", decoder.layer_1)):
        enter(f"{head}.{theirs}.0.conv", ours[0])
        enter(f"{head}.{theirs}.0.gn", ours[1])
    enter(f"{head}.mask_feature", decoder.mask_projection)


def _transformer(module: Any, enter: Any, found: dict[str, Tensor], version: int) -> None:
    head = "panoptic_head"
    for i, layer in enumerate(module.decoder.layers):
        here = f"{head}.transformer_decoder.layers.{i}"
        cross, own = ("attentions.0", "attentions.1") if version == 2 else ("cross_attn", "self_attn")
        enter(f"{here}.{cross}.attn", layer.cross_attn)
        for part in ("weight", "bias"):
            found[f"{here}.{own}.attn.in_proj_{part}"] = joined(layer.self_attn, part)
        enter(f"{here}.{own}.attn.out_proj", layer.self_attn.out_proj)
        enter(f"{here}.norms.0", layer.cross_attn_layer_norm)
        enter(f"{here}.norms.1", layer.self_attn_layer_norm)
        enter(f"{here}.norms.2", layer.final_layer_norm)
        enter(f"{here}.{'ffns.0' if version == 2 else 'ffn'}.layers.0.0", layer.fc1)
        enter(f"{here}.{'ffns.0' if version == 2 else 'ffn'}.layers.1", layer.fc2)
    enter(f"{head}.transformer_decoder.post_norm", module.decoder.layernorm)
    enter(f"{head}.query_embed", module.queries_embedder)
    enter(f"{head}.query_feat", module.queries_features)
    enter(f"{head}.level_embed", module.level_embed)
    for i, block in enumerate(module.decoder.mask_predictor.mask_embedder.layers):
        enter(f"{head}.mask_embed.{2 * i}", block.layers[0])


def joined(attention: Any, part: str) -> Tensor:
    """Query, key and value in one tensor."""
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    return torch.cat([getattr(layer, part).detach() for layer in layers])


def channels_first(weight: Tensor) -> Tensor:
    """The columns of four merged pixels: transformers' (column, row, channel) in mmdet's order (channel, row, column)."""
    count = weight.shape[1] // 4
    made = torch.empty_like(weight)
    for channel in range(count):
        for row in range(2):
            for column in range(2):
                made[:, 4 * channel + 2 * row + column] = weight[:, (2 * column + row) * count + channel]
    return made
