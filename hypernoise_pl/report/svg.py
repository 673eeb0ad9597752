"""Figures by matplotlib as SVG, for pages that need no network and follow the reader's colours."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#3b7dd8", "#e07b39", "#3a9d6a", "#b65fc4", "#b8901c", "#d1495b", "#4aa3a2", "#8a6f4d", "#6f6fd8")
GREY = "#7a8a99"
INK = "#1d1f23"  # becomes the text colour of the page
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hypernoise_pl",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.25,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The style of all figures, whatever the reader's own matplotlib settings; also a decorator."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


def new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """A figure of a size in pixels, and its axes with a grid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.subplots()
    axes.grid(True)
    axes.set_axisbelow(True)
    return figure, axes


def as_svg(figure: Figure, label: str, titles: Sequence[str] = (), paper: str | None = None) -> str:
    """The figure as an ``<svg>`` element, equal for equal figures.

    Args:
        figure: figure; an artist with the gid ``title-K`` shows the K-th title under the pointer.
        label: description for readers who do not see it.
        titles: texts under the pointer.
        paper: background colour; None for a transparent one.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=NO_METADATA, transparent=paper is None, facecolor=paper or "none")
    svg = text.getvalue()[text.getvalue().index("<svg") :].rstrip()
    svg = re.sub(r'<g id="title-(\d+)">', lambda match: f"<g><title>{escape(titles[int(match[1])])}</title>", svg)
    svg = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", svg)  # a page holds several figures
    svg = svg.replace(INK, "currentColor")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
