"""FID, KID, CMMD, precision, recall, Vendi score: against formulas written out in NumPy, and known answers."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from hypernoise_pl.metrics.diversity import diversity, feature_distance, vendi_score
from hypernoise_pl.metrics.fidelity import Fidelity, clip_discrepancy, fidelity, frechet_distance, kernel_distance
from hypernoise_pl.metrics.precision_recall import precision_and_recall


def sets(count: int, other: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two Gaussian sets with different means and covariances."""
    draws = torch.Generator().manual_seed(seed)
    mix = torch.randn(length, length, generator=draws) / length**0.5
    real = torch.randn(count, length, generator=draws)
    return real, torch.randn(other, length, generator=draws) @ mix + 0.3


def frechet_by_roots(real: np.ndarray, other: np.ndarray) -> float:
    """The formula as the original code has it: a matrix root of the product of the covariances."""
    one, two = np.cov(real, rowvar=False), np.cov(other, rowvar=False)
    root, inverse = one @ two, np.eye(len(one))
    for _ in range(40):  # Denman and Beavers' iteration; SciPy's sqrtm finds the same root
        root, inverse = (root + np.linalg.inv(inverse)) / 2, (inverse + np.linalg.inv(root)) / 2
    assert np.allclose(root @ root, one @ two, rtol=1e-9, atol=1e-9)
    return float(((real.mean(0) - other.mean(0)) ** 2).sum() + np.trace(one + two - 2 * root))


def test_fid_is_that_of_matrix_roots_and_torchmetrics():
    real, other = sets(300, 200, 12)
    expected = frechet_by_roots(real.double().numpy(), other.double().numpy())
    assert frechet_distance(real, other) == pytest.approx(expected, rel=1e-9)

    class Flat(nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1)

    metric = FrechetInceptionDistance(Flat(), input_img_size=(12, 1, 1)).set_dtype(torch.float64)
    metric.update(real[:, :, None, None].double(), real=True)
    metric.update(other[:, :, None, None].double(), real=False)
    assert frechet_distance(real, other) == pytest.approx(metric.compute().item(), rel=1e-6)


def test_fid_of_gaussians_has_a_closed_form():
    """Exact moments by whitening: means apart by 2 in one place, variances 4 and 1: 4 + D * (2 - 1)^2."""
    draws = torch.Generator().manual_seed(1)

    def white(count: int) -> torch.Tensor:
        x = torch.randn(count, 5, generator=draws, dtype=torch.float64)
        x = x - x.mean(0)
        return x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (count - 1))).T

    one, two = 2 * white(60), white(40)
    two[:, 0] += 2
    assert frechet_distance(one, two) == pytest.approx(4 + 5, rel=1e-12)


def test_fid_with_fewer_images_than_features_is_exact_and_says_so():
    """Eight images in 64 features: what rotates into the 14 places that they span."""
    real, other = sets(8, 8, 64)
    joined = torch.cat([real, other]).double()
    basis = torch.linalg.svd(joined - joined.mean(0), full_matrices=False).Vh[:15]
    low = [(x.double() @ basis.T) for x in (real, other)]
    one, two = (np.cov(x.numpy(), rowvar=False) for x in low)
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ two @ root).clip(0)).sum()
    expected = float((low[0].mean(0) - low[1].mean(0)).square().sum()) + np.trace(one) + np.trace(two) - 2 * shared
    assert frechet_distance(real, other) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    found = Fidelity.of(other, real)
    assert (found.images, found.against) == (8, 8)
    (caveat,) = found.caveats
    assert caveat.startswith("FID is too high: 8 images do not span the 64 features")


def test_cmmd_is_the_papers_formula_pair_by_pair():
    real, other = sets(9, 7, 6)
    one, two = ((x / x.norm(dim=1, keepdim=True)).double().numpy() for x in (real, other))

    def mean(a, b):
        return np.mean([math.exp(-((x - y) ** 2).sum() / (2 * 10.0**2)) for x in a for y in b])

    expected = 1000 * (mean(one, one) + mean(two, two) - 2 * mean(one, two))
    assert clip_discrepancy(real, other) == pytest.approx(expected, rel=1e-5)
    assert clip_discrepancy(real, 5 * other) == pytest.approx(expected, rel=1e-5)
    assert clip_discrepancy(real, real) == 0
    # two sets of one direction each, opposite: 1000 (2 - 2 exp(-4 / 200))
    apart = 1000 * (2 - 2 * math.exp(-0.02))
    assert clip_discrepancy(torch.ones(3, 4), -torch.ones(2, 4)) == pytest.approx(apart, rel=1e-9)


def brute_precision(images: np.ndarray, others: np.ndarray, k: int) -> float:
    def radius(i):
        return sorted(np.linalg.norm(others[i] - x) for j, x in enumerate(others) if j != i)[k - 1]

    radii = [radius(i) for i in range(len(others))]
    return np.mean([any(np.linalg.norm(x - o) <= r for o, r in zip(others, radii)) for x in images])


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_those_of_every_ball(k):
    real, other = sets(40, 30, 3)
    other = other + 1.0
    found = precision_and_recall(real, other, k)
    one, two = real.double().numpy(), other.double().numpy()
    assert found == (pytest.approx(brute_precision(two, one, k)), pytest.approx(brute_precision(one, two, k)))
    assert 0 < found[0] < 1 and 0 < found[1] < 1 and found[0] != found[1]


