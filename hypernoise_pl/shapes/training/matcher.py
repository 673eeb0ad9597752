"""The lessons of the ImageReward-like model: first to see, then to read a caption against what it sees."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from hypernoise_pl.rewards.image_reward import BlipScorer
from hypernoise_pl.rewards.preprocess import preprocess
from hypernoise_pl.shapes.caption import write_caption
from hypernoise_pl.shapes.facts import caption_truth
from hypernoise_pl.shapes.flaws import Slots
from hypernoise_pl.shapes.tokenizer import bert_tokenizer
from hypernoise_pl.shapes.training.patch_heads import PatchHeads
from hypernoise_pl.shapes.training.random_scenes import draw_random_scenes
from hypernoise_pl.shapes.training.training_batches import concatenate_slots, draw_training_batch
from hypernoise_pl.shapes.training.word_heads import WordHeads
from hypernoise_pl.system.files import write_tensors

CAPTIONS = 4  # a picture


class Matcher(nn.Module):
    """The scorer and, for the time of training, heads that name what it sees.

    Args:
        config: ``vision``, ``text`` and ``head`` of the scorer.
        length: text tokens at the most.
    """

    def __init__(self, config: DictConfig, length: int) -> None:
        super().__init__()
        self.tokenizer, self.length = bert_tokenizer(), length
        options: Any = OmegaConf.to_container(config, resolve=True)
        text = {**options["text"], "vocab_size": len(self.tokenizer)}
        self.options = {"vision": options["vision"], "text": text, "head": options["head"], "length": length}
        self.scorer = BlipScorer(options["vision"], text, options["head"])
        self.sight = PatchHeads(options["vision"]["hidden_size"])
        self.words = WordHeads(text["hidden_size"], self.tokenizer)

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask [B, L], no longer than the longest text needs."""
        found = self.tokenizer(list(texts), padding=True, max_length=self.length, truncation=True, return_tensors="pt")
        return found.input_ids, found.attention_mask

    def save(self, folder: Path) -> None:
        """The scorer in half precision; its raw output lies between -1 and 1 by training, so mean 0 and deviation 1."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {key: value.half() for key, value in self.scorer.state_dict().items()}
        write_tensors(folder / "model.safetensors", weights)
        config = {**self.options, "mean": 0.0, "std": 1.0}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        self.tokenizer.save_pretrained(folder)


def patch_loss(model: Matcher, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """What covers each patch."""
    batch = draw_training_batch(config.batch, 0.3, seed * 1_000_003 + step)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = model.scorer.encode_images(preprocess(batch.images, 32))
        loss = model.sight(tokens, batch.slots)
    return loss, {}


def match_loss(model: Matcher, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Regress how true four captions a picture are, from -1 to 1: bounded, and flat once all is right."""
    # clean pictures first: what is right and what is wrong must be known before what lies between
    clean = step < config.clean * config.loop.steps
    draw = (seed + 1) * 1_000_003 + step
    batch = draw_training_batch(config.batch, 0.0 if clean else 0.5, draw)
    crowd = draw_random_scenes(config.crowd, CAPTIONS, draw)
    rng = random.Random(step)
    other = batch.right[1:] + batch.right[:1]
    captions = [*batch.right, *batch.wrong, *batch.never, *other, *crowd.captions]
    ids, mask = model.tokens([write_caption(c, rng) for c in captions])
    right, wrong = batch.truth()
    elsewhere = caption_truth(batch.scenes, other).diag().float()
    target = 2 * torch.cat([right, wrong, torch.zeros_like(right), elsewhere, crowd.truth]) - 1
    # of a picture on its way one does not know how true a caption is that fitted its start
    known = torch.ones(len(target), dtype=torch.bool)
    known[3 * config.batch : 4 * config.batch] = (batch.amount == 0) | (elsewhere == 0)
    slots = concatenate_slots(batch.slots, Slots.of(crowd.scenes))
    pictures = torch.arange(config.batch + config.crowd).split((config.batch, config.crowd))
    picture = torch.cat([part.repeat(CAPTIONS) for part in pictures])
    with torch.autocast("cpu", torch.bfloat16):
        tokens = model.scorer.encode_images(preprocess(torch.cat([batch.images, crowd.images]), 32))
        sight = model.sight(tokens, slots)
        layers = model.scorer.encode_text(tokens[picture], ids, mask)
        said = model.scorer.head(layers[-1][:, 0]).squeeze(-1).float()
        words = model.words(layers, ids, captions, slots, picture)
    fit = (said - target).square()[known].mean()
    count = config.batch
    ranked = (said[:count] > said[count : 2 * count])[right > wrong + 0.5].float().mean()
    figures = {"fit": fit.item(), "sight": sight.item(), "words": words.item(), "ranked": ranked.item()}
    return 4 * fit + config.facts * (sight + words), figures
