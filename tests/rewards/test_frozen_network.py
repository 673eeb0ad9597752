"""Half precision stays near single, recomputing changes nothing, and one preprocessing serves all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.clip import CLIPScore, PickScore
from hypernoise_pl.rewards.frozen_network import checkpoint_layers
from hypernoise_pl.rewards.image_reward import ImageReward
from hypernoise_pl.rewards.preprocess import preprocess, shared_preprocessing
from hypernoise_pl.rewards.text_features import TextFeatureCache
from hypernoise_pl.rewards.transformers_reward import TransformersReward
from hypernoise_pl.rewards.vqa import VQAScore
from tests import tiny
from tests.rewards import zoo
from tests.rewards.conftest import PROMPTS

Maker = Callable[..., Reward]


@pytest.fixture(scope="module", params=["clip", "image_reward", "siglip", "vqa"])
def make(
    request: pytest.FixtureRequest, clip_folder: Path, blip_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Maker:
    makers: dict[str, tuple[Maker, Callable[[], Path]]] = {
        "clip": (CLIPScore, lambda: clip_folder),
        "image_reward": (ImageReward, lambda: blip_folder),
        "siglip": (TransformersReward, lambda: zoo.siglip(tmp_path_factory.mktemp("siglip"))),
        "vqa": (VQAScore, lambda: zoo.blip_vqa(tmp_path_factory.mktemp("vqa"))),
    }
    kind, folder = makers[request.param]
    place = str(folder())
    return lambda **options: kind(place, **options)


def _value_and_gradient(reward: Reward, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    images = images.clone().requires_grad_()
    scores = reward(images, PROMPTS)
    return scores.detach(), torch.autograd.grad(scores.sum(), images)[0]


def test_recomputing_activations_changes_nothing_but_the_work(make: Maker) -> None:
    images = torch.rand(4, 3, 16, 16)
    plain, saving = make(), make(checkpoint=True)
    calls = {"plain": 0, "saving": 0}
    for name, reward in (("plain", plain), ("saving", saving)):
        first = next(m for n, m in reward.named_modules() if "vision" in n and type(m).__name__.endswith("MLP"))
        first.register_forward_pre_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
    expected, found = _value_and_gradient(plain, images), _value_and_gradient(saving, images)
    assert calls == {"plain": 1, "saving": 2}
    assert expected[1].abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(saving(images, PROMPTS), expected[0])


def test_half_precision_stays_near(make: Maker) -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 16, 16)
    expected, gradient = _value_and_gradient(make(), images)
    found, rough = _value_and_gradient(make(dtype="bfloat16"), images)
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05 * expected.abs().max().item())
    assert F.cosine_similarity(rough.flatten(), gradient.flatten(), dim=0) > 0.98


def test_the_scale_is_exact_in_half_precision(clip_folder: Path) -> None:
    assert CLIPScore(str(clip_folder), dtype="bfloat16").scale == CLIPScore(str(clip_folder)).scale


def test_an_outer_autocast_has_no_effect(make: Maker) -> None:
    images, reward = torch.rand(4, 3, 16, 16), make()
    expected = reward(images, PROMPTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(reward(images, PROMPTS), expected)


def test_invalid_options_raise_value_error(clip_folder: Path) -> None:
    wrong: Any = "int8"
    with pytest.raises(ValueError, match="dtype must be float32, bfloat16 or float16, got 'int8'"):
        CLIPScore(str(clip_folder), dtype=wrong)
    with pytest.raises(ValueError, match="a Linear has no layers to recompute"):
        checkpoint_layers(torch.nn.Linear(2, 2))


def test_one_resize_for_a_whole_ensemble(
    clip_folder: Path, blip_folder: Path, sana_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewards = {
        "clip": CLIPScore(str(clip_folder)),
        "pick": PickScore(str(clip_folder)),
        "blip": ImageReward(str(blip_folder)),
    }
    model = tiny.module(sana_folder, rewards=rewards, reward_weights=dict.fromkeys(rewards, 1.0))
    images = torch.rand(4, 3, 24, 28, requires_grad=True)
    expected = {name: reward(images, PROMPTS) for name, reward in rewards.items()}
    (apart,) = torch.autograd.grad(sum(expected.values()).sum(), images)
    resize, calls = F.interpolate, []
    monkeypatch.setattr(F, "interpolate", lambda *args, **options: (calls.append(args), resize(*args, **options))[1])
    found = model.ensemble.scores(images, PROMPTS)
    assert len(calls) == 1
    torch.testing.assert_close(found, expected)
    (together,) = torch.autograd.grad(sum(found.values()).sum(), images)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-6)
    model.ensemble.scores(images, PROMPTS)
    assert len(calls) == 2


def test_only_what_is_the_same_is_shared() -> None:
    images = torch.rand(2, 3, 24, 24, requires_grad=True)
    assert preprocess(images, 16) is not preprocess(images, 16)
    with shared_preprocessing():
        first = preprocess(images, 16)
        assert preprocess(images, 16) is first
        assert preprocess(images, 12).shape[-1] == 12
        assert preprocess(images.clone(), 16) is not first
        assert not torch.equal(preprocess(images, 16, mean=(0.5, 0.5, 0.5)), first)
        with torch.no_grad():
            assert not preprocess(images, 16).requires_grad
            images.mul_(0.5)
            assert not torch.equal(preprocess(images, 16), first)


def test_half_precision_images_are_resized_in_single() -> None:
    images = torch.rand(2, 3, 24, 24).bfloat16()
    torch.testing.assert_close(preprocess(images, 16), preprocess(images.float(), 16), rtol=0, atol=0)


def test_text_features_are_cached_and_evicted() -> None:
    asked: list[str] = []

    def encode(texts: list[str]) -> torch.Tensor:
        asked.extend(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    features = TextFeatureCache(encode, limit=2, batch_size=2)
    assert features(["a", "bb", "a", "ccc"]).tolist() == [[1.0], [2.0], [1.0], [3.0]]
    assert asked == ["a", "bb", "ccc"] and len(features) == 2
    assert "bb" not in features and "ccc" in features
    assert features(["bb", "ccc"]).tolist() == [[2.0], [3.0]] and asked[3:] == ["bb"]
