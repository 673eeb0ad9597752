"""Search on rewards whose optimum is known, and the account that no method can overdraw."""

import pytest
import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.schedules.flow import UniformEulerFlow
from hypernoise_pl.search.account import BudgetExceeded
from hypernoise_pl.search.dno import DNO
from hypernoise_pl.search.evolution import Evolution
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from hypernoise_pl.search.zero_order import ZeroOrder, neighbours
from hypernoise_pl.types import Conditioning
from tests.search.toy import RefinedBy


class Identity(Generator):
    """A generator whose image is a smooth picture of its noise; it counts its own calls."""

    last_layer = ""
    name = "identity"
    schedule = UniformEulerFlow()

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Identity()
        self.noise_shape = (3, 4, 4)
        self.evaluations = 0

    def _encode(self, prompts: list[str]) -> Conditioning:
        return Conditioning(torch.tensor([[[float(len(prompt))]] for prompt in prompts]))

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        return noise

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, t: float) -> Tensor:
        return state + 0.1 * conditioning.embeddings[..., None]

    def _latents(self, network, noise, conditioning, steps, seeds) -> Tensor:  # type: ignore[no-untyped-def]
        self.evaluations += steps * len(noise)
        return noise + 0.1 * conditioning.embeddings[..., None]

    def _decode(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(latents)


def brightness(images: Tensor, prompts: list[str]) -> Tensor:
    """Best at a sigmoid of 0.7 in every pixel."""
    return -(images - 0.7).square().flatten(1).mean(1)


PROMPTS = ["a", "bb", "ccc"]


def problem(budget: int, chunk: int = 256, steps: int = 1) -> NoiseProblem:
    start = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return NoiseProblem(Identity(), brightness, PROMPTS, start, budget, seed=1, steps=steps, chunk=chunk)


@pytest.mark.parametrize("search", [RandomSearch(13), ReNO(13, lr=5.0), ZeroOrder(6, 2), Evolution(3, 4)])
def test_improves_and_pays_exactly_what_it_says(search):
    task = problem(search.budget())
    base = brightness(task.generator.generate(task.start, task.conditioning), PROMPTS)
    search.run(task)
    assert (task.best.scores >= base).all() and (task.best.scores > base).any()
    assert task.account.nfe == search.budget() == 13
    assert task.generator.evaluations == 3 + 13 * 3
    again = brightness(task.generator.generate(task.best.noise, task.conditioning), PROMPTS)
    torch.testing.assert_close(again, task.best.scores)
    torch.testing.assert_close(brightness(task.best.images, PROMPTS), task.best.scores)


@pytest.mark.parametrize("search", [RandomSearch(9), ReNO(5), ZeroOrder(4, 3), Evolution(3, 4)])
def test_chunk_size_changes_nothing(search):
    found = []
    for chunk in (1, 4, 256):
        task = problem(search.budget(), chunk)
        search.run(task)
        found.append(task.best.noise)
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1], found[2], rtol=0, atol=1e-6)


def test_nothing_is_spent_beyond_the_budget():
    task = problem(budget=5)
    with pytest.raises(BudgetExceeded, match="6 candidates of 1 NFE do not fit: 0 of 5"):
        RandomSearch(6).run(task)
    assert task.account.nfe == 0 and task.generator.evaluations == 0
    ReNO(50).run(task)
    assert task.account.nfe == task.account.nfe_backward == 5


def test_steps_are_paid_for():
    task = problem(budget=8, steps=4)
    RandomSearch(2).run(task)
    assert task.account.nfe == 8 and task.account.decodes == 2


def test_the_first_candidate_is_the_start_noise():
    task = problem(budget=8)
    first, second = task.draw(2), task.draw(2)
    assert torch.equal(first.noise[:, 0], task.start)
    assert not torch.equal(second.noise[:, 0], task.start)


def test_reno_equals_one_prompt_at_a_time_with_torch_clipping():
    """The vectorised climb is the reference's: one prompt, SGD with Nesterov, clip_grad_norm_, norm penalty."""
    together = problem(budget=10)
    ReNO(10, lr=5.0, momentum=0.9, max_grad_norm=0.1, penalty=0.01).run(together)
    for row, prompt in enumerate(PROMPTS):
        generator = Identity()
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


