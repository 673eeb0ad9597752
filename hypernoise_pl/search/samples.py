"""The best samples of a search, by one score or by the mean of several ranks."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hypernoise_pl.search.candidates import Candidates


@dataclass
class Samples:
    """M samples: the noises they began with, the seeds of their fresh noise, clean latents, and images if decoded."""

    noise: Tensor  # [M, *Z]
    seeds: Tensor  # [M], on the CPU
    latents: Tensor  # [M, *Z]
    images: Tensor | None  # [M, 3, H, W]


@dataclass
class Best:
    """The best sample of every prompt so far; it is kept, since a path's sample cannot be made again from its noise."""

    noise: Tensor  # [B, *Z]
    seeds: Tensor  # [B], on the CPU
    latents: Tensor  # [B, *Z]
    images: Tensor | None  # [B, 3, H, W]
    scores: Tensor  # [B]
    filled: Tensor  # [B] whether there is a sample

    @staticmethod
    def none(prompts: int, like: Samples) -> Best:
        """An empty record for a number of prompts."""

        def empty(tensor: Tensor) -> Tensor:
            return tensor.new_zeros(prompts, *tensor.shape[1:])

        images = None if like.images is None else empty(like.images)
        scores = like.noise.new_full((prompts,), -torch.inf, dtype=torch.float32)
        filled = torch.zeros(prompts, dtype=torch.bool, device=scores.device)
        return Best(empty(like.noise), empty(like.seeds), empty(like.latents), images, scores, filled)

    @property
    def candidates(self) -> Candidates:
        """The noises [B, 1, *Z] of the best samples, as candidates."""
        return Candidates(self.noise[:, None], self.seeds[:, None])

    def update(self, samples: Samples, scores: Tensor, rows: Tensor) -> None:
        """Update with samples [M], their scores [M] and their prompts' rows [M]; of equal scores the earlier stays."""
        top = torch.full_like(self.scores, -torch.inf).scatter_reduce(0, rows, scores.to(self.scores), "amax")
        places = torch.arange(len(rows), device=rows.device)
        places = places.where(scores.to(self.scores) == top[rows], len(rows))
        first = torch.full_like(self.filled, len(rows), dtype=torch.long).scatter_reduce(0, rows, places, "amin")
        better = (first < len(rows)) & ((top > self.scores) | ~self.filled)
        chosen = first[better]
        self.noise[better] = samples.noise.detach()[chosen]
        self.seeds[better.cpu()] = samples.seeds[chosen.cpu()]
        self.latents[better] = samples.latents.detach()[chosen]
        if self.images is not None and samples.images is not None:
            self.images[better] = samples.images.detach()[chosen]
        self.scores[better] = top[better]
        self.filled |= better


@dataclass
class Ranking:
    """All samples so far, ranked by several verifiers; a new sample may change the order of the others.

    Latents are kept, images are not; the best sample is decoded at the end.

    Args:
        prompts: number of prompts, B.

    Source: Ma et al. 2025, the Verifier Ensemble: the unweighted mean of ranks among a prompt's candidates.
    """

    prompts: int
    _noise: list[list[Tensor]] = field(default_factory=list, init=False)
    _seeds: list[list[Tensor]] = field(default_factory=list, init=False)
    _latents: list[list[Tensor]] = field(default_factory=list, init=False)
    _columns: list[list[Tensor]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._noise = [[] for _ in range(self.prompts)]
        self._seeds = [[] for _ in range(self.prompts)]
        self._latents = [[] for _ in range(self.prompts)]
        self._columns = [[] for _ in range(self.prompts)]

    def add(self, samples: Samples, columns: Tensor, rows: Tensor) -> None:
        """Add samples [M] with their scores by K verifiers [M, K] and their prompts' rows [M]."""
        for place, row in enumerate(rows.tolist()):
            self._noise[row].append(samples.noise[place])
            self._seeds[row].append(samples.seeds[place])
            self._latents[row].append(samples.latents[place])
            self._columns[row].append(columns[place])

    def scores(self) -> Tensor:
        """[B, S] the mean rank of every sample, in (0, 1], in the order of addition."""
        columns = torch.stack([torch.stack(row) for row in self._columns])  # [B, S, K]
        return mean_rank(columns)

    def best(self) -> Best:
        """The sample with the best mean rank; of equal ranks the earlier."""
        scores = self.scores()
        top = scores.argmax(1)
        parts = (self._noise, self._seeds, self._latents)
        noise, seeds, latents = (torch.stack([own[place] for own, place in zip(part, top.tolist())]) for part in parts)
        return Best(noise, seeds, latents, None, scores.max(1).values, torch.ones_like(top, dtype=torch.bool))


def mean_rank(columns: Tensor) -> Tensor:
    """The unweighted mean of ranks.

    Args:
        columns: [B, S, K] scores of S samples by K verifiers, higher is better; a verifier with NaN for a
            sample is left out of that sample's mean.

    Returns:
        [B, S] in [0, 1]: the share of samples that are no better, averaged over verifiers; equals share the mean of
        their ranks.
    """
    valid = ~columns.isnan()
    filled = columns.nan_to_num(nan=-torch.inf)
    below = (filled[:, :, None] > filled[:, None]).sum(2).float()
    equal = (filled[:, :, None] == filled[:, None]).sum(2).float()
    ranks = (below + (equal + 1) / 2) / columns.shape[1]
    return (ranks * valid).sum(-1) / valid.sum(-1).clamp(min=1)
