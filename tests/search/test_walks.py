"""Searches on the way from noise to image, verifiers that rank, see latents or fail, and what keeps noise Gaussian."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.schedules.flow import Flow
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.dno import DNO, log_probability
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.paths import SearchOverPaths
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO, whitened
from hypernoise_pl.search.samples import mean_rank
from hypernoise_pl.search.steering import Steering
from hypernoise_pl.types import Conditioning
from tests.search.test_search import PROMPTS, Identity, brightness, check_gradient


class Straight(Flow):
    """Uniform times, with fresh noise between steps."""

    def time_grid(self, steps: int) -> list[float]:
        return [1 - step / steps for step in range(steps)] + [0.0]

    def noise_retention(self, t: float, next_t: float) -> float:
        return 0.0


class Walk(Generator):
    """A consistency model in a straight line: what it sees is a shrunk state; it counts its own calls."""

    last_layer = ""
    name = "walk"

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Identity()
        self.noise_shape = (3, 4, 4)
        self.schedule = Straight()
        self.evaluations = 0

    def _encode(self, prompts: list[str]) -> Conditioning:
        return Conditioning(torch.tensor([[[float(len(prompt))]] for prompt in prompts]))

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        return noise

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, t: float) -> Tensor:
        self.evaluations += len(state)
        return state * (1 - t / 2) + 0.1 * conditioning.embeddings[..., None]

    def _decode(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(latents)


def problem(search, steps: int = 4, chunk: int = 256, generator=None, scorer=brightness, **options) -> NoiseProblem:
    start = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    budget = search.budget(steps)
    return NoiseProblem(generator or Walk(), scorer, PROMPTS, start, budget, 1, steps, chunk, **options)


WALKS = [SearchOverPaths(2, 3), Steering(5), Steering(5, potential="difference"), Steering(5, potential="sum")]


@pytest.mark.parametrize("search", WALKS)
def test_a_walk_pays_what_it_says_and_beats_no_search(search):
    task, plain = problem(search), problem(NoSearch())
    search.run(task)
    NoSearch().run(plain)
    assert task.account.nfe == search.budget(4) == task.generator.evaluations / 3
    assert task.best.scores.mean() > brightness(plain.best.images, PROMPTS).mean()
    torch.testing.assert_close(brightness(task.answer().images, PROMPTS), task.best.scores)


@pytest.mark.parametrize("search", [*WALKS, DNO(7), ReNO(7, white=True)])
def test_chunk_size_changes_nothing(search):
    found = []
    for chunk in (1, 4, 256):
        task = problem(search, chunk=chunk)
        search.run(task)
        found.append(task.answer().latents)
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1], found[2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("search", [*WALKS, DNO(7)])
def test_sized_to_a_budget(search):
    sized = search.within(61, 4)
    assert sized.budget(4) <= 61
    with pytest.raises(ValueError, match="needs a budget of"):
        search.within(3, 4)


def test_renoising_keeps_the_law():
    """Noising a state further gives what noising at the higher time gives, in mean and variance."""
    generator, clean = Walk(), torch.full((4000, 3, 4, 4), 0.5)
    noise, more = torch.randn(2, *clean.shape, generator=torch.Generator().manual_seed(0))
    state = generator.renoise(generator.add_noise(clean, noise, 0.3), 0.3, 0.6, more)
    assert state.mean().item() == pytest.approx(0.4 * 0.5, abs=0.01)
    assert state.std().item() == pytest.approx(0.6, abs=0.01)
    with pytest.raises(ValueError, match="renoise goes to a higher time"):
        generator.renoise(clean, 0.6, 0.3, noise)


def test_walking_by_hand_is_generating():
    generator, search = Walk(), NoSearch()
    task = problem(search, generator=generator)
    fresh = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    state = task.start
    for t, next_t in itertools.pairwise(generator.time_grid(4)):
        clean = generator.denoise(state, t, task.conditioning)
        state = generator.add_noise(clean, torch.stack([torch.randn(3, 4, 4, generator=g) for g in fresh]), next_t)
    images = generator.generate(task.start, task.conditioning, 4, seeds=[1, 2, 3])
    torch.testing.assert_close(generator.decode(clean), images)


def test_what_a_generator_cannot_serve_is_one_clear_line():
    with pytest.raises(ValueError, match="steering acts between steps"):
        Steering(4).run(problem(Steering(4), steps=1))
    for wrong in (lambda: Steering(1), lambda: SearchOverPaths(up=0.6), lambda: DNO(0)):
        with pytest.raises(ValueError, match="needs"):
            wrong()


def test_no_search_asks_no_verifier():
    def never(images: Tensor, prompts: list[str]) -> Tensor:
        raise AssertionError("asked")

    task = problem(NoSearch(), scorer=never)
    NoSearch().run(task)
    assert task.account.nfe == 4 and task.account.verified == 0
    assert torch.equal(task.answer().noise, task.start)


def test_mean_rank_against_a_loop():
    columns = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    columns[0, 2, 1] = columns[0, 5, 1]
    columns[1, 3, 0] = torch.nan
    found = mean_rank(columns)
    for row in range(2):
        for place in range(7):
            ranks = []
            for k in range(3):
                own, others = columns[row, place, k], columns[row, :, k].nan_to_num(nan=-torch.inf)
                if not own.isnan():
                    ranks.append(((others < own).sum() + ((others == own).sum() + 1) / 2) / 7)
            assert found[row, place].item() == pytest.approx(float(sum(ranks) / len(ranks)))


@pytest.mark.parametrize("search", [RandomSearch(9), SearchOverPaths(2, 3), Steering(5)])
def test_ranked_verifiers_choose_by_mean_rank_whatever_the_chunk(search):
    def both(images: Tensor, prompts: list[str]) -> Tensor:
        return torch.stack([brightness(images, prompts), 1000 * -(images - 0.2).square().flatten(1).mean(1)], 1)

    found = []
    for chunk in (1, 4, 256):
        task = problem(search, chunk=chunk, scorer=both)
        search.run(task)
        found.append(task.answer().images)
        assert task.account.decodes == task.account.verified + 1
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[2])
    with pytest.raises(ValueError, match="a mean of ranks has no gradient"):
        ReNO(3).run(problem(ReNO(3), scorer=both))


def test_a_verifier_that_fails_on_some_images_scores_them_as_missing():
    def moody(images: Tensor, prompts: list[str]) -> Tensor:
        scores = brightness(images, prompts)
        return scores.where(images[:, 0, 0, 0] > 0.5, torch.nan)

    task = problem(RandomSearch(12), scorer=moody)
    RandomSearch(12).run(task)
    assert 0 < task.account.missing < 36
    assert (task.answer().images[:, 0, 0, 0] > 0.5).all() and task.best.scores.isfinite().all()


class Dim(LatentVerifier):
    """Knows the image from its latents."""

    def _score(self, generator, latents: Tensor, conditioning: Conditioning, prompts: list[str], network) -> Tensor:
        return brightness(torch.sigmoid(latents), prompts)


@pytest.mark.parametrize("search", [RandomSearch(9), SearchOverPaths(2, 3), Steering(5), DNO(9), ReNO(9)])
def test_a_latent_verifier_finds_the_same_and_decodes_once(search):
    seen, unseen = problem(search), problem(search, scorer=Dim())
    search.run(seen)
    search.run(unseen)
    torch.testing.assert_close(unseen.answer().images, seen.answer().images)
    assert unseen.account.decodes == 1 < seen.account.decodes
    assert unseen.account.nfe == seen.account.nfe


def test_log_probability_of_typical_and_of_impossible_noise():
    noise = torch.randn(50, 512, generator=torch.Generator().manual_seed(0))
    assert (log_probability(noise, 2) > -3).all() and log_probability(noise, 2).mean() > -0.5
    assert (log_probability(noise + 0.7, 2) < -20).all()
    assert (log_probability(3 * noise, 4) < -20).all()
    with pytest.raises(ValueError, match="blocks of 7"):
        DNO(2, block=7).run(problem(DNO(2, block=7)))


def test_regularity_keeps_noise_where_gaussian_noise_is():
    def greedy(images: Tensor, prompts: list[str]) -> Tensor:
        return images.flatten(1).mean(1)

    likely = {}
    for regularity in (0.0, 1.0):
        search = DNO(60, lr=0.1, regularity=regularity)
        task = problem(search, steps=1, scorer=greedy, generator=Identity())
        search.run(task)
        likely[regularity] = log_probability(task.best.noise.flatten(1), 2)
    assert (likely[1.0] > likely[0.0] / 4).all()


def test_a_white_gradient_has_a_flat_spectrum_its_phases_and_its_norm():
    gradient = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    white = whitened(gradient)
    torch.testing.assert_close(white.flatten(1).norm(dim=1), gradient.flatten(1).norm(dim=1))
    power, before = torch.fft.fft2(white), torch.fft.fft2(gradient)
    torch.testing.assert_close(power.abs() / power.abs()[:, :1, :1, :1], torch.ones(2, 3, 8, 8), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(power / power.abs(), before / before.abs(), rtol=1e-3, atol=1e-3)


def test_a_climb_over_several_steps_climbs_one_function():
    """The fresh noise between steps stays the same from iterate to iterate: finite differences see the gradient."""
    task = problem(RandomSearch(25))
    check_gradient(task)
