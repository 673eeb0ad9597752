"""The promises of every adapter on the tiny SANA-Sprint; the package itself says which adapters there are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from torch import Tensor

import hypernoise_pl.hypernetwork
import hypernoise_pl.lora
from hypernoise_pl.adapters.files import load_adapter, load_weights, save_adapter
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions, lora_state
from hypernoise_pl.noise import gaussian
from hypernoise_pl.types import Conditioning
from tests.members import concrete_classes, without_example
from tests.tiny import PROMPTS, randomise, sana

LORA = LoraOptions(rank=4, alpha=8.0)
TEXTS = [prompt.text for prompt in PROMPTS]


@dataclass(frozen=True)
class Example:
    """One adapter.

    Args:
        make: generator -> adapter with fresh weights.
        starts_as_base: whether a fresh adapter gives the base generator's images.
    """

    make: Callable[[Generator], Adapter]
    starts_as_base: bool = True


EXAMPLES = {
    "hypernetwork-residual": Example(partial(NoiseHypernetwork, lora=LORA, mode="residual")),
    "hypernetwork-absolute": Example(partial(NoiseHypernetwork, lora=LORA, mode="absolute"), starts_as_base=False),
    "generator-lora": Example(partial(GeneratorLora, lora=LORA)),
}
every_adapter = pytest.mark.parametrize("make", [example.make for example in EXAMPLES.values()], ids=EXAMPLES)
FROM_BASE = {name: example.make for name, example in EXAMPLES.items() if example.starts_as_base}


@pytest.fixture
def generator(sana_folder: Path) -> SanaSprint:
    return sana(sana_folder)


def trained(make: Callable[[Generator], Adapter], generator: Generator) -> Adapter:
    """An adapter whose weights are not those of the start."""
    adapter = make(generator)
    randomise(adapter)
    return adapter


def inputs(generator: Generator, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Conditioning]:
    return gaussian(generator.noise_shape, [1, 2, 3]).to(dtype), generator.encode(TEXTS)


def adapted_images(generator: Generator, adapter: Adapter, strength: float = 1.0, steps: int = 1) -> Tensor:
    """Images from adapted noise by the adapted network."""
    noise, conditioning = inputs(generator, next(generator.network.parameters()).dtype)
    noise = noise + adapter.residual(noise, conditioning, strength)
    return generator.generate(noise, conditioning, steps, network=adapter.network(strength), seeds=[4, 5, 6])


def base_images(generator: Generator, steps: int = 1) -> Tensor:
    noise, conditioning = inputs(generator)
    return generator.generate(noise, conditioning, steps, seeds=[4, 5, 6])


@contextmanager
def counted_evaluations(*networks: torch.nn.Module) -> Iterator[list[torch.nn.Module]]:
    """The networks that were evaluated, an item an evaluation."""
    evaluated: list[torch.nn.Module] = []
    hooks = [network.register_forward_hook(lambda net, *_: evaluated.append(net)) for network in networks]
    yield evaluated
    for hook in hooks:
        hook.remove()


def test_every_adapter_of_the_package_has_an_example_in_each_of_its_modes(generator):
    adapters = [example.make(generator) for example in EXAMPLES.values()]
    classes = concrete_classes(Adapter, hypernoise_pl.lora, hypernoise_pl.hypernetwork)
    missing = without_example(classes, {type(adapter) for adapter in adapters})
    assert not missing, f"{missing}: add an example to EXAMPLES in {Path(__file__).name}"
    for cls in classes:
        modes = get_args(get_type_hints(cls.__init__).get("mode")) or (None,)
        assert {adapter.mode for adapter in adapters if type(adapter) is cls} == set(modes)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("make", FROM_BASE.values(), ids=FROM_BASE)
def test_a_fresh_adapter_gives_the_images_of_the_base_generator(generator, make, steps):
    with torch.no_grad():
        torch.testing.assert_close(
            adapted_images(generator, make(generator), 1.0, steps), base_images(generator, steps), rtol=0, atol=1e-5
        )


@every_adapter
def test_strength_0_is_the_base_generator_without_an_evaluation_of_the_adapter(generator, make):
    adapter = trained(make, generator)
    with torch.no_grad(), counted_evaluations(adapter.view) as evaluated:
        assert torch.equal(adapted_images(generator, adapter, 0.0), base_images(generator))
        assert adapter.network(0.0) is None and not adapter.residual(*inputs(generator), 0.0).any()
    assert not evaluated


@every_adapter
def test_an_adapter_with_other_weights_changes_the_images(generator, make):
    with torch.no_grad():
        images = adapted_images(generator, trained(make, generator))
    assert (images - base_images(generator)).abs().max() > 1e-3


@every_adapter
def test_the_residual_has_the_shape_of_the_noise_and_is_proportional_to_the_strength(generator, make):
    adapter, (noise, conditioning) = trained(make, generator), inputs(generator)
    with torch.no_grad():
        full, half = (adapter.residual(noise, conditioning, strength) for strength in (1.0, 0.5))
    assert full.shape == noise.shape and full.dtype == noise.dtype
    torch.testing.assert_close(half, 0.5 * full)
    assert adapter.network() in (None, adapter.view)


@pytest.mark.parametrize("steps", [1, 2])
@every_adapter
def test_nfe_is_the_number_of_evaluations_that_the_adapter_adds(generator, make, steps):
    adapter = trained(make, generator)
    with torch.no_grad(), counted_evaluations(generator.network, adapter.view) as evaluated:
        base_images(generator, steps)
        base = len(evaluated)
        adapted_images(generator, adapter, 1.0, steps)
    assert base == steps and len(evaluated) - 2 * base == adapter.nfe


def gradients(generator: Generator, adapter: Adapter) -> dict[str, Tensor]:
    adapted_images(generator, adapter).square().sum().backward()
    return {name: weight.grad for name, weight in lora_state(adapter.view).items()}


@every_adapter
def test_only_lora_weights_get_gradients(generator, make):
    adapter = trained(make, generator)
    gradients(generator, adapter)
    weights = {id(weight) for weight in lora_state(adapter.view).values()}
    assert all(weight.grad is None for weight in generator.parameters())
    for weight in adapter.parameters():
        assert (weight.grad is not None and bool(weight.grad.any())) == (id(weight) in weights)


@every_adapter
def test_gradients_equal_those_of_two_independent_copies(sana_folder, make):
    """In float64; SANA's linear attention works in float32 whatever it is given."""
    generator, apart = sana(sana_folder).double(), sana(sana_folder).double()
    expected = gradients(sana(sana_folder).double(), trained(make, apart))
    shared = gradients(generator, trained(make, generator))
    assert shared.keys() == expected.keys()
    for name, gradient in shared.items():
        scale = expected[name].abs().max().item()
        assert scale > 0
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5 * scale)


@every_adapter
def test_a_saved_and_loaded_adapter_gives_the_same_images_and_settings(generator, sana_folder, tmp_path, make):
    adapter, other = trained(make, generator), sana(sana_folder)
    folder = save_adapter(adapter, tmp_path / "adapter")
    loaded, restored = load_adapter(folder, other), make(other)
    load_weights(restored, folder)
    config = json.loads((folder / "hypernoise.json").read_text())
    for again in (loaded, restored):
        assert type(again) is type(adapter) and again.settings() == adapter.settings()
        assert {key: config[key] for key in again.settings()} == again.settings()
        with torch.no_grad():
            assert torch.equal(adapted_images(other, again), adapted_images(generator, adapter))


@pytest.mark.parametrize(("saved", "other"), itertools.permutations(EXAMPLES, 2))
def test_a_folder_of_another_kind_is_refused_in_one_line(generator, tmp_path, saved, other):
    folder = save_adapter(EXAMPLES[saved].make(generator), tmp_path / "adapter")
    with pytest.raises(ValueError, match=rf"adapter {folder}: .* this configuration has") as error:
        load_weights(EXAMPLES[other].make(generator), folder)
    assert "\n" not in str(error.value)
