"""The measured KL and the Lipschitz constant against exact Jacobians."""

import pytest
import torch
from torch import Tensor, nn

from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.metrics.kl import lipschitz, measured_kl
from tests.tiny import module, randomise


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def network(scale: float, d: int = 6) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(d, 16), nn.Tanh(), nn.Linear(16, d)).double()
    layers[2].weight.data *= scale
    return layers


def exact(f: nn.Module, x: Tensor) -> dict[str, Tensor]:
    jacobians = torch.stack([torch.autograd.functional.jacobian(f, row) for row in x])
    half_square = 0.5 * f(x).detach().square().sum(1)
    trace = jacobians.diagonal(dim1=1, dim2=2).sum(1)
    log_det = torch.linalg.slogdet(torch.eye(x.shape[1]).double() + jacobians).logabsdet
    norm = torch.linalg.matrix_norm(jacobians, 2)
    return {
        "half_square": half_square,
        "trace": trace,
        "log_det": log_det,
        "kl": half_square + trace - log_det,
        "lipschitz": norm,
    }


TERMS = ["half_square", "trace", "log_det", "kl"]


@pytest.mark.parametrize("scale", [0.0, 1.5, 10.0])
def test_measured_kl_is_that_of_the_exact_jacobian_contraction_or_not(scale):
    f, x = network(scale), draw(4, 6).double()
    truth = exact(f, x)
    if scale == 1.5:
        assert (truth["lipschitz"] < 1).all() and (truth["trace"] - truth["log_det"]).abs().min() > 0.05
    if scale == 10.0:
        assert (truth["lipschitz"] > 2).all()
    written_out = measured_kl(f, x, probes=6)
    many = measured_kl(f, x.repeat(4000, 1), probes=5, order=6)  # 20,000 probes a row
    for name in TERMS:
        torch.testing.assert_close(written_out[name], truth[name])
        mean = many[name].view(4000, 4).mean(0)
        torch.testing.assert_close(mean, truth[name], rtol=0, atol=0.02 * max(scale, 1.0))


def test_a_few_lanczos_steps_are_enough_in_many_dimensions():
    f, x = network(3.0, d=40), draw(2, 40).double()
    assert (exact(f, x)["lipschitz"] > 2).all()
    log_det = {order: measured_kl(f, x, probes=8, order=order)["log_det"] for order in (1, 16, 40)}
    assert (log_det[1] - log_det[40]).abs().min() > 3
    assert (log_det[16] - log_det[40]).abs().max() < 0.05


def test_the_kl_is_less_noisy_than_its_parts():
    f, x = network(1.0, d=40), draw(1, 40).double().repeat(200, 1)
    found = measured_kl(f, x, probes=1, order=16)
    assert found["kl"].std() < 0.7 * found["log_det"].std()


@pytest.mark.parametrize("scale", [0.0, 0.5, 5.0])
def test_lipschitz_is_the_norm_of_the_jacobian_and_never_above_it(scale):
    f, x = network(scale), draw(4, 6).double()
    truth, found = exact(f, x)["lipschitz"], lipschitz(f, x, iterations=30)
    torch.testing.assert_close(found, truth, rtol=1e-2, atol=1e-9)
    assert (found <= truth * (1 + 1e-9)).all()
    assert (lipschitz(f, x, iterations=1) <= truth * (1 + 1e-9)).all()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_measured_on_the_hypernetwork_itself(sana_folder, checkpointing):
    method = module(sana_folder, lora=LoraOptions(4, 8.0), checkpoint_activations=checkpointing)
    conditioning = method.generator.encode(["a ring"])
    noise = draw(1, *method.generator.noise_shape)

    def residual(x: Tensor) -> Tensor:
        return method.adapter(x, conditioning)

    for figure in measured_kl(residual, noise, 1, 2).values():  # f = 0 at the start
        torch.testing.assert_close(figure, torch.zeros(1), rtol=0, atol=1e-4)
    randomise(method.adapter)
    with torch.inference_mode():
        found, norm = measured_kl(residual, noise, probes=6, order=8), lipschitz(residual, noise)
    jacobian = torch.autograd.functional.jacobian(residual, noise).reshape(noise.numel(), noise.numel())
    truth = {
        "trace": jacobian.trace(),
        "log_det": torch.linalg.slogdet(torch.eye(len(jacobian)) + jacobian).logabsdet,
        "half_square": 0.5 * residual(noise).square().sum(),
    }
    spread = (jacobian + jacobian.T).fill_diagonal_(0).norm() / (2 * 6) ** 0.5  # of the trace over draws of probes
    for name, value in truth.items():
        assert (found[name] - value).abs() < 4 * spread, name
    largest = torch.linalg.matrix_norm(jacobian, 2)
    assert 0.5 * largest < norm < 1.001 * largest
    assert all(parameter.grad is None for parameter in method.parameters())
