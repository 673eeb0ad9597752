"""The lessons of the two CLIP models: to tell captions apart, and to prefer the less flawed of two pictures."""

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
from hypernoise_pl.system.files import give_usual_modes

MAX_SCALE = 30.0  # of the cosine: keeps scores, and with them gradients, bounded


class CLIPTowers(nn.Module):
    """A transformers ``CLIPModel`` in miniature, its tokenizer, and heads for the time of training.

    Args:
        config: ``vision``, ``text`` and ``projection``.
        length: text tokens.
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
        config_of_both = CLIPConfig(
            text_config=text, vision_config=options["vision"], projection_dim=options["projection"]
        )
        # the fused kernel's backward pass is ten times slower than plain attention on a CPU and so few tokens
        config_of_both._attn_implementation = "eager"
        self.clip = CLIPModel(config_of_both)
        self.sight = PatchHeads(options["vision"]["hidden_size"])

    def encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D] unit features, and [B, 1 + T, W] tokens, of pictures."""
        seen = self.clip.vision_model(pixel_values=preprocess(images, 32))
        tokens = torch.cat([seen.pooler_output[:, None], seen.last_hidden_state[:, 1:]], 1)
        return F.normalize(self.clip.visual_projection(seen.pooler_output).float(), dim=-1), tokens

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """[B, D] unit features of texts."""
        tokens = self.tokenizer(list(texts), padding=True, max_length=self.length, truncation=True, return_tensors="pt")
        pooled = self.clip.text_model(**tokens).pooler_output
        return F.normalize(self.clip.text_projection(pooled).float(), dim=-1)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied with."""
        return self.clip.logit_scale.exp().clamp(max=MAX_SCALE)

    @torch.no_grad()
    def set_max_scale(self) -> None:
        """Set the scale to its most: two pictures of one prompt differ by little of the cosine."""
        self.clip.logit_scale.fill_(math.log(MAX_SCALE))

    def save(self, folder: Path) -> None:
        """A ``CLIPModel`` folder in half precision, the scale bounded as it was in training."""
        with torch.no_grad():
            self.clip.logit_scale.copy_(self.scale.log())
        self.clip.half().save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        give_usual_modes(folder)
        self.clip.float()


def clip_loss(model: CLIPTowers, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Contrastive, with two hard negatives a picture and without the negatives that are true by accident."""
    batch = draw_training_batch(config.batch, 0.4, (seed + 2) * 1_000_003 + step)
    rng, count = random.Random(step), config.batch
    captions = [*batch.right, *batch.wrong, *batch.never]
    with torch.autocast("cpu", torch.bfloat16):
        image, tokens = model.encode_images(batch.images)
        text = model.encode_texts([write_caption(c, rng) for c in captions])
        sight = model.sight(tokens, batch.slots)
    similar = model.scale * image @ text.T  # [B, 3 B]
    own = torch.eye(count, dtype=torch.bool)
    accident = caption_truth(batch.scenes, captions)
    accident[:, :count] &= ~own
    accident[:, count:] &= ~own.repeat(1, 2)
    masked = similar.masked_fill(accident, -1e4)
    label = torch.arange(count)
    good = batch.amount < 0.3
    by_image = F.cross_entropy(masked[good], label[good])
    by_text = F.cross_entropy(masked[good][:, :count].T[good], torch.arange(int(good.sum())))
    right, wrong = batch.truth()
    margin = similar[:, :count].diagonal() - similar[:, count : 2 * count].diagonal()
    graded = F.binary_cross_entropy_with_logits(margin, 0.5 + 0.5 * (right - wrong))
    ranked = (margin > 0)[right > wrong + 0.5].float().mean().item()
    figures = {"contrast": by_image.item(), "sight": sight.item(), "ranked": ranked}
    return by_image + 0.5 * by_text + 2 * graded + config.facts * sight, figures


def pick_loss(model: CLIPTowers, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Preference between two pictures of one prompt, the less flawed one wins (Bradley-Terry, as PickScore).

    The score's size is held, too: a picture's own flaw says how far below its best it lies, so that scores of different
    pictures and prompts compare.
    """
    batch = draw_training_batch(config.batch, 1.0, (seed + 3) * 1_000_003 + step)
    rng, draws = random.Random(step), torch.Generator().manual_seed(step)
    other = batch.amount * torch.rand(len(batch.amount), generator=draws)
    cleaner = interpolate_to_flaw(batch.scenes, batch.right, batch.wrong, batch.kinds, other, draws).render()
    with torch.autocast("cpu", torch.bfloat16):
        image, tokens = model.encode_images(torch.cat([degrade(cleaner, draws), batch.images]))
        said = model.encode_texts([write_caption(c, rng) for c in batch.right])
        sight = model.sight(tokens[config.batch :], batch.slots)
    cosine = (image * said.repeat(2, 1)).sum(-1)
    first, second = (model.scale * cosine).chunk(2)
    loss = F.binary_cross_entropy_with_logits(first - second, torch.sigmoid(8 * (batch.amount - other)))
    held = F.mse_loss(cosine, 0.8 - 0.3 * torch.cat([other, batch.amount]))
    apart = batch.amount - other > 0.5
    figures = {"held": held.item(), "preferred": (first > second)[apart].float().mean().item()}
    return loss + 20 * held + config.facts * sight, figures
