"""The promises of every search method; the package itself says which methods there are."""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import hypernoise_pl.search
from hypernoise_pl.generators.schedules.flow import UniformEulerFlow
from hypernoise_pl.rewards.ensemble import RankMean, WeightedSum
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.rewards.pixels import Brightness, Redness
from hypernoise_pl.search.account import BudgetExceeded
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.running import run_search
from hypernoise_pl.types import Conditioning
from tests.members import concrete_classes, without_example
from tests.search_methods import EXAMPLES, every_method, example_name, least_steps, with_endpoint
from tests.toy_adapter import RefinedBy, go_halfway, nudge
from tests.toy_generator import PROMPTS, ToyGenerator, brightness, start_noise

STEPS = 4
CHUNKS = (1, 4, 256)
AT_STEPS = [(search, steps) for search in EXAMPLES for steps in (1, 2, 4) if steps >= least_steps(search)]
LOOKING = [search for search in EXAMPLES if search.fit_to(200, STEPS).nfe(STEPS) > STEPS]  # at more than one image
every_method_at_steps = pytest.mark.parametrize(("search", "steps"), AT_STEPS, ids=example_name)


def problem(search: Search, steps: int = STEPS, rows=slice(None), scorer=brightness, **options) -> NoiseProblem:
    """A problem with the budget that a method wants."""
    generator = options.pop("generator", None) or ToyGenerator(shrink=0.5)
    budget = search.nfe(steps, int("adapter" in options))
    return NoiseProblem(generator, scorer, PROMPTS[rows], start_noise()[rows], budget, 1, steps, **options)


def searched(search: Search, *arguments, **options) -> NoiseProblem:
    """A problem that a method has worked on."""
    task = problem(search, *arguments, **options)
    search.run(task)
    task.answer()
    return task


def test_every_method_of_the_package_has_an_example():
    missing = without_example(concrete_classes(Search, hypernoise_pl.search), {type(search) for search in EXAMPLES})
    assert not missing, f"{missing}: add an example to EXAMPLES in tests/search_methods.py"


@every_method
def test_the_same_seed_gives_the_same_answer(search, lengthening_url):
    search = with_endpoint(search, lengthening_url)
    first, second = (searched(search, adapter=RefinedBy(go_halfway)).best for _ in range(2))
    assert torch.equal(first.noise, second.noise) and torch.equal(first.latents, second.latents)
    assert torch.equal(first.seeds, second.seeds) and torch.equal(first.scores, second.scores)


@every_method
def test_the_answer_for_a_prompt_does_not_depend_on_the_batch(search, lengthening_url):
    search = with_endpoint(search, lengthening_url)
    together = searched(search, adapter=RefinedBy(go_halfway))
    for row in range(len(PROMPTS)):
        alone = searched(search, rows=slice(row, row + 1), adapter=RefinedBy(go_halfway))
        torch.testing.assert_close(alone.best.latents[0], together.best.latents[row], rtol=0, atol=1e-5)


@every_method_at_steps
def test_the_answer_does_not_depend_on_the_chunk(search, steps, lengthening_url):
    search = with_endpoint(search, lengthening_url)
    best = [searched(search, steps, chunk=chunk, adapter=RefinedBy(go_halfway)).best for chunk in CHUNKS]
    for other in best[:2]:
        torch.testing.assert_close(other.noise, best[2].noise, rtol=0, atol=1e-6)
        torch.testing.assert_close(other.latents, best[2].latents, rtol=0, atol=1e-6)


@pytest.mark.parametrize("nfe_per_draw", [0, 1])
@every_method_at_steps
def test_network_evaluations_are_those_of_the_budget_formula(search, steps, nfe_per_draw, lengthening_url):
    """A refined draw costs one more, and backward passes are counted apart."""
    adapter = RefinedBy(go_halfway)
    options = {"adapter": adapter} if nfe_per_draw else {}
    for total in (search.nfe(steps, nfe_per_draw), 57, 60):
        sized = with_endpoint(search.fit_to(total, steps, nfe_per_draw), lengthening_url)
        adapter.refined, expected = 0, sized.nfe(steps, nfe_per_draw)
        task = searched(sized, steps, **options)
        refined = adapter.refined / len(PROMPTS)
        assert task.account.nfe == expected == task.generator.evaluations / len(PROMPTS) + refined
        assert refined == expected - sized.nfe(steps) and bool(refined) == bool(nfe_per_draw)
        assert task.account.nfe_backward == (expected - refined if search.needs_gradient else 0)


