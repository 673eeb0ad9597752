"""The greedy FID oracle: torchmetrics' formula for every candidate, and what greed gains by it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from hypernoise_pl.rewards import oracle
from hypernoise_pl.rewards.features import ImageFeatures, VisionFeatures
from hypernoise_pl.rewards.oracle import GreedyFID
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from tests import vision
from tests.toy_generator import PROMPTS, ToyGenerator


def pictures(count: int, seed: int, warm: float = 0.5) -> Tensor:
    """Two-coloured pictures [B, 3, 16, 16] whose values 8 bits can hold."""
    draws = torch.Generator().manual_seed(seed)
    colours = (
        torch.rand(count, 2, 3, 1, 1, generator=draws) * torch.tensor([2 * warm, 1.0, 2 - 2 * warm])[:, None, None]
    )
    edge = torch.rand(count, 1, 1, 1, generator=draws)
    left = torch.linspace(0, 1, 16) < edge
    return (255 * torch.where(left, colours[:, 0], colours[:, 1]).clamp(0, 1).expand(-1, 3, 16, 16)).round() / 255


def save(images: Tensor, folder: Path) -> str:
    (folder / "more").mkdir(parents=True)
    for place, image in enumerate((255 * images).round().byte().movedim(1, -1)):
        Image.fromarray(image.numpy()).save(folder / ("more" if place % 2 else ".") / f"{place}.png")
    return str(folder)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> ImageFeatures:
    return VisionFeatures(str(vision.vit(tmp_path_factory.mktemp("vit"))))


REFERENCE, INITIAL = pictures(60, 0, warm=0.9), pictures(24, 1)


@pytest.fixture
def verifier(features: ImageFeatures, tmp_path: Path) -> GreedyFID:
    return GreedyFID(features, save(REFERENCE, tmp_path / "reference"), save(INITIAL, tmp_path / "initial"))


def theirs(features: ImageFeatures, images: Tensor) -> float:
    """FID from scratch by torchmetrics, in float64."""
    sets = [features(x).double() for x in (images, REFERENCE)]
    return float(_compute_fid(sets[0].mean(0), sets[0].T.cov(), sets[1].mean(0), sets[1].T.cov()))


def test_every_candidate_scores_torchmetrics_fid_of_the_whole_set(features: ImageFeatures, verifier: GreedyFID) -> None:
    candidates, accepted = pictures(9, 2), INITIAL
    for chosen in (None, pictures(1, 3), pictures(4, 4)):
        if chosen is not None:
            verifier.accept(chosen)
            accepted = torch.cat([accepted, chosen])
        expected = [-theirs(features, torch.cat([accepted, one[None]])) for one in candidates]
        found = verifier._score(candidates, ["any"] * 9)
        assert found.dtype == torch.float64 and found.std() > 1e-3
        torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(verifier(candidates, ["any"] * 9), found.float())
        assert verifier.fid() == pytest.approx(theirs(features, accepted), rel=1e-6)
    assert verifier.accepted == 29


def test_one_accepted_image_is_enough_to_score_a_candidate(features: ImageFeatures, verifier: GreedyFID) -> None:
    """Fewer images than features: most eigenvalues are zero, whose roots torchmetrics does not find exactly."""
    verifier.accepted, verifier.mean, verifier.scatter = oracle._add_features(
        0, torch.zeros(16).double(), torch.zeros(16, 16).double(), features(INITIAL[:1]).double()
    )
    candidates = pictures(5, 2)
    expected = [-theirs(features, torch.stack([INITIAL[0], one])) for one in candidates]
    found = verifier._score(candidates, ["any"] * 5)
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-6, atol=1e-5)


def test_scores_depend_neither_on_the_batch_nor_on_how_images_were_accepted(
    features: ImageFeatures, verifier: GreedyFID, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, candidates, prompts = pictures(6, 5), pictures(7, 6), ["any"] * 7
    verifier.accept(chosen[:1])
    verifier.accept(chosen[1:])
    scores = verifier._score(candidates, prompts)
    alone = torch.cat([verifier._score(one[None], ["other"]) for one in candidates])
    torch.testing.assert_close(alone, scores, rtol=1e-5, atol=1e-5)  # the features are in float32
    monkeypatch.setattr(oracle, "_ELEMENTS", 3 * 16 * 16)
    torch.testing.assert_close(verifier._score(candidates, prompts), scores, rtol=1e-11, atol=1e-11)
    assert not verifier(candidates.requires_grad_(), prompts).requires_grad


def test_greed_lowers_the_fid_more_than_chance(features: ImageFeatures, verifier: GreedyFID, tmp_path: Path) -> None:
    def walked(greedy: bool, seed: int) -> float:
        walker = GreedyFID(features, str(tmp_path / "statistics.safetensors"), str(tmp_path / "initial"))
        draws = torch.Generator().manual_seed(seed)
        for turn in range(12):
            candidates = pictures(8, 100 * seed + turn)
            scores = walker(candidates, ["any"] * 8)
            pick = int(scores.argmax()) if greedy else int(torch.randint(8, (), generator=draws))
            walker.accept(candidates[pick][None])
        return walker.fid()

    verifier.save_reference(str(tmp_path / "statistics.safetensors"))
    greedy, chance = ([walked(choice, seed) for seed in range(1, 4)] for choice in (True, False))
    assert max(greedy) < 0.8 * min(chance) and max(greedy) < verifier.fid()


def test_a_saved_reference_scores_as_its_folder(features: ImageFeatures, verifier: GreedyFID, tmp_path: Path) -> None:
    file = tmp_path / "reference.safetensors"
    verifier.save_reference(str(file))
    again = GreedyFID(features, str(file), str(tmp_path / "initial"))
    candidates = pictures(4, 7)
    torch.testing.assert_close(again._score(candidates, ["any"] * 4), verifier._score(candidates, ["any"] * 4))
    assert {path.name for path in tmp_path.iterdir()} == {"reference", "initial", "reference.safetensors"}


def test_a_search_finds_the_same_whatever_the_chunk(verifier: GreedyFID) -> None:
    start, found = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)), []
    for chunk in (1, 4, 256):
        problem = NoiseProblem(ToyGenerator(), verifier, PROMPTS, start, 6, chunk=chunk)
        RandomSearch(6).run(problem)
        found.append(problem.answer())
    for other in found[:2]:
        assert torch.equal(other.noise, found[2].noise)
        torch.testing.assert_close(other.scores, found[2].scores, rtol=1e-4, atol=1e-4)
    assert verifier.accepted == 24


def test_missing_files_and_images_are_named(features: ImageFeatures, verifier: GreedyFID, tmp_path: Path) -> None:
    reference = str(tmp_path / "reference")
    with pytest.raises(ValueError, match="no image is accepted yet; give a folder as initial, or call accept first"):
        GreedyFID(features, reference)(REFERENCE[:1], ["any"])
    with pytest.raises(ValueError, match="needs at least two accepted images, got 0"):
        GreedyFID(features, reference).fid()
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder, or it has no images"):
        GreedyFID(features, str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="needs at least two images"):
        GreedyFID(features, save(REFERENCE[:1], tmp_path / "one"))
    save_file({"mu": torch.zeros(16)}, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match="expected the tensors mean and cov, got mu"):
        GreedyFID(features, str(tmp_path / "wrong.safetensors"))
    save_file({"mean": torch.zeros(8), "cov": torch.eye(8)}, tmp_path / "narrow.safetensors")
    with pytest.raises(ValueError, match=r"mean of features must have shape \[8\], got \[16\]"):
        GreedyFID(features, str(tmp_path / "narrow.safetensors"), str(tmp_path / "initial"))
