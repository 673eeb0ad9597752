"""Two module trees over the same frozen weights: exact in every setting, and zero at the start."""

import copy

import pytest
import torch
from torch import nn

from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions, ZeroBase, assert_tied, lora_state, lora_view, tied_view, trainable
from hypernoise_pl.noise import gaussian
from tests.tiny import PROMPTS, randomise, sana

TEXTS = [prompt.text for prompt in PROMPTS]
OPTIONS = LoraOptions(rank=4, alpha=8.0)


def noise_for(generator, dtype=torch.float32):
    return gaussian(generator.noise_shape, [1, 2, 3]).to(dtype)


def independent_gradients(folder) -> dict[str, torch.Tensor]:
    """The reference: generator and hypernetwork as two separate copies, no sharing, no checkpointing, no compile."""
    generator, other = sana(folder).double(), sana(folder).double()
    hypernetwork = NoiseHypernetwork(other, OPTIONS)
    randomise(hypernetwork)
    return gradients(generator, hypernetwork)


def gradients(generator, hypernetwork) -> dict[str, torch.Tensor]:
    noise, conditioning = noise_for(generator, torch.float64), generator.encode(TEXTS)
    refined = noise + hypernetwork(noise, conditioning)
    generator.generate(refined, conditioning).square().sum().backward()
    return {name: p.grad.clone() for name, p in lora_state(hypernetwork.view).items()}


@pytest.mark.filterwarnings("ignore:.*grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("setting", ["plain", "checkpointing", "reentrant", "compile", "regional_compile"])
def test_gradient_equals_that_of_two_independent_copies(sana_folder, setting):
    expected = independent_gradients(sana_folder)
    generator = sana(sana_folder).double()
    hypernetwork = NoiseHypernetwork(generator, OPTIONS)
    randomise(hypernetwork)
    if setting == "checkpointing":
        generator.checkpoint_activations()
        generator.checkpoint_activations(hypernetwork.view)
    if setting == "reentrant":

        def reentrant(function, *inputs):
            return torch.utils.checkpoint.checkpoint(function, *inputs, use_reentrant=True)

        generator.network.enable_gradient_checkpointing(reentrant)
        hypernetwork.view.enable_gradient_checkpointing(reentrant)
    if setting == "compile":
        generator.network.compile(backend="aot_eager")
        hypernetwork.view.compile(backend="aot_eager")
    if setting == "regional_compile":
        generator.checkpoint_activations()
        generator.checkpoint_activations(hypernetwork.view)
        for view in (generator.network, hypernetwork.view):
            for block in view.transformer_blocks:
                block.compile(backend="aot_eager")
    found = gradients(generator, hypernetwork)
    assert found.keys() == expected.keys()
    assert all(gradient.abs().max() > 0 for gradient in expected.values())
    for name, gradient in found.items():
        # SANA's linear attention works in float32 whatever it is given
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5 * expected[name].abs().max().item())


def test_gradient_against_finite_differences(sana_folder):
    generator = sana(sana_folder).double()
    hypernetwork = NoiseHypernetwork(generator, OPTIONS)
    randomise(hypernetwork)
    gradients(generator, hypernetwork)
    parameters = trainable(hypernetwork.view)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])

    def moved(step: float) -> float:
        with torch.no_grad():
            for p in parameters:
                p.add_(step * p.grad / norm)
            noise, conditioning = noise_for(generator, torch.float64), generator.encode(TEXTS)
            value = generator.generate(noise + hypernetwork(noise, conditioning), conditioning).square().sum().item()
            for p in parameters:
                p.sub_(step * p.grad / norm)
        return value

    assert norm.item() == pytest.approx((moved(1e-4) - moved(-1e-4)) / 2e-4, rel=1e-2)


def test_residual_is_zero_at_the_start_and_not_after_a_step(sana_folder):
    generator = sana(sana_folder)
    hypernetwork = NoiseHypernetwork(generator, OPTIONS)
    noise, conditioning = noise_for(generator), generator.encode(TEXTS)
    assert torch.equal(hypernetwork(noise, conditioning), torch.zeros_like(noise))
    generator.generate(noise + hypernetwork(noise, conditioning), conditioning).mean().backward()
    torch.optim.SGD(trainable(hypernetwork.view), 1e3).step()
    assert hypernetwork(noise, conditioning).abs().max() > 0


