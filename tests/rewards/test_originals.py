"""Checkpoints in their authors' layout score as their authors' architecture does, written out in plain torch."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.checkpoints import conversion as layouts
from hypernoise_pl.rewards.aesthetic import Aesthetic
from hypernoise_pl.rewards.clip import CLIPScore, HPSv2, PickScore
from hypernoise_pl.rewards.clip_models import ARCHITECTURES, clip_config
from hypernoise_pl.rewards.features import CLIPImageFeatures
from hypernoise_pl.rewards.image_reward import ImageReward
from tests.rewards import original_blip, original_clip
from tests.rewards.conftest import PROMPTS

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(4, 3, 16, 16)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize("quick", [False, True])
def test_open_clip(ending: str, quick: bool, images: Tensor, tmp_path: Path) -> None:
    file, arguments = original_clip.save(tmp_path, ending, quick)
    state = original_clip.weights()
    seen = original_clip.image_features(state, (images - MEAN) / STD, quick)
    cosine = F.cosine_similarity(seen, original_clip.text_features(state, PROMPTS, quick))
    assert cosine.unique().numel() == 4
    scaled = state["logit_scale"].exp() * cosine
    torch.testing.assert_close(HPSv2(file, **arguments)(images, PROMPTS), cosine, rtol=0, atol=1e-5)
    torch.testing.assert_close(CLIPScore(file, **arguments)(images, PROMPTS), scaled, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(PickScore(file, **arguments)(images, PROMPTS), scaled, rtol=1e-5, atol=1e-5)


def test_hpsv2_finds_its_version_in_a_folder(images: Tensor, tmp_path: Path) -> None:
    file, arguments = original_clip.save(tmp_path)
    torch.testing.assert_close(
        HPSv2(str(tmp_path), **arguments)(images, PROMPTS), HPSv2(file, **arguments)(images, PROMPTS)
    )
    with pytest.raises(FileNotFoundError, match=r"no HPS_v2_compressed\.pt in this folder"):
        HPSv2(str(tmp_path), version="v2", **arguments)


def test_image_reward(images: Tensor, tmp_path: Path) -> None:
    folder = original_blip.save(tmp_path)
    expected = original_blip.score(original_blip.weights(), (images - MEAN) / STD, PROMPTS)
    assert expected.std() > 0.01
    reward = ImageReward(str(folder), str(folder / "tokenizer"))
    torch.testing.assert_close(reward(images, PROMPTS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("version", [1, 2])
def test_aesthetic(version: int, images: Tensor, tmp_path: Path) -> None:
    file, arguments = original_clip.save(tmp_path, quick=True)
    widths = [original_clip.EMBED, 1] if version == 1 else [original_clip.EMBED, 12, 10, 6, 4, 1]
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    names = [""] if version == 1 else [f"layers.{place}." for place in (0, 2, 4, 6, 7)]
    head = {f"{name}{key}": value for name, layer in zip(names, layers) for key, value in layer.state_dict().items()}
    torch.save(head, tmp_path / "head.pth")
    expected = F.normalize(original_clip.image_features(original_clip.weights(), (images - MEAN) / STD, True), dim=-1)
    for layer in layers:
        expected = expected @ layer.weight.detach().mT + layer.bias.detach()
    features = CLIPImageFeatures(file, architecture=arguments["architecture"])
    reward = Aesthetic(str(tmp_path / "head.pth"), features)
    torch.testing.assert_close(reward(images, PROMPTS), expected[:, 0], rtol=1e-5, atol=1e-5)


def _drop(state: dict[str, Tensor]) -> None:
    del state["visual.ln_post.bias"]


def _add(state: dict[str, Tensor]) -> None:
    state["visual.ln_post.scale"] = torch.ones(1)


def _reshape(state: dict[str, Tensor]) -> None:
    state["visual.proj"] = state["visual.proj"][:, :-1]


def _break(state: dict[str, Tensor]) -> None:
    state["ln_final.weight"][3] = torch.nan


def _deepen(state: dict[str, Tensor]) -> None:
    state |= {name.replace("blocks.1.", "blocks.2."): state[name] for name in list(state) if "blocks.1." in name}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_drop, r"no weights for vision_model\.post_layernorm\.bias \(1 missing in all\)"),
        (_add, r"unexpected tensor 'visual\.ln_post\.scale' in the checkpoint"),
        (_reshape, r"visual_projection\.weight has shape \[7, 24\], where \[8, 24\] is wanted"),
        (_break, r"text_model\.final_layer_norm\.weight has weights that are not finite"),
        (_deepen, r"unexpected key 'text_model\.encoder\.layers\.2\."),
    ],
)
def test_every_key_is_used_and_every_weight_is_filled(
    damage: Callable[[dict[str, Tensor]], None], said: str, tmp_path: Path
) -> None:
    _, arguments = original_clip.save(tmp_path)
    state = original_clip.weights()
    damage(state)
    torch.save(state, tmp_path / "damaged.pt")
    with pytest.raises(ValueError, match=said) as error:
        CLIPScore(str(tmp_path / "damaged.pt"), **arguments)
    assert "damaged.pt" in str(error.value) and "\n" not in str(error.value)


def test_image_reward_without_a_weight_or_a_key_of_its_config(tmp_path: Path) -> None:
    folder, state = original_blip.save(tmp_path), original_blip.weights()
    del state["mlp.layers.4.bias"]
    torch.save(state, folder / "ImageReward.pt")
    with pytest.raises(ValueError, match=r"no weights for head\.2\.bias"):
        ImageReward(str(folder), str(folder / "tokenizer"))
    config = original_blip.med_config()
    del config["num_attention_heads"]
    (folder / "med_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="'num_attention_heads' is missing"):
        ImageReward(str(folder), str(folder / "tokenizer"))


class Stranger:
    """What a pickle may hold, and loading it would run."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": {}, "by": Stranger()}, "refused: it holds more than tensors"),
        ({"state_dict": {"a": 3}}, "no state dict; a checkpoint must hold"),
        ([1, 2], "no state dict; a checkpoint must hold"),
        (None, "damaged file"),
    ],
)
def test_files_without_a_state_dict_are_rejected(content: object, said: str, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save(content, file)
    if content is None:
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=said) as error:
        CLIPScore(str(file))
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_a_tokenizer_with_another_end_token_is_rejected(clip_folder: Path, tmp_path: Path) -> None:
    file, arguments = original_clip.save(tmp_path)
    with pytest.raises(ValueError, match="its end token is 0, the model's is"):
        CLIPScore(file, **{**arguments, "tokenizer": str(clip_folder)})


