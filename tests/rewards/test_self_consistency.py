"""The self-supervised verifier, by hand and in searches: same score in any chunk, every evaluation counted."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.rewards.features import ImageFeatures, VisionFeatures
from hypernoise_pl.rewards.latent.self_consistency import SelfConsistency
from hypernoise_pl.search.account import BudgetExceeded
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from tests import tiny, vision
from tests.search_methods import every_method, with_endpoint
from tests.toy_adapter import RefinedBy, go_halfway
from tests.toy_generator import PROMPTS, ToyGenerator, start_noise


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> ImageFeatures:
    return VisionFeatures(str(vision.dinov2(tmp_path_factory.mktemp("dinov2"))))


@pytest.fixture(scope="module")
def generator(sana_folder: Path) -> SanaSprint:
    return tiny.sana(sana_folder)


class CountingGenerator(ToyGenerator):
    """Counts the images that it decodes."""

    def __init__(self) -> None:
        super().__init__(shrink=0.5)
        self.decoded = 0

    def _decode(self, latents: Tensor) -> Tensor:
        self.decoded += len(latents)
        return super()._decode(latents)


def problem(scorer: SelfConsistency, budget: int, steps: int = 4, chunk: int = 256, **options) -> NoiseProblem:
    return NoiseProblem(CountingGenerator(), scorer, PROMPTS, start_noise(), budget, 1, steps, chunk, **options)


def by_hand(generator: SanaSprint, features: ImageFeatures, latents: Tensor, network=None) -> Tensor:
    """Of the real generator: TrigFlow at the time whose tangent is 0.4 / 0.6."""
    conditioning, time = generator.encode(PROMPTS), math.atan2(0.4, 0.6)
    noise = gaussian(generator.noise_shape, [seed_of(0, 400_000)])
    noised = math.cos(time) * latents + math.sin(time) * noise
    with torch.no_grad():
        images = [generator.decode(generator.denoise(noised, 0.4, conditioning, network)), generator.decode(latents)]
        seen = [features.encoder(pixel_values=features.preprocess(x)).pooler_output for x in images]
    return (F.normalize(seen[0]) * F.normalize(seen[1])).sum(1)


def test_score_by_hand_and_by_the_network_that_made_the_sample(generator: SanaSprint, features: ImageFeatures) -> None:
    adapted = GeneratorLora(generator, LoraOptions(4))
    tiny.randomise(adapted)
    noise = gaussian(generator.noise_shape, [1, 2, 3])
    found = {}
    for name, adapter in (("own", None), ("adapted", adapted)):
        task = NoiseProblem(generator, SelfConsistency(features), PROMPTS, noise, 2, adapter=adapter)
        RandomSearch(1).run(task)
        found[name] = task.answer().scores
        torch.testing.assert_close(
            found[name], by_hand(generator, features, task.best.latents, adapter and adapter.view)
        )
        assert task.account.nfe == 2
    assert found["own"].std() > 1e-4 and (found["own"] - found["adapted"]).abs().max() > 1e-4
    crossed = by_hand(generator, features, task.best.latents)  # the adapted network's samples, the other network's eye
    assert (crossed - found["adapted"]).abs().max() > 1e-5


def test_in_a_search_with_the_real_generator_chunks_change_nothing(
    generator: SanaSprint, features: ImageFeatures
) -> None:
    noise, found = gaussian(generator.noise_shape, [1, 2, 3]), []
    for chunk in (1, 4, 256):
        task = NoiseProblem(generator, SelfConsistency(features), PROMPTS, noise, 12, chunk=chunk)
        RandomSearch(6).run(task)
        found.append(task.answer())
        assert (task.account.nfe, task.account.verified, task.account.decodes) == (12, 6, 13)
    for other in found[:2]:
        assert torch.equal(other.noise, found[2].noise)
        torch.testing.assert_close(other.scores, found[2].scores, rtol=0, atol=1e-5)


@every_method
@pytest.mark.parametrize("nfe_per_draw", [0, 1])
def test_every_method_is_sized_with_what_verifying_costs_and_pays_exactly_that(
    search,
    nfe_per_draw: int,
    features: ImageFeatures,
    lengthening_url: str,
) -> None:
    search = with_endpoint(search, lengthening_url)
    scorer, adapter = SelfConsistency(features), RefinedBy(go_halfway)
    for budget in (search.nfe(4, nfe_per_draw, 1), 62, 71):
        sized = search.fit_to(budget, 4, nfe_per_draw, 1)
        wanted = sized.nfe(4, nfe_per_draw, 1)
        assert wanted <= budget
        task = problem(scorer, wanted, adapter=adapter if nfe_per_draw else None)
        adapter.refined = 0
        sized.run(task)
        task.answer()
        assert bool(adapter.refined) == bool(nfe_per_draw)
        assert task.account.nfe == wanted == (task.generator.evaluations + adapter.refined) / 3
        assert task.account.decodes == task.generator.decoded / 3 == 2 * task.account.verified + 1
        assert task.account.nfe_backward == (wanted - nfe_per_draw if search.needs_gradient else 0)
    shortest = search.min_nfe(4, nfe_per_draw, 1)
    assert search.fit_to(shortest, 4, nfe_per_draw, 1).nfe(4, nfe_per_draw, 1) <= shortest
    with pytest.raises(ValueError, match="needs a budget of"):
        search.fit_to(shortest - 1, 4, nfe_per_draw, 1)


def test_a_search_sized_without_it_does_not_overdraw(features: ImageFeatures) -> None:
    task = problem(SelfConsistency(features), RandomSearch(5).nfe(4))
    with pytest.raises(BudgetExceeded, match="5 NFE do not fit: 0 of 20"):
        RandomSearch(5).run(task)
    assert task.generator.evaluations == task.generator.decoded == 0


@every_method
def test_chunk_size_changes_nothing(search, features: ImageFeatures, lengthening_url: str) -> None:
    search = with_endpoint(search, lengthening_url)
    steps, found = 4, []
    for chunk in (1, 4, 256):
        task = problem(SelfConsistency(features), search.nfe(steps, 0, 1), steps, chunk)
        search.run(task)
        found.append(task.answer().latents)
    for other in found[:2]:  # the features are in float32, whose rounding four gradient steps enlarge: 2e-4 seen
        torch.testing.assert_close(other, found[2], rtol=0, atol=2e-3)


def test_gradient_against_finite_differences(features: ImageFeatures) -> None:
    task = problem(SelfConsistency(features, level=0.7), 1000, steps=1)
    start = task.draw(1)
    _, gradient = task.score_and_grad(start)
    slope = gradient.flatten(1).norm(dim=1)
    direction = gradient / slope[:, None, None, None, None]
    up, down = (task.score_and_grad(start.moved(start.noise + sign * 0.05 * direction))[0][:, 0] for sign in (1, -1))
    assert slope.min() > 1e-3
    torch.testing.assert_close((up - down) / 0.1, slope, rtol=0.02, atol=0)  # the features are in float32
    assert task.account.nfe == task.account.nfe_backward == 6


def test_an_unsuitable_generator_is_rejected_before_any_cost(features: ImageFeatures) -> None:
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"level must be in \(0, 1\)"):
            SelfConsistency(features, level)