@every_method
def test_the_default_budget_of_a_run_is_that_of_the_formula(search, lengthening_url):
    search, generator = with_endpoint(search, lengthening_url), ToyGenerator(shrink=0.5)
    noise, adapter = start_noise(), RefinedBy(go_halfway)
    result = run_search(search, generator, brightness, PROMPTS, noise, adapter=adapter, steps=STEPS, seed=1)
    assert result.account.nfe == search.nfe(STEPS, 1)
    assert torch.equal(result.images, searched(search, adapter=adapter).best.images)


@pytest.mark.parametrize("nfe_per_score", [0, 1])
@pytest.mark.parametrize("nfe_per_draw", [0, 1])
@every_method_at_steps
def test_a_method_within_a_budget_is_the_longest_that_fits(search, steps, nfe_per_draw, nfe_per_score):
    costs = steps, nfe_per_draw, nfe_per_score
    shortest, before = search.min_nfe(*costs), 0
    for total in range(shortest, shortest + 60):
        needed = search.fit_to(total, *costs).nfe(*costs)
        assert needed <= total
        assert needed in (before, total) or total == shortest  # one that is longer would have fit before
        before = needed
    for total in (0, shortest - 1):
        with pytest.raises(ValueError, match="needs a budget of"):
            search.fit_to(total, *costs)


@every_method
def test_a_method_ends_early_or_raises_when_the_budget_is_one_short(search, lengthening_url):
    search = with_endpoint(search, lengthening_url)
    task = problem(search)
    task.budget -= 1
    with contextlib.suppress(BudgetExceeded):
        search.run(task)
    assert task.generator.evaluations / len(PROMPTS) == task.account.nfe <= task.budget


class RecordingGenerator(ToyGenerator):
    """Keeps the states of the first time, and the latents predicted at the last."""

    def __init__(self, steps: int) -> None:
        super().__init__(shrink=0.5)
        times = self.time_grid(steps)
        self.first, self.last = times[0], times[-2]
        self.states: list[Tensor] = []
        self.clean: list[Tensor] = []

    def _denoise(self, network, state: Tensor, conditioning: Conditioning, t: float) -> Tensor:
        clean = super()._denoise(network, state, conditioning, t)
        self.states += [state.detach().clone()] if t == self.first else []
        self.clean += [clean.detach()] if t == self.last else []
        return clean


def is_row_of(row: Tensor, parts: list[Tensor]) -> bool:
    return any(torch.equal(row, other) for part in parts for other in part)


@every_method_at_steps
def test_the_answer_is_a_finished_sample_with_its_own_score_and_noise(search, steps, lengthening_url):
    """The generator made it of a noise that it was given; a prediction on the way is no answer."""
    search = with_endpoint(search, lengthening_url)
    task = searched(search, steps, generator=RecordingGenerator(steps))
    assert all(is_row_of(noise, task.generator.states) for noise in task.best.noise)
    assert all(is_row_of(latents, task.generator.clean) for latents in task.best.latents)
    torch.testing.assert_close(task.best.images, torch.sigmoid(task.best.latents))
    if task.account.verified:
        torch.testing.assert_close(brightness(task.best.images, PROMPTS), task.best.scores)


@pytest.mark.parametrize("search", [s for s, steps in AT_STEPS if steps == 1], ids=example_name)
def test_the_generator_makes_the_answer_again_from_its_noise_and_seed(search, repeating_url):
    task = searched(with_endpoint(search, repeating_url), 1)
    seeds = task.best.seeds.tolist()
    again = task.generator.generate(task.best.noise, task.conditioning, 1, seeds=seeds)
    torch.testing.assert_close(again, task.best.images)


def aligned(images: Tensor, prompts: list[str]) -> Tensor:
    """[B] cosine of latents and the diagonal: 1 at the best, whatever the norm of a noise."""
    latents = torch.logit(images, eps=1e-6).flatten(1)
    return F.cosine_similarity(latents, torch.ones_like(latents))


