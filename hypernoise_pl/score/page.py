"""A page of scored images, the worst first, each with its figure and what is wrong with it."""

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
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.score.pictures import read_image
from hypernoise_pl.score.table import table
from hypernoise_pl.system.files import write_text

MOST = 600  # images on a page; about 8 kB each
SIZE = 192  # pixels of a picture's longer side


def write_page(
    folder: Path, summary: Mapping[str, Any], scored: Sequence[ScoredImage], left: Sequence[LeftOut]
) -> Path:
    """Write ``score.html``.

    Args:
        folder: run folder.
        summary: of the images.
        scored: images with their outcomes.
        left: what was left out.

    Returns:
        The file.
    """
    ordered = sorted(scored, key=_badness)
    cards = [_card(each, summary["binary"]) for each in ordered[:MOST]]
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
            left=[str(each) for each in left],
        ),
    )
    return file


def _badness(each: ScoredImage) -> tuple[float, int, int]:
    """What images are sorted by: those without a figure first, then the lowest; prompt after prompt among equals."""
    value = each.outcome.value
    return (value if value == value else float("-inf")), each.image.number, each.prompt.index


def _card(each: ScoredImage, binary: bool) -> dict[str, Any]:
    value = each.outcome.value
    if value != value:
        verdict, kind = "no figure", "wrong"
    elif binary:
        verdict, kind = ("correct", "right") if value == 1 else ("wrong", "wrong")
    else:
        verdict, kind = f"{value:.3f}", ""
    return {
        "picture": _picture(each),
        "verdict": verdict,
        "kind": kind,
        "reason": each.outcome.reason,
        "prompt": each.prompt.text,
        "tag": each.prompt.tag,
        "made_by": each.image.made_by,
        "name": each.image.name,
    }


def _picture(each: ScoredImage) -> str:
    """A small JPEG as a data URL; the image was readable when it was scored."""
    picture = image_of(read_image(each.image))
    picture.thumbnail((SIZE, SIZE), Image.Resampling.BILINEAR)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
