"""The teacher of the shapes world's generator: flow matching on latents of scenes, and a solver of its flow."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import torch
from omegaconf import DictConfig
from torch import Tensor

from hypernoise_pl.shapes.caption import Combination, combinations, write_caption
from hypernoise_pl.shapes.models import SlotRenderer
from hypernoise_pl.shapes.scene import sample_scenes
from hypernoise_pl.shapes.training.text_to_latent import TextToLatent
from hypernoise_pl.shapes.training.training_batches import SHARES, sample_negatives


def teacher_loss(model: TextToLatent, config: DictConfig, step: int) -> tuple[Tensor, dict[str, float]]:
    """Flow-matching loss on captions and scenes, some of them mismatched; a tenth of the captions is empty.

        loss = |v((1 - t) * latent + t * noise, t) - (noise - latent)|^2

    Source: Lipman et al. 2023 (Flow Matching, arXiv 2210.02747).
    """
    rng = random.Random(f"{config.seed}, teacher, {step}")
    draws = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    tags = rng.choices(list(SHARES), list(SHARES.values()), k=config.captions)
    chosen = [rng.choice(combinations(tag, "train")) for tag in tags]
    texts = ["" if rng.random() < 0.1 else write_caption(c, rng) for c in chosen]
    pictured = [pictured_combination(c, config.wrong, rng) for c in chosen]
    latent = SlotRenderer.encode_scenes(sample_scenes(pictured, draws))
    noise = torch.randn(latent.shape, generator=draws)
    # half of the times lie near pure noise, where the layout of the scene is decided
    time = torch.rand(len(latent), generator=draws)
    time = torch.where(torch.rand(len(latent), generator=draws) < 0.5, time, time.sqrt())
    t = time[:, None, None, None]
    with torch.no_grad():
        text = model.encode(texts)
    loss = (model.velocity((1 - t) * latent + t * noise, time, text) - (noise - latent)).square().mean()
    return loss, {}


def pictured_combination(caption: Combination, wrong: float, rng: random.Random) -> Combination:
    """The facts that a caption's image shows: with probability ``wrong`` one fact differs, as in captions from the web.

    Args:
        caption: facts of the caption.
        wrong: probability of a mismatch.
        rng: source of the draws.
    """
    return rng.choice([*sample_negatives(caption, "train", rng).values()]) if rng.random() < wrong else caption


@torch.no_grad()
def solve_flow(
    model: TextToLatent, noise: Tensor, texts: Sequence[str], steps: int, guidance: float
) -> tuple[Tensor, Tensor]:
    """Integrate the flow from noise to latents with second-order Adams-Bashforth and classifier-free guidance.

        velocity = v_uncond + guidance * (v_cond - v_uncond)

    Returns:
        Path [B, steps, *Z], the states at times 1, ..., 1/steps, and end [B, *Z].
    """
    text, batch = model.encode(texts), len(noise)
    if guidance != 1:
        empty = model.encode([""])
        text = (
            torch.cat([text[0], empty[0].expand(batch, -1, -1)]),
            torch.cat([text[1], empty[1].expand(batch, -1)]),
        )
    times = torch.linspace(1, 0, steps + 1)
    state, previous, path = noise, None, []
    for time, next_time in itertools.pairwise(times):
        path.append(state)
        conditional, *unconditional = model.velocity(
            state.repeat(len(text[0]) // batch, 1, 1, 1), time.expand(len(text[0])), text
        ).split(batch)
        velocity = conditional
        if unconditional:
            velocity = unconditional[0] + guidance * (conditional - unconditional[0])
        slope = velocity if previous is None else 1.5 * velocity - 0.5 * previous
        state, previous = state + (next_time - time) * slope, velocity
    return torch.stack(path, 1), state
