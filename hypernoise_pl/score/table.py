"""A benchmark's figures as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from hypernoise_pl.metrics.intervals import in_words
from hypernoise_pl.report.aligned import aligned

WIDTH = 80
SHOWN = 10  # of what was left out
Row = tuple[str, ...]


def table(summary: Mapping[str, Any]) -> str:
    """The figures in plain text, method by method, a row a tag and figure, and sentences that say what they are of."""
    methods = summary.get("methods", {"": summary})
    binary = summary["binary"]
    blocks = []
    for name, own in methods.items():
        head = (name, "score", "95 % interval", *(["correct"] if binary else []), "images", "prompts")
        blocks.append(aligned([head, *_rows(own, binary)]))
    if "gains" in summary:
        first = next(iter(methods))
        head = (f"difference to {first}", "mean", "95 % interval", "images")
        blocks.append(aligned([head, *(_gain(name, own) for name, own in summary["gains"].items())]))
    sentences = [_said(name, own, summary) for name, own in methods.items()]
    lines = [fill(text, WIDTH, break_on_hyphens=False) for text in (*sentences, summary["caveat"]) if text]
    return "\n\n".join([*blocks, "\n".join(lines)])


def _said(name: str, own: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """What the figures of a method are of, in sentences; the first method's say who judged."""
    methods = summary.get("methods")
    said = f"{name}: " if methods else f"{summary['title']} by {summary['judged_by']}: "
    if methods and name == next(iter(methods)):
        said = f"{summary['title']} by {summary['judged_by']}. {said}"
    said += f"{own['images']} images of {own['prompts']} of {own['prompts_of']} prompts"
    if summary["binary"] and own["images"]:
        said += f"; {own['correct_prompts']:.3f} of these prompts have a correct image"
    said += "."
    empty = [tag for tag, figures in own["tags"].items() if not figures["images"]]
    if empty and own["images"]:
        said += f" No image is of {', '.join(empty)}: the mean is over the other tags."
    if own["no_value"]:
        counted = "1 image was" if own["no_value"] == 1 else f"{own['no_value']} images were"
        said += f" {counted} looked at and got no figure; no mean counts {'it' if own['no_value'] == 1 else 'them'}."
    return said


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


def _rows(figures: Mapping[str, Any], binary: bool) -> list[Row]:
    tags = figures["tags"]
    rows = [_row("mean over tags" if tags else "mean", figures, binary)]
    rows += [_row(f"  {tag.replace('_', ' ')}", own, binary) for tag, own in tags.items()]
    for name, own in figures["figures"].items():
        value = "-" if own["mean"] is None else f"{own['mean']:.3f}"
        counts = (*([""] if binary else []), str(own["images"]), str(own["prompts"]))
        rows.append((name.replace("_", " "), value, in_words(own["interval"], ".3f"), *counts))
    return rows


def _row(name: str, figures: Mapping[str, Any], binary: bool) -> Row:
    value = "-" if figures["score"] is None else f"{figures['score']:.3f}"
    counts = (str(figures[key]) for key in (*(["correct"] if binary else []), "images", "prompts"))
    return (name, value, in_words(figures["interval"], ".3f"), *counts)


def _gain(name: str, figures: Mapping[str, Any]) -> Row:
    value = "-" if figures["mean"] is None else f"{figures['mean']:+.3f}"
    return name, value, in_words(figures["interval"]), str(figures["images"])