def test_replacing_starts_as_the_generators_own_prediction(sana_folder):
    generator = sana(sana_folder)
    hypernetwork = NoiseHypernetwork(generator, OPTIONS, mode="absolute")
    noise, conditioning = noise_for(generator), generator.encode(TEXTS)
    own = generator.predict(generator.network, noise, conditioning)
    torch.testing.assert_close(noise + hypernetwork(noise, conditioning), own)


def test_frozen_weights_are_shared_not_copied(sana_folder):
    generator = sana(sana_folder)
    before = sum(p.numel() for p in generator.parameters())
    view = lora_view(generator.network, OPTIONS)
    assert_tied(generator.network, view)
    frozen = {id(p) for p in view.parameters() if not p.requires_grad}
    assert frozen <= {id(p) for p in generator.network.parameters()}
    assert sum(p.numel() for p in generator.parameters()) == before
    with pytest.raises(RuntimeError, match="no longer shared"):
        assert_tied(generator.network, copy.deepcopy(view))


def test_lora_is_on_every_linear_and_ungrouped_convolution(sana_folder):
    generator = sana(sana_folder)
    wanted = {
        name
        for name, layer in generator.network.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    }
    view = lora_view(generator.network, OPTIONS)
    assert {name.rsplit(".lora_", 1)[0] for name in lora_state(view)} == wanted
    some = lora_view(generator.network, LoraOptions(4, 8.0, targets=["to_q", "proj_out"]))
    assert {name.rsplit(".lora_", 1)[0].rsplit(".", 1)[-1] for name in lora_state(some)} == {"to_q", "proj_out"}


def test_lora_of_a_half_precision_network_is_in_single_precision(sana_folder):
    generator = sana(sana_folder).to(torch.bfloat16)
    hypernetwork = NoiseHypernetwork(generator, OPTIONS)
    assert {p.dtype for p in trainable(hypernetwork.view)} == {torch.float32}
    noise, conditioning = noise_for(generator), generator.encode(TEXTS)
    residual = hypernetwork(noise, conditioning)
    assert residual.dtype == torch.float32
    generator.generate(noise + residual, conditioning).mean().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in trainable(hypernetwork.view))


@pytest.mark.parametrize("layer", [nn.Linear(3, 5), nn.Conv2d(3, 5, 3, 2, 1)])
def test_a_silenced_layer_writes_zeros_of_the_right_shape(layer):
    x = torch.randn(2, 4, 3) if isinstance(layer, nn.Linear) else torch.randn(2, 3, 8, 8)
    silent = ZeroBase(layer)(x)
    assert silent.shape == layer(x).shape
    assert not silent.any()


def test_bad_options_are_one_clear_line(sana_folder):
    generator = sana(sana_folder)
    with pytest.raises(ValueError, match="rank must be at least 1"):
        LoraOptions(rank=0)
    with pytest.raises(ValueError, match="match no linear or convolution layer"):
        lora_view(generator.network, LoraOptions(targets=["nonsense"]))
    with pytest.raises(ValueError, match="'proj_out' must be among the LoRA targets"):
        NoiseHypernetwork(generator, LoraOptions(targets=["to_q"]))


def test_tied_view_computes_the_same(sana_folder):
    generator = sana(sana_folder)
    view = tied_view(generator.network)
    noise, conditioning = noise_for(generator), generator.encode(TEXTS)
    assert torch.equal(
        generator.predict(view, noise, conditioning), generator.predict(generator.network, noise, conditioning)
    )


@pytest.mark.parametrize("init", ["kaiming", "gaussian"])
def test_first_weights_follow_the_law_that_is_asked_for(sana_folder, init):
    torch.manual_seed(0)
    rank, draws = 16, []
    for name, weight in lora_view(sana(sana_folder).network, LoraOptions(rank=rank, init=init)).named_parameters():
        if ".lora_A." in name:
            inputs = weight[0].numel()
            draws.append(weight.detach().flatten() * (rank if init == "gaussian" else (3 * inputs) ** 0.5))
        elif ".lora_B." in name:
            assert not weight.any()
    every = torch.cat(draws)  # of mean 0 and deviation 1
    assert abs(every.mean()) < 5 / len(every) ** 0.5 and every.std().item() == pytest.approx(1, abs=0.05)
    bound = every.abs().max().item()
    assert bound > 3 if init == "gaussian" else bound <= 3**0.5 + 1e-5
