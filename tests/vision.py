"""Image encoders and classifiers of the real classes, tiny and random, saved as real ones are."""

from __future__ import annotations

from pathlib import Path

import torch

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 4}
LABELS = {0: "tench, Tinca tinca", 1: "crane", 2: "red circle", 3: "crane", 4: "maillot", 5: "maillot, tank suit"}


def dinov2(folder: Path) -> Path:
    """Resizes the short side to 20 and crops 16."""
    from transformers import Dinov2Config, Dinov2Model
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2, initializer_range=0.2)).save_pretrained(folder)
    BitImageProcessorPil(size={"shortest_edge": 20}, crop_size=16, resample=3).save_pretrained(folder)
    return folder


def vit(folder: Path, classes: bool = False) -> Path:
    """Resizes to 16 x 16, whatever the shape was; with a head of six classes if so asked."""
    from transformers import ViTConfig, ViTForImageClassification, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    options = {"id2label": LABELS} if classes else {}
    config = ViTConfig(**SIZES, intermediate_size=32, initializer_range=0.2, **options)
    (ViTForImageClassification(config) if classes else ViTModel(config)).save_pretrained(folder)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=mean, image_std=std).save_pretrained(folder)
    return folder


def resnet(folder: Path) -> Path:
    """A convolutional encoder; its processor crops seven eighths."""
    from transformers import ResNetConfig, ResNetModel
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": 16}, crop_pct=0.875, resample=3).save_pretrained(folder)
    return folder
