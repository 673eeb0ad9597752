"""Compared methods share their fresh noise: a small refinement moves images a little, in every family."""

from functools import partial

import pytest
import torch

from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.rewards.pixels import Brightness
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.types import Prompt
from tests.families import FAMILIES
from tests.families.family import noise_for
from tests.search_methods import EXAMPLES, example_name, least_steps, with_endpoint
from tests.tiny import randomise
from tests.toy_adapter import RefinedBy, nudge

STEPS = (1, 2, 4)


@pytest.fixture(scope="module", params=FAMILIES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def generator(name, pipeline_folder):
    return FAMILIES[name].generator(pipeline_folder(name))


@pytest.mark.parametrize("steps", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_searches_are_paired_with_and_without_a_small_refinement(name, generator, steps, repeating_url):
    """Every search method, sized for two of whatever it tries."""
    for example in EXAMPLES:
        if steps < least_steps(example):
            continue
        search, images = with_endpoint(example.fit_to(2 * example.min_nfe(steps), steps), repeating_url), []
        for adapter in (None, RefinedBy(nudge)):
            budget = search.nfe(steps, int(adapter is not None))
            start = noise_for(generator)
            task = NoiseProblem(
                generator, Brightness(), FAMILIES[name].prompts, start, budget, 1, steps, adapter=adapter
            )
            search.run(task)
            images.append(task.answer().images)
        assert (images[0] - images[1]).abs().max() < 1e-3, example_name(example)


@pytest.mark.parametrize("steps", STEPS)
def test_base_hypernetwork_and_fine_tuned_generator_are_paired(name, generator, steps):
    """By the module and by a search alike: strength 0, a residual of a millionth, and a LoRA that is still zero."""
    prompts = [Prompt(text, index=index) for index, text in enumerate(FAMILIES[name].prompts)]
    options = {"rewards": {"bright": Brightness()}, "reward_weights": {"bright": 1.0}}
    module, tuned = (
        HyperNoiseModule(generator, adapter=partial(cls, lora=LoraOptions(rank=2)), **options)
        for cls in (NoiseHypernetwork, GeneratorLora)
    )
    randomise(module.adapter)
    noise = noise_for(generator)
    with torch.no_grad():
        base = module(prompts, noise, 0.0, steps)
        full = module.adapter.residual(noise, module.conditioning(FAMILIES[name].prompts))
        near = module(prompts, noise, 1e-6 / float(full.abs().max()), steps)
        same = tuned(prompts, noise, 1.0, steps)
    assert 0.5e-6 < near.residual.abs().max() < 2e-6
    assert (base.images - near.images).abs().max() < 1e-3
    assert (base.images - same.images).abs().max() < 1e-4
    task = NoiseProblem(generator, Brightness(), FAMILIES[name].prompts, noise, steps, steps=steps)
    NoSearch().run(task)
    torch.testing.assert_close(task.answer().images, base.images, rtol=0, atol=1e-5)
