"""The result of a summary in a few sentences, the same for all commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypernoise_pl.metrics.intervals import interval_in_words


def verdict(summary: Mapping[str, Any]) -> str:
    """The gain of each trained method over the base, and its share of the best search's gain.

    Trained methods that search, or take more steps than the base, are left out.
    """
    methods, base = summary["methods"], summary["methods"][summary["base"]]
    best = methods.get(summary["best_search"])
    sentences = [
        _gains(figures, base, summary["gain_by"], best)
        for figures in methods.values()
        if figures["trained"] and not figures["search"] and figures["steps"] == base["steps"]
    ]
    if best is not None:
        sentences.insert(0, f"{best['label']} gains most of the searches: {best['gain']:+.3f} over {base['label']}.")
    elif any(figures["search"] for figures in methods.values()):
        sentences.insert(0, f"No search gains anything over {base['label']}.")
    if summary["fit"] is not None:
        sentences.append(f"Trained in {summary['fit']['seconds']:.0f} s.")
    return " ".join(sentences)


def _gains(figures: Mapping[str, Any], base: Mapping[str, Any], gain_by: str, best: Mapping[str, Any] | None) -> str:
    label = figures["label"]
    if figures["gain"] is None:
        return f"{label} has no gain over {base['label']}: no image of both has a score."
    by = "judge" if gain_by == "judge" else "weighted reward"
    text = (
        f"{label} gains {figures['gain']:+.3f} over {base['label']} by the {by} "
        f"({interval_in_words(figures['interval'], figures['prompts'])})"
    )
    if figures["win_rate"] is not None:
        text += f" and wins {figures['win_rate']:.0%} of the images by the weighted reward"
    if best is None or figures["share_of_best_gain"] is None:
        return f"{text}."
    time = _times(1 / figures["cost_ratio"])
    if figures["paired_gain"] <= 0:
        return f"{text}. It recovers none of the gain of {best['label']}, in {time} its time."
    where = ""
    if best["images"] < figures["images"]:
        where = f", on the {best['images']} images that both have: {figures['paired_gain']:+.3f}"
    share = f"{figures['share_of_best_gain']:.0%}"
    return f"{text}. It recovers {share} of the gain of {best['label']}{where}, in {time} its time."


def _times(ratio: float) -> str:
    return f"1/{1 / ratio:.0f} of" if ratio < 0.6 else f"{ratio:.2g} times"
