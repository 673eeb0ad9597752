"""Rewards keep their contract: exact gradients, one image at a time as in a batch, clear errors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.clip import CLIPScore, PickScore
from hypernoise_pl.rewards.image_reward import ImageReward
from hypernoise_pl.rewards.pixels import Brightness
from tests.rewards.conftest import PROMPTS


def test_gradient_equals_finite_differences(reward: Reward) -> None:
    reward.double()
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(reward._score(images, PROMPTS[:2]).sum(), images)
    step = 1e-5
    with torch.no_grad():
        ahead = reward._score(images + step * direction, PROMPTS[:2])
        behind = reward._score(images - step * direction, PROMPTS[:2])
    measured = (ahead - behind) / (2 * step)
    expected = (gradient * direction).flatten(1).sum(1)
    assert expected.abs().min() > 1e-4
    torch.testing.assert_close(measured, expected, rtol=1e-4, atol=1e-8)


def test_a_batch_scores_as_its_images_one_by_one(reward: Reward) -> None:
    images = torch.rand(4, 3, 16, 16)
    together = reward(images, PROMPTS)
    apart = torch.cat([reward(image[None], [prompt]) for image, prompt in zip(images, PROMPTS, strict=True)])
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_scores_depend_on_image_and_prompt(reward: Reward) -> None:
    images = torch.rand(1, 3, 16, 16).expand(4, -1, -1, -1)
    scores = reward(images, PROMPTS)
    assert scores[0] == pytest.approx(scores[3].item(), abs=1e-5)
    assert scores[:3].unique().numel() == 3
    assert (reward(torch.rand(4, 3, 16, 16), PROMPTS) != scores).all()


def test_frozen_in_eval_mode(reward: Reward) -> None:
    assert not any(p.requires_grad for p in reward.parameters())
    assert not any(m.training for m in reward.modules() if m is not reward)


def test_one_prompt_an_image(reward: Reward) -> None:
    with pytest.raises(ValueError, match=r"images must have shape \[2, 3, \*, \*\]"):
        reward(torch.rand(3, 3, 16, 16), PROMPTS[:2])


def test_cached_text_features_equal_new_ones(clip_folder: Path) -> None:
    images, prompts = torch.rand(3, 3, 16, 16), PROMPTS[:3]
    used, fresh = CLIPScore(str(clip_folder)), CLIPScore(str(clip_folder))
    used(images.flip(0), prompts[::-1])
    assert all(prompt in used.texts for prompt in prompts) and len(used.texts) == len(prompts)
    torch.testing.assert_close(used(images, prompts), fresh(images, prompts), rtol=1e-5, atol=1e-6)


def test_clip_score_equals_transformers_own(clip_folder: Path) -> None:
    from transformers import CLIPModel

    reward, model = CLIPScore(str(clip_folder)), CLIPModel.from_pretrained(clip_folder)
    images, prompts = torch.rand(2, 3, 16, 16), PROMPTS[1:3]
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = (images - mean[:, None, None]) / std[:, None, None]
    tokens = reward.tokenizer(prompts, padding=True, return_tensors="pt")
    theirs = model(pixel_values=pixels, **tokens).logits_per_image.diagonal()
    torch.testing.assert_close(reward(images, prompts), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "source"), [(PickScore, "clip_folder"), (ImageReward, "blip_folder")])
def test_missing_and_damaged_weights_are_named(
    kind: Callable[[str], Reward], source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(request.getfixturevalue(source), folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=str(folder)) as damaged:
        kind(str(folder))
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=str(folder)) as missing:
        kind(str(folder))
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=str(folder)) as absent:
        kind(str(folder))
    assert all("\n" not in str(error.value) for error in (damaged, missing, absent))


class Written(Reward):
    score_range = (0.0, 1.0)

    def _score(self, images, prompts):
        return images.mul_(2).flatten(1).mean(1)


def test_invalid_images_are_rejected() -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    reward, prompts = Brightness(), ["", ""]
    for wrong, told in [
        ((255 * images).byte(), "floats in .0, 1., got torch.uint8; divide bytes by 255"),
        (images.numpy(), "must be a tensor .B, 3, H, W. of floats in .0, 1., got a ndarray"),
        (255 * images, "must be in .0, 1., got values from .* to 2.*; divide"),
        (2 * images - 1, "must be in .0, 1., got values from -.* to "),
    ]:
        with pytest.raises(ValueError, match=told):
            reward(wrong, prompts)
    assert reward(images, prompts).tolist() == images.flatten(1).mean(1).tolist()
    assert reward(images[:0], []).shape == (0,)


def test_a_reward_that_writes_into_the_images_is_refused() -> None:
    for images in (torch.ones(1, 3, 4, 4), 1.0 * torch.ones(1, 3, 4, 4, requires_grad=True)):
        with pytest.raises(ValueError, match=r"^Written writes into the images that it is given"):
            Written()(images, [""])
