"""Search between the generator's steps: over paths, and by steering."""

import itertools

import pytest
import torch

from hypernoise_pl.search.paths import SearchOverPaths
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.steering import Steering
from tests.toy_generator import PROMPTS, ToyGenerator, brightness, start_noise


def test_noising_a_state_further_gives_the_distribution_of_the_higher_time():
    generator, clean = ToyGenerator(shrink=0.5), torch.full((4000, 3, 4, 4), 0.5)
    noise, more = torch.randn(2, *clean.shape, generator=torch.Generator().manual_seed(0))
    state = generator.renoise(generator.add_noise(clean, noise, 0.3), 0.3, 0.6, more)
    assert state.mean().item() == pytest.approx(0.4 * 0.5, abs=0.01)
    assert state.std().item() == pytest.approx(0.6, abs=0.01)
    with pytest.raises(ValueError, match="renoise goes to a higher time"):
        generator.renoise(clean, 0.6, 0.3, noise)


def test_steps_by_hand_give_the_images_of_generate():
    generator, start = ToyGenerator(shrink=0.5), start_noise()
    conditioning = generator.encode(PROMPTS)
    fresh = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    state = start
    for t, next_t in itertools.pairwise(generator.time_grid(4)):
        clean = generator.denoise(state, t, conditioning)
        state = generator.add_noise(clean, torch.stack([torch.randn(3, 4, 4, generator=g) for g in fresh]), next_t)
    images = generator.generate(start, conditioning, 4, seeds=[1, 2, 3])
    torch.testing.assert_close(generator.decode(clean), images)


def test_a_single_step_is_refused_in_one_line():
    with pytest.raises(ValueError, match="steering acts between steps"):
        Steering(4).run(NoiseProblem(ToyGenerator(), brightness, PROMPTS, start_noise(), 4))


@pytest.mark.parametrize("impossible", [lambda: Steering(1), lambda: SearchOverPaths(up=0.6)])
def test_impossible_options_are_refused(impossible):
    with pytest.raises(ValueError, match="needs"):
        impossible()