def test_precision_and_recall_of_sets_whose_answer_is_plain():
    real, other = sets(40, 30, 3)
    assert precision_and_recall(real, real) == (1, 1)
    assert precision_and_recall(real, other + 1000) == (0, 0)
    collapsed = real[:1].expand(10, -1)  # one real image, again and again
    assert precision_and_recall(real, collapsed) == (1, 1 / 40)
    with pytest.raises(ValueError, match=r"3 neighbours need 4 images of each set, got 40 and 3"):
        precision_and_recall(real, other[:3])


def test_vendi_score_counts_what_differs():
    assert vendi_score(torch.eye(5)) == pytest.approx(5)
    assert vendi_score(torch.ones(4, 7)) == pytest.approx(1)
    assert vendi_score(torch.tensor([[1.0, 0], [3, 0], [0, 2], [0, 5]])) == pytest.approx(2)
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit = (features / features.norm(dim=1, keepdim=True)).numpy()
    values = np.linalg.eigvalsh(unit @ unit.T / 6)
    entropy = -sum(value * math.log(value) for value in values if value > 1e-12)
    assert vendi_score(features) == pytest.approx(math.exp(entropy), rel=1e-9)


def test_diversity_is_within_a_prompt_and_prompts_count_alike():
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    prompts = [3, 7, 3, 7, 3, 9, 7, 3]  # prompt 9 has one image
    unit = (features / features.norm(dim=1, keepdim=True)).double().numpy()
    distances = []
    for prompt in (3, 7):
        own = [row for row, at in enumerate(prompts) if at == prompt]
        distances.append(np.mean([1 - unit[i] @ unit[j] for i, j in combinations(own, 2)]))
    found = diversity(features, prompts)
    assert found["feature_distance"] == pytest.approx(np.mean(distances), rel=1e-6)
    expected = (vendi_score(features[[0, 2, 4, 7]]) + vendi_score(features[[1, 3, 6]])) / 2
    assert found["vendi"] == pytest.approx(expected)
    assert feature_distance(torch.tensor([[1.0, 0], [-2, 0]])) == pytest.approx(2)
    assert all(math.isnan(value) for value in diversity(features[:3], [1, 2, 3]).values())
    with pytest.raises(ValueError, match=r"features must have shape \[3, \*\]"):
        diversity(features, [1, 2, 3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_figures_are_those_of_the_values_whatever_their_type_and_order(dtype):
    real, other = (x.to(torch.bfloat16).to(torch.float16).to(dtype) for x in sets(50, 50, 8))
    prompts = [row // 5 for row in range(50)]
    found = fidelity(other, real, prompts)
    assert [*found] == ["fid", "kid", "cmmd", "precision", "recall", "feature_distance", "vendi"]
    order = torch.randperm(50, generator=torch.Generator().manual_seed(3))
    moved = fidelity(other[order], real[order.flip(0)], [prompts[row] for row in order])
    assert moved == pytest.approx(found, rel=1e-9)
    assert found == pytest.approx(fidelity(other.double(), real.double(), prompts), rel=1e-12)
    alike = fidelity(real, real)
    assert alike["fid"] == pytest.approx(0, abs=1e-9) and alike["cmmd"] == 0
    assert alike["precision"] == alike["recall"] == 1 and alike["kid"] < found["kid"]


def test_sets_that_are_too_small_have_no_figure_and_the_reason():
    real, other = sets(5, 1, 4)
    found = Fidelity.of(other, real, [0])
    assert {name for name, value in found.figures.items() if math.isnan(value)} == {
        "fid",
        "kid",
        "precision",
        "recall",
        "feature_distance",
        "vendi",
    }
    assert found.figures["cmmd"] == pytest.approx(clip_discrepancy(real, other))
    assert [caveat.partition(" left out")[0] for caveat in found.caveats] == [
        "FID and KID are",
        "Precision and recall are",
        "The diversity is",
    ]
    assert all(math.isnan(value) for value in Fidelity.of(other[:0], real).figures.values())


def test_features_that_are_not_finite_or_of_another_encoder_are_refused():
    real, other = sets(6, 5, 4)
    other[2, 1] = math.nan
    with pytest.raises(ValueError, match=r"features: those of image 2 are not finite \(1 of 5 images\)"):
        fidelity(other, real)
    with pytest.raises(ValueError, match=r"features must have shape \[\*, 4\], got \[6, 3\]"):
        fidelity(real[:, :3], real)


def test_kid_of_equal_laws_is_zero_on_average():
    draws = torch.Generator().manual_seed(0)
    found = [kernel_distance(*torch.randn(2, 20, 4, generator=draws)) for _ in range(200)]
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found)) < 4 * error
