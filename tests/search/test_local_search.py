"""Zero-order search and the evolution strategy, which search around a noise."""

import pytest
import torch

from hypernoise_pl.noise import seeds_from
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.evolution import Evolution
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.zero_order import ZeroOrder, neighbours
from tests.search_methods import example_name
from tests.toy_generator import PROMPTS, ToyGenerator, brightness, start_noise

EXAMPLES = [ZeroOrder(6, 3), Evolution(3, 5)]
both_methods = pytest.mark.parametrize("search", EXAMPLES, ids=example_name)


def problem(budget: int, steps: int = 1, shrink: float = 0.0) -> NoiseProblem:
    generator = ToyGenerator(shrink=shrink)
    return NoiseProblem(generator, brightness, PROMPTS, start_noise(), budget, seed=1, steps=steps)


def searched(search: Search, **options) -> NoiseProblem:
    task = problem(search.nfe(options.get("steps", 1)), **options)
    search.run(task)
    task.answer()
    return task


def test_neighbours_have_the_norm_of_the_pivot_and_the_given_angle():
    task = problem(budget=1)
    noises = neighbours(task.start, task.streams.normal(5), 0.95)
    flat, pivot = noises.flatten(2), task.start.flatten(1)[:, None]
    torch.testing.assert_close(flat.norm(dim=-1), pivot.norm(dim=-1).expand(-1, 5))
    torch.testing.assert_close(torch.cosine_similarity(flat, pivot, dim=-1), torch.full((3, 5), 0.95))


@both_methods
def test_local_search_keeps_the_norm_of_the_start_noise(search):
    task = searched(search)
    torch.testing.assert_close(task.best.noise.flatten(1).norm(dim=1), task.start.flatten(1).norm(dim=1))


@pytest.mark.parametrize("search", [ZeroOrder(500, 4), Evolution(60, 20)], ids=example_name)
def test_local_search_scores_higher_than_random_search(search):
    chance, task = searched(RandomSearch(1000)), searched(search)
    assert (task.best.scores > chance.best.scores).all()


@both_methods
def test_local_search_keeps_the_fresh_noise_of_the_start(search):
    """The images of its candidates differ by their noises alone."""
    task = searched(search, steps=4, shrink=0.5)
    assert task.best.seeds.tolist() == seeds_from(task.start)
    own = task.generator.generate(task.best.noise, task.conditioning, 4, seeds=seeds_from(task.start))
    torch.testing.assert_close(own, task.best.images)


def test_zero_order_search_continues_from_the_best_of_another_method_with_its_fresh_noise():
    task = problem(RandomSearch(40).nfe(4), steps=4, shrink=0.5)
    RandomSearch(8).run(task)
    seeds = task.best.seeds.clone()
    ZeroOrder(1, 20, cosine=0.999).run(task)
    own = task.generator.generate(task.best.noise, task.conditioning, 4, seeds=task.best.seeds.tolist())
    torch.testing.assert_close(own, task.best.images)
    assert (task.best.seeds == seeds).any()


@pytest.mark.parametrize(("search", "spent"), [(ZeroOrder(50, 2), 5), (Evolution(50, 3), 4)])
def test_local_search_ends_where_a_whole_round_more_would_not_fit(search, spent):
    task = problem(budget=6)
    search.run(task)
    assert task.account.nfe == spent


@pytest.mark.parametrize("options", [{"iterations": 0}, {"neighbours": 0}, {"cosine": 1.0}])
def test_impossible_options_of_zero_order_search_are_refused(options):
    with pytest.raises(ValueError, match="zero-order search needs"):
        ZeroOrder(**options)


def test_an_evolution_of_one_candidate_is_refused():
    with pytest.raises(ValueError, match="evolution needs"):
        Evolution(population=1)
