"""ReNO and direct noise optimisation, which climb the gradient of the score."""

import pytest
import torch
from torch import Tensor, nn

from hypernoise_pl.search.base import Search
from hypernoise_pl.search.dno import DNO, log_probability
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.reno import ReNO, whitened
from tests.toy_generator import PROMPTS, ToyGenerator, brightness, start_noise


def problem(search: Search, scorer=brightness) -> NoiseProblem:
    return NoiseProblem(ToyGenerator(), scorer, PROMPTS, start_noise(), search.nfe(), seed=1)


def test_reno_equals_one_prompt_at_a_time_with_torch_clipping():
    """The reference has one prompt, SGD with Nesterov momentum, clip_grad_norm_ and a norm penalty."""
    search = ReNO(10, lr=5.0, momentum=0.9, max_grad_norm=0.1, penalty=0.01)
    together = problem(search)
    search.run(together)
    for row, prompt in enumerate(PROMPTS):
        generator = ToyGenerator()
        noise = together.start[row : row + 1].clone().requires_grad_()
        conditioning = generator.encode([prompt])
        optimizer = torch.optim.SGD([noise], 5.0, 0.9, nesterov=True)
        best = -torch.inf
        for _ in range(10):
            score = brightness(generator.generate(noise, conditioning), [prompt])
            norm = noise.norm()
            penalty = 0.5 * norm**2 - (noise.numel() - 1) * norm.log()
            best = max(best, score.item())
            optimizer.zero_grad()
            (0.01 * penalty - score.sum()).backward()
            nn.utils.clip_grad_norm_([noise], 0.1)
            optimizer.step()
        assert together.best.scores[row].item() == pytest.approx(best, abs=1e-6)


def test_a_white_gradient_has_a_flat_spectrum_with_the_phases_and_the_norm_of_the_gradient():
    gradient = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    white = whitened(gradient)
    torch.testing.assert_close(white.flatten(1).norm(dim=1), gradient.flatten(1).norm(dim=1))
    power, before = torch.fft.fft2(white), torch.fft.fft2(gradient)
    torch.testing.assert_close(power.abs() / power.abs()[:, :1, :1, :1], torch.ones(2, 3, 8, 8), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(power / power.abs(), before / before.abs(), rtol=1e-3, atol=1e-3)


def test_log_probability_is_near_zero_for_typical_noise_and_low_for_other_noise():
    noise = torch.randn(50, 512, generator=torch.Generator().manual_seed(0))
    assert (log_probability(noise, 2) > -3).all() and log_probability(noise, 2).mean() > -0.5
    assert (log_probability(noise + 0.7, 2) < -20).all()
    assert (log_probability(3 * noise, 4) < -20).all()


def test_regularity_keeps_noise_where_gaussian_noise_is():
    def mean(images: Tensor, prompts: list[str]) -> Tensor:
        return images.flatten(1).mean(1)

    probabilities = {}
    for regularity in (0.0, 1.0):
        search = DNO(60, lr=0.1, regularity=regularity)
        task = problem(search, mean)
        search.run(task)
        probabilities[regularity] = log_probability(task.best.noise.flatten(1), 2)
    assert (probabilities[1.0] > probabilities[0.0] / 4).all()


def test_impossible_options_are_refused_in_one_line():
    with pytest.raises(ValueError, match="ReNO needs an iteration and a momentum"):
        ReNO(0)
    with pytest.raises(ValueError, match="needs numbers of 1"):
        DNO(0)
    with pytest.raises(ValueError, match="blocks of 7"):
        DNO(2, block=7).run(problem(DNO(2, block=7)))
