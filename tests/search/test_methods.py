"""What every search method of the package promises; the methods are found by the package itself."""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.generators.schedules.flow import UniformEulerFlow
from hypernoise_pl.noise import seeds_from
from hypernoise_pl.search.account import BudgetExceeded
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.candidates import Candidates
from hypernoise_pl.search.evolution import Evolution
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.zero_order import ZeroOrder
from hypernoise_pl.types import Conditioning
from tests.search.methods import (  # noqa: F401 - a fixture
    EXAMPLES,
    every_method,
    least_steps,
    methods_of_the_package,
    name_of,
    ready,
    rewriter,
)
from tests.search.test_search import PROMPTS, brightness, halfway
from tests.search.test_walks import Walk
from tests.search.toy import RefinedBy

STEPS = 4
AT_STEPS = [(search, steps) for search in EXAMPLES for steps in (1, 2, 4) if steps >= least_steps(search)]


def problem(search: Search, steps: int = STEPS, rows=slice(None), **options):
    generator = Walk()
    start = torch.randn(len(PROMPTS), *generator.noise_shape, generator=torch.Generator().manual_seed(0))[rows]
    budget = search.budget(steps, int("adapter" in options))
    return NoiseProblem(generator, brightness, PROMPTS[rows], start, budget, 1, steps, **options)


def found_by(search: Search, **options) -> NoiseProblem:
    task = problem(search, **options)
    search.run(task)
    task.answer()
    return task


def test_every_method_of_the_package_is_in_the_suites():
    left = {kind.__name__ for kind in methods_of_the_package() - {type(search) for search in EXAMPLES}}
    assert not left, f"{', '.join(sorted(left))}: enter an example in EXAMPLES of tests/search/methods.py"


@every_method
def test_the_answer_is_a_sample_of_its_noise_and_seed_or_the_end_of_a_walk(search, rewriter):  # noqa: F811
    """The answer's image has the score that it is said to have, and its seed is one of a draw."""
    task = found_by(ready(search, rewriter))
    best = task.best
    torch.testing.assert_close(best.images, torch.sigmoid(best.latents))
    if task.account.verified:
        torch.testing.assert_close(brightness(best.images, PROMPTS), best.scores)
    assert best.seeds.shape == (len(PROMPTS),)


@every_method
def test_the_same_twice_is_the_same(search, rewriter):  # noqa: F811
    first, second = (found_by(ready(search, rewriter), adapter=halfway).best for _ in range(2))
    assert torch.equal(first.noise, second.noise) and torch.equal(first.latents, second.latents)
    assert torch.equal(first.seeds, second.seeds) and torch.equal(first.scores, second.scores)


@every_method
def test_a_prompt_finds_the_same_in_any_batch(search, rewriter):  # noqa: F811
    search = ready(search, rewriter)
    together = found_by(search, adapter=halfway)
    for row in range(len(PROMPTS)):
        alone = found_by(search, rows=slice(row, row + 1), adapter=halfway)
        torch.testing.assert_close(alone.best.latents[0], together.best.latents[row], rtol=0, atol=1e-5)


@every_method
def test_a_budget_one_short_is_not_overdrawn(search, rewriter):  # noqa: F811
    """A method ends earlier or is refused; it never spends more than the budget holds."""
    search = ready(search, rewriter)
    task = problem(search)
    task.budget -= 1
    with contextlib.suppress(BudgetExceeded):
        search.run(task)
    assert task.generator.evaluations / len(PROMPTS) == task.account.nfe <= task.budget


def aligned(images: Tensor, prompts: list[str]) -> Tensor:
    """Cosine of latents and the diagonal: 1 at the best, whatever the norm of a noise."""
    latents = torch.logit(images, eps=1e-6).flatten(1)
    return F.cosine_similarity(latents, torch.ones_like(latents))


@pytest.mark.parametrize("search", [s for s in EXAMPLES if not isinstance(s, NoSearch)], ids=name_of)
def test_a_known_optimum_is_approached(search, rewriter):  # noqa: F811
    """In two dimensions, from start noises in all directions, 200 evaluations close more than half of the gap."""
    search, count, scores = ready(search.within(200, STEPS), rewriter), 24, []
    for method in (NoSearch(), search):
        generator = Walk()
        generator.noise_shape, generator.schedule = (2, 1, 1), UniformEulerFlow()
        start = torch.randn(count, 2, 1, 1, generator=torch.Generator().manual_seed(0))
        prompts = ["a" * (1 + row % 3) for row in range(count)]
        task = NoiseProblem(generator, aligned, prompts, start, method.budget(STEPS), 1, STEPS)
        method.run(task)
        scores.append(aligned(task.answer().images, prompts))
    gaps = [1 - score for score in scores]
    assert gaps[1].mean() < 0.5 * gaps[0].mean()
    assert (gaps[1] < gaps[0]).float().mean() > 0.5


