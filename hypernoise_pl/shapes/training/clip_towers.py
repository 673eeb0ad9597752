"""Training of the two CLIP models: contrastive on captions, then preference between two images."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from hypernoise_pl.rewards.preprocess import preprocess
from hypernoise_pl.shapes.caption import write_caption
from hypernoise_pl.shapes.facts import caption_truth
from hypernoise_pl.shapes.flaws import interpolate_to_flaw
from hypernoise_pl.shapes.tokenizer import clip_tokenizer
from hypernoise_pl.shapes.training.patch_heads import PatchHeads
from hypernoise_pl.shapes.training.training_batches import degrade, draw_training_batch
from hypernoise_pl.system.files import set_default_modes

MAX_SCALE = 30.0  # of the cosine; bounds scores and gradients


class CLIPTowers(nn.Module):
    """A small transformers ``CLIPModel`` with its tokenizer and auxiliary heads.

    Args:
        config: ``vision``, ``text`` and ``projection``.
        length: number of text tokens.
    """

    def __init__(self, config: DictConfig, length: int) -> None:
        super().__init__()
        from transformers import CLIPConfig, CLIPModel

        self.tokenizer, self.length = clip_tokenizer(), length
        options: Any = OmegaConf.to_container(config, resolve=True)
        text = {
            **options["text"],
            "vocab_size": len(self.tokenizer),
            "max_position_embeddings": length,
            "bos_token_id": self.tokenizer.bos_token_id,
            "eos_token_id": self.tokenizer.eos_token_id,
            "pad_token_id": self.tokenizer.pad_token_id,
        }
        clip_config = CLIPConfig(
            text_config=text, vision_config=options["vision"], projection_dim=options["projection"]
        )
        # on a CPU with few tokens the fused kernel's backward pass is ten times slower than eager attention
        clip_config._attn_implementation = "eager"
        self.clip = CLIPModel(clip_config)
        self.patch_heads = PatchHeads(options["vision"]["hidden_size"])

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D] unit features and [B, 1 + T, W] tokens of images."""
        output = self.clip.vision_model(pixel_values=preprocess(images, 32))
        tokens = torch.cat([output.pooler_output[:, None], output.last_hidden_state[:, 1:]], 1)
        return F.normalize(self.clip.visual_projection(output.pooler_output).float(), dim=-1), tokens

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """[B, D] unit features of texts."""
        tokens = self.tokenizer(list(texts), padding=True, max_length=self.length, truncation=True, return_tensors="pt")
        pooled = self.clip.text_model(**tokens).pooler_output
        return F.normalize(self.clip.text_projection(pooled).float(), dim=-1)

    @property
    def scale(self) -> Tensor:
        """Factor of the cosines."""
        return self.clip.logit_scale.exp().clamp(max=MAX_SCALE)

    @torch.no_grad()
    def set_max_scale(self) -> None:
        """Set the scale to its maximum: the cosines of two images of one prompt differ little."""
        self.clip.logit_scale.fill_(math.log(MAX_SCALE))

    def save(self, folder: Path) -> None:
        """Write a ``CLIPModel`` folder in half precision, with the bounded scale."""
        with torch.no_grad():
            self.clip.logit_scale.copy_(self.scale.log())
        self.clip.half().save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        set_default_modes(folder)
        self.clip.float()


def clip_loss(model: CLIPTowers, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Contrastive loss with two hard negatives per image; captions that are true by chance are no negatives."""
    batch = draw_training_batch(config.batch, 0.4, (seed + 2) * 1_000_003 + step)
    rng, count = random.Random(step), config.batch
    captions = [*batch.right, *batch.wrong, *batch.distractors]
    with torch.autocast("cpu", torch.bfloat16):
        image, tokens = model.encode_images(batch.images)
        text = model.encode_texts([write_caption(c, rng) for c in captions])
        patches = model.patch_heads(tokens, batch.slots)
    similar = model.scale * image @ text.T  # [B, 3 B]
    own = torch.eye(count, dtype=torch.bool)
    true_by_chance = caption_truth(batch.scenes, captions)
    true_by_chance[:, :count] &= ~own
    true_by_chance[:, count:] &= ~own.repeat(1, 2)
    masked = similar.masked_fill(true_by_chance, -1e4)
    label = torch.arange(count)
    good = batch.amount < 0.3
    by_image = F.cross_entropy(masked[good], label[good])
    by_text = F.cross_entropy(masked[good][:, :count].T[good], torch.arange(int(good.sum())))
    right, wrong = batch.truth()
    margin = similar[:, :count].diagonal() - similar[:, count : 2 * count].diagonal()
    graded = F.binary_cross_entropy_with_logits(margin, 0.5 + 0.5 * (right - wrong))
    ranked = (margin > 0)[right > wrong + 0.5].float().mean().item()
    figures = {"contrast": by_image.item(), "patches": patches.item(), "ranked": ranked}
    return by_image + 0.5 * by_text + 2 * graded + config.facts * patches, figures


def pick_loss(model: CLIPTowers, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Bradley-Terry loss of the preference for the less flawed of two images of one prompt, as in PickScore.

    A regression on the amount of the flaw also fixes the cosine itself, which makes scores of different images and
    prompts comparable.
    """
    batch = draw_training_batch(config.batch, 1.0, (seed + 3) * 1_000_003 + step)
    rng, draws = random.Random(step), torch.Generator().manual_seed(step)
    other = batch.amount * torch.rand(len(batch.amount), generator=draws)
    cleaner = interpolate_to_flaw(batch.scenes, batch.right, batch.wrong, batch.kinds, other, draws).render()
    with torch.autocast("cpu", torch.bfloat16):
        image, tokens = model.encode_images(torch.cat([degrade(cleaner, draws), batch.images]))
        text = model.encode_texts([write_caption(c, rng) for c in batch.right])
        patches = model.patch_heads(tokens[config.batch :], batch.slots)
    cosine = (image * text.repeat(2, 1)).sum(-1)
    first, second = (model.scale * cosine).chunk(2)
    loss = F.binary_cross_entropy_with_logits(first - second, torch.sigmoid(8 * (batch.amount - other)))
    regression = F.mse_loss(cosine, 0.8 - 0.3 * torch.cat([other, batch.amount]))
    apart = batch.amount - other > 0.5
    figures = {"regression": regression.item(), "preferred": (first > second)[apart].float().mean().item()}
    return loss + 20 * regression + config.facts * patches, figures
