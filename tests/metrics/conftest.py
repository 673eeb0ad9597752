"""GenEval's networks of the real classes, tiny and random."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypernoise_pl.metrics.geneval.colours import ClipColours
from hypernoise_pl.metrics.geneval.detector import Mask2FormerDetector
from hypernoise_pl.shapes.tokenizer import clip_tokenizer
from tests.metrics import mask2former


@pytest.fixture(scope="session")
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mask2Former that finds something in every picture."""
    return mask2former.folder(tmp_path_factory.mktemp("mask2former"))


@pytest.fixture(scope="session")
def colours_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of 16 x 16 pixels that reads GenEval's texts letter by letter, and calls pictures by many colours."""
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokenizer = clip_tokenizer()
    words = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 60,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = {**sizes, "image_size": 16, "patch_size": 4}
    model = CLIPModel(CLIPConfig(text_config=sizes | words, vision_config=vision, projection_dim=8))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def detector(detector_folder: Path) -> Mask2FormerDetector:
    """That Mask2Former."""
    return Mask2FormerDetector(str(detector_folder))


@pytest.fixture(scope="session")
def colours(colours_folder: Path) -> ClipColours:
    """That CLIP model."""
    return ClipColours(str(colours_folder))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees pictures of at most 150 x 90 pixels, so that a test is quick."""
    from hypernoise_pl.metrics.geneval import detector

    monkeypatch.setattr(detector, "LONG", 150)
    monkeypatch.setattr(detector, "SHORT", 90)