def nudged(noise: Tensor, conditioning: Conditioning) -> Tensor:
    """A refinement of a millionth."""
    return noise + 1e-6 * noise.flip(-1)


@pytest.mark.parametrize(("search", "steps"), AT_STEPS, ids=lambda part: name_of(part) if part in EXAMPLES else part)
def test_a_small_refinement_moves_the_answer_a_little(search, steps, rewriter):  # noqa: F811
    search = ready(search, rewriter)
    plain, refined = (found_by(search, steps=steps, **options).best for options in ({}, {"adapter": RefinedBy(nudged)}))
    assert torch.equal(plain.seeds, refined.seeds)
    assert (plain.images - refined.images).abs().max() < 1e-4
    assert (plain.noise - refined.noise).abs().max() > 0


def test_each_draw_has_fresh_noise_of_its_own_and_the_first_that_of_the_start():
    for adapter in (None, halfway):
        task = NoiseProblem(Walk(), brightness, PROMPTS, torch.randn(3, 3, 4, 4), 9, adapter=adapter)
        first, second = task.draw(2), task.draw(2)
        assert first.seeds[:, 0].tolist() == seeds_from(task.start)
        assert len(set(first.seeds.flatten().tolist() + second.seeds.flatten().tolist())) == 12
        again = NoiseProblem(Walk(), brightness, PROMPTS, task.start, 9)
        assert torch.equal(again.draw(2).seeds, first.seeds)


def test_the_first_image_is_the_generators_own_of_the_start():
    task = found_by(NoSearch())
    own = task.generator.generate(task.start, task.conditioning, STEPS, seeds=seeds_from(task.start))
    assert torch.equal(task.best.images, own)


@pytest.mark.parametrize("search", [ZeroOrder(6, 3), Evolution(3, 5)], ids=name_of)
def test_local_methods_keep_the_fresh_noise_of_their_start(search):
    """So that they search the noise: the best of theirs is the generator's image with the start's seed."""
    task = found_by(search)
    assert task.best.seeds.tolist() == seeds_from(task.start)
    own = task.generator.generate(task.best.noise, task.conditioning, STEPS, seeds=seeds_from(task.start))
    torch.testing.assert_close(own, task.best.images)


def test_zero_order_goes_on_from_a_best_of_another_method_with_its_fresh_noise():
    task = problem(RandomSearch(40))
    RandomSearch(8).run(task)
    seeds = task.best.seeds.clone()
    ZeroOrder(1, 20, cosine=0.999).run(task)
    own = task.generator.generate(task.best.noise, task.conditioning, STEPS, seeds=task.best.seeds.tolist())
    torch.testing.assert_close(own, task.best.images)
    assert (task.best.seeds == seeds).any()


def test_a_method_refines_noises_of_its_own_and_pays_for_them():
    """A mirrored draw is mirrored before the hypernetwork, keeps the draw's fresh noise, and costs as much as a draw."""
    task = NoiseProblem(Walk(), brightness, PROMPTS, torch.randn(3, 3, 4, 4), 9, adapter=halfway)
    draw = task.unrefined(1)
    assert torch.equal(draw.noise[:, 0], task.start) and task.account.nfe == 0
    pair = task.refined(draw.moved(torch.cat([draw.noise, -draw.noise], 1)))
    assert task.account.nfe == 2
    for place, sign in enumerate((1, -1)):
        torch.testing.assert_close(pair.noise[:, place], halfway.refine(sign * task.start, task.conditioning))
        assert pair.seeds[:, place].tolist() == seeds_from(task.start)
    with pytest.raises(BudgetExceeded, match="refining 8 noises of 1 NFE do not fit: 2 of 9 NFE are spent"):
        task.refined(Candidates.drawn(torch.randn(3, 8, 3, 4, 4)))


def test_candidates_made_of_others_keep_their_seeds_in_order():
    draws = Candidates.drawn(torch.randn(2, 3, 1, 1, 2))
    made = draws.moved(torch.randn(2, 6, 1, 1, 2))
    assert made.seeds.tolist() == [[seed for seed in row for _ in range(2)] for row in draws.seeds.tolist()]
    with pytest.raises(ValueError, match="4 noises a prompt cannot be made of 3"):
        draws.moved(torch.randn(2, 4, 1, 1, 2))
    with pytest.raises(ValueError, match="seeds must have shape"):
        Candidates(draws.noise, draws.seeds[:, :2])
