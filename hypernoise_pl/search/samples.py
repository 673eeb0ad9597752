"""The best samples of a search: kept as they come by one score, or found among all by the mean of several ranks."""

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
    """The best sample of every prompt so far: a sample, for not every sample can be made again from a noise."""

    noise: Tensor  # [B, *Z]
    seeds: Tensor  # [B], on the CPU
    latents: Tensor  # [B, *Z]
    images: Tensor | None  # [B, 3, H, W]
    scores: Tensor  # [B]
    found: Tensor  # [B] whether there is one

    @staticmethod
    def none(prompts: int, like: Samples) -> Best:
        """No sample yet, for so many prompts."""

        def empty(tensor: Tensor) -> Tensor:
            return tensor.new_zeros(prompts, *tensor.shape[1:])

        images = None if like.images is None else empty(like.images)
        scores = like.noise.new_full((prompts,), -torch.inf, dtype=torch.float32)
        found = torch.zeros(prompts, dtype=torch.bool, device=scores.device)
        return Best(empty(like.noise), empty(like.seeds), empty(like.latents), images, scores, found)

    @property
    def candidates(self) -> Candidates:
        """The noises of the best samples, for a search to go on from: [B, 1, *Z]."""
        return Candidates(self.noise[:, None], self.seeds[:, None])

    def update(self, samples: Samples, scores: Tensor, rows: Tensor) -> None:
        """Take in samples [M] with their scores [M] and their prompts' rows [M]; the earlier of equals stays."""
        top = torch.full_like(self.scores, -torch.inf).scatter_reduce(0, rows, scores.to(self.scores), "amax")
        places = torch.arange(len(rows), device=rows.device)
        places = places.where(scores.to(self.scores) == top[rows], len(rows))
        first = torch.full_like(self.found, len(rows), dtype=torch.long).scatter_reduce(0, rows, places, "amin")
        better = (first < len(rows)) & ((top > self.scores) | ~self.found)
        chosen = first[better]
        self.noise[better] = samples.noise.detach()[chosen]
        self.seeds[better.cpu()] = samples.seeds[chosen.cpu()]
        self.latents[better] = samples.latents.detach()[chosen]
        if self.images is not None and samples.images is not None:
            self.images[better] = samples.images.detach()[chosen]
        self.scores[better] = top[better]
        self.found |= better


@dataclass
class Ranking:
    """Every sample so far, for verifiers that are compared by rank: who wins may change with each newcomer.

    Images are not kept, only latents; the winner is decoded in the end.

    Args:
        prompts: B.

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
        """Take in samples [M] with their scores by each verifier [M, K] and their prompts' rows [M]."""
        for place, row in enumerate(rows.tolist()):
            self._noise[row].append(samples.noise[place])
            self._seeds[row].append(samples.seeds[place])
            self._latents[row].append(samples.latents[place])
            self._columns[row].append(columns[place])

    def scores(self) -> Tensor:
        """[B, S] the mean rank of every sample, in (0, 1], in the order they came."""
        columns = torch.stack([torch.stack(row) for row in self._columns])  # [B, S, K]
        return mean_rank(columns)

    def best(self) -> Best:
        """The sample of the best mean rank, the earlier of equals."""
        scores = self.scores()
        top = scores.argmax(1)
        parts = (self._noise, self._seeds, self._latents)
        noise, seeds, latents = (torch.stack([own[place] for own, place in zip(part, top.tolist())]) for part in parts)
        return Best(noise, seeds, latents, None, scores.max(1).values, torch.ones_like(top, dtype=torch.bool))


def mean_rank(columns: Tensor) -> Tensor:
    """The unweighted mean of ranks.

    Args:
        columns: [B, S, K] scores of S samples by K verifiers, higher is better; NaN where one gave none: it then does
            not count for that sample.

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
