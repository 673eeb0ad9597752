"""Quality of a latent verifier: rank correlation, and gain and cost of searches with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torchmetrics.functional import spearman_corrcoef

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.metrics.intervals import bootstrap, mean_over_tags
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.rewards.ensemble import WeightedSum
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from hypernoise_pl.search.running import run_search
from hypernoise_pl.search.scoring import Scorer
from hypernoise_pl.shapes.judge import ShapesJudge
from hypernoise_pl.shapes.prompts import ShapesPrompts
from hypernoise_pl.types import Prompt

BASE = "none"


@dataclass
class Outcome:
    """Results of a search method: verdicts and rewards per image, and seconds per image of each block."""

    verdicts: list[Tensor] = field(default_factory=list)
    reward: list[Tensor] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    decodes: int = 0


@torch.no_grad()
def rank_correlations(
    generator: Generator, ensemble: WeightedSum, verifier: LatentVerifier, texts: list[str], count: int, seed: int
) -> Tensor:
    """[P] Spearman correlation of verifier and ensemble over ``count`` Gaussian noises of each of P texts."""
    predicted, true = [], []
    for index, text in enumerate(texts):
        noise = gaussian(generator.noise_shape, [seed_of(seed, index, draw) for draw in range(count)])
        conditioning = generator.encode([text]).map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))
        latents = generator.latents(noise, conditioning)
        predicted.append(verifier(generator, latents, conditioning, [text] * count))
        true.append(ensemble(generator.decode(latents), [text] * count))
    return spearman_corrcoef(torch.stack(predicted, 1), torch.stack(true, 1))


def run_searches(
    generator: Generator,
    ensemble: WeightedSum,
    methods: dict[str, tuple[Search, Scorer | LatentVerifier]],
    prompts: list[Prompt],
    config: DictConfig,
) -> dict[str, Outcome]:
    """Run every method on every prompt from the same start noises; methods alternate, so that load affects all.

    Args:
        generator: frozen one-step generator.
        ensemble: ensemble that scores the final images of every method.
        methods: name -> search and its scorer.
        prompts: prompts of the test split.
        config: ``seeds``, start noises per prompt; ``seed``.
    """
    judge, texts = ShapesJudge(), [prompt.text for prompt in prompts]
    outcomes = {name: Outcome() for name in methods}
    for draw in range(-1, config.seeds):
        start = gaussian(generator.noise_shape, [seed_of(config.seed, draw, prompt.index) for prompt in prompts])
        for name, (search, scorer) in methods.items():
            if draw < 0:  # an uncounted warm-up fills the rewards' text caches
                search = search.fit_to(search.min_nfe())
            best = run_search(search, generator, scorer, texts, start, seed=config.seed)
            if draw >= 0:
                outcome = outcomes[name]
                outcome.seconds.append(best.seconds)
                outcome.verdicts.append(judge(best.images, prompts).float())
                with torch.no_grad():
                    outcome.reward.append(ensemble(best.images, texts))
                outcome.decodes = best.account.decodes
    return outcomes


def measure(
    generator: Generator, ensemble: WeightedSum, verifier: LatentVerifier, config: DictConfig
) -> dict[str, Any]:
    """Measure the rank correlation, and every search with the ensemble and with the verifier.

    Args:
        generator: frozen one-step generator.
        ensemble: distilled ensemble.
        verifier: verifier distilled from it.
        config: ``prompts``, ``seeds``, ``seed``, ``candidates``, ``climb``, ``ranked``.
    """
    prompts = ShapesPrompts(test=config.prompts).prompts("test")
    texts = [prompt.text for prompt in prompts]
    searches: dict[str, Search] = {f"best_of_{n}": RandomSearch(n) for n in config.candidates}
    searches[f"reno_{config.climb.iterations}"] = ReNO(**config.climb)
    methods: dict[str, tuple[Search, Scorer | LatentVerifier]] = {BASE: (NoSearch(), ensemble)}
    for name, search in searches.items():
        methods |= {f"{name}_ensemble": (search, ensemble), f"{name}_latent": (search, verifier)}
    outcomes = run_searches(generator, ensemble, methods, prompts, config)
    ranks = rank_correlations(generator, ensemble, verifier, texts, config.ranked, config.seed)
    return {
        "prompts": len(prompts),
        "seeds": config.seeds,
        "rank_correlation": {
            "noises": config.ranked,
            "mean": round(ranks.mean().item(), 3),
            "lowest_tenth": round(ranks.quantile(0.1).item(), 3),
        },
        "methods": {name: _figures(outcome, prompts) for name, outcome in outcomes.items()},
        "latent_versus_ensemble": {
            name: _compare(outcomes[BASE], outcomes[f"{name}_ensemble"], outcomes[f"{name}_latent"], prompts)
            for name in searches
        },
    }


def _figures(outcome: Outcome, prompts: list[Prompt]) -> dict[str, Any]:
    judged, reward = torch.cat(outcome.verdicts), torch.cat(outcome.reward)
    return {
        "judge": round(_mean(judged, prompts), 3),
        "judge_95": _interval(judged, prompts),
        "weighted_reward": round(_mean(reward, prompts), 3),
        "seconds_per_image": round(median(outcome.seconds), 5),
        "decodes": outcome.decodes,
    }


def _compare(base: Outcome, full: Outcome, latent: Outcome, prompts: list[Prompt]) -> dict[str, Any]:
    """Shares of the ensemble's gain (None without a gain) and of its seconds."""

    def share(field: str) -> float | None:
        none, by_ensemble, by_latent = (_mean(torch.cat(getattr(o, field)), prompts) for o in (base, full, latent))
        return round((by_latent - none) / (by_ensemble - none), 3) if by_ensemble > none else None

    difference = torch.cat(latent.verdicts) - torch.cat(full.verdicts)
    return {
        "share_of_judge_gain": share("verdicts"),
        "share_of_reward_gain": share("reward"),
        "judge_difference_95": _interval(difference, prompts),
        "share_of_seconds": round(median(latent.seconds) / median(full.seconds), 3),
    }


def _mean(values: Tensor, prompts: list[Prompt]) -> float:
    return mean_over_tags(values, [prompt.tag for prompt in prompts] * (len(values) // len(prompts)))


def _interval(values: Tensor, prompts: list[Prompt]) -> list[float] | None:
    rounds = len(values) // len(prompts)
    ids, tags = [prompt.index for prompt in prompts] * rounds, [prompt.tag for prompt in prompts] * rounds
    interval = bootstrap(values, ids, tags)
    return None if interval is None else [round(bound, 3) for bound in interval]
