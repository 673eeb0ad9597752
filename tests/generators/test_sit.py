"""SiT against its authors' network and sampler, written here from their description in plain torch."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.generators.dit import SiT
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions, trainable
from tests.families.family import noise_for
from tests.families.transformers import build_dit
from tests.tiny import randomise

WIDTH, HEADS, DEPTH, PATCH, SIDE = 16, 2, 2, 2, 8  # as build_dit's
PROMPTS = ["goldfish", "2"]


def authors_weights() -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(0)

    def linear(name: str, outputs: int, inputs: int) -> dict[str, Tensor]:
        weight = torch.randn(outputs, inputs, generator=draws) / math.sqrt(inputs)
        return {f"{name}.weight": weight, f"{name}.bias": torch.randn(outputs, generator=draws) / 10}

    found = {
        "pos_embed": positions()[None],
        "x_embedder.proj.weight": torch.randn(WIDTH, 4, PATCH, PATCH, generator=draws) / 4,
        "x_embedder.proj.bias": torch.randn(WIDTH, generator=draws) / 10,
        "y_embedder.embedding_table.weight": torch.randn(1001, WIDTH, generator=draws),
        **linear("t_embedder.mlp.0", WIDTH, 256),
        **linear("t_embedder.mlp.2", WIDTH, WIDTH),
        **linear("final_layer.adaLN_modulation.1", 2 * WIDTH, WIDTH),
        **linear("final_layer.linear", PATCH * PATCH * 8, WIDTH),
    }
    for block in range(DEPTH):
        found |= linear(f"blocks.{block}.adaLN_modulation.1", 6 * WIDTH, WIDTH)
        found |= linear(f"blocks.{block}.attn.qkv", 3 * WIDTH, WIDTH)
        found |= linear(f"blocks.{block}.attn.proj", WIDTH, WIDTH)
        found |= linear(f"blocks.{block}.mlp.fc1", 4 * WIDTH, WIDTH)
        found |= linear(f"blocks.{block}.mlp.fc2", WIDTH, 4 * WIDTH)
    return found


def positions() -> Tensor:
    """[T, D]: half of the width for the column, half for the row; sines, then cosines."""
    frequencies = 10000 ** (-torch.arange(WIDTH // 4, dtype=torch.float64) / (WIDTH // 4))
    count = SIDE // PATCH
    columns, rows = torch.arange(count).repeat(count), torch.arange(count).repeat_interleave(count)
    halves = [torch.outer(axis.double(), frequencies) for axis in (columns, rows)]
    return torch.cat([part for half in halves for part in (half.sin(), half.cos())], dim=1).float()


def velocity(weights: dict[str, Tensor], state: Tensor, time: float, classes: Tensor) -> Tensor:
    """The network: velocity from noise to clean latents, [B, 4, H, W]."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return F.layer_norm(x, (WIDTH,), eps=1e-6) * (1 + scale[:, None]) + shift[:, None]

    x = F.conv2d(state, weights["x_embedder.proj.weight"], weights["x_embedder.proj.bias"], stride=PATCH)
    x = x.flatten(2).mT + weights["pos_embed"]
    angles = time * torch.exp(-math.log(10000) * torch.arange(128) / 128)
    embedded = linear("t_embedder.mlp.0", torch.cat([angles.cos(), angles.sin()]))
    told = linear("t_embedder.mlp.2", F.silu(embedded)) + weights["y_embedder.embedding_table.weight"][classes]
    for block in (f"blocks.{number}" for number in range(DEPTH)):
        shift, scale, gate, shift_2, scale_2, gate_2 = linear(f"{block}.adaLN_modulation.1", F.silu(told)).chunk(6, 1)
        query, key, value = (
            part.unflatten(2, (HEADS, -1)).transpose(1, 2)
            for part in linear(f"{block}.attn.qkv", modulated(x, shift, scale)).chunk(3, 2)
        )
        attended = (query @ key.mT / math.sqrt(WIDTH / HEADS)).softmax(-1) @ value
        x = x + gate[:, None] * linear(f"{block}.attn.proj", attended.transpose(1, 2).flatten(2))
        hidden = F.gelu(linear(f"{block}.mlp.fc1", modulated(x, shift_2, scale_2)), approximate="tanh")
        x = x + gate_2[:, None] * linear(f"{block}.mlp.fc2", hidden)
    shift, scale = linear("final_layer.adaLN_modulation.1", F.silu(told)).chunk(2, 1)
    x = linear("final_layer.linear", modulated(x, shift, scale))
    count = SIDE // PATCH
    x = x.unflatten(2, (PATCH, PATCH, 8)).unflatten(1, (count, count)).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(len(state), 8, SIDE, SIDE)[:, :4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    built = tmp_path_factory.mktemp("sit")
    build_dit(built)
    torch.save(authors_weights(), built / "SiT-XL-2-256.pt")
    return built


def sit(folder, **options) -> SiT:
    return SiT(str(folder / "SiT-XL-2-256.pt"), str(folder), **options)


def test_prediction_equals_the_authors_network(folder):
    generator = sit(folder)
    noise = noise_for(generator)
    found = generator.predict(generator.network, noise, generator.encode(PROMPTS))
    torch.testing.assert_close(found, velocity(authors_weights(), noise, 0.0, torch.tensor([1, 2])), rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_latents_equal_eulers_steps_by_hand(folder, steps, guidance):
    """From noise at time 0 to clean at 1, with guidance on three of four channels."""
    generator, weights = sit(folder, guidance_scale=guidance), authors_weights()
    state = noise_for(generator)
    found = generator.latents(state, generator.encode(PROMPTS), steps)
    for step in range(steps):
        asked, unasked = (
            velocity(weights, state, step / steps, torch.tensor(classes)) for classes in ([1, 2], [1000, 1000])
        )
        guided = torch.cat([unasked[:, :3] + guidance * (asked - unasked)[:, :3], asked[:, 3:]], dim=1)
        state = state + (guided if guidance > 1 else asked) / steps
    torch.testing.assert_close(found, state, rtol=1e-4, atol=1e-4)


def test_gradient_against_finite_differences_and_a_hypernetwork_learns(folder):
    generator = sit(folder).double()
    noise, conditioning = noise_for(generator).requires_grad_(), generator.encode(PROMPTS)

    def value(noise: Tensor) -> Tensor:
        return generator.generate(noise, conditioning, 2).square().sum()

    (gradient,) = torch.autograd.grad(value(noise), noise)
    direction, step = gradient / gradient.norm(), 1e-4
    with torch.no_grad():
        finite = (value(noise + step * direction) - value(noise - step * direction)) / (2 * step)
    torch.testing.assert_close(gradient.norm(), finite, rtol=1e-3, atol=0)
    hypernetwork = NoiseHypernetwork(generator, LoraOptions(rank=2, alpha=4.0))
    assert hypernetwork(noise, conditioning).abs().max() == 0
    randomise(hypernetwork)
    value(noise + hypernetwork(noise, conditioning)).backward()
    last = [p.grad for name, p in hypernetwork.named_parameters() if p.requires_grad and "proj_out_2" in name]
    assert trainable(hypernetwork.view) and len(last) == 2
    assert all(gradient is not None and gradient.norm() > 0 for gradient in last)


def test_half_precision_and_another_architecture(folder, tmp_path):
    assert sit(folder, dtype="bfloat16").network.dtype == torch.bfloat16
    assert not any(parameter.requires_grad for parameter in sit(folder).parameters())
    by_folder = SiT(str(folder), str(folder))
    assert torch.equal(by_folder.network.proj_out_2.weight, sit(folder).network.proj_out_2.weight)
    weights = authors_weights()
    for change, line in [
        (
            lambda: weights.pop("blocks.1.mlp.fc2.bias"),
            r"no weights for transformer_blocks.1.ff.net.2.bias \(1 missing",
        ),
        (lambda: weights.update({"blocks.2.mlp.fc2.bias": torch.zeros(16)}), "unexpected key|no weights for"),
        (lambda: weights.update({"z_embedder.bias": torch.zeros(16)}), "unexpected tensor 'z_embedder.bias'"),
    ]:
        change()
        torch.save(weights, tmp_path / "other.pt")
        with pytest.raises(ValueError, match=line):
            SiT(str(tmp_path / "other.pt"), str(folder))
    with pytest.raises(FileNotFoundError, match=r"generator .*nowhere.pt: no such folder"):
        SiT(str(tmp_path / "nowhere.pt"), str(folder))
