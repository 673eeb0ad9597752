"""Training of the ImageReward-like model: the image tower on patches, then the truth of captions."""

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

CAPTIONS = 4  # per image


class Matcher(nn.Module):
    """The scorer with auxiliary heads.

    Args:
        config: ``vision``, ``text`` and ``head`` of the scorer.
        length: largest number of text tokens.
    """

    def __init__(self, config: DictConfig, length: int) -> None:
        super().__init__()
        self.tokenizer, self.length = bert_tokenizer(), length
        options: Any = OmegaConf.to_container(config, resolve=True)
        text = {**options["text"], "vocab_size": len(self.tokenizer)}
        self.options = {"vision": options["vision"], "text": text, "head": options["head"], "length": length}
        self.scorer = BlipScorer(options["vision"], text, options["head"])
        self.patch_heads = PatchHeads(options["vision"]["hidden_size"])
        self.word_heads = WordHeads(text["hidden_size"], self.tokenizer)

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask [B, L], padded to the longest text."""
        tokens = self.tokenizer(list(texts), padding=True, max_length=self.length, truncation=True, return_tensors="pt")
        return tokens.input_ids, tokens.attention_mask

    def save(self, folder: Path) -> None:
        """Write the scorer in half precision, with mean 0 and deviation 1: its targets lie between -1 and 1."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {key: value.half() for key, value in self.scorer.state_dict().items()}
        write_tensors(folder / "model.safetensors", weights)
        config = {**self.options, "mean": 0.0, "std": 1.0}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        self.tokenizer.save_pretrained(folder)


def patch_loss(model: Matcher, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Loss of the predicted objects at each patch."""
    batch = draw_training_batch(config.batch, 0.3, seed * 1_000_003 + step)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = model.scorer.encode_images(preprocess(batch.images, 32))
        loss = model.patch_heads(tokens, batch.slots)
    return loss, {}


def match_loss(model: Matcher, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Squared error of the truth of four captions per image, from -1 to 1."""
    # clean images first: the extremes must be learnt before what lies between them
    clean = step < config.clean * config.loop.steps
    draw = (seed + 1) * 1_000_003 + step
    batch = draw_training_batch(config.batch, 0.0 if clean else 0.5, draw)
    extra = draw_random_scenes(config.random_scenes, CAPTIONS, draw)
    rng = random.Random(step)
    other = batch.right[1:] + batch.right[:1]
    captions = [*batch.right, *batch.wrong, *batch.distractors, *other, *extra.captions]
    ids, mask = model.tokens([write_caption(c, rng) for c in captions])
    right, wrong = batch.truth()
    elsewhere = caption_truth(batch.scenes, other).diag().float()
    target = 2 * torch.cat([right, wrong, torch.zeros_like(right), elsewhere, extra.truth]) - 1
    # the truth of a partly moved image is unknown for a caption that was true of its start
    known = torch.ones(len(target), dtype=torch.bool)
    known[3 * config.batch : 4 * config.batch] = (batch.amount == 0) | (elsewhere == 0)
    slots = concatenate_slots(batch.slots, Slots.of(extra.scenes))
    pictures = torch.arange(config.batch + config.random_scenes).split((config.batch, config.random_scenes))
    picture = torch.cat([part.repeat(CAPTIONS) for part in pictures])
    with torch.autocast("cpu", torch.bfloat16):
        tokens = model.scorer.encode_images(preprocess(torch.cat([batch.images, extra.images]), 32))
        patches = model.patch_heads(tokens, slots)
        layers = model.scorer.encode_text(tokens[picture], ids, mask)
        score = model.scorer.head(layers[-1][:, 0]).squeeze(-1).float()
        words = model.word_heads(layers, ids, captions, slots, picture)
    fit = (score - target).square()[known].mean()
    count = config.batch
    ranked = (score[:count] > score[count : 2 * count])[right > wrong + 0.5].float().mean()
    figures = {"fit": fit.item(), "patches": patches.item(), "words": words.item(), "ranked": ranked.item()}
    return 4 * fit + config.facts * (patches + words), figures
