"""The one-step student of the shapes world's generator: solved paths of the teacher's flow, and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from hypernoise_pl.progress import Steps
from hypernoise_pl.shapes.caption import sample_prompts
from hypernoise_pl.shapes.training.flow_teacher import solve_flow
from hypernoise_pl.shapes.training.text_to_latent import TextToLatent

ENCODED_AT_ONCE = 512


def _solve_chunk(model: TextToLatent, config: DictConfig, chunk: int, file: Path) -> None:
    """Solve the flow for one chunk of captions and write its file atomically."""
    prompts = sample_prompts("train", config.chunk_size, config.seed * 1_000_003 + chunk)
    texts = [prompt.text for prompt, _ in prompts]
    draws = torch.Generator().manual_seed(config.seed * 1_000_003 + chunk)
    noise = torch.randn(len(texts), *model.noise_shape, generator=draws)
    size = ENCODED_AT_ONCE
    parts = [
        solve_flow(model, noise[i : i + size], texts[i : i + size], config.steps, config.guidance)
        for i in range(0, len(texts), size)
    ]
    path, end = (torch.cat(part) for part in zip(*parts))
    partial = file.with_suffix(".partial")
    torch.save({"path": path.half(), "end": end.half(), "texts": texts}, partial)
    partial.replace(file)


def make_pairs(model: TextToLatent, config: DictConfig, folder: Path) -> dict[str, Tensor]:
    """Solve the teacher's flow for many captions; each chunk is a file, so that a stopped run continues.

    Args:
        model: teacher.
        config: ``chunks``, ``chunk_size``, ``steps``, ``guidance`` and ``seed``.
        folder: folder of the files.

    Returns:
        ``path`` [N, steps, *Z] and ``end`` [N, *Z]; ``caption`` [N], the row in ``embeddings`` and ``mask``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    with Steps("pairs", config.chunks, "chunks") as progress:
        for chunk in range(config.chunks):
            file = folder / f"{chunk:03d}.pt"
            if not file.exists():
                _solve_chunk(model, config, chunk, file)
            progress.advance()
    chunks = [torch.load(folder / f"{chunk:03d}.pt", weights_only=True) for chunk in range(config.chunks)]
    texts = [text for chunk in chunks for text in chunk["texts"]]
    unique = sorted(set(texts))
    with torch.no_grad():
        encoded = [model.encode(unique[i : i + ENCODED_AT_ONCE]) for i in range(0, len(unique), ENCODED_AT_ONCE)]
    row = {text: index for index, text in enumerate(unique)}
    return {
        "path": torch.cat([chunk["path"] for chunk in chunks]),
        "end": torch.cat([chunk["end"] for chunk in chunks]),
        "caption": torch.tensor([row[text] for text in texts]),
        "embeddings": torch.cat([e for e, _ in encoded]),
        "mask": torch.cat([m for _, m in encoded]),
    }


def student_loss(
    model: TextToLatent, pairs: dict[str, Tensor], config: DictConfig, step: int
) -> tuple[Tensor, dict[str, float]]:
    """Squared error of the jump from a state of the teacher's path to its end; most states are the initial noise."""
    draws = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    count, steps = pairs["path"].shape[:2]
    row = torch.randint(count, (config.batch,), generator=draws)
    index = torch.randint(steps, (config.batch,), generator=draws)
    index[torch.rand(config.batch, generator=draws) < config.from_noise] = 0
    state, end = pairs["path"][row, index].float(), pairs["end"][row].float()
    time = 1 - index / steps
    caption = pairs["caption"][row]
    velocity = model.velocity(state, time, (pairs["embeddings"][caption], pairs["mask"][caption]))
    error = (state - time[:, None, None, None] * velocity - end).square().flatten(1).mean(1)
    loss = (error / time.square()).mean()
    return loss, {"one_step": error[index == 0].mean().item()}


def one_step_latents(model: TextToLatent, noise: Tensor, texts: Sequence[str]) -> Tensor:
    """Latents of the student: ``noise - velocity(noise, 1)``."""
    return noise - model.velocity(noise, torch.ones(len(noise)), model.encode(texts))
