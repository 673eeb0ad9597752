"""A search's problem: draws, scores, gradients and the account that no method can overdraw."""

import pytest
import torch
from torch import Tensor

from hypernoise_pl.noise import seeds_from
from hypernoise_pl.search.account import BudgetExceeded
from hypernoise_pl.search.candidates import Candidates
from hypernoise_pl.search.dno import DNO
from hypernoise_pl.search.evolution import Evolution
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from hypernoise_pl.search.zero_order import ZeroOrder
from tests.toy_adapter import RefinedBy, go_halfway
from tests.toy_generator import PROMPTS, ToyGenerator, brightness, start_noise

halfway = RefinedBy(go_halfway)


def problem(budget: int, scorer=brightness, shrink: float = 0.0, **options) -> NoiseProblem:
    return NoiseProblem(ToyGenerator(shrink=shrink), scorer, PROMPTS, start_noise(), budget, seed=1, **options)


@pytest.mark.parametrize("search", [RandomSearch(13), ReNO(13, lr=5.0), ZeroOrder(6, 2), Evolution(3, 4)])
def test_the_answer_is_never_worse_than_the_image_of_the_start_noise(search):
    task = problem(search.nfe())
    base = brightness(task.generator.generate(task.start, task.conditioning), PROMPTS)
    search.run(task)
    assert (task.best.scores >= base).all() and (task.best.scores > base).any()


def test_nothing_is_spent_beyond_the_budget():
    task = problem(budget=5)
    with pytest.raises(BudgetExceeded, match="6 candidates of 1 NFE do not fit: 0 of 5"):
        RandomSearch(6).run(task)
    assert task.account.nfe == 0 and task.generator.evaluations == 0
    ReNO(50).run(task)
    assert task.account.nfe == task.account.nfe_backward == 5


def test_each_step_of_an_image_is_one_evaluation():
    task = problem(budget=8, steps=4)
    RandomSearch(2).run(task)
    assert task.account.nfe == 8 and task.account.decodes == 2


def test_the_first_candidate_is_the_start_noise():
    task = problem(budget=8)
    first, second = task.draw(2), task.draw(2)
    assert torch.equal(first.noise[:, 0], task.start)
    assert not torch.equal(second.noise[:, 0], task.start)


@pytest.mark.parametrize("adapter", [None, halfway])
def test_each_draw_has_a_seed_of_its_own_and_the_first_has_that_of_the_start(adapter):
    task, again = problem(9, shrink=0.5, adapter=adapter), problem(9, shrink=0.5)
    first, second = task.draw(2), task.draw(2)
    assert first.seeds[:, 0].tolist() == seeds_from(task.start)
    assert len(set(first.seeds.flatten().tolist() + second.seeds.flatten().tolist())) == 12
    assert torch.equal(again.draw(2).seeds, first.seeds)


def test_refined_draws_do_not_depend_on_the_chunk_and_cost_one_evaluation_each():
    noises = []
    for chunk in (1, 4, 256):
        task = problem(6, chunk=chunk, adapter=halfway)
        noises.append(task.draw(5).noise)
        assert task.account.nfe == 5 and task.account.decodes == task.generator.evaluations == 0
    assert torch.equal(noises[0], noises[2]) and torch.equal(noises[1], noises[2])
    torch.testing.assert_close(noises[2][:, 0], go_halfway(task.start, task.conditioning))
    with pytest.raises(BudgetExceeded, match="refining 2 noises of 1 NFE do not fit: 5 of 6 NFE are spent"):
        task.draw(2)


def test_a_mirrored_draw_is_refined_keeps_its_seed_and_costs_as_much_as_a_draw():
    task = problem(9, shrink=0.5, adapter=halfway)
    draw = task.unrefined(1)
    assert torch.equal(draw.noise[:, 0], task.start) and task.account.nfe == 0
    pair = task.refined(draw.moved(torch.cat([draw.noise, -draw.noise], 1)))
    assert task.account.nfe == 2
    for index, sign in enumerate((1, -1)):
        torch.testing.assert_close(pair.noise[:, index], go_halfway(sign * task.start, task.conditioning))
        assert pair.seeds[:, index].tolist() == seeds_from(task.start)
    with pytest.raises(BudgetExceeded, match="refining 8 noises of 1 NFE do not fit: 2 of 9 NFE are spent"):
        task.refined(Candidates.drawn(torch.randn(3, 8, 3, 4, 4)))


