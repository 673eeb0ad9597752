"""Signs of reward hacking in a fit's validations: the rewards are pleased, and the judge or the variety pays for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import torch

from hypernoise_pl.report.standings import in_deviations
from hypernoise_pl.report.tables import gain, reward_gain
from hypernoise_pl.report.tally import Tally

LESS_DIVERSE = 0.8  # share of the base's diversity below which it is a sign
LOWER = -0.1  # standard deviations of a reward's scores over the base's images below which it is a sign


def validated(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """What ``signs`` reads of a validation, and ``reward_interval``: 95 %, of the gain by the weighted reward."""
    base, refined = tallies["base"], tallies["hypernetwork"]
    reward, judged = reward_gain(refined, base), gain(refined, base) if base.correct else None
    alike = base.diversity and refined.diversity and fmean(base.diversity) > 0
    columns = {name: (refined.scores[name], scores) for name, scores in base.scores.items()}
    return {
        "reward_gain": reward.mean,
        "reward_interval": reward.interval,
        "gain": None if judged is None else judged.mean,
        "interval": None if judged is None else judged.interval,
        "deviations": {
            name: in_deviations(torch.tensor(now), torch.tensor(was), base.tags) for name, (now, was) in columns.items()
        },
        "diversity": fmean(refined.diversity) / fmean(base.diversity) if alike else None,
    }


def signs(validations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The signs that the newest validation shows, a sentence each; empty if there are none.

    Args:
        validations: by step, each ``step``, ``reward_gain`` (weighted, over the base), ``gain`` and ``interval`` by the
            judge (None without one), ``deviations`` (reward -> its gain over the base, in standard deviations of the
            base's scores; None where it has none), ``diversity`` (refined over base; None where no prompt has two
            images).
    """
    if not validations:
        return []
    now, found = validations[-1], []
    if now["gain"] is not None:
        found += _judged(validations)
    if now["diversity"] is not None and now["diversity"] < LESS_DIVERSE:
        found.append(
            f"The images of a prompt are more alike: their mean distance is {now['diversity']:.0%} of the base's."
        )
    if now["reward_gain"] > 0:
        lower = [
            f"{name} ({value:+.2f} standard deviations)"
            for name, value in now["deviations"].items()
            if value is not None and value < LOWER
        ]
        if lower:
            found.append(f"The weighted reward is above the base's, and lower is {', '.join(lower)}.")
    return found


def _judged(validations: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the judge says against the weighted reward."""
    now = validations[-1]
    best = max((row for row in validations if row["gain"] is not None), key=lambda row: row["gain"])
    low = best["gain"] if best["interval"] is None else best["interval"][0]
    found = []
    if now["gain"] < low and now["reward_gain"] > best["reward_gain"]:
        found.append(
            f"Since step {best['step']} the reward rises and the judge falls: the gain by the weighted reward went "
            f"from {best['reward_gain']:+.3f} to {now['reward_gain']:+.3f}, that by the judge from {best['gain']:+.3f} "
            f"to {now['gain']:+.3f}{'' if best['interval'] is None else ', below its 95 % interval there'}."
        )
    high = now["gain"] if now["interval"] is None else now["interval"][1]
    if now["reward_gain"] > 0 and high < 0:
        found.append(
            f"The weighted reward is above the base's ({now['reward_gain']:+.3f}), and the judge finds the images "
            f"worse than the base's ({now['gain']:+.3f})."
        )
    return found
