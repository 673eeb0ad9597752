"""What a search method works on: it draws noises, scores them, counts every evaluation and keeps the best sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.stepped import SteppedGenerator
from hypernoise_pl.noise import seed_of, seeds_from
from hypernoise_pl.search.account import Account, CurvePoint
from hypernoise_pl.search.latent import LatentVerifier
from hypernoise_pl.search.samples import Best, Ranking, Samples
from hypernoise_pl.types import Conditioning, check_shape

Scorer = Callable[[Tensor, list[str]], Tensor]
Refine = Callable[[Tensor, Conditioning], Tensor]


@dataclass
class NoiseProblem:
    """Prompts whose noise is to be improved, under a budget.

    Every row draws from a stream of its own, made from the seed and its start noise: what is found for a prompt does
    not depend on the batch it stands in, nor on ``chunk``.

    Args:
        generator: frozen.
        scorer: images [M, 3, H, W] and M prompts -> [M] scores, higher is better, NaN for missing; or [M, K], whose
            columns are ranked among a prompt's candidates, and the mean rank counts. Or a ``LatentVerifier``, which
            scores before anything is decoded; then only the winner is decoded.
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
    scorer: Scorer | LatentVerifier
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
        if isinstance(self.scorer, LatentVerifier):
            self.scorer.check(self.generator)
        self.conditioning: Conditioning = self.generator.encode(self.prompts)
        self._seeds = seeds_from(self.start)
        self._streams = [torch.Generator().manual_seed(seed_of(self.seed, row)) for row in self._seeds]
        self._ranking: Ranking | None = None
        self._drawn = False
        self._clock = time.perf_counter()

    # what a method draws

    def affords(self, candidates: int) -> bool:
        """Whether this many more candidates per prompt can be scored."""
        return self.account.nfe + candidates * self.nfe_of_scoring <= self.budget

    def affords_states(self, states: int) -> bool:
        """Whether this many more states per prompt can be looked ahead from and scored."""
        return self.account.nfe + states * (1 + self.nfe_of_scoring - self.steps) <= self.budget

    @property
    def nfe_of_scoring(self) -> int:
        """Network evaluations for one candidate to be made and scored."""
        return self.steps + (self.scorer.nfe if isinstance(self.scorer, LatentVerifier) else 0)

    @property
    def at_once(self) -> int:
        """Candidates per prompt that one chunk holds, 1 at least: more at a time are not faster."""
        return max(1, self.chunk // len(self.prompts))

    def draw(self, candidates: int) -> Tensor:
        """[B, N, *Z] noises from the standard normal law, refined if so asked; the first of all is the start noise.

        Raises:
            BudgetExceeded: before anything is spent, if the budget does not hold refining them.
        """
        if self.refine is not None:
            self.account.charge(self.budget, candidates, f"refining {candidates} noises of 1 NFE")
        noise = self.directions(candidates)
        if not self._drawn:
            noise[:, 0], self._drawn = self.start, True
        if self.refine is None:
            return noise
        with torch.no_grad():
            parts = [self.refine(part, self._conditioning(rows)) for part, rows in self._chunks(noise)]
        return torch.cat(parts).view_as(noise)

    def directions(self, count: int) -> Tensor:
        """[B, N, *Z] standard normal numbers, to move noises by."""
        size = self.start.shape[1:]
        drawn = [torch.stack([torch.randn(size, generator=s) for _ in range(count)]) for s in self._streams]
        return torch.stack(drawn).to(self.start)

    def uniforms(self, count: int) -> Tensor:
        """[B, N] numbers uniform in [0, 1), to choose among candidates by."""
        return torch.stack([torch.rand(count, generator=s) for s in self._streams]).to(self.start)

    # what a method asks of noises

    @torch.no_grad()
    def score(self, candidates: Tensor, readings: Sequence[Sequence[str]] | None = None) -> Tensor:
        """Generate and score candidates.

        Args:
            candidates: [B, N, *Z].
            readings: for every prompt N texts that the generator reads in the prompt's place; the prompt itself is
                what they are scored against.

        Returns:
            [B, N] scores; minus infinity where the verifier gave none.

        Raises:
            BudgetExceeded: before anything is spent, if the budget does not hold them.
        """
        count = candidates.shape[1]
        self.account.charge(
            self.budget, count * self.nfe_of_scoring, f"{count} candidates of {self.nfe_of_scoring} NFE"
        )
        texts = None if readings is None else [text for row in readings for text in row]
        found, place = [], 0
        for noise, rows in self._chunks(candidates):
            read = None if texts is None else texts[place : place + len(rows)]
            place += len(rows)
            latents = self._latents(noise, rows, self._conditioning(rows) if read is None else self._encode(read))
            found.append(self._judged(noise, latents, rows))
        return self._kept(torch.cat(found).unflatten(0, candidates.shape[:2]))

    @torch.no_grad()
    def score_latents(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Score clean latents [B, N, *Z] that a walk has come to from noises [B, N, *Z]; as ``score`` returns."""
        extra = latents.shape[1] * (self.nfe_of_scoring - self.steps)
        self.account.charge(self.budget, extra, f"scoring {latents.shape[1]} candidates")
        starts = noise.flatten(0, 1).split(self.chunk)
        found = [self._judged(n, x, rows) for n, (x, rows) in zip(starts, self._chunks(latents), strict=True)]
        return self._kept(torch.cat(found).unflatten(0, latents.shape[:2]))

    def score_and_grad(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Generate and score one noise a prompt, and differentiate the score.

        Args:
            noise: [B, *Z].

        Returns:
            [B] scores and [B, *Z] gradients.

        Raises:
            BudgetExceeded: before anything is spent, if the budget does not hold them.
        """
        self.account.charge(self.budget, self.nfe_of_scoring, f"a candidate of {self.nfe_of_scoring} NFE")
        self.account.nfe_backward += self.nfe_of_scoring
        found, gradients = [], []
        for rows in torch.arange(len(noise), device=noise.device).split(self.chunk):
            with torch.enable_grad():
                leaf = noise[rows].detach().requires_grad_()
                # between its steps a climb meets the same fresh noise in every iteration: one function is climbed
                seeds = [self._seeds[row] for row in rows.tolist()]
                score = self._judged(leaf, self._latents(leaf, rows, self._conditioning(rows), seeds), rows)
                if score.dim() > 1:
                    raise ValueError("a mean of ranks has no gradient; give this method a reward or a weighted sum")
                gradients.append(torch.autograd.grad(score.sum(), leaf)[0])
            found.append(score.detach())
        return self._kept(torch.cat(found)[:, None])[:, 0], torch.cat(gradients)

    @torch.no_grad()
    def look_ahead(self, states: Tensor, level: float) -> Tensor:
        """Clean latents [B, N, *Z] seen from states at a level; one evaluation each, nothing is scored.

        Raises:
            BudgetExceeded: before anything is spent, if the budget does not hold them.
        """
        count = states.shape[1]
        self.account.charge(self.budget, count, f"{count} states of 1 NFE")
        generator = self.generator
        assert isinstance(generator, SteppedGenerator), "Search.check comes first"
        seen = [
            generator.denoise(part, level, self._conditioning(rows), self.network)
            for part, rows in self._chunks(states)
        ]
        return torch.cat(seen).view_as(states)

    @torch.no_grad()
    def settle(self, noise: Tensor) -> None:
        """Take the samples of noises [B, *Z] for the answer, unscored."""
        self.account.charge(self.budget, self.steps, f"an image of {self.steps} NFE")
        for rows in torch.arange(len(noise), device=noise.device).split(self.chunk):
            latents = self._latents(noise[rows], rows, self._conditioning(rows))
            unscored = torch.zeros(len(rows), device=noise.device)
            self._keep(Samples(noise[rows], latents, self._decoded(latents)), unscored, rows)
        self.account.decodes += 1
        self._note()

    @torch.no_grad()
    def answer(self) -> Best:
        """The best sample of every prompt, decoded; call it when the method has run."""
        if self._ranking is not None:
            self.best = self._ranking.best()
        assert self.best is not None, "the method scored nothing"
        if self.best.images is None:
            parts = [self._decoded(part) for part in self.best.latents.split(self.chunk)]
            self.best.images = torch.cat(parts)
            self.account.decodes += 1
        return self.best

    @property
    def ranks(self) -> Tensor | None:
        """[B, S] the mean ranks, as they now are, of all samples in the order they came; None where scores are none."""
        return None if self._ranking is None else self._ranking.scores()

    @property
    def seconds(self) -> float:
        """Since the problem was posed, everything included but the encoding of the prompts."""
        if self.start.is_cuda:
            torch.cuda.synchronize(self.start.device)
        return time.perf_counter() - self._clock

    # how it is done

    def _latents(
        self, noise: Tensor, rows: Tensor, conditioning: Conditioning, seeds: list[int] | None = None
    ) -> Tensor:
        if self.steps > 1 and seeds is None:
            seeds = seeds_from(noise)
        return self.generator.latents(noise, conditioning, self.steps, network=self.network, seeds=seeds)

    def _judged(self, noise: Tensor, latents: Tensor, rows: Tensor) -> Tensor:
        """[M] or [M, K] scores, as the verifier gives them; the best of each row is kept."""
        texts = [self.prompts[row] for row in rows.tolist()]
        if isinstance(self.scorer, LatentVerifier):
            conditioning = self._conditioning(rows)
            images, scores = None, self.scorer(self.generator, latents, conditioning, texts, self.network)
        else:
            images = self._decoded(latents)
            scores = self.scorer(images, texts)
        if scores.dim() == 1:
            self._keep(Samples(noise, latents, images), scores.detach(), rows)
        else:
            self._ranking = self._ranking or Ranking(len(self.prompts))
            self._ranking.add(noise, latents, scores, rows)
        return scores

    def _decoded(self, latents: Tensor) -> Tensor:
        return self.generator.decode(latents)

    def _keep(self, samples: Samples, scores: Tensor, rows: Tensor) -> None:
        if self.best is None:
            self.best = Best.none(len(self.prompts), samples)
        self.best.update(samples, scores.nan_to_num(nan=-torch.inf), rows)

    def _kept(self, scores: Tensor) -> Tensor:
        """Count what was scored; [B, N] for the method to read, from [B, N] or columns to rank [B, N, K]."""
        decodes = self.scorer.decodes if isinstance(self.scorer, LatentVerifier) else 1
        self.account.verified += scores.shape[1]
        self.account.decodes += scores.shape[1] * decodes
        self.account.missing += int(scores.isnan().sum())
        if scores.dim() == 3:
            assert self._ranking is not None
            read = self._ranking.scores()[:, -scores.shape[1] :]
            self.best = self._ranking.best()
        else:
            read = scores.nan_to_num(nan=-torch.inf)
        self._note()
        return read

    def _note(self) -> None:
        assert self.best is not None
        finite = self.best.scores[self.best.scores.isfinite()]
        score = finite.mean().item() if len(finite) else float("nan")
        self.curve.append(CurvePoint(self.account.nfe, self.seconds, score))

    def _conditioning(self, rows: Tensor) -> Conditioning:
        return self.conditioning.map(lambda tensor: tensor[rows])

    def _encode(self, texts: list[str]) -> Conditioning:
        return self.generator.encode(texts).map(lambda tensor: tensor.to(self.start.device))

    def _chunks(self, noise: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Noises [B, N, *Z] as pieces [M, *Z], M at most ``chunk``, each with its prompts' rows."""
        rows = torch.arange(len(noise), device=noise.device).repeat_interleave(noise.shape[1])
        return zip(noise.flatten(0, 1).split(self.chunk), rows.split(self.chunk), strict=True)
