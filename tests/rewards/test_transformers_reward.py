"""A two-tower model scores as transformers' own forward pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypernoise_pl.rewards.clip import CLIPScore
from hypernoise_pl.rewards.transformers_reward import TransformersReward
from tests import vision
from tests.rewards import zoo
from tests.rewards.conftest import PROMPTS


def test_siglip_has_scale_and_bias(tmp_path: Path) -> None:
    from transformers import SiglipModel

    torch.manual_seed(0)
    images, folder = torch.rand(4, 3, 16, 16), str(zoo.siglip(tmp_path))
    reward, model = TransformersReward(folder), SiglipModel.from_pretrained(folder)
    ids = reward.tokenizer(PROMPTS, padding="max_length", max_length=12, return_tensors="pt").input_ids
    theirs = model(input_ids=ids, pixel_values=(images - 0.5) / 0.5).logits_per_image.diagonal()
    assert theirs[:3].unique().numel() == 3
    torch.testing.assert_close(reward(images, PROMPTS), theirs, rtol=1e-4, atol=1e-5)


def test_clip_is_one_of_them(clip_folder: Path, tmp_path: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    for file in clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=16).save_pretrained(tmp_path)
    images = torch.rand(4, 3, 20, 25)  # an even number of pixels is left: both rules of cropping agree
    found, expected = TransformersReward(str(tmp_path))(images, PROMPTS), CLIPScore(str(clip_folder))(images, PROMPTS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_tower_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a Dinov2Model has no get_image_features"):
        TransformersReward(str(vision.dinov2(tmp_path)))
