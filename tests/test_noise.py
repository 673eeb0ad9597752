"""Noise is a function of numbers, and Gaussian."""

import math

import numpy as np
import pytest
import torch

from hypernoise_pl.noise import (
    FixedNoise,
    FixedSetNoise,
    IndependentNoise,
    SharedNoise,
    gaussian,
    noise_correlations,
    noise_statistics,
    seed_of,
    seeds_from,
    typical_norm,
)

SHAPE = (4, 8, 8)
SOURCES = [IndependentNoise(3), SharedNoise(3), FixedNoise(3), FixedSetNoise(3, size=4)]


def kinds(noise: torch.Tensor) -> int:
    return len({tuple(row.flatten().tolist()) for row in noise})


@pytest.mark.parametrize("source", SOURCES)
def test_noise_is_no_matter_of_batch_place_or_random_state(source):
    whole = source(SHAPE, 5, [10, 11, 12, 13])
    torch.manual_seed(99)
    state = torch.get_rng_state()
    parts = torch.cat([source(SHAPE, 5, [12, 13]), source(SHAPE, 5, [10, 11])])
    assert torch.equal(whole[[2, 3, 0, 1]], parts)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("source", "within", "over"),
    [
        (IndependentNoise(3), 100, 1000),
        (SharedNoise(3), 1, 10),
        (FixedNoise(3), 1, 1),
        (FixedSetNoise(3, size=4), 4, 4),
    ],
)
def test_how_many_noises_there_are_in_a_step_and_over_ten(source, within, over):
    steps = [source(SHAPE, step, range(100)) for step in range(10)]
    assert kinds(steps[0]) == within
    assert kinds(torch.cat(steps)) == over


@pytest.mark.parametrize("source", SOURCES)
def test_another_seed_is_another_noise(source):
    other = type(source)(seed=4)
    assert not torch.equal(source(SHAPE, 0, [0]), other(SHAPE, 0, [0]))


def test_near_numbers_give_unrelated_seeds():
    seeds = {seed_of(a, b, c) for a in range(20) for b in range(20) for c in range(20)}
    assert len(seeds) == 8000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(1, 23) != seed_of(12, 3) != seed_of(1, 2, 3)


def test_seeds_from_a_noise_are_its_own():
    noise = gaussian(SHAPE, [1, 2, 1])
    first, second, third = seeds_from(noise)
    assert first == third != second
    assert seeds_from(noise[1:2]) == [second]


@pytest.mark.parametrize("d", [2, 64, 1024])
def test_typical_norm_is_that_of_many_draws(d):
    norms = torch.randn(20_000, d, generator=torch.Generator().manual_seed(0)).norm(dim=1)
    mean, spread = typical_norm(d)
    assert norms.mean().item() == pytest.approx(mean, abs=4 * spread / math.sqrt(20_000))
    assert norms.std().item() == pytest.approx(spread, rel=0.03)


def test_typical_norm_of_large_noise():
    mean, spread = typical_norm(65_536)
    assert mean == pytest.approx(math.sqrt(65_536 - 0.5), rel=1e-9)
    assert spread == pytest.approx(math.sqrt(0.5), rel=1e-3)


def test_statistics_of_gaussian_noise_and_of_what_is_not():
    noise = gaussian(SHAPE, range(2000))
    typical = {"norm": 1.0, "norm_spread": 1.0, "mean": 0.0, "std": 1.0, "kurtosis": 3.0}
    found = {name: value.item() for name, value in noise_statistics(noise).items()}
    assert found == pytest.approx(typical, abs=0.05)
    assert noise_statistics(1.5 * noise)["norm"].item() == pytest.approx(1.5, abs=0.01)
    assert noise_statistics(noise + 0.5)["mean"].item() == pytest.approx(0.5, abs=0.01)
    assert noise_statistics(noise.sign())["kurtosis"].item() == pytest.approx(1.0, abs=0.01)
    assert noise_statistics(noise[:1].expand(9, -1, -1, -1))["norm_spread"].item() == pytest.approx(0.0, abs=1e-4)


def errors(batch: int, channels: int, height: int, width: int) -> dict[str, float]:
    """Standard errors of the correlations of white noise, as the docstring has them."""
    found = {f"height_{lag}": (batch * channels * (height - lag) * width) ** -0.5 for lag in (1, 2)}
    found |= {f"width_{lag}": (batch * channels * height * (width - lag)) ** -0.5 for lag in (1, 2)}
    pairs = channels * (channels - 1) / 2
    return found | {"cross_channel": (2 / pairs) ** 0.5 / (batch * height * width)}


def test_correlations_of_white_noise_are_zero_within_their_standard_errors():
    """Over 300 draws the mean is 0, and the spread is the standard error that is stated."""
    size = (3, 4, 6, 8)
    draws = torch.randn(300, *size, generator=torch.Generator().manual_seed(0))
    found = [noise_correlations(noise) for noise in draws]
    for name, error in errors(*size).items():
        values = torch.stack([each[name] for each in found]).double()
        # all elements' mean is taken off, which moves an autocorrelation by -1 / elements
        shift = 0 if name == "cross_channel" else -1 / math.prod(size)
        assert values.mean().item() == pytest.approx(shift, abs=4 * error / 300**0.5), name
        assert values.std().item() == pytest.approx(error, rel=0.2), name


def test_correlations_of_blurred_and_mixed_noise_are_those_that_numpy_finds():
    white = gaussian((4, 16, 16), range(8))
    blurred = (white + white.roll(1, 3)) / 2**0.5  # neighbours along the width share a half
    mixed = torch.cat([white[:, :1], (white[:, :1] + white[:, 1:2]) / 2**0.5, white[:, 2:]], 1)
    for noise in (white, blurred, mixed, white.bfloat16()):
        found = {name: value.item() for name, value in noise_correlations(noise).items()}
        x = noise.double().numpy()
        x = x - x.mean()
        variance, expected = (x**2).mean(), {}
        for lag in (1, 2):
            expected[f"height_{lag}"] = (x[:, :, :-lag] * x[:, :, lag:]).mean() / variance
            expected[f"width_{lag}"] = (x[..., :-lag] * x[..., lag:]).mean() / variance
        rows = [x[:, channel].ravel() for channel in range(4)]
        squared = [np.corrcoef(rows[i], rows[j])[0, 1] ** 2 for i in range(4) for j in range(i)]
        expected["cross_channel"] = np.mean(squared) - 1 / (rows[0].size - 1)
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)
    error = errors(8, 4, 16, 16)
    along = noise_correlations(blurred)
    assert along["width_1"].item() == pytest.approx(0.5, abs=0.05) and abs(along["height_1"]) < 4 * error["height_1"]
    assert noise_correlations(mixed)["cross_channel"].item() == pytest.approx(0.5 / 6, abs=0.01)
    assert abs(noise_correlations(white)["cross_channel"]) < 4 * error["cross_channel"]


def test_correlations_that_a_size_does_not_allow_are_left_out():
    assert set(noise_correlations(gaussian((1, 2, 1), [0, 1]))) == {"height_1"}
    assert noise_correlations(gaussian((8,), [0, 1])) == {}
