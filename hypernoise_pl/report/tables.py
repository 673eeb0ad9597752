"""From tallies to the summary a program reads and the table a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import fmean, median
from typing import Any

import torch

from hypernoise_pl.metrics.intervals import Estimate, estimate, interval_in_words, wins
from hypernoise_pl.report.aligned import aligned
from hypernoise_pl.report.tally import Tally


def summarise(tallies: Mapping[str, Tally], fit_seconds: float, credit: str | None = None) -> dict[str, Any]:
    """The figures of a run.

    Means are over tags, intervals are those of the same means over prompts, what has no figure is None.

    Args:
        tallies: of ``base``, ``hypernetwork`` and, if it was run, ``reference``.
        fit_seconds: of the training; 0 if there was none.
        credit: the judge's; None if there is none.

    Returns:
        For every method ``judge`` (``mean``, and each tag's share), ``rewards``, ``weighted_reward``, ``missing``
        (reward -> images without a score), ``diversity``, ``seconds_per_image`` (the median: a
        batch that warms a device up does not count), ``nfe``, ``nfe_backward``,
        ``label``, ``images``. Of the hypernetwork against the base ``gain`` by the judge
        with its 95 % ``interval``, ``win_rate`` by the weighted reward (a tie counts one half) with its
        ``win_interval``. With a reference search, on each prompt's first noise, which is where it starts:
        ``reference_gain`` and ``gain_beside_reference`` by the judge over the base, and ``share_of_reference_gain``,
        the second over the first. ``judged_by``: what the judge's figures are by. ``fit_seconds``, ``prompts``,
        ``seeds``.
    """
    base, refined = tallies["base"], tallies["hypernetwork"]
    summary: dict[str, Any] = {name: _method(tally) for name, tally in tallies.items()}
    won = win_rate(tallies)
    summary["win_rate"], summary["win_interval"] = _figure(won.mean), won.interval
    for key in ("gain", "interval", "reference_gain", "gain_beside_reference", "share_of_reference_gain", "judged_by"):
        summary[key] = None
    if base.correct:
        judged = gain(refined, base)
        summary["judged_by"] = credit
        summary["gain"], summary["interval"] = judged.mean, judged.interval
        if "reference" in tallies:
            first = {name: tallies[name].first_of_each_prompt() for name in ("base", "hypernetwork", "reference")}
            found, reached = (gain(first[name], first["base"]).mean for name in ("reference", "hypernetwork"))
            summary["reference_gain"], summary["gain_beside_reference"] = found, reached
            summary["share_of_reference_gain"] = reached / found if found > 0 else None
    summary["fit_seconds"] = fit_seconds
    summary["prompts"] = len(set(base.prompts))
    summary["seeds"] = len(base.prompts) // max(1, summary["prompts"])
    return summary


def win_rate(tallies: Mapping[str, Tally]) -> Estimate:
    """The hypernetwork against the base by the weighted reward, the mean over tags; a tie counts one half."""
    base, refined = tallies["base"], tallies["hypernetwork"]
    return estimate(wins(torch.tensor(refined.reward), torch.tensor(base.reward)), base.prompts, base.tags)


def gain(own: Tally, base: Tally) -> Estimate:
    """What a method gains over the base by the judge, paired image by image."""
    return _paired(own.correct, base.correct, own, base)


def reward_gain(own: Tally, base: Tally) -> Estimate:
    """What a method gains over the base by the weighted reward, paired image by image."""
    return _paired(own.reward, base.reward, own, base)


def _paired(values: Sequence[float], others: Sequence[float], own: Tally, base: Tally) -> Estimate:
    assert own.prompts == base.prompts
    return estimate(torch.tensor(values) - torch.tensor(others), base.prompts, base.tags)


def _method(tally: Tally) -> dict[str, Any]:
    return {
        "judge": tally.judge(),
        "rewards": {name: _figure(tally.mean(scores)) for name, scores in tally.scores.items()},
        "weighted_reward": _figure(tally.mean(tally.reward)),
        "missing": tally.missing(),
        "diversity": fmean(tally.diversity) if tally.diversity else None,
        "seconds_per_image": median(tally.seconds),
        "nfe": tally.nfe,
        "nfe_backward": tally.nfe_backward,
        "label": tally.label,
        "images": len(tally.prompts),
    }


def _figure(value: float) -> float | None:
    return value if isfinite(value) else None


def table(summary: Mapping[str, Any]) -> str:
    """A table in plain text, a column a method, and a line that says by how much it helped."""
    methods = measured(summary)
    rows: list[tuple[str, list[str]]] = [("", [m["label"] for m in methods.values()])]

    def row(name: str, values: list[Any], form: str = ".3f") -> None:
        rows.append((name, ["-" if value is None else f"{value:{form}}" for value in values]))

    for tag in summary["base"]["judge"]:
        label = "judge, mean over tags" if tag == "mean" else f"  {tag.replace('_', ' ')}"
        row(label, [m["judge"][tag] for m in methods.values()])
    for name in summary["base"]["rewards"]:
        row(f"reward {name}", [m["rewards"][name] for m in methods.values()])
    row("reward, weighted", [m["weighted_reward"] for m in methods.values()])
    for name in summary["base"]["rewards"]:
        if any(name in m["missing"] for m in methods.values()):
            row(f"no score by {name}", [m["missing"].get(name, 0) for m in methods.values()], "d")
    row("diversity", [m["diversity"] for m in methods.values()])
    row("ms per image", [1000 * m["seconds_per_image"] for m in methods.values()], ".1f")
    rows.append(("NFE", [evaluations(m) for m in methods.values()]))
    row("images", [m["images"] for m in methods.values()], "d")
    lines = aligned([(name, *values) for name, values in rows])
    credit = summary.get("judged_by")
    return "\n".join([lines, "", verdict(summary), *([credit] if credit else [])])


def measured(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of those methods that were run."""
    return {name: summary[name] for name in ("base", "hypernetwork", "reference") if name in summary}


def evaluations(figures: Mapping[str, Any]) -> str:
    """Network evaluations an image, and backward passes where there are any."""
    back = f" + {figures['nfe_backward']:.10g} back" if figures["nfe_backward"] else ""
    return f"{figures['nfe']:.10g}{back}"


def verdict(summary: Mapping[str, Any]) -> str:
    """What is gained over the base, in a sentence or two."""
    trained = summary["hypernetwork"]["label"]
    won = "-" if summary["win_rate"] is None else f"{summary['win_rate']:.0%}"
    rate = f"its win rate by reward is {won}"
    fitted = f"; fitted in {summary['fit_seconds']:.0f} s" if summary["fit_seconds"] else ""
    if summary["gain"] is None:
        return f"The {trained} against the base: {rate} (no judge was asked){fitted}."
    width = interval_in_words(summary["interval"], summary["prompts"])
    said = f"The {trained} gains {summary['gain']:+.3f} by the judge ({width}); {rate}{fitted}."
    if summary["reference_gain"] is None:
        return said
    search, found, reached = summary["reference"]["label"], summary["reference_gain"], summary["gain_beside_reference"]
    share = summary["share_of_reference_gain"]
    of = "" if share is None else f", {share:.0%} of it"
    return said + f" On each prompt's first noise {search} gains {found:+.3f} and the {trained} {reached:+.3f}{of}."
