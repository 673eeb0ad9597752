"""A verifier that knows nothing leaves the generator's distribution unchanged, whatever the method."""

import math

import pytest
import torch
from torch import Tensor

from hypernoise_pl.generators.schedules.diffusion import Diffusion
from hypernoise_pl.generators.schedules.flow import DPMSolverFlow, UniformEulerFlow
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.paths import SearchOverPaths
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.steering import Steering
from tests.search_methods import every_method, with_endpoint
from tests.toy_generator import ON_DATA, EightGaussians, modes_and_distances

STEPS = 20
COUNT = 800  # images
SIGMAS = 4.5  # a chance of 7 in a million per figure


class RandomScores:
    """Scores that have nothing to do with images."""

    def __init__(self) -> None:
        self.draws = torch.Generator().manual_seed(0)

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        return torch.randn(len(images), generator=self.draws)


def equal_scores(images: Tensor, prompts: list[str]) -> Tensor:
    """The same score for all, with a gradient of zero."""
    return 0 * images.flatten(1).sum(1)


def euler() -> UniformEulerFlow:
    return UniformEulerFlow()


def solver() -> DPMSolverFlow:
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverFlow(DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=1.0))


def sampler(name: str, **options) -> Diffusion:
    import diffusers

    return Diffusion(getattr(diffusers, name)(timestep_spacing="trailing", **options))


SCHEDULES = {
    "euler flow": euler,
    "dpm-solver flow": solver,
    "ddim": lambda: sampler("DDIMScheduler", clip_sample=False),
    "dpm-solver": lambda: sampler("DPMSolverMultistepScheduler"),
    "ancestral": lambda: sampler("EulerAncestralDiscreteScheduler"),
}


def answers(search, schedule=euler, seed: int = 0, count: int = COUNT) -> Tensor:
    """[B, 2, 1, 1] the answers of a method from independent start noises."""
    generator = EightGaussians(schedule())
    start = torch.randn(count, 2, 1, 1, generator=torch.Generator().manual_seed(seed))
    scorer = equal_scores if search.needs_gradient else RandomScores()
    problem = NoiseProblem(generator, scorer, ["any"] * count, start, search.nfe(STEPS), seed, STEPS, chunk=10_000)
    search.run(problem)
    assert problem.account.nfe == search.nfe(STEPS) == generator.evaluations / count
    return problem.answer().latents


def check_same_distribution(latents: Tensor, base: Tensor) -> None:
    """The share on the data, every mode's share and the mean distance from the modes are those of the base."""
    (modes, far), (_, base_far) = modes_and_distances(latents), modes_and_distances(base)
    count = len(latents)
    off, base_off = (float((distance > ON_DATA).float().mean()) for distance in (far, base_far))
    pooled = max((off + base_off) / 2, 1 / count)
    assert abs(off - base_off) <= SIGMAS * math.sqrt(2 * pooled * (1 - pooled) / count)
    shares = torch.bincount(modes, minlength=8) / count
    assert (shares - 1 / 8).abs().max() <= SIGMAS * math.sqrt(1 / 8 * 7 / 8 / count)


@pytest.fixture(scope="module")
def bases() -> dict[str, Tensor]:
    """Schedule -> answers without search from other noises."""
    return {name: answers(NoSearch(), schedule, seed=1) for name, schedule in SCHEDULES.items()}


def test_the_generator_without_search_is_on_the_data(bases):
    for base in bases.values():
        check_same_distribution(base, base)
        assert float((modes_and_distances(base)[1] > ON_DATA).float().mean()) < 0.02


@every_method
def test_random_scores_leave_the_distribution_unchanged(search, bases, repeating_url):
    count = 60 if hasattr(search, "endpoint") else COUNT  # every prompt asks the language model
    latents = answers(with_endpoint(search, repeating_url), count=count)
    check_same_distribution(latents, bases["euler flow"][:count] if count < COUNT else bases["euler flow"])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("search", [SearchOverPaths(2, 4), Steering(4)], ids=lambda search: type(search).__name__)
def test_methods_between_steps_leave_the_distribution_unchanged_with_every_schedule(search, schedule, bases):
    check_same_distribution(answers(search, SCHEDULES[schedule]), bases[schedule])
