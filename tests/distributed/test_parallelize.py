"""Sharded networks of every family: same images and gradients, with at most one block gathered at a time."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from hypernoise_pl.distributed.fsdp import block_names, gather, gradients, local_shard, shard
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions, assert_tied
from tests.families import FAMILIES
from tests.families.family import noise_for
from tests.tiny import randomise


@pytest.fixture
def mesh():
    """A mesh of this process alone: blocks are gathered and resharded without communication."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("data_parallel",))["data_parallel"]
    dist.destroy_process_group()


def made(family, folder, checkpointing: bool):
    generator = family.generator(folder)
    hypernetwork = NoiseHypernetwork(generator, LoraOptions(4, 8.0))
    randomise(hypernetwork)
    if checkpointing:
        generator.checkpoint_activations()
        generator.checkpoint_activations(hypernetwork.view)
    return generator, hypernetwork


def step(generator, hypernetwork, prompts):
    """The images of two steps and the LoRA's gradient; layers outside a single evaluation have none."""
    conditioning, noise = generator.encode(prompts), noise_for(generator)
    residual = hypernetwork(noise, conditioning)
    images = generator.generate(noise + residual, conditioning, 2, seeds=[1, 2])
    value = images.square().sum() + residual.square().sum()
    weights = {name: p for name, p in hypernetwork.named_parameters() if p.requires_grad}
    found = zip(weights, gradients(value, [*weights.values()]), strict=True)
    return images.detach(), {name: gradient for name, gradient in found if gradient is not None}


def gathered(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if not isinstance(p, DTensor))


@pytest.mark.parametrize(
    ("name", "checkpointing"), [*((name, True) for name in FAMILIES), ("sana-sprint", False), ("sd-turbo", False)]
)
def test_sharded_network_gives_the_same_images_and_gradients(name, checkpointing, pipeline_folder, mesh):
    family = FAMILIES[name]
    expected = step(*made(family, pipeline_folder(name), checkpointing), family.prompts)
    generator, hypernetwork = made(family, pipeline_folder(name), checkpointing)
    network, view = generator.network, hypernetwork.view
    total = gathered(network)
    blocks = {n: gathered(network.get_submodule(n)) for n in block_names(network) if n not in generator.shared_blocks}
    shard(network, view, mesh, generator.shared_blocks)
    shard(network, view, mesh, generator.shared_blocks)  # Lightning calls it before every run
    assert gathered(network) == 0
    seen: list[int] = []
    leaves = {m for tree in (network, view) for m in tree.modules() if not [*m.children()] and [*m.parameters()]}
    for leaf in leaves:
        leaf.register_forward_pre_hook(lambda *_: seen.append(gathered(network)))
    for _ in range(2):  # the first step must not change the second
        images, found = step(generator, hypernetwork, family.prompts)
        torch.testing.assert_close(images, expected[0], rtol=0, atol=1e-6)
        assert found.keys() == expected[1].keys()
        for key, gradient in expected[1].items():
            assert (found[key] - gradient).norm() <= 2e-5 * gradient.norm(), key
        assert gathered(network) == 0
    assert 0 < max(seen) <= total - sum(blocks.values()) + max(blocks.values())
    assert_tied(network, view)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("flux-schnell", ["transformer_blocks.0", "single_transformer_blocks.0"]),
        ("sd-turbo", ["down_blocks.0", "down_blocks.1", "up_blocks.0", "up_blocks.1", "mid_block"]),
    ],
)
def test_block_names_are_list_entries_and_children_as_large(name, blocks, pipeline_folder):
    assert block_names(FAMILIES[name].generator(pipeline_folder(name)).network) == blocks


def test_network_without_module_lists_is_refused():
    with pytest.raises(ValueError, match="Sequential has no list of blocks to shard over processes; use strategy/ddp"):
        block_names(nn.Sequential(nn.Linear(2, 2)))


def test_gathered_local_shards_equal_the_full_tensor(mesh):
    tensor = torch.arange(6.0).view(3, 2)
    like = distribute_tensor(torch.zeros(3, 2), mesh, [Shard(0)])
    share = local_shard(copy.deepcopy(tensor), like)
    assert isinstance(share, DTensor) and torch.equal(gather(share), tensor)
    count = torch.tensor(3.0)  # an optimiser's step count has no weight's shape
    assert local_shard(count, like) is count
    assert local_shard(tensor, torch.zeros(3, 2)) is tensor
