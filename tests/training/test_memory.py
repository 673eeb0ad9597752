"""The memory estimate of a step: meta tensors give the same result as real ones."""

import copy

import pytest
import torch

from hypernoise_pl.checkpoints.meta_device import meta_pipeline
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.training.memory import activation_bytes


def counted(generator: SanaSprint, batch: int, itself: bool = False, checkpointed: bool = False) -> int:
    lora = LoraOptions(4, 8.0)
    adapter = (GeneratorLora if itself else NoiseHypernetwork)(generator, lora)
    if checkpointed:
        generator.checkpoint_activations()
        generator.checkpoint_activations(adapter.view)
    return activation_bytes(adapter, batch)


@pytest.mark.parametrize("itself", [False, True])
def test_meta_tensors_give_the_same_activation_bytes_as_real_ones(sana_folder, itself):
    whole = SanaSprint(str(sana_folder), max_sequence_length=20)
    without = SanaSprint(meta_pipeline(sana_folder, torch.float32), max_sequence_length=20)
    real, estimated = counted(copy.deepcopy(whole), 3, itself), counted(without, 3, itself)
    assert real > 0 and estimated == pytest.approx(real, rel=0.1)


def test_activation_bytes_grow_with_batch_and_shrink_with_checkpointing(sana_folder):
    made = lambda: SanaSprint(meta_pipeline(sana_folder, torch.float32), max_sequence_length=20)  # noqa: E731
    one, four, recomputed = counted(made(), 1), counted(made(), 4), counted(made(), 4, checkpointed=True)
    assert 3 * one < four < 5 * one and recomputed < four
