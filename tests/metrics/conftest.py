"""GenEval's networks of the real classes, tiny and random."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypernoise_pl.metrics.geneval.colours import ClipColours
from hypernoise_pl.metrics.geneval.detector import Mask2FormerDetector
from tests.metrics import mask2former
from tests.tiny_clip import tiny_clip


@pytest.fixture(scope="session")
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mask2Former that detects objects in every image."""
    return mask2former.folder(tmp_path_factory.mktemp("mask2former"))


@pytest.fixture(scope="session")
def colours_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of 16 x 16 pixels that tokenises GenEval's texts by letter and predicts many colours."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = tmp_path_factory.mktemp("clip")
    model, tokenizer = tiny_clip(60)
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
    """The detector of ``detector_folder``."""
    return Mask2FormerDetector(str(detector_folder))


@pytest.fixture(scope="session")
def colours(colours_folder: Path) -> ClipColours:
    """The colour classifier of ``colours_folder``."""
    return ClipColours(str(colours_folder))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the network's input to 150 x 90 pixels, for speed."""
    from hypernoise_pl.metrics.geneval import detector

    monkeypatch.setattr(detector, "LONG", 150)
    monkeypatch.setattr(detector, "SHORT", 90)
