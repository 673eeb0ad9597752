"""Gradient whitening at the noise."""

import pytest
import torch

from hypernoise_pl.training.gradient_whitening import whiten, whiten_gradient


@pytest.fixture
def gradient():
    """A gradient [64, 5, 2, 2] with channel scales a thousand times apart and one image a thousand times larger."""
    draws = torch.Generator().manual_seed(0)
    gradient = torch.randn(64, 5, 2, 2, generator=draws) * torch.tensor([1e-2, 0.1, 1.0, 3.0, 10.0]).view(1, -1, 1, 1)
    gradient[7] *= 1000
    return gradient


def test_channels_get_equal_energy_and_image_norms_are_bounded(gradient):
    white = whiten(gradient, 3.0)
    energy = white.transpose(0, 1).flatten(1).square().mean(1)
    assert energy.max() < 1.5 * energy.min()
    norm = white.flatten(1).norm(dim=1)
    assert norm.max() <= 3.001 * norm.median() and norm[7] == norm.max()


def test_whitening_keeps_signs_and_scales_linearly(gradient):
    white = whiten(gradient, 3.0)
    assert torch.equal(white.sign(), gradient.sign())
    torch.testing.assert_close(whiten(5 * gradient, 3.0), 5 * white, rtol=1e-5, atol=1e-5)


def test_white_gradient_is_unchanged():
    gradient = torch.randn(4096, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whiten(gradient, 3.0), gradient, rtol=0.05, atol=0.02)


def test_zero_gradient_stays_zero(gradient):
    assert torch.equal(whiten(torch.zeros(4, 3, 2, 2), 3.0), torch.zeros(4, 3, 2, 2))
    gradient[:, 2] = 0  # a channel without gradient
    white = whiten(gradient, 3.0)
    assert white.isfinite().all() and (white[:, 2] == 0).all()


def test_forward_is_identity_and_backward_whitens(gradient):
    noise = torch.randn(64, 5, 2, 2, requires_grad=True)
    passed = whiten_gradient(noise, 3.0)
    assert torch.equal(passed, noise)
    (passed * gradient).sum().backward()
    assert torch.equal(noise.grad, whiten(gradient, 3.0))


def test_non_finite_gradient_stays_non_finite(gradient):
    """The step guard must see non-finite gradients."""
    gradient[3, 1, 0, 0] = float("nan")
    assert not whiten(gradient, 3.0).isfinite().all()


@pytest.mark.parametrize("spread", [0.0, -1.0, float("nan")])
def test_norm_limit_that_is_not_positive_is_refused(spread):
    with pytest.raises(ValueError, match="whiten_gradient must be above 0, got"):
        whiten_gradient(torch.ones(2, 3, 4, 4), spread)
