"""What a search method works on: it draws noises, scores them, counts every evaluation and keeps the best sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.noise import seeds_from
from hypernoise_pl.types import Conditioning, check_shape

Scorer = Callable[[Tensor, list[str]], Tensor]
Refine = Callable[[Tensor, Conditioning], Tensor]


class BudgetExceeded(RuntimeError):
    """A method asked for more network evaluations than its budget holds."""


@dataclass
class Account:
    """What a search has cost per prompt.

    Args:
        nfe: forward evaluations of the generator's network.
        nfe_backward: backward passes through it, counted apart.
        decodes: images decoded.
        verified: images scored.
    """

    nfe: int = 0
    nfe_backward: int = 0
    decodes: int = 0
    verified: int = 0


@dataclass(frozen=True)
class CurvePoint:
    """The mean best score over prompts after some cost."""

    nfe: int
    seconds: float
    score: float


@dataclass
class Best:
    """The best sample of every prompt so far: a sample, for not every sample can be made again from a noise."""

    noise: Tensor  # [B, *Z]
    images: Tensor  # [B, 3, H, W]
    scores: Tensor  # [B]


@dataclass
class NoiseProblem:
    """Prompts whose noise is to be improved, under a budget.

    Args:
        generator: frozen.
        scorer: images [M, 3, H, W] and M prompts -> [M], higher is better.
        prompts: B texts.
        start: [B, *Z] the noises the base generator would use; the first candidates drawn.
        budget: network evaluations allowed per prompt.
        seed: of every further draw.
        steps: network evaluations per image.
        chunk: images generated at once; bounds memory, never changes a result.
        refine: noises [M, *Z] and their conditioning -> refined noises, one network evaluation each: every noise drawn
            goes through it, so that a search starts where a hypernetwork ends.
        network: view of the generator's network to generate with; None for its own.
    """

    generator: Generator
    scorer: Scorer
    prompts: Sequence[str]
    start: Tensor
    budget: int
    seed: int = 0
    steps: int = 1
    chunk: int = 256
    refine: Refine | None = None
    network: nn.Module | None = None
    account: Account = field(default_factory=Account, init=False)
    curve: list[CurvePoint] = field(default_factory=list, init=False)
    best: Best | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        check_shape("start", self.start, (len(self.prompts), *self.generator.noise_shape))
        self.conditioning: Conditioning = self.generator.encode(self.prompts)
        self._draws = torch.Generator().manual_seed(self.seed)
        self._drawn = False
        self._clock = time.perf_counter()

    def affords(self, candidates: int) -> bool:
        """Whether this many more candidates per prompt can be scored."""
        return self.account.nfe + candidates * self.steps <= self.budget

    def draw(self, candidates: int) -> Tensor:
        """[B, N, *Z] noises from the standard normal law, refined if so asked; the first of all is the start noise.

        Raises:
            BudgetExceeded: before anything is spent, if the budget does not hold refining them.
        """
        noise = self.directions(candidates)
        if not self._drawn:
            noise[:, 0], self._drawn = self.start, True
        if self.refine is None:
            return noise
        self._charge(candidates, f"refining {candidates} noises of 1 NFE")
        with torch.no_grad():
            parts = [
                self.refine(part, self.conditioning.map(lambda t, rows=rows: t[rows]))
                for part, rows in self._chunks(noise)
            ]
        return torch.cat(parts).view_as(noise)

    def directions(self, count: int) -> Tensor:
        """[B, N, *Z] standard normal numbers, to move noises by."""
        size = (len(self.start), count, *self.start.shape[1:])
        return torch.randn(size, generator=self._draws).to(self.start)

    @torch.no_grad()
    def score(self, candidates: Tensor) -> Tensor:
        """Generate and score candidates [B, N, *Z].

        Returns:
            [B, N] scores.

        Raises:
            BudgetExceeded: before anything is spent, if the budget does not hold them.
        """
        batch, count = candidates.shape[:2]
        self._charge_images(count)
        scores, images = [], []
        for part, rows in self._chunks(candidates):
            picture = self._images(part, rows)
            images.append(picture)
            scores.append(self.scorer(picture, [self.prompts[row] for row in rows.tolist()]))
        scores_BN = torch.cat(scores).view(batch, count)
        winner = scores_BN.argmax(1)
        each = torch.arange(batch, device=candidates.device)
        self._keep(candidates[each, winner], torch.cat(images).unflatten(0, (batch, count))[each, winner], scores_BN)
        return scores_BN

    def score_and_grad(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Generate and score one noise a prompt, and differentiate the score.

        Args:
            noise: [B, *Z].

        Returns:
            [B] scores and [B, *Z] gradients.
        """
        self._charge_images(1)
        self.account.nfe_backward += self.steps
        scores, gradients, images = [], [], []
        for rows in torch.arange(len(noise), device=noise.device).split(self.chunk):
            with torch.enable_grad():
                leaf = noise[rows].detach().requires_grad_()
                picture = self._images(leaf, rows)
                score = self.scorer(picture, [self.prompts[row] for row in rows.tolist()])
                gradients.append(torch.autograd.grad(score.sum(), leaf)[0])
            scores.append(score.detach())
            images.append(picture.detach())
        scores_B = torch.cat(scores)
        self._keep(noise.detach(), torch.cat(images), scores_B[:, None])
        return scores_B, torch.cat(gradients)

    def _images(self, noise: Tensor, rows: Tensor) -> Tensor:
        seeds = seeds_from(noise) if self.steps > 1 else None
        conditioning = self.conditioning.map(lambda t: t[rows])
        return self.generator.generate(noise, conditioning, self.steps, network=self.network, seeds=seeds)

    def _chunks(self, noise: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Noises [B, N, *Z] as pieces [M, *Z], M at most ``chunk``, each with its prompts' rows."""
        rows = torch.arange(len(noise), device=noise.device).repeat_interleave(noise.shape[1])
        return zip(noise.flatten(0, 1).split(self.chunk), rows.split(self.chunk), strict=True)

    def _charge_images(self, candidates: int) -> None:
        self._charge(candidates * self.steps, f"{candidates} candidates of {self.steps} NFE")
        self.account.decodes += candidates
        self.account.verified += candidates

    def _charge(self, nfe: int, what: str) -> None:
        spent = self.account.nfe
        if spent + nfe > self.budget:
            raise BudgetExceeded(f"{what} do not fit: {spent} of {self.budget} NFE are spent")
        self.account.nfe = spent + nfe

    def _keep(self, noise: Tensor, images: Tensor, scores_BN: Tensor) -> None:
        scores = scores_BN.max(1).values
        if self.best is None:
            self.best = Best(noise.clone(), images.clone(), scores.clone())
        else:
            better = scores > self.best.scores
            self.best.noise[better] = noise[better]
            self.best.images[better] = images[better]
            self.best.scores[better] = scores[better]
        seconds = time.perf_counter() - self._clock
        self.curve.append(CurvePoint(self.account.nfe, seconds, self.best.scores.mean().item()))
