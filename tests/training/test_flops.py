"""Operations against hand counts and PyTorch's own counter, with frozen weights and with recomputed activations."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from hypernoise_pl.training.flops import CountFlops, peak_flops
from tests.tiny import PROMPTS, module

ROWS, IN, OUT = 5, 7, 11
PRODUCT = 2 * ROWS * IN * OUT


@pytest.mark.parametrize(
    ("trained", "followed", "expected"),
    [
        (True, True, 3 * PRODUCT),  # forward, dL/dx, dL/dW
        (False, True, 2 * PRODUCT),  # a frozen weight has no gradient
        (True, False, 2 * PRODUCT),
    ],
)
def test_linear_layer_matches_a_hand_count(trained, followed, expected):
    layer = nn.Linear(IN, OUT).requires_grad_(trained)
    with CountFlops() as count:
        layer(torch.randn(ROWS, IN, requires_grad=followed)).sum().backward()
    assert count.total == expected
    with CountFlops() as count, torch.no_grad():
        layer(torch.randn(ROWS, IN))
    assert count.total == PRODUCT
    with CountFlops() as count, torch.inference_mode():
        layer(torch.randn(ROWS, IN))
    assert count.total == PRODUCT


def test_convolution_and_attention_match_a_hand_count():
    layer = nn.Conv2d(3, 4, 3, padding=1)
    with CountFlops() as count:
        layer(torch.randn(2, 3, 8, 8, requires_grad=True)).sum().backward()
    assert count.total == 3 * 2 * (2 * 4 * 8 * 8) * (3 * 3 * 3)
    query, key, value = (torch.randn(2, 3, length, 8, requires_grad=True) for length in (5, 6, 6))
    with CountFlops() as count:
        found = nn.functional.scaled_dot_product_attention(query, key, value)
    product = 2 * 2 * 3 * 5 * 6 * 8
    assert count.total == 2 * product
    with CountFlops() as count:
        found.sum().backward()
    assert count.total == 5 * product  # the weights again, and two gradients of each product


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_activations_are_not_counted(reentrant):
    layers = nn.Sequential(nn.Linear(IN, IN), nn.GELU(), nn.Linear(IN, IN))
    with CountFlops() as plain:
        layers(torch.randn(ROWS, IN, requires_grad=True)).sum().backward()
    with CountFlops() as count, FlopCounterMode(display=False) as all_of_it:
        checkpoint(layers, torch.randn(ROWS, IN, requires_grad=True), use_reentrant=reentrant).sum().backward()
    forward = 2 * 2 * ROWS * IN * IN
    assert count.total == plain.total == 3 * forward
    assert all_of_it.get_total_flops() >= 3 * forward + forward / 2  # what is not needed may be left out


@pytest.mark.parametrize("options", [{}, {"checkpoint_activations": True}])
def test_training_step_count_equals_pytorchs_and_leaves_the_step_unchanged(sana_folder, options):
    def step(counting) -> tuple[int, dict[str, torch.Tensor]]:
        method = module(sana_folder, **options)
        noise = torch.randn(3, *method.generator.noise_shape, generator=torch.Generator().manual_seed(0))
        with sdpa_kernel(SDPBackend.MATH), counting as count:  # PyTorch counts no attention of CPUs but this
            loss, _ = method.loss(method(PROMPTS, noise))
            loss.backward()
        total = count.total if isinstance(count, CountFlops) else count.get_total_flops()
        return total, {name: weight.grad for name, weight in method.trainable().items()}

    total, gradients = step(CountFlops())
    expected, others = step(FlopCounterMode(display=False))
    assert total == expected if not options else 0 < total < expected
    if options:
        options.clear()
        assert total == step(CountFlops())[0]
    assert gradients.keys() == others.keys() and all(torch.equal(gradients[name], others[name]) for name in gradients)


def test_peak_flops_match_the_complete_gpu_name():
    known = {
        "NVIDIA H100 80GB HBM3": 989.4,
        "NVIDIA H100 PCIe": 756.0,
        "NVIDIA H200": 989.4,
        "NVIDIA A100-SXM4-80GB": 312.0,
        "NVIDIA L40S": 362.0,
        "NVIDIA L4": 121.0,
        "NVIDIA GeForce RTX 4090": 165.2,
        "NVIDIA GeForce RTX 3090 Ti": 80.0,
        "NVIDIA A10": 125.0,
    }
    assert {name: peak_flops(name) / 1e12 for name in known} == pytest.approx(known)
    unknown = ["NVIDIA H20", "NVIDIA A10G", "NVIDIA RTX A4000", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "Tesla T4"]
    unknown += ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D"]
    assert [peak_flops(name) for name in unknown] == [None] * len(unknown)