def check_gradient(task: NoiseProblem) -> None:
    """A problem's gradient at its start noise, in float64, against finite differences."""
    start = task.draw(1)
    noise = start.noise.double()
    _, gradient = task.score_and_grad(start.moved(noise))
    direction = torch.randn(noise.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    up, _ = task.score_and_grad(start.moved(noise + 1e-5 * direction))
    down, _ = task.score_and_grad(start.moved(noise - 1e-5 * direction))
    torch.testing.assert_close((gradient * direction).flatten(2).sum(2), (up - down) / 2e-5, rtol=1e-5, atol=1e-7)


def test_gradient_against_finite_differences():
    task = problem(budget=100)
    check_gradient(task)


def test_neighbours_have_the_pivots_norm_and_the_angle_asked_for():
    task = problem(budget=1)
    found = neighbours(task.start, task.streams.directions(5), 0.95)
    flat, pivot = found.flatten(2), task.start.flatten(1)[:, None]
    torch.testing.assert_close(flat.norm(dim=-1), pivot.norm(dim=-1).expand(-1, 5))
    torch.testing.assert_close(torch.cosine_similarity(flat, pivot, dim=-1), torch.full((3, 5), 0.95))


@pytest.mark.parametrize("search", [ZeroOrder(6, 2), Evolution(3, 4)])
def test_local_search_keeps_the_norm(search):
    task = problem(search.budget())
    search.run(task)
    torch.testing.assert_close(task.best.noise.flatten(1).norm(dim=1), task.start.flatten(1).norm(dim=1))


@pytest.mark.parametrize("search", [ZeroOrder(500, 4), Evolution(60, 20)])
def test_local_search_climbs_higher_than_chance(search):
    chance = problem(RandomSearch(1000).budget())
    RandomSearch(1000).run(chance)
    task = problem(search.budget())
    search.run(task)
    assert (task.best.scores > chance.best.scores).all()


def test_a_small_budget_ends_the_walk():
    task = problem(budget=6)
    ZeroOrder(50, 2).run(task)
    assert task.account.nfe == 5  # a whole move more would not fit
    task = problem(budget=6)
    Evolution(50, 3).run(task)
    assert task.account.nfe == 4


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"neighbours": 0}, {"cosine": 1.0}])
def test_a_walk_needs_sense(wrong):
    with pytest.raises(ValueError, match="zero-order search needs"):
        ZeroOrder(**wrong)
    with pytest.raises(ValueError, match="evolution needs"):
        Evolution(population=1)


SEARCHES = [RandomSearch(), ReNO(), ZeroOrder(neighbours=3), Evolution(population=4)]


def go_halfway(noise: Tensor, conditioning: Conditioning) -> Tensor:
    """A hypernetwork's stand-in that knows the best noise of every prompt and goes half the way."""
    best = torch.logit(torch.tensor(0.7)) - 0.1 * conditioning.embeddings[..., None]
    return noise + 0.5 * (best - noise)


halfway = RefinedBy(go_halfway)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
@pytest.mark.parametrize("drawing", [0, 1])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_method_is_sized_to_a_budget_and_no_move_more_would_fit(search, drawing, steps):
    for budget in (40, 41, 57):
        sized = search.within(budget, steps, drawing)
        wanted = sized.budget(steps, drawing)
        assert wanted <= budget
        start = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        adapter = halfway if drawing else None
        task = NoiseProblem(Identity(), brightness, PROMPTS, start, wanted, steps=steps, adapter=adapter)
        sized.run(task)
        assert task.account.nfe == wanted
    with pytest.raises(ValueError, match="needs a budget of"):
        search.within(0, steps, drawing)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: type(search).__name__)