@pytest.mark.parametrize("search", LOOKING, ids=example_name)
def test_a_known_optimum_is_approached(search, lengthening_url):
    """In two dimensions, from start noises in all directions, 200 evaluations close more than half of the gap."""
    search, count, scores = with_endpoint(search.fit_to(200, STEPS), lengthening_url), 24, []
    for method in (NoSearch(), search):
        generator = ToyGenerator((2, 1, 1), 0.5, UniformEulerFlow())
        prompts = ["a" * (1 + row % 3) for row in range(count)]
        start, budget = start_noise(count, 2, 1, 1), method.nfe(STEPS)
        task = NoiseProblem(generator, aligned, prompts, start, budget, 1, STEPS)
        method.run(task)
        scores.append(aligned(task.answer().images, prompts))
    gaps = [1 - score for score in scores]
    assert gaps[1].mean() < 0.5 * gaps[0].mean()
    assert (gaps[1] < gaps[0]).float().mean() > 0.5


@every_method_at_steps
def test_refined_noise_gives_better_answers_at_equal_cost(search, steps, lengthening_url):
    scores = []
    for options in ({}, {"adapter": RefinedBy(go_halfway)}):
        sized = with_endpoint(search.fit_to(60, steps, len(options)), lengthening_url)
        images = searched(sized, steps, generator=ToyGenerator(schedule=UniformEulerFlow()), **options).best.images
        scores.append(brightness(images, PROMPTS))
    assert (scores[1] > scores[0]).all()


@every_method_at_steps
def test_a_small_refinement_moves_the_answer_a_little(search, steps, lengthening_url):
    search = with_endpoint(search, lengthening_url)
    plain, refined = (searched(search, steps, **options).best for options in ({}, {"adapter": RefinedBy(nudge)}))
    assert torch.equal(plain.seeds, refined.seeds)
    assert (plain.images - refined.images).abs().max() < 1e-4
    assert (plain.noise - refined.noise).abs().max() > 0


def weighted_sum() -> WeightedSum:
    return WeightedSum({"bright": Brightness(), "red": Redness()}, {"bright": 1.0, "red": 0.5})


@every_method
def test_a_weighted_sum_of_rewards_serves_as_verifier(search, lengthening_url):
    task = searched(with_endpoint(search, lengthening_url), scorer=weighted_sum())
    if task.account.verified:
        torch.testing.assert_close(weighted_sum()(task.best.images, PROMPTS), task.best.scores)


@pytest.mark.parametrize("search", [search for search in EXAMPLES if not search.needs_gradient], ids=example_name)
def test_ranked_verifiers_choose_the_best_mean_rank_in_any_chunk(search, lengthening_url):
    search, images = with_endpoint(search, lengthening_url), []
    for chunk in CHUNKS:
        task = searched(search, scorer=RankMean(weighted_sum()), chunk=chunk)
        images.append(task.best.images)
        assert task.account.decodes == task.account.verified + 1
        assert task.ranks is None or torch.equal(task.ranks.max(1).values, task.best.scores)
        assert (task.ranks is None) == (task.account.verified == 0)
    torch.testing.assert_close(images[0], images[2])
    torch.testing.assert_close(images[1], images[2])


@pytest.mark.parametrize("search", [search for search in EXAMPLES if search.needs_gradient], ids=example_name)
def test_a_method_with_gradients_refuses_ranked_verifiers(search):
    with pytest.raises(ValueError, match="a mean of ranks has no gradient"):
        searched(search, scorer=RankMean(weighted_sum()))


class LatentBrightness(LatentVerifier):
    """The brightness of the image that latents of the toy decode to."""

    def _score(self, generator, latents: Tensor, conditioning: Conditioning, prompts: list[str], network) -> Tensor:
        return brightness(torch.sigmoid(latents), prompts)


@every_method
def test_a_latent_verifier_gives_the_answer_of_its_image_scores_and_decodes_once(search, lengthening_url):
    search = with_endpoint(search, lengthening_url)
    by_image, by_latents = (searched(search, scorer=scorer) for scorer in (brightness, LatentBrightness()))
    torch.testing.assert_close(by_latents.best.images, by_image.best.images)
    assert by_latents.account.decodes == 1
    assert by_latents.account.nfe == by_image.account.nfe
    assert by_latents.account.verified == by_image.account.verified
