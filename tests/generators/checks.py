"""What every backend must do, said once; each takes a generator, or what makes one, on tiny random weights."""

import itertools
import math
from collections.abc import Callable

import torch

from hypernoise_pl.generators.base import Generator, SteppedGenerator
from hypernoise_pl.hypernetwork import LoraOptions, NoiseHypernetwork
from hypernoise_pl.search.paths import SearchOverPaths
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.steering import Steering
from tests.tiny import Brightness, randomise


def noise_for(generator: Generator, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, *generator.noise_shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def gradient_of(generator: Generator, prompts: list[str], steps: int) -> torch.Tensor:
    """d(sum of squares of the pixels)/d(noise)."""
    noise = noise_for(generator, next(generator.network.parameters()).dtype).requires_grad_()
    value = generator.generate(noise, generator.encode(prompts), steps, seeds=[3, 4]).square().sum()
    return torch.autograd.grad(value, noise)[0]


def check_gradient(generator: Generator, prompts: list[str], steps: int, step: float = 1e-3) -> None:
    """Against differences along the gradient, where they are largest; in double precision if the generator is."""
    noise = noise_for(generator, next(generator.network.parameters()).dtype)
    conditioning = generator.encode(prompts)
    gradient = gradient_of(generator, prompts, steps)
    direction = gradient / gradient.norm()
    ahead, behind = (
        generator.generate(noise + sign * step * direction, conditioning, steps, seeds=[3, 4]).square().sum()
        for sign in (1, -1)
    )
    assert gradient.norm() > 0.1
    torch.testing.assert_close(gradient.norm(), (ahead - behind) / (2 * step), rtol=1e-2, atol=0)


def check_checkpointing(make: Callable[[], Generator], prompts: list[str], steps: int) -> None:
    plain, saving = make(), make()
    saving.checkpoint_activations()
    torch.testing.assert_close(gradient_of(saving, prompts, steps), gradient_of(plain, prompts, steps))


def check_hypernetwork(generator: Generator, prompts: list[str], steps: int = 1) -> None:
    """It is zero at first, is not once its weights are not, and every weight that can move learns."""
    noise, conditioning = noise_for(generator), generator.encode(prompts)
    hypernetwork = NoiseHypernetwork(generator, LoraOptions(rank=2, alpha=4.0))
    assert torch.equal(hypernetwork(noise, conditioning), torch.zeros_like(noise))
    randomise(hypernetwork)
    residual = hypernetwork(noise, conditioning)
    assert residual.shape == noise.shape
    assert residual.abs().max() > 0
    images = generator.generate(noise + residual, conditioning, steps, seeds=[3, 4])
    images.square().sum().backward()
    gradients = {name: p.grad for name, p in hypernetwork.named_parameters() if p.requires_grad}
    last = [g for name, g in gradients.items() if generator.last_layer in name]
    assert len(last) == 2
    for gradient in last:
        assert gradient is not None and gradient.norm() > 0
    moving = [g for g in gradients.values() if g is not None and g.norm() > 0]
    assert len(moving) > len(gradients) / 2
    assert all(bool(g.isfinite().all()) for g in moving)


def check_levels(generator: SteppedGenerator, prompts: list[str]) -> None:
    """Levels fall to 0, and a state on the way is mixed of what ``mix`` and ``renoise`` say."""
    for steps in (1, 4):
        levels = generator.levels(steps)
        assert len(levels) == steps + 1 and levels[-1] == 0
        assert all(low < high <= 1 for high, low in itertools.pairwise(levels))
    clean, noise, more = (torch.randn(2, *generator.noise_shape) for _ in range(3))
    torch.testing.assert_close(generator.mix(clean, noise, 0.0), clean)
    torch.testing.assert_close(generator.mix(clean, noise, 1.0), noise)
    signal, spread = (generator.mix(clean * on, noise * (1 - on), 0.3) for on in (1, 0))
    higher = generator.renoise(signal + spread, 0.3, 0.6, more)
    wanted = generator.mix(clean, torch.zeros_like(noise), 0.6)
    kept = (wanted / signal).median()
    beta = float((generator.mix(torch.zeros_like(clean), noise, 0.6) / noise).median())
    added = math.sqrt(beta**2 - float(kept * (spread / noise).median()) ** 2)
    torch.testing.assert_close(higher, wanted + kept * spread + added * more, rtol=1e-4, atol=1e-4)
    seen = generator.denoise(generator.mix(clean, noise, 0.5), 0.5, generator.encode(prompts))
    assert seen.shape == clean.shape and bool(seen.isfinite().all())


def check_walks(generator: SteppedGenerator, prompts: list[str]) -> None:
    """Searches that act on the way from noise to image run over it, and keep the best they saw."""
    start = noise_for(generator)
    for search in (SearchOverPaths(1, 2, start=0.6), Steering(2)):
        problem = NoiseProblem(generator, Brightness(), prompts, start, search.budget(4), 1, 4)
        search.run(problem)
        assert problem.account.nfe == search.budget(4)
        seen = Brightness()(problem.best.images, prompts)
        torch.testing.assert_close(seen, problem.best.scores.flatten(), rtol=1e-4, atol=1e-5)
        assert bool(problem.best.images.isfinite().all())