def test_every_method_gains_from_refined_noise_at_equal_cost(search):
    found = {}
    for adapter in (None, halfway):
        sized = search.within(14, 1, drawing=int(adapter is not None))
        start = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        task = NoiseProblem(Identity(), brightness, PROMPTS, start, 14, seed=1, adapter=adapter)
        sized.run(task)
        found[adapter] = task.best.scores
    assert (found[halfway] > found[None]).all()


def test_refining_is_paid_and_chunks_change_nothing():
    start = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    drawn = []
    for chunk in (1, 4, 256):
        task = NoiseProblem(Identity(), brightness, PROMPTS, start, 6, seed=1, chunk=chunk, adapter=halfway)
        drawn.append(task.draw(5).noise)
        assert task.account.nfe == 5 and task.account.decodes == task.generator.evaluations == 0
    assert torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1], drawn[2])
    torch.testing.assert_close(drawn[2][:, 0], halfway.refine(start, task.conditioning))
    with pytest.raises(BudgetExceeded, match="refining 2 noises of 1 NFE do not fit: 5 of 6 NFE are spent"):
        task.draw(2)


def written(images: Tensor, prompts: list[str]) -> Tensor:
    return brightness(images.zero_(), prompts)


@pytest.mark.parametrize(
    ("scorer", "told"),
    [
        (lambda images, prompts: [0.0] * len(images), "must give a tensor of 6 scores for as many images, got a list"),
        (lambda images, prompts: images.mean(), r"must give a tensor of 6 scores .* got shape \[\]"),
        (lambda images, prompts: images[:1].flatten(1).mean(1), r"must give a tensor of 6 scores .* got shape \[1\]"),
        (written, "the scorer writes into the images that it is given"),
    ],
)
def test_a_scorer_that_gives_something_else_is_one_clear_line(scorer, told):
    task = problem(10)
    task.scorer = scorer
    with pytest.raises(ValueError, match=told):
        task.score(task.draw(2))


@pytest.mark.parametrize(
    "scorer",
    [
        lambda images, prompts: brightness(images.detach(), prompts),
        lambda images, prompts: torch.ones(len(images), requires_grad=True),
    ],
)
def test_scores_without_a_gradient_are_one_clear_line(scorer):
    task = problem(10)
    task.scorer = scorer
    with pytest.raises(ValueError, match=r"^the scores have no gradient at the noise"):
        ReNO(2).run(task)


@pytest.mark.parametrize("search", [ReNO(5, lr=5.0), DNO(5)])
def test_a_prompt_whose_scores_are_missing_leaves_the_others_alone(search):
    def missing(images: Tensor, prompts: list[str]) -> Tensor:
        return brightness(images, prompts) * torch.tensor([torch.nan if prompt == "bb" else 1.0 for prompt in prompts])

    task, alone = problem(5), problem(5)
    task.scorer = missing
    search.run(task)
    search.run(alone)
    found, wanted = task.answer(), alone.answer()
    assert torch.equal(found.images[::2], wanted.images[::2]) and found.images.isfinite().all()
    assert torch.equal(found.noise[1], task.start[1]) and task.account.missing == 5


def test_a_start_noise_with_a_graph_is_a_start_noise():
    for search in (ReNO(3, lr=5.0), DNO(3), Evolution(2, 3)):
        tasks = problem(10), problem(10)
        start = tasks[0].start
        graph = NoiseProblem(Identity(), brightness, PROMPTS, start.clone().requires_grad_(), 10, seed=1)
        for task in (tasks[0], graph):
            search.run(task)
        assert torch.equal(graph.answer().noise, tasks[0].answer().noise) and not graph.answer().images.requires_grad


def test_numbers_and_prompts_that_cannot_be_are_one_clear_line():
    with pytest.raises(ValueError, match=r"random search needs a candidate, got RandomSearch.candidates=0."):
        RandomSearch(0)
    with pytest.raises(ValueError, match="ReNO needs an iteration and a momentum"):
        ReNO(0)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        problem(5, chunk=0)
    with pytest.raises(ValueError, match=r"encode needs a list of prompts, got one text; write .'ab'."):
        NoiseProblem(Identity(), brightness, "ab", torch.zeros(2, 3, 4, 4), 5)
