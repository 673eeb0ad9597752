"""The classifier's score is the logit of the class that the prompt names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypernoise_pl.rewards.classifier import ImageClassifier
from tests import vision

NAMED = ["tench", "Red  Circle", "TINCA TINCA", "tench, tinca tinca", "maillot", "tank suit"]
CLASSES = [0, 2, 0, 0, 4, 5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(vision.vit(tmp_path_factory.mktemp("classifier"), classes=True))


def logits(folder: str, images: torch.Tensor) -> torch.Tensor:
    from transformers import ViTForImageClassification

    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    with torch.no_grad():
        return ViTForImageClassification.from_pretrained(folder)((images - mean[:, None, None]) / std[:, None, None])[0]


def test_scores_are_the_logits_of_the_classes_named(folder: str) -> None:
    images, rows = torch.rand(6, 3, 16, 16), torch.arange(6)
    theirs = logits(folder, images)
    assert theirs.std(1).min() > 0.01
    torch.testing.assert_close(ImageClassifier(folder)(images, NAMED), theirs[rows, CLASSES], rtol=1e-4, atol=1e-5)
    found = ImageClassifier(folder, log_probability=True)(images, NAMED)
    torch.testing.assert_close(found, theirs.softmax(1).log()[rows, CLASSES], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("log_probability", [False, True])
def test_gradient_equals_finite_differences(folder: str, log_probability: bool) -> None:
    reward = ImageClassifier(folder, log_probability).double()
    draws = torch.Generator().manual_seed(0)
    images = (0.2 + 0.6 * torch.rand(2, 3, 20, 24, dtype=torch.float64, generator=draws)).requires_grad_()
    direction = torch.randn(images.shape, dtype=torch.float64, generator=draws)
    (gradient,) = torch.autograd.grad(reward._score(images, NAMED[:2]).sum(), images)
    with torch.no_grad():
        ahead, behind = (reward._score(images + sign * 1e-5 * direction, NAMED[:2]) for sign in (1, -1))
    expected = (gradient * direction).flatten(1).sum(1)
    assert expected.abs().min() > 1e-3
    torch.testing.assert_close((ahead - behind) / 2e-5, expected, rtol=1e-4, atol=1e-7)


def test_unknown_and_ambiguous_class_names_are_rejected(folder: str) -> None:
    reward, image = ImageClassifier(folder), torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"no class 'red circles' \(did you mean 'red circle'\?\)"):
        reward(image, ["red circles"])
    with pytest.raises(ValueError, match=r"'Crane' names several classes: 1 \(crane\), 3 \(crane\)"):
        reward(image, ["Crane"])


def test_a_folder_without_a_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no weights for classifier.bias \(2 missing in all\)"):
        ImageClassifier(str(vision.vit(tmp_path)))
