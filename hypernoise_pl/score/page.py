"""Writes a page of scored images, the worst first, with their figures and reasons."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from hypernoise_pl.metrics.benchmark import ScoredImage
from hypernoise_pl.report.figures import image_of
from hypernoise_pl.report.template import render
from hypernoise_pl.score.image_reader import read_image
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.score.table import table
from hypernoise_pl.system.files import write_text

MAX_IMAGES = 600  # images on a page; about 8 kB each
THUMBNAIL_SIDE = 192  # pixels of the longer side


def write_page(
    folder: Path, summary: Mapping[str, Any], scored: Sequence[ScoredImage], left_out: Sequence[LeftOut]
) -> Path:
    """Write ``score.html``.

    Args:
        folder: run folder.
        summary: figures of the images.
        scored: images with their outcomes.
        left_out: images and lines that enter no figure.

    Returns:
        Path of the page.
    """
    ordered = sorted(scored, key=_sort_key)
    cards = [_card(item, summary["binary"]) for item in ordered[:MAX_IMAGES]]
    file = folder / "score.html"
    write_text(
        file,
        render(
            "score.html",
            summary=summary,
            table=table(summary),
            cards=cards,
            count=len(scored),
            tags=list(dict.fromkeys(card["tag"] for card in cards if card["tag"])),
            methods=list(dict.fromkeys(card["made_by"] for card in cards if card["made_by"])),
            left=[str(item) for item in left_out],
        ),
    )
    return file


def _sort_key(item: ScoredImage) -> tuple[float, int, int]:
    """Order of the images: those without a figure, then the lowest first; equal ones by number and prompt."""
    value = item.outcome.value
    return (value if value == value else float("-inf")), item.image.number, item.prompt.index


def _card(item: ScoredImage, binary: bool) -> dict[str, Any]:
    value = item.outcome.value
    if value != value:
        verdict, css_class = "no figure", "wrong"
    elif binary:
        verdict, css_class = ("correct", "right") if value == 1 else ("wrong", "wrong")
    else:
        verdict, css_class = f"{value:.3f}", ""
    return {
        "picture": _thumbnail(item),
        "verdict": verdict,
        "kind": css_class,
        "reason": item.outcome.reason,
        "prompt": item.prompt.text,
        "tag": item.prompt.tag,
        "made_by": item.image.made_by,
        "name": item.image.name,
    }


def _thumbnail(item: ScoredImage) -> str:
    """A small JPEG of the image as a data URL."""
    picture = image_of(read_image(item.image))
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
