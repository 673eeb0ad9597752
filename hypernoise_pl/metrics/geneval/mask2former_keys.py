r"""mmdet's Mask2Former on a Swin, of mmdet 2.x or 3.x, by the names that transformers' models have on the hub.

Both versions have the same tensors. Where 2.x counts (``attentions.0``), 3.x says what it is (``cross_attn``).
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hypernoise_pl.checkpoints.conversion import KeyRule, convert_keys, read_checkpoint
from hypernoise_pl.checkpoints.loading import load_pretrained, quiet

# GenEval's detector as mmdet 2.x and 3.x publish it; both are named after the first letters of their sha256
ORIGINALS = {
    "743b7d99": "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth",
    "c9d0c4f2": "mask2former_swin-s-p4-w7-224_8xb2-lsj-50e_coco_20220504_001756-c9d0c4f2.pth",
}
_SWIN_S = {
    "model_type": "swin",
    "embed_dim": 96,
    "depths": [2, 2, 18, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": 7,
    "image_size": 224,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
_AFFINE = r"\.(weight|bias)"


def _each(theirs: str, ours: str) -> KeyRule:
    """Weight and bias of one layer; the last group of the pattern says which."""
    pattern = theirs + _AFFINE
    return KeyRule(pattern, (rf"{ours}.\{re.compile(pattern).groups}",))


def _backbone() -> tuple[KeyRule, ...]:
    ours = "model.pixel_level_module.encoder."
    stage, layer = r"backbone\.stages\.(\d+)\.", ours + r"encoder.layers.\1."
    block, target = stage + r"blocks\.(\d+)\.", layer + r"blocks.\2."
    words = ("query", "key", "value")
    return (
        _each(r"backbone\.patch_embed\.projection", ours + "embeddings.patch_embeddings.projection"),
        _each(r"backbone\.patch_embed\.norm", ours + "embeddings.norm"),
        _each(block + "norm1", target + "layernorm_before"),
        _each(block + "norm2", target + "layernorm_after"),
        KeyRule(
            block + r"attn\.w_msa\.relative_position_bias_table",
            (target + "attention.self.relative_position_bias_table",),
        ),
        KeyRule(block + r"attn\.w_msa\.relative_position_index"),  # a constant
        KeyRule(block + r"attn\.w_msa\.qkv" + _AFFINE, tuple(target + rf"attention.self.{word}.\3" for word in words)),
        _each(block + r"attn\.w_msa\.proj", target + "attention.output.dense"),
        _each(block + r"ffn\.layers\.0\.0", target + "intermediate.dense"),
        _each(block + r"ffn\.layers\.1", target + "output.dense"),
        _each(stage + r"downsample\.norm", layer + "downsample.norm"),
        KeyRule(stage + r"downsample\.reduction\.weight", (layer + "downsample.reduction.weight",)),
        *(_each(rf"backbone\.norm{place}", f"{ours}hidden_states_norms.stage{place + 1}") for place in range(4)),
    )


def _pixel_decoder() -> tuple[KeyRule, ...]:
    theirs, ours = r"panoptic_head\.pixel_decoder\.", "model.pixel_level_module.decoder."
    layer, target = theirs + r"encoder\.layers\.(\d+)\.", ours + r"encoder.layers.\1."
    parts = "(sampling_offsets|attention_weights|value_proj|output_proj)"
    return (
        _each(theirs + r"input_convs\.(\d+)\.conv", ours + r"input_projections.\1.0"),
        _each(theirs + r"input_convs\.(\d+)\.gn", ours + r"input_projections.\1.1"),
        KeyRule(theirs + r"level_encoding\.weight", (ours + "level_embed",)),
        _each(layer + r"(?:attentions\.0|self_attn)\." + parts, target + r"self_attn.\2"),
        _each(layer + r"norms\.0", target + "self_attn_layer_norm"),
        _each(layer + r"norms\.1", target + "final_layer_norm"),
        _each(layer + r"(?:ffns\.0|ffn)\.layers\.0\.0", target + "fc1"),
        _each(layer + r"(?:ffns\.0|ffn)\.layers\.1", target + "fc2"),
        KeyRule(theirs + r"lateral_convs\.0\.conv\.weight", (ours + "adapter_1.0.weight",)),
        _each(theirs + r"lateral_convs\.0\.gn", ours + "adapter_1.1"),
        KeyRule(theirs + r"output_convs\.0\.conv\.weight", (ours + "layer_1.0.weight",)),
        _each(theirs + r"output_convs\.0\.gn", ours + "layer_1.1"),
        _each(theirs + "mask_feature", ours + "mask_projection"),
    )


def _transformer() -> tuple[KeyRule, ...]:
    theirs, ours = r"panoptic_head\.", "model.transformer_module."
    layer, target = theirs + r"transformer_decoder\.layers\.(\d+)\.", ours + r"decoder.layers.\1."
    cross, own = layer + r"(?:attentions\.0|cross_attn)\.attn\.", layer + r"(?:attentions\.1|self_attn)\.attn\."
    norms = ("cross_attn_layer_norm", "self_attn_layer_norm", "final_layer_norm")
    return (
        KeyRule(cross + r"in_proj_(weight|bias)", (target + r"cross_attn.in_proj_\2",)),
        _each(cross + "out_proj", target + "cross_attn.out_proj"),
        KeyRule(own + r"in_proj_(weight|bias)", tuple(target + rf"self_attn.{word}_proj.\2" for word in "qkv")),
        _each(own + "out_proj", target + "self_attn.out_proj"),
        *(_each(layer + rf"norms\.{place}", target + name) for place, name in enumerate(norms)),
        _each(layer + r"(?:ffns\.0|ffn)\.layers\.0\.0", target + "fc1"),
        _each(layer + r"(?:ffns\.0|ffn)\.layers\.1", target + "fc2"),
        _each(theirs + r"transformer_decoder\.post_norm", ours + "decoder.layernorm"),
        KeyRule(theirs + r"query_embed\.weight", (ours + "queries_embedder.weight",)),
        KeyRule(theirs + r"query_feat\.weight", (ours + "queries_features.weight",)),
        KeyRule(theirs + r"level_embed\.weight", (ours + "level_embed.weight",)),
        _each(theirs + "cls_embed", "class_predictor"),
        *(
            _each(theirs + rf"mask_embed\.{2 * place}", f"{ours}decoder.mask_predictor.mask_embedder.{place}.0")
            for place in range(3)
        ),
    )


MMDET = (*_backbone(), *_pixel_decoder(), *_transformer())


def load_mmdet(file: str, architecture: str | None, what: str) -> Any:
    """A ``Mask2FormerNetwork`` in float32 of a checkpoint file of mmdet; every tensor is used, every weight filled.

    Args:
        file: ``.pth``, or ``.safetensors`` with the same names.
        architecture: folder or hub id with a ``config.json`` of transformers' that says its sizes; if left out, those
            of GenEval's own detector.
        what: caller's kind, for messages.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or its tensors are not those of the architecture.
    """
    from transformers import Mask2FormerConfig

    from hypernoise_pl.metrics.geneval.mask2former_network import Mask2FormerNetwork

    kind: Any = Mask2FormerNetwork
    where = f"{what} {file}"
    found = convert_mmdet(read_checkpoint(Path(file), what), where)
    if architecture is None:
        config = Mask2FormerConfig.from_dict({"backbone_config": _SWIN_S, "num_labels": 80})
    else:
        config = load_pretrained(Mask2FormerConfig, architecture, f"{what} architecture")
    for name, tensor in found.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{where}: {name} has weights that are not finite; the file is damaged")
    with quiet():  # which also knows the names that this version of transformers has for the hub's
        network, report = kind.from_pretrained(
            None, config=config, state_dict=found, output_loading_info=True, ignore_mismatched_sizes=True
        )
    _check_report(report, where)
    return network.float()


def convert_mmdet(tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Convert mmdet's keys to the hub's; raises ``ValueError`` for an unexpected tensor.

    Where a Swin merges four pixels into one, mmdet lists channels before pixels, row by row, and transformers pixels,
    column by column, before channels.
    """
    found = convert_keys(tensors, MMDET, what)
    for name, tensor in found.items():
        if ".downsample." in name:
            if not tensor.dim() or tensor.shape[-1] % 4:
                raise ValueError(f"{what}: {name} has shape {list(tensor.shape)}, which this architecture cannot have")
            pixels = tensor.unflatten(-1, (-1, 2, 2))  # channel, row, column
            found[name] = pixels.movedim(-3, -1).transpose(-3, -2).flatten(-3)
    return found


def original_of(file: Path) -> str | None:
    """The name under which GenEval's detector was published as this file, by its sha256; None if it is another.

    A file by such a name that is another is warned of.
    """
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()[:8]
    if digest not in ORIGINALS and file.name in ORIGINALS.values():
        warnings.warn(
            f"detector {file}: not the file that its authors published under this name, or damaged: its sha256 begins "
            f"with {digest}; its figures are not called GenEval",
            stacklevel=3,
        )
    return ORIGINALS.get(digest)


def _check_report(report: Mapping[str, Any], where: str) -> None:
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(f"{where}: no weights for {missing[0]} ({len(missing)} missing in all)")
    extra = sorted(report["unexpected_keys"])
    if extra:
        raise ValueError(f"{where}: unexpected key {extra[0]!r} ({len(extra)} in all)")
    if report["mismatched_keys"]:
        name, theirs, ours = min(report["mismatched_keys"])
        raise ValueError(f"{where}: {name} has shape {list(theirs)}, where {list(ours)} is wanted")
