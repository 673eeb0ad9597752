"""From tallies to the summary a program reads and the table a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import torch

from hypernoise_pl.metrics.intervals import bootstrap, in_words, mean_over_tags
from hypernoise_pl.report.tally import Tally


def summarise(tallies: Mapping[str, Tally], fit_seconds: float) -> dict[str, Any]:
    """The figures of a run.

    Returns:
        For every method ``judge`` (``mean`` over tags, and each tag), ``rewards``, ``weighted_reward``, ``diversity``,
        ``seconds_per_image``, ``nfe``; ``gain`` of the hypernetwork over the base by the judge with its 95 %
        ``interval`` over prompts; ``share_of_gradient_search``: that gain over the search's own (on the images both
        were run on, the first of each prompt); ``win_rate`` by the weighted reward; ``fit_seconds``, ``prompts``,
        ``seeds``.
    """
    base, refined = tallies["base"], tallies["hypernetwork"]
    summary: dict[str, Any] = {name: _method(tally) for name, tally in tallies.items()}
    wins = [r > b for r, b in zip(refined.reward, base.reward, strict=True)]
    summary["win_rate"] = fmean(wins)
    summary["gain"] = summary["share_of_gradient_search"] = None
    if base.correct:
        gains = torch.tensor(refined.correct) - torch.tensor(base.correct)
        summary["gain"] = mean_over_tags(gains, base.tags)
        summary["interval"] = bootstrap(gains, base.prompts, base.tags)
        if "gradient_search" in tallies:
            search = tallies["gradient_search"]
            first = base.first_of_each_prompt()
            assert first.prompts == search.prompts
            found = torch.tensor(search.correct) - torch.tensor(first.correct)
            summary["gradient_search_gain"] = mean_over_tags(found, first.tags)
            if summary["gradient_search_gain"] > 0:
                summary["share_of_gradient_search"] = summary["gain"] / summary["gradient_search_gain"]
    summary["fit_seconds"] = fit_seconds
    summary["prompts"] = len(set(base.prompts))
    summary["seeds"] = len(base.prompts) // max(1, summary["prompts"])
    return summary


def _method(tally: Tally) -> dict[str, Any]:
    return {
        "judge": tally.judge(),
        "rewards": {name: fmean(scores) for name, scores in tally.scores.items()},
        "weighted_reward": fmean(tally.reward),
        "diversity": fmean(tally.diversity) if tally.diversity else None,
        "seconds_per_image": fmean(tally.seconds),
        "nfe": tally.nfe,
    }


def table(tallies: Mapping[str, Tally], summary: Mapping[str, Any]) -> str:
    """A table in plain text, a column a method, and a line that says by how much it helped."""
    methods = list(tallies)
    rows: list[tuple[str, list[str]]] = [("", [name.replace("_", " ") for name in methods])]

    def row(name: str, values: list[str]) -> None:
        rows.append((name, values))

    for tag in summary["base"]["judge"]:
        label = "judge, mean" if tag == "mean" else f"  {tag.replace('_', ' ')}"
        row(label, [f"{summary[m]['judge'][tag]:.3f}" for m in methods])
    for name in summary["base"]["rewards"]:
        row(f"reward {name}", [f"{summary[m]['rewards'][name]:.3f}" for m in methods])
    row("reward, weighted", [f"{summary[m]['weighted_reward']:.3f}" for m in methods])
    row("diversity", ["-" if (d := summary[m]["diversity"]) is None else f"{d:.3f}" for m in methods])
    row("ms per image", [f"{1000 * summary[m]['seconds_per_image']:.1f}" for m in methods])
    row("NFE", [_nfe(m, summary[m]["nfe"]) for m in methods])
    row("images", [str(len(tallies[m].prompts)) for m in methods])
    widths = [max(len(values[column]) for _, values in rows) for column in range(len(methods))]
    left = max(len(name) for name, _ in rows)
    lines = [
        f"{name:<{left}}  " + "  ".join(f"{value:>{width}}" for value, width in zip(values, widths))
        for name, values in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([*lines, "", _verdict(summary)])


def _nfe(method: str, nfe: int) -> str:
    return f"{nfe} + {nfe} back" if method == "gradient_search" else str(nfe)


def _verdict(summary: Mapping[str, Any]) -> str:
    wins = f"it wins by reward on {summary['win_rate']:.0%} of images"
    if summary["gain"] is None:
        return f"The hypernetwork against the base: {wins} (no judge was asked)."
    share = summary["share_of_gradient_search"]
    of = (
        "" if share is None else f", {share:.0%} of what gradient search gains ({summary['gradient_search_gain']:+.3f})"
    )
    fitted = f"; fitted in {summary['fit_seconds']:.0f} s" if summary["fit_seconds"] else ""
    width = in_words(summary["interval"])
    return (
        f"The hypernetwork gains {summary['gain']:+.3f} by the judge (95 % interval {width} over "
        f"{summary['prompts']} prompts){of}; {wins}{fitted}."
    )
