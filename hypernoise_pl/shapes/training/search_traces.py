"""What searches look at: latents and their true scores, for a verifier on latents to be distilled from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.objective import weighted_sum
from hypernoise_pl.progress import Steps
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from hypernoise_pl.search.zero_order import ZeroOrder
from hypernoise_pl.types import Conditioning

ENCODED_AT_ONCE = 512


class Ensemble:
    """The weighted sum of rewards, the score that is distilled.

    Args:
        rewards: name -> reward.
        weights: name -> weight.
    """

    def __init__(self, rewards: dict[str, Reward], weights: dict[str, float]) -> None:
        self.rewards = {name: reward.eval().requires_grad_(False) for name, reward in rewards.items()}
        self.weights = weights

    def __call__(self, images: Tensor, prompts: list[str]) -> Tensor:
        """[B] scores of images [B, 3, H, W] in [0, 1]; differentiable."""
        return weighted_sum({name: reward(images, prompts) for name, reward in self.rewards.items()}, self.weights)


class TraceRecorder(LatentVerifier):
    """Decodes and scores as the ensemble does, and remembers every latent it is shown.

    Args:
        ensemble: what scores.
    """

    decodes = 1

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

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
            self.seen.setdefault(prompt, []).append((latent.clone(), score))
        return scores

    def table(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """[P, S, *Z] latents and [P, S] scores of P prompts that were searched alike, in the order they came."""
        latents = torch.stack([torch.stack([latent for latent, _ in self.seen[p]]) for p in prompts])
        return latents, torch.stack([torch.stack([score for _, score in self.seen[p]]) for p in prompts])


def record_searches(
    generator: Generator, ensemble: Ensemble, texts: list[str], config: DictConfig, seed: int
) -> TraceRecorder:
    """Search for each text's noise: at random, from the best of those among neighbours, from the best by gradient.

    Args:
        generator: frozen, one-step.
        ensemble: what is maximised.
        texts: each once.
        config: ``gaussian`` noises, ``walk`` and ``climb`` (arguments of ``ZeroOrder`` and ``ReNO``).
        seed: of every noise.
    """
    watching = TraceRecorder(ensemble)
    start = gaussian(generator.noise_shape, [seed_of(seed, index) for index in range(len(texts))])
    walk, climb = ZeroOrder(**config.walk), ReNO(**config.climb)
    problem = NoiseProblem(generator, watching, texts, start, config.gaussian + walk.budget(), seed)
    RandomSearch(config.gaussian).run(problem)
    walk.run(problem)
    climb.run(NoiseProblem(generator, watching, texts, problem.answer().noise, climb.budget(), seed))
    return watching


@torch.no_grad()
def add_mismatched_pairs(
    generator: Generator, ensemble: Ensemble, texts: list[str], seen: tuple[Tensor, Tensor], config: DictConfig
) -> tuple[Tensor, Tensor]:
    """Put to every text latents that were made for other texts too: so what is learnt is to match, not each text's law.

    Args:
        generator: frozen.
        ensemble: what scores.
        texts: P, each once.
        seen: latents [P, S, *Z] and scores [P, S], the Gaussian noises' first.
        config: ``strangers`` a text, at least one text fewer than P; ``gaussian`` and ``seed``.

    Returns:
        Latents [P, S + strangers, *Z] and scores.
    """
    draws = torch.Generator().manual_seed(seed_of(config.seed, len(texts)))
    latents, scores = [seen[0]], [seen[1]]
    for shift in (1 + torch.randperm(len(texts) - 1, generator=draws)[: config.strangers]).tolist():
        draw = int(torch.randint(config.gaussian, (), generator=draws))
        others = seen[0][:, draw].roll(shift, 0)
        latents.append(others[:, None])
        scores.append(ensemble(generator.decode(others), texts)[:, None])
    return torch.cat(latents, 1), torch.cat(scores, 1)


@dataclass
class SearchTraces:
    """All that was seen.

    Args:
        latents: [P, S, *Z].
        scores: [P, S] of the ensemble.
        conditioning: of the P prompts.
    """

    latents: Tensor
    scores: Tensor
    conditioning: Conditioning


def collect_traces(
    generator: Generator, ensemble: Ensemble, texts: list[str], config: DictConfig, folder: Path
) -> SearchTraces:
    """Watch searches on texts, block by block; each block is a file, so that a stopped run continues.

    Args:
        generator: frozen.
        ensemble: what is distilled.
        texts: of training prompts; each counts once, and what fills no block is left out.
        config: ``block`` texts at once, more than ``strangers``; ``seed`` and what ``record_searches`` reads.
        folder: of the files.
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
                seen = record_searches(generator, ensemble, part, config, seed_of(config.seed, start)).table(part)
                latents, scores = add_mismatched_pairs(generator, ensemble, part, seen, config)
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
