"""The problem of a search: it draws noises, scores them, counts every evaluation and keeps the best sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.noise import seed_of, seeds_from
from hypernoise_pl.search.account import Account
from hypernoise_pl.search.candidates import Candidates
from hypernoise_pl.search.samples import Best, Ranking, Samples, mean_rank
from hypernoise_pl.search.scoring import AnyScorer, Scoring, gradient
from hypernoise_pl.search.streams import Streams
from hypernoise_pl.system.stopwatch import Stopwatch
from hypernoise_pl.types import Conditioning, check_shape


@dataclass
class NoiseProblem:
    """Prompts with start noises to improve, under a budget.

    Every row draws from its own stream, made from the seed and its start noise. A prompt's answer does not depend on
    the batch around it, nor on ``chunk``.

    Args:
        generator: frozen text-to-image model.
        scorer: function of images [M, 3, H, W] and M prompts; gives [M] scores, higher is better, NaN for missing; or
            [M, K] columns, which are ranked among a prompt's candidates and averaged (``RankMean``). Or a ``ByRow``; or
            a ``LatentVerifier``, which scores latents; then the best sample alone is decoded.
        prompts: B texts.
        start: [B, *Z] start noises of the base generator, unrefined; the first candidates.
        budget: network evaluations per prompt.
        seed: seed of every further draw.
        steps: network evaluations per image.
        chunk: images generated at once; bounds memory, never changes a result.
        adapter: adapter that every candidate goes through: a noise hypernetwork refines each noise drawn, a LoRA on
            the generator makes the images; None for the base generator.

    Raises:
        ValueError: if there is not one start noise a prompt, or the chunk is below 1.
    """

    generator: Generator
    scorer: AnyScorer
    prompts: Sequence[str]
    start: Tensor
    budget: int
    seed: int = 0
    steps: int = 1
    chunk: int = 256
    adapter: Adapter | None = None
    account: Account = field(default_factory=Account, init=False)
    best: Best | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {self.chunk}")
        check_shape("start", self.start, (len(self.prompts), *self.generator.noise_shape))
        self.start = self.start.detach()
        self.network = None if self.adapter is None else self.adapter.network()
        self._scoring.check()
        self.conditioning: Conditioning = self.generator.encode(self.prompts)
        self.streams = Streams([seed_of(self.seed, row) for row in seeds_from(self.start)], self.start)
        self._ranking: Ranking | None = None
        self._drawn = False
        self._stopwatch = Stopwatch(self.start.device)

    # drawing

    def affords(self, candidates: int) -> bool:
        """Whether the budget holds the scoring of a number of candidates per prompt."""
        return self.account.nfe + candidates * self.nfe_per_candidate <= self.budget

    @property
    def nfe_per_candidate(self) -> int:
        """Network evaluations to generate and score one candidate."""
        return self.steps + self._scoring.nfe

    @property
    def at_once(self) -> int:
        """Candidates per prompt in one chunk, at least 1."""
        return max(1, self.chunk // len(self.prompts))

    def draw(self, count: int) -> Candidates:
        """N independent draws from N(0, I), refined by the adapter; the very first is the start noise.

        Raises:
            BudgetExceeded: if the budget does not hold the refining; nothing is spent then.
        """
        return self.refined(self.unrefined(count))

    def unrefined(self, count: int) -> Candidates:
        """N independent draws from N(0, I), unrefined; the very first is the start noise. Nothing is charged.

        A method that changes its draws before they are refined (a mirrored draw, for example) changes these, and calls
        ``refined``.
        """
        noise = self.streams.normal(count)
        if not self._drawn:
            noise[:, 0], self._drawn = self.start, True
        return Candidates.drawn(noise)

    def refined(self, candidates: Candidates) -> Candidates:
        """The candidates refined by the adapter, one evaluation each; unchanged without a hypernetwork.

        Raises:
            BudgetExceeded: if the budget does not hold the refining; nothing is spent then.
        """
        adapter = self.adapter
        if adapter is None or not adapter.nfe:
            return candidates
        count = len(candidates)
        self.account.charge(self.budget, count * adapter.nfe, f"refining {count} noises of {adapter.nfe} NFE")
        with torch.no_grad():
            parts = [
                part + adapter.residual(part, self._conditioning(rows)) for part, rows in self._chunks(candidates.noise)
            ]
        return candidates.moved(torch.cat(parts).view_as(candidates.noise))

    # scoring

    @torch.no_grad()
    def score(self, candidates: Candidates, readings: Sequence[Sequence[str]] | None = None) -> Tensor:
        """Generate and score candidates.

        Args:
            candidates: N candidates a prompt.
            readings: N texts a prompt for the generator, in the place of the prompt; images are scored against the
                prompt itself.

        Returns:
            [B, N] scores; minus infinity for a missing score.

        Raises:
            BudgetExceeded: if the budget does not hold them; nothing is spent then.
        """
        self._charge_candidates(len(candidates))
        texts = None if readings is None else [text for row in readings for text in row]
        found, place = [], 0
        for noise, seeds, rows in self._chunks(candidates.noise, candidates.seeds):
            read = None if texts is None else texts[place : place + len(rows)]
            place += len(rows)
            conditioning = self._conditioning(rows) if read is None else self._encode(read)
            found.append(self._judged(noise, seeds, self._latents(noise, seeds, conditioning), rows))
        return self._kept(torch.cat(found).unflatten(0, candidates.seeds.shape))

    @torch.no_grad()
    def score_latents(self, latents: Tensor, candidates: Candidates) -> Tensor:
        """Score the final latents [B, N, *Z] of trajectories from candidates; returns what ``score`` does."""
        self._charge_verifying(len(candidates))
        pieces = self._chunks(candidates.noise, candidates.seeds, latents)
        found = [self._judged(*piece) for piece in pieces]
        return self._kept(torch.cat(found).unflatten(0, candidates.seeds.shape))

    @torch.no_grad()
    def preview(self, latents: Tensor) -> Tensor:
        """Score predictions of x0 [B, N, *Z] of unfinished trajectories; returns what ``score`` does.

        A prediction is not a sample and not kept as an answer. Columns are ranked among the predictions of one call.
        """
        self._charge_verifying(latents.shape[1])
        found = [self._scoring(piece, rows, self._conditioning(rows))[1] for piece, rows in self._chunks(latents)]
        scores = torch.cat(found).unflatten(0, latents.shape[:2])
        self._count(scores)
        return mean_rank(scores) if scores.dim() == 3 else scores.nan_to_num(nan=-torch.inf)

    def score_and_grad(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Generate and score candidates, and differentiate the scores.

        Returns:
            [B, N] scores and [B, N, *Z] gradients; a gradient that is not finite, as of a missing score, is 0.

        Raises:
            BudgetExceeded: if the budget does not hold them; nothing is spent then.
            ValueError: if the scores are columns to rank, or do not depend on the noise by differentiable operations.
        """
        self._charge_candidates(len(candidates))
        self.account.nfe_backward += len(candidates) * self.nfe_per_candidate
        found, gradients = [], []
        for noise, seeds, rows in self._chunks(candidates.noise, candidates.seeds):
            with torch.enable_grad():
                leaf = noise.detach().requires_grad_()
                score = self._judged(leaf, seeds, self._latents(leaf, seeds, self._conditioning(rows)), rows)
                if score.dim() > 1:
                    raise ValueError("a mean of ranks has no gradient; give this method a reward or a weighted sum")
                gradients.append(gradient(score, leaf))
            found.append(score.detach())
        scores = torch.cat(found).unflatten(0, candidates.seeds.shape)
        return self._kept(scores), torch.cat(gradients).view_as(candidates.noise)

    @torch.no_grad()
    def denoise(self, states: Tensor, t: float) -> Tensor:
        """Clean latents [B, N, *Z] seen from states at time t; one evaluation each, nothing is scored.

        Raises:
            BudgetExceeded: if the budget does not hold them; nothing is spent then.
        """
        count = states.shape[1]
        self.account.charge(self.budget, count, f"{count} states of 1 NFE")
        seen = [
            self.generator.denoise(part, t, self._conditioning(rows), self.network)
            for part, rows in self._chunks(states)
        ]
        return torch.cat(seen).view_as(states)

    @torch.no_grad()
    def accept_unscored(self, candidates: Candidates) -> None:
        """Accept the sample of one candidate a prompt as the answer, unscored."""
        self.account.charge(self.budget, self.steps, f"an image of {self.steps} NFE")
        for noise, seeds, rows in self._chunks(candidates.noise, candidates.seeds):
            latents = self._latents(noise, seeds, self._conditioning(rows))
            unscored = torch.zeros(len(rows), device=noise.device)
            self._keep(Samples(noise, seeds, latents, self.generator.decode(latents)), unscored, rows)
        self.account.decodes += 1

    @torch.no_grad()
    def answer(self) -> Best:
        """The best sample of every prompt, decoded; call it after the method's run."""
        if self._ranking is not None:
            self.best = self._ranking.best()
        assert self.best is not None, "the method scored nothing"
        if self.best.images is None:
            parts = [self.generator.decode(part) for part in self.best.latents.split(self.chunk)]
            self.best.images = torch.cat(parts)
            self.account.decodes += 1
        return self.best

    @property
    def ranks(self) -> Tensor | None:
        """[B, S] current mean ranks of all samples, in the order of scoring; None without ranked scores."""
        return None if self._ranking is None else self._ranking.scores()

    @property
    def seconds(self) -> float:
        """Seconds since the problem was made; the encoding of the prompts is left out."""
        return self._stopwatch.seconds

    # internals

    @property
    def _scoring(self) -> Scoring:
        return Scoring(self.scorer, self.generator, self.prompts, self.network)

    def _latents(self, noise: Tensor, seeds: Tensor, conditioning: Conditioning) -> Tensor:
        fresh = seeds.tolist() if self.steps > 1 else None
        return self.generator.latents(noise, conditioning, self.steps, network=self.network, seeds=fresh)

    def _judged(self, noise: Tensor, seeds: Tensor, latents: Tensor, rows: Tensor) -> Tensor:
        """[M] or [M, K] scores; the best sample of each row is kept."""
        images, scores = self._scoring(latents, rows, self._conditioning(rows))
        samples = Samples(noise, seeds, latents, images)
        if scores.dim() == 1:
            self._keep(samples, scores.detach(), rows)
        else:
            self._ranking = self._ranking or Ranking(len(self.prompts))
            self._ranking.add(samples, scores, rows)
        return scores

    def _keep(self, samples: Samples, scores: Tensor, rows: Tensor) -> None:
        if self.best is None:
            self.best = Best.none(len(self.prompts), samples)
        self.best.update(samples, scores.nan_to_num(nan=-torch.inf), rows)

    def _kept(self, scores: Tensor) -> Tensor:
        """Count the scores; [B, N] scores for the method, from [B, N] scores or columns to rank [B, N, K]."""
        self._count(scores)
        if scores.dim() == 3:
            assert self._ranking is not None
            read = self._ranking.scores()[:, -scores.shape[1] :]
            self.best = self._ranking.best()
        else:
            read = scores.nan_to_num(nan=-torch.inf)
        return read

    def _count(self, scores: Tensor) -> None:
        self.account.verified += scores.shape[1]
        self.account.decodes += scores.shape[1] * self._scoring.decodes
        self.account.missing += int(scores.isnan().sum())

    def _charge_verifying(self, count: int) -> None:
        self.account.charge(self.budget, count * (self.nfe_per_candidate - self.steps), f"scoring {count} candidates")

    def _charge_candidates(self, count: int) -> None:
        each = self.nfe_per_candidate
        self.account.charge(self.budget, count * each, f"{count} candidates of {each} NFE")

    def _conditioning(self, rows: Tensor) -> Conditioning:
        return self.conditioning.map(lambda tensor: tensor[rows])

    def _encode(self, texts: list[str]) -> Conditioning:
        return self.generator.encode(texts).map(lambda tensor: tensor.to(self.start.device))

    def _chunks(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Tensors [B, N, ...] as pieces [M, ...], M at most ``chunk``, followed by the rows [M] of their prompts."""
        prompts, count = tensors[0].shape[:2]
        rows = torch.arange(prompts, device=self.start.device).repeat_interleave(count)
        return zip(*(part.split(self.chunk) for part in (*(x.flatten(0, 1) for x in tensors), rows)), strict=True)
