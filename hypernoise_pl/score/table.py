"""A benchmark's figures as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from hypernoise_pl.metrics.intervals import in_words

WIDTH = 80
SHOWN = 10  # of what was left out


def table(summary: Mapping[str, Any]) -> str:
    """The table in plain text, a row a tag, and sentences that say what it is of."""
    rows = [("", "score", "95 % interval", "correct", "images", "prompts"), _row("mean over tags", summary)]
    rows += [_row(f"  {tag.replace('_', ' ')}", own) for tag, own in summary["tags"].items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" if place == 0 else f"{cell:>{width}}" for place, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    ]
    lines.insert(1, "-" * len(lines[0]))
    judged, every = summary["prompts"], summary["prompts_of"]
    said = (
        f"GenEval by {summary['detector']}: {summary['images']} images of {judged} of {every} prompts; "
        f"{summary['correct_prompts']:.3f} of these prompts have a correct image."
    )
    empty = [tag for tag, own in summary["tags"].items() if not own["images"]]
    if empty:
        said += f" No image is of {', '.join(empty)}: the mean is over the other tags."
    return "\n".join([*lines, "", fill(said, WIDTH, break_on_hyphens=False), fill(summary["caveat"], WIDTH)])


def left_out(summary: Mapping[str, Any], left: Sequence[object]) -> str:
    """What no figure counts: how much, and a line for each of the first; empty if nothing was left out."""
    if not left:
        return ""
    images, lines = summary["images_left_out"], summary["lines_left_out"]
    parts = [f"{images} image{'' if images == 1 else 's'}"] if images else []
    parts += [f"{lines} line{' that names' if lines == 1 else 's that name'} no image"] if lines else []
    said = [f"left out     {' and '.join(parts)}; no figure counts them"]
    said += [f"             {each}" for each in left[:SHOWN]]
    return "\n".join([*said, *(["             and more, in summary.json"] if len(left) > SHOWN else [])])


def _row(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    value = "-" if figures["score"] is None else f"{figures['score']:.3f}"
    counts = (str(figures[key]) for key in ("correct", "images", "prompts"))
    return (name, value, in_words(figures["interval"], ".3f"), *counts)