def test_openai_names_mean_their_hub_ids(clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(clip_folder, tmp_path / "openai" / "clip-vit-large-patch14")
    monkeypatch.chdir(tmp_path)
    images = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(CLIPScore("ViT-L/14")(images, PROMPTS), CLIPScore(str(clip_folder))(images, PROMPTS))
    expected = CLIPImageFeatures(str(clip_folder))(images)
    torch.testing.assert_close(CLIPImageFeatures("ViT-L/14")(images), expected)


def test_unknown_architecture(tmp_path: Path) -> None:
    file, arguments = original_clip.save(tmp_path)
    with pytest.raises(ValueError, match=r"unknown architecture 'ViT-H14' \(did you mean 'ViT-H-14'\?\)"):
        CLIPScore(file, **{**arguments, "architecture": "ViT-H14"})


@pytest.mark.parametrize(
    ("name", "activation", "vision", "text", "embed", "published"),
    [
        ("ViT-H-14", "gelu", (1280, 5120, 32, 16, 14), (1024, 4096, 24, 16), 1024, 986_109_441),
        ("ViT-L-14", "gelu", (1024, 4096, 24, 16, 14), (768, 3072, 12, 12), 768, 427_616_513),
        ("ViT-L-14-quickgelu", "quick_gelu", (1024, 4096, 24, 16, 14), (768, 3072, 12, 12), 768, 427_616_513),
        ("ViT-B-32", "gelu", (768, 3072, 12, 12, 32), (512, 2048, 12, 8), 512, 151_277_313),
        ("ViT-B-32-quickgelu", "quick_gelu", (768, 3072, 12, 12, 32), (512, 2048, 12, 8), 512, 151_277_313),
    ],
)
def test_architectures(name: str, activation: str, vision: tuple, text: tuple, embed: int, published: int) -> None:
    from transformers import CLIPModel

    config = clip_config(ARCHITECTURES[name])
    with torch.device("meta"):
        assert sum(weight.numel() for weight in CLIPModel(config).parameters()) == published
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    assert tuple(getattr(config.vision_config, size) for size in (*sizes, "patch_size")) == vision
    assert tuple(getattr(config.text_config, size) for size in sizes) == text
    assert config.projection_dim == embed
    assert config.text_config.hidden_act == config.vision_config.hidden_act == activation
    assert (config.text_config.bos_token_id, config.text_config.eos_token_id) == (49406, 49407)


def test_a_file_by_a_published_name_is_held_against_what_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ImageReward.pt"
    torch.save({"weight": torch.zeros(2)}, file)
    with pytest.warns(
        UserWarning, match=r"not the file that its authors published under this name.*theirs d71dc8d4912b"
    ):
        layouts.read_checkpoint(file, "reward")
    monkeypatch.setitem(layouts.PUBLISHED, file.name, hashlib.sha256(file.read_bytes()).hexdigest())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layouts.read_checkpoint(file, "reward")
