"""Signs of reward hacking in the validations of a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hypernoise_pl.metrics.intervals import Estimate, estimate
from hypernoise_pl.report.rows import JUDGE, WEIGHTED, ImageRow, columns, prompts_and_tags
from hypernoise_pl.report.summary import in_deviations

STALLED = 0.05  # a reward that rises by a smaller share of its gain stalls
KL = ("noise/kl/total", "train/penalty")  # log keys of the KL; the first that is logged counts

Validation = Mapping[str, Any]  # figures of ``validated``, and ``step``


@dataclass(frozen=True)
class Sign:
    """A sign of reward hacking.

    Args:
        name: sign name, the same at every validation.
        text: description with figures, a sentence.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Limits:
    """Bounds of figures; a sign lies beyond.

    Args:
        diversity: lower bound, share of the base's diversity.
        deviations: lower bound of a reward's gain, in standard deviations of the base's scores.
        growth: upper bound of the growth factor of the KL while the reward stalls.
        kl: upper bound of the KL (the first of ``KL`` that is logged); None for no bound.
    """

    diversity: float = 0.8
    deviations: float = -0.1
    growth: float = 1.5
    kl: float | None = None


def validated(
    rows: Mapping[str, Sequence[ImageRow]],
    distances: Mapping[str, float | None],
    weights: Mapping[str, float],
    figures: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The figures of a validation that ``signs`` reads, and ``reward_interval``: 95 %, of the weighted reward's gain.

    Args:
        rows: image rows of ``base`` and ``hypernetwork``.
        distances: their diversity; None where no prompt has two images.
        weights: reward name -> weight; a reward of weight 0 is held out.
        figures: logged figures, for the KL.
    """
    base, refined = rows["base"], rows["hypernetwork"]
    prompts, tags = prompts_and_tags(base)
    was, now = (columns(own, torch.float32) for own in (base, refined))  # as in the records of continued runs
    gains = {name: estimate(now[name] - was[name], prompts, tags) for name in was}
    reward, judged = gains[WEIGHTED], gains.get(JUDGE)
    names = list(base[0].scores)
    held_out = {name: gains[name] for name in names if weights[name] == 0 and gains[name].mean == gains[name].mean}
    diversity, base_diversity = distances["hypernetwork"], distances["base"]
    return {
        "reward_gain": reward.mean,
        "reward_interval": reward.interval,
        "gain": None if judged is None else judged.mean,
        "interval": None if judged is None else judged.interval,
        "held_out": {name: [over.mean, over.interval] for name, over in held_out.items()},
        "deviations": {name: in_deviations(now[name], was[name], tags) for name in names},
        "diversity": diversity / base_diversity if diversity is not None and base_diversity else None,
        "kl": next(([name, float(figures[name])] for name in KL if name in figures), None) if figures else None,
    }


def signs(validations: Sequence[Validation], limits: Limits = Limits()) -> list[Sign]:
    """The signs of the newest validation; empty if there are none.

    Args:
        validations: validations by step, with ``step``, ``reward_gain`` (weighted, over the base), ``gain`` and
            ``interval`` by the judge (None without one), ``held_out`` (reward of weight 0 -> gain over the base and
            interval), ``deviations`` (reward -> gain over the base, in standard deviations of the base's scores; None
            without scores), ``diversity`` (refined over base; None where no prompt has two images) and ``kl`` (log key
            and value; None where none is logged). Records of older versions lack ``held_out`` and ``kl``.
        limits: bounds of the figures.
    """
    if not validations:
        return []
    now = validations[-1]
    result = _witnessed(validations, "the judge", _judged)
    for name in now.get("held_out", {}):
        result += _witnessed(validations, f"the held-out reward {name}", _held_out(name))
    if now["diversity"] is not None and now["diversity"] < limits.diversity:
        share = f"{now['diversity']:.0%}"
        result.append(
            Sign("diversity", f"The images of a prompt are more alike: their mean distance is {share} of the base's.")
        )
    lower = [
        f"{name} ({value:+.2f} standard deviations)"
        for name, value in now["deviations"].items()
        if value is not None and value < limits.deviations and name not in now.get("held_out", {})
    ]
    if lower and now["reward_gain"] > 0:
        result.append(Sign("lower", f"The weighted reward is above the base's, and lower is {', '.join(lower)}."))
    return result + _moved(validations, limits)


def _judged(row: Validation) -> Estimate | None:
    return None if row["gain"] is None else Estimate(row["gain"], row["interval"])


def _held_out(name: str) -> Callable[[Validation], Estimate | None]:
    return lambda row: Estimate(*row["held_out"][name]) if name in row.get("held_out", {}) else None


def _witnessed(
    validations: Sequence[Validation], who: str, read: Callable[[Validation], Estimate | None]
) -> list[Sign]:
    """Signs of a judge or reward without weight that contradicts the weighted reward."""
    known = [(row, own) for row in validations if (own := read(row)) is not None]
    if not known or known[-1][0] is not validations[-1]:
        return []
    now, own = known[-1]
    best, then = max(known, key=lambda pair: pair[1].mean)
    result = []
    if (
        own.mean < (then.mean if then.interval is None else then.interval[0])
        and now["reward_gain"] > best["reward_gain"]
    ):
        result.append(Sign(
            f"{who} falls",
            f"Since step {best['step']} the reward rises and {who} falls: the gain by the weighted reward went "
            f"from {best['reward_gain']:+.3f} to {now['reward_gain']:+.3f}, that by {who} from {then.mean:+.3f} "
            f"to {own.mean:+.3f}{'' if then.interval is None else ', below its 95 % interval there'}.",
        ))  # fmt: skip
    if now["reward_gain"] > 0 and (own.mean if own.interval is None else own.interval[1]) < 0:
        result.append(Sign(
            f"{who} finds the images worse",
            f"The weighted reward is above the base's ({now['reward_gain']:+.3f}), and {who} finds the images "
            f"worse than the base's ({own.mean:+.3f}).",
        ))  # fmt: skip
    return result


def _moved(validations: Sequence[Validation], limits: Limits) -> list[Sign]:
    """Signs of the KL."""
    now = validations[-1]
    if now.get("kl") is None:
        return []
    (name, value), result = now["kl"], []
    known = [row for row in validations[:-1] if row.get("kl") is not None and row["kl"][0] == name]
    best = max(known, key=lambda row: row["reward_gain"], default=None)
    if best is not None and best["reward_gain"] > 0:
        stalls = now["reward_gain"] < (1 + STALLED) * best["reward_gain"]
        if stalls and value > limits.growth * best["kl"][1]:
            result.append(Sign(
                "the KL grows",
                f"Since step {best['step']} the reward stalls and the noise moves on: the gain by the weighted reward "
                f"went from {best['reward_gain']:+.3f} to {now['reward_gain']:+.3f}, {name} from {best['kl'][1]:.3g} "
                f"to {value:.3g}.",
            ))  # fmt: skip
    if limits.kl is not None and value > limits.kl:
        result.append(Sign("the KL", f"{name} is {value:.3g}, above its bound of {limits.kl:g}."))
    return result
