"""Whitening of the gradient at the noise."""

import pytest
import torch

from hypernoise_pl.training.gradient_whitening import whiten, whiten_gradient


@pytest.fixture
def gradient():
    """[64, 5, 2, 2] with channels a thousand times apart, and one image a thousand times the others."""
    draws = torch.Generator().manual_seed(0)
    gradient = torch.randn(64, 5, 2, 2, generator=draws) * torch.tensor([1e-2, 0.1, 1.0, 3.0, 10.0]).view(1, -1, 1, 1)
    gradient[7] *= 1000
    return gradient


def test_channels_become_alike_and_no_image_outshouts(gradient):
    white = whiten(gradient, 3.0)
    energy = white.transpose(0, 1).flatten(1).square().mean(1)
    assert energy.max() < 1.5 * energy.min()
    norm = white.flatten(1).norm(dim=1)
    assert norm.max() <= 3.001 * norm.median() and norm[7] == norm.max()


def test_signs_stay_and_size_scales(gradient):
    white = whiten(gradient, 3.0)
    assert torch.equal(white.sign(), gradient.sign())
    torch.testing.assert_close(whiten(5 * gradient, 3.0), 5 * white, rtol=1e-5, atol=1e-5)


def test_what_is_white_already_stays():
    gradient = torch.randn(4096, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(whiten(gradient, 3.0), gradient, rtol=0.05, atol=0.02)


def test_silence_stays_silence(gradient):
    assert torch.equal(whiten(torch.zeros(4, 3, 2, 2), 3.0), torch.zeros(4, 3, 2, 2))
    gradient[:, 2] = 0  # a channel that moves nothing
    white = whiten(gradient, 3.0)
    assert white.isfinite().all() and (white[:, 2] == 0).all()


def test_forward_is_the_identity_and_backward_whitens(gradient):
    noise = torch.randn(64, 5, 2, 2, requires_grad=True)
    passed = whiten_gradient(noise, 3.0)
    assert torch.equal(passed, noise)
    (passed * gradient).sum().backward()
    assert torch.equal(noise.grad, whiten(gradient, 3.0))


def test_what_is_not_finite_is_not_hidden(gradient):
    """The guard against bad steps has to see it."""
    gradient[3, 1, 0, 0] = float("nan")
    assert not whiten(gradient, 3.0).isfinite().all()


@pytest.mark.parametrize("spread", [0.0, -1.0, float("nan")])
def test_a_spread_that_would_turn_or_stop_the_gradient_is_refused(spread):
    with pytest.raises(ValueError, match="whiten_gradient must be above 0, got"):
        whiten_gradient(torch.ones(2, 3, 4, 4), spread)