def test_no_search_gives_the_generators_own_image_and_asks_no_verifier():
    def never(images: Tensor, prompts: list[str]) -> Tensor:
        raise AssertionError("the verifier was asked")

    task = problem(4, never, shrink=0.5, steps=4)
    NoSearch().run(task)
    assert task.account.nfe == 4 and task.account.verified == 0
    assert torch.equal(task.answer().noise, task.start)
    own = task.generator.generate(task.start, task.conditioning, 4, seeds=seeds_from(task.start))
    assert torch.equal(task.best.images, own)


@pytest.mark.parametrize(("steps", "shrink"), [(1, 0.0), (4, 0.5)])
def test_gradient_equals_finite_differences(steps, shrink):
    """In float64; the fresh noise between steps stays the same from one call to the next."""
    task = problem(100, steps=steps, shrink=shrink)
    start = task.draw(1)
    noise = start.noise.double()
    _, gradient = task.score_and_grad(start.moved(noise))
    direction = torch.randn(noise.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    up, _ = task.score_and_grad(start.moved(noise + 1e-5 * direction))
    down, _ = task.score_and_grad(start.moved(noise - 1e-5 * direction))
    torch.testing.assert_close((gradient * direction).flatten(2).sum(2), (up - down) / 2e-5, rtol=1e-5, atol=1e-7)


def overwriting(images: Tensor, prompts: list[str]) -> Tensor:
    return brightness(images.zero_(), prompts)


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (lambda images, prompts: [0.0] * len(images), "must give a tensor of 6 scores for as many images, got a list"),
        (lambda images, prompts: images.mean(), r"must give a tensor of 6 scores .* got shape \[\]"),
        (lambda images, prompts: images[:1].flatten(1).mean(1), r"must give a tensor of 6 scores .* got shape \[1\]"),
        (overwriting, "the scorer writes into the images that it is given"),
    ],
)
def test_a_scorer_that_gives_no_scores_is_refused_in_one_line(scorer, message):
    task = problem(10, scorer)
    with pytest.raises(ValueError, match=message):
        task.score(task.draw(2))


@pytest.mark.parametrize(
    "scorer",
    [
        lambda images, prompts: brightness(images.detach(), prompts),
        lambda images, prompts: torch.ones(len(images), requires_grad=True),
    ],
)
def test_scores_without_a_gradient_are_refused_in_one_line(scorer):
    with pytest.raises(ValueError, match=r"^the scores have no gradient at the noise"):
        ReNO(2).run(problem(10, scorer))


@pytest.mark.parametrize("search", [ReNO(5, lr=5.0), DNO(5)])
def test_missing_scores_of_one_prompt_do_not_change_the_others(search):
    def missing(images: Tensor, prompts: list[str]) -> Tensor:
        return brightness(images, prompts) * torch.tensor([torch.nan if prompt == "bb" else 1.0 for prompt in prompts])

    task, complete = problem(5, missing), problem(5)
    search.run(task)
    search.run(complete)
    answer, expected = task.answer(), complete.answer()
    assert torch.equal(answer.images[::2], expected.images[::2]) and answer.images.isfinite().all()
    assert torch.equal(answer.noise[1], task.start[1]) and task.account.missing == 5


def test_images_without_a_score_count_as_missing_and_never_win():
    def partial(images: Tensor, prompts: list[str]) -> Tensor:
        scores = brightness(images, prompts)
        return scores.where(images[:, 0, 0, 0] > 0.5, torch.nan)

    task = problem(48, partial, shrink=0.5, steps=4)
    RandomSearch(12).run(task)
    assert 0 < task.account.missing < 36
    assert (task.answer().images[:, 0, 0, 0] > 0.5).all() and task.best.scores.isfinite().all()


@pytest.mark.parametrize("search", [ReNO(3, lr=5.0), DNO(3), Evolution(2, 3)])
def test_a_start_noise_with_a_graph_gives_the_same_answer(search):
    plain = problem(10)
    graph = NoiseProblem(ToyGenerator(), brightness, PROMPTS, start_noise().requires_grad_(), 10, seed=1)
    for task in (plain, graph):
        search.run(task)
    assert torch.equal(graph.answer().noise, plain.answer().noise) and not graph.answer().images.requires_grad


def test_impossible_options_and_prompts_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"random search needs a candidate, got RandomSearch.candidates=0."):
        RandomSearch(0)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        problem(5, chunk=0)
    with pytest.raises(ValueError, match=r"encode needs a list of prompts, got one text; write .'ab'."):
        NoiseProblem(ToyGenerator(), brightness, "ab", torch.zeros(2, 3, 4, 4), 5)
