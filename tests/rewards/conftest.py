"""Rewards of the real classes in tiny sizes, with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.clip import CLIPScore
from hypernoise_pl.rewards.image_reward import BlipScorer, ImageReward
from hypernoise_pl.shapes.tokenizer import bert_tokenizer
from tests.tiny_clip import tiny_clip

PROMPTS = ["a red circle", "two squares", "a star left of a ring", "a red circle"]


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP model of 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("clip")
    model, tokenizer = tiny_clip(12)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageReward model of 16 x 16 pixels."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("blip")
    tokenizer = bert_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes["initializer_range"] = 0.2  # BLIP's own of 1e-10 would make every picture look the same
    vision = {**sizes, "image_size": 16, "patch_size": 4}
    text = {**sizes, "encoder_hidden_size": 16, "vocab_size": len(tokenizer), "max_position_embeddings": 12}
    scorer = BlipScorer(vision, text, [8])
    save_file(scorer.state_dict(), folder / "model.safetensors")
    config = {"vision": vision, "text": text, "head": [8], "length": 12, "mean": 0.1, "std": 0.5}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=["clip", "blip"])
def reward(request: pytest.FixtureRequest, clip_folder: Path, blip_folder: Path) -> Reward:
    """Each kind of reward in turn."""
    return CLIPScore(str(clip_folder)) if request.param == "clip" else ImageReward(str(blip_folder))
