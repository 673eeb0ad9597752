"""Image rows: one for each image of a method, the same in fit, validate, test and compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from hypernoise_pl.objective import weighted_sum
from hypernoise_pl.types import Prompt, Rollout

JUDGE = "judge"  # column of the judge's verdicts, and the verifier that is the judge itself
WEIGHTED, RANKED = ENSEMBLES = ("weighted", "ensemble_rank")  # verifiers made of all rewards; the first is a column too


@dataclass(frozen=True)
class MethodInfo:
    """The method that made an image; one line of a table.

    Args:
        label: name in tables: the method, with its budget where it has several.
        method: method name; labels that differ in their budget alone share it.
        search: class name of the test-time search; None where there is none.
        settings: description of the search's options; equal for equal searches, whatever their budgets.
        verifier: name of the score that the search maximises.
        trained: whether the images start from the adapter.
        requested_nfe: budget, network evaluations per image.
        steps: network evaluations per image of the generator alone.
    """

    label: str
    method: str
    search: str | None
    settings: str
    verifier: str
    trained: bool
    requested_nfe: int
    steps: int


@dataclass(frozen=True)
class Cost:
    """The cost of an image.

    Args:
        nfe: network evaluations, of all candidates together.
        nfe_backward: backward passes through the network.
        seconds: drawing, network, decoding and verifying; the mean over the images that were made together.
        device: device name; of a CPU with its number of threads.
        decodes: decoded latents; None where they were not counted.
        verified: scored candidates; None where they were not counted.
        unscored_candidates: candidates that the verifier gave no score; the mean over the images made together.
    """

    nfe: int
    nfe_backward: int
    seconds: float
    device: str
    decodes: int | None = None
    verified: int | None = None
    unscored_candidates: float = 0.0


@dataclass
class ImageRow:
    """One image of one method.

    Args:
        method: method that made it.
        cost: its cost.
        prompt: index of the prompt in its set.
        text: prompt text.
        tag: prompt tag.
        seed: number of the prompt's noise, from 0.
        scores: reward name -> raw score; NaN where the reward gave none.
        reward: weighted sum of the scores.
        judge: verdict, 1 or 0; None without a judge.
        image: path of the picture in the run folder; empty where none is kept.
    """

    method: MethodInfo
    cost: Cost
    prompt: int
    text: str
    tag: str
    seed: int
    scores: dict[str, float]
    reward: float
    judge: float | None
    image: str = ""


def image_rows(
    method: MethodInfo,
    cost: Cost,
    draws: Sequence[tuple[Prompt, int]],
    scores: Mapping[str, Tensor],
    weights: dict[str, float],
    verdicts: Tensor | None,
) -> list[ImageRow]:
    """Rows of images that were made together.

    Args:
        method: method that made them.
        cost: cost of each.
        draws: prompt and number of its noise, one pair per image.
        scores: reward name -> [B] scores.
        weights: reward name -> weight.
        verdicts: [B] verdicts of the judge; None without one.
    """
    scores = {name: score.detach().float() for name, score in scores.items()}
    reward = weighted_sum(scores, weights).tolist()
    columns = {name: score.tolist() for name, score in scores.items()}
    judged = None if verdicts is None else verdicts.float().tolist()
    return [
        ImageRow(
            method,
            cost,
            prompt.index,
            prompt.text,
            prompt.tag,
            seed,
            {name: column[index] for name, column in columns.items()},
            reward[index],
            None if judged is None else judged[index],
        )
        for index, (prompt, seed) in enumerate(draws)
    ]


def rollout_rows(
    name: str, rollout: Rollout, weights: dict[str, float], verdicts: Tensor | None, steps: int, device: str
) -> list[ImageRow]:
    """Rows of a validation or test rollout.

    Args:
        name: ``base``, ``hypernetwork`` or ``reference``, which is a search.
        rollout: images and scores; images of one prompt stand in the order of their noises.
        weights: reward name -> weight.
        verdicts: [B] verdicts of the judge; None without one.
        steps: network evaluations per image of the generator alone.
        device: device name.
    """
    search = rollout.label.partition(" ")[0] if name == "reference" else None
    method = MethodInfo(
        rollout.label, name, search, rollout.label, WEIGHTED, name == "hypernetwork", rollout.nfe, steps
    )
    counts = (None, None) if search else (1, 0)
    cost = Cost(rollout.nfe, rollout.nfe_backward, rollout.seconds, device, *counts)
    counts_by_prompt, draws = Counter[int](), []
    for prompt in rollout.prompts:
        draws.append((prompt, counts_by_prompt[prompt.index]))
        counts_by_prompt[prompt.index] += 1
    return image_rows(method, cost, draws, rollout.scores, weights, verdicts)


def columns(rows: Sequence[ImageRow], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Column name -> [M]: the scores of every reward, ``weighted`` and, where there are verdicts, ``judge``."""
    values = {name: [row.scores[name] for row in rows] for name in rows[0].scores}
    values[WEIGHTED] = [row.reward for row in rows]
    if any(row.judge is not None for row in rows):
        values[JUDGE] = [nan if row.judge is None else row.judge for row in rows]
    return {name: torch.tensor(column, dtype=dtype) for name, column in values.items()}


def prompts_and_tags(rows: Sequence[ImageRow]) -> tuple[list[int], list[str]]:
    """Prompt index and tag of each row."""
    return [row.prompt for row in rows], [row.tag for row in rows]


def paired(rows: Sequence[ImageRow], *others: Sequence[ImageRow]) -> list[list[ImageRow]]:
    """The rows, and those of each other method, of the images that all of them have: the same prompt and seed."""
    methods = [rows, *others]
    keys = [[(row.prompt, row.seed) for row in own] for own in methods]
    if all(own == keys[0] for own in keys):
        return [list(own) for own in methods]
    common = set(keys[0]).intersection(*keys[1:])
    order = [key for key in dict.fromkeys(keys[0]) if key in common]
    by_key = [{(row.prompt, row.seed): row for row in reversed(own)} for own in methods]  # the first of duplicates
    return [[own[key] for key in order] for own in by_key]
