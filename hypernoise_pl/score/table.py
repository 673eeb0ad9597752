"""Formats a benchmark's figures as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from hypernoise_pl.metrics.intervals import in_words
from hypernoise_pl.report.aligned import aligned

WIDTH = 80
MAX_LEFT_OUT = 10  # lines about left-out images
Row = tuple[str, ...]


def table(summary: Mapping[str, Any]) -> str:
    """The figures in plain text: one table per method, with one row per tag and figure, and notes below."""
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
    notes = [_note(name, own, summary) for name, own in methods.items()]
    lines = [fill(text, WIDTH, break_on_hyphens=False) for text in (*notes, summary["caveat"]) if text]
    return "\n\n".join([*blocks, "\n".join(lines)])


def _note(name: str, own: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Notes about the figures of a method; those of the first method name the judge."""
    methods = summary.get("methods")
    text = f"{name}: " if methods else f"{summary['title']} by {summary['judged_by']}: "
    if methods and name == next(iter(methods)):
        text = f"{summary['title']} by {summary['judged_by']}. {text}"
    text += f"{own['images']} images of {own['prompts']} of {own['prompts_of']} prompts"
    if summary["binary"] and own["images"]:
        text += f"; {own['correct_prompts']:.3f} of these prompts have a correct image"
    text += "."
    empty = [tag for tag, figures in own["tags"].items() if not figures["images"]]
    if empty and own["images"]:
        text += f" {', '.join(empty)}: no images; the mean is over the other tags."
    if own["no_value"]:
        counted = "1 image was" if own["no_value"] == 1 else f"{own['no_value']} images were"
        text += f" {counted} judged without a figure; no mean counts {'it' if own['no_value'] == 1 else 'them'}."
    return text


def left_out_lines(summary: Mapping[str, Any], left_out: Sequence[object]) -> str:
    """The number of left-out images and lines, and the first of them; empty if nothing is left out."""
    if not left_out:
        return ""
    images, lines = summary["images_left_out"], summary["lines_left_out"]
    parts = [f"{images} image{'' if images == 1 else 's'}"] if images else []
    parts += [f"{lines} line{' that names' if lines == 1 else 's that name'} no image"] if lines else []
    text = [f"left out     {' and '.join(parts)}; no figure counts them"]
    text += [f"             {item}" for item in left_out[:MAX_LEFT_OUT]]
    return "\n".join([*text, *(["             and more, in summary.json"] if len(left_out) > MAX_LEFT_OUT else [])])


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
