"""One run of a search method on a batch of prompts, with its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.progress import part
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.account import Account
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.scoring import AnyScorer


@dataclass(frozen=True)
class SearchResult:
    """The best sample of every prompt, and its cost.

    Args:
        noise: [B, *Z] noises of the best samples.
        images: [B, 3, H, W] in [0, 1].
        account: network evaluations, decodes and verifications per prompt.
        seconds: wall-clock seconds per prompt, decoding included; encoding the prompts is left out.
    """

    noise: Tensor
    images: Tensor
    account: Account
    seconds: float


def run_search(
    search: Search,
    generator: Generator,
    scorer: AnyScorer,
    prompts: Sequence[str],
    noise: Tensor,
    *,
    adapter: Adapter | None = None,
    steps: int = 1,
    seed: int = 0,
    budget: int | None = None,
    chunk: int = 256,
    label: str | None = None,
) -> SearchResult:
    """Improve noises by a search method.

    Args:
        search: method.
        generator: frozen text-to-image model.
        scorer: reward, ensemble, or latent verifier that the search maximises.
        prompts: B texts.
        noise: [B, *Z] start noises.
        adapter: adapter that every candidate goes through; None for the base generator.
        steps: network evaluations per image.
        seed: seed of every further draw.
        budget: network evaluations per prompt; the method's own if left out.
        chunk: images generated at once; bounds memory, changes no result.
        label: name of the method in the progress line; the method's own if left out.
    """
    nfe_per_draw = 0 if adapter is None else adapter.nfe
    nfe_per_score = scorer.nfe if isinstance(scorer, LatentVerifier) else 0
    budget = search.nfe(steps, nfe_per_draw, nfe_per_score) if budget is None else budget
    problem = NoiseProblem(generator, scorer, prompts, noise, budget, seed, steps, chunk, adapter)
    with part(lambda: f"{label or search.label}, {problem.account.nfe:,} of {problem.budget:,} NFE"):
        search.run(problem)
    best = problem.answer()
    assert best.images is not None
    return SearchResult(best.noise, best.images, problem.account, problem.seconds / len(prompts))
