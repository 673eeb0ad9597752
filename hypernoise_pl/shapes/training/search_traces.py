"""Search traces: the latents that searches visit and their scores, to distil a latent verifier from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.progress import Steps
from hypernoise_pl.rewards.ensemble import WeightedSum
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from hypernoise_pl.search.zero_order import ZeroOrder
from hypernoise_pl.types import Conditioning

ENCODED_AT_ONCE = 512


class TraceRecorder(LatentVerifier):
    """Scores decoded latents with the ensemble and records every latent and score.

    Args:
        ensemble: ensemble that scores images.
    """

    decodes = 1

    def __init__(self, ensemble: WeightedSum) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.traces: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def _score(
        self,
        generator: Generator,
        latents: Tensor,
        conditioning: Conditioning,
        prompts: list[str],
        network: nn.Module | None,
    ) -> Tensor:
        scores = self.ensemble(generator.decode(latents), prompts)
        for prompt, latent, score in zip(prompts, latents.detach(), scores.detach()):
            self.traces.setdefault(prompt, []).append((latent.clone(), score))
        return scores

    def table(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """[P, S, *Z] latents and [P, S] scores of P prompts with equally many candidates, in the order of scoring."""
        latents = torch.stack([torch.stack([latent for latent, _ in self.traces[p]]) for p in prompts])
        return latents, torch.stack([torch.stack([score for _, score in self.traces[p]]) for p in prompts])


def record_searches(
    generator: Generator, ensemble: WeightedSum, texts: list[str], config: DictConfig, seed: int
) -> TraceRecorder:
    """Search noises for each text: random search, then zero-order from its best, then ReNO from the best so far.

    Args:
        generator: frozen one-step generator.
        ensemble: ensemble to maximise.
        texts: distinct texts.
        config: ``gaussian`` noises, ``walk`` and ``climb`` (arguments of ``ZeroOrder`` and ``ReNO``).
        seed: seed of the noises.
    """
    recorder = TraceRecorder(ensemble)
    start = gaussian(generator.noise_shape, [seed_of(seed, index) for index in range(len(texts))])
    walk, climb = ZeroOrder(**config.walk), ReNO(**config.climb)
    problem = NoiseProblem(generator, recorder, texts, start, config.gaussian + walk.nfe(), seed)
    RandomSearch(config.gaussian).run(problem)
    walk.run(problem)
    climb.run(NoiseProblem(generator, recorder, texts, problem.answer().noise, climb.nfe(), seed))
    return recorder


@torch.no_grad()
def add_mismatched_pairs(
    generator: Generator, ensemble: WeightedSum, texts: list[str], traces: tuple[Tensor, Tensor], config: DictConfig
) -> tuple[Tensor, Tensor]:
    """Add latents of other texts to every text, so that the verifier learns the match of latent and text.

    Args:
        generator: frozen generator.
        ensemble: ensemble that scores images.
        texts: P distinct texts.
        traces: latents [P, S, *Z] and scores [P, S], those of Gaussian noises first.
        config: ``mismatched``, pairs per text, fewer than P; ``gaussian`` and ``seed``.

    Returns:
        Latents [P, S + mismatched, *Z] and scores.
    """
    draws = torch.Generator().manual_seed(seed_of(config.seed, len(texts)))
    latents, scores = [traces[0]], [traces[1]]
    for shift in (1 + torch.randperm(len(texts) - 1, generator=draws)[: config.mismatched]).tolist():
        draw = int(torch.randint(config.gaussian, (), generator=draws))
        others = traces[0][:, draw].roll(shift, 0)
        latents.append(others[:, None])
        scores.append(ensemble(generator.decode(others), texts)[:, None])
    return torch.cat(latents, 1), torch.cat(scores, 1)


@dataclass
class SearchTraces:
    """Latents and scores of all searches.

    Args:
        latents: [P, S, *Z] latents.
        scores: [P, S] scores of the ensemble.
        conditioning: encoded prompts, P.
    """

    latents: Tensor
    scores: Tensor
    conditioning: Conditioning


def collect_traces(
    generator: Generator, ensemble: WeightedSum, texts: list[str], config: DictConfig, folder: Path
) -> SearchTraces:
    """Record searches block by block; each block is a file, so that a stopped run continues.

    Args:
        generator: frozen generator.
        ensemble: ensemble to distil.
        texts: texts of training prompts; repeats and an incomplete last block are left out.
        config: ``block``, texts per block, more than ``mismatched``; ``seed``; keys of ``record_searches``.
        folder: folder of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts, files = list(dict.fromkeys(texts)), []
    texts = texts[: len(texts) // config.block * config.block]
    with Steps("traces", len(texts), "texts") as steps:
        for start in range(0, len(texts), config.block):
            file = folder / f"{start:05d}.pt"
            files.append(file)
            if not file.exists():
                part = texts[start : start + config.block]
                traces = record_searches(generator, ensemble, part, config, seed_of(config.seed, start)).table(part)
                latents, scores = add_mismatched_pairs(generator, ensemble, part, traces, config)
                partial = file.with_suffix(".partial")
                torch.save({"latents": latents, "scores": scores}, partial)
                partial.replace(file)
            steps.advance(config.block)
    blocks = [torch.load(file, weights_only=True) for file in files]
    parts = [texts[i : i + ENCODED_AT_ONCE] for i in range(0, len(texts), ENCODED_AT_ONCE)]
    return SearchTraces(
        torch.cat([block["latents"] for block in blocks]),
        torch.cat([block["scores"] for block in blocks]),
        Conditioning.cat([generator.encode(part) for part in parts]),
    )
