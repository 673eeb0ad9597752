"""A part of a prompt set that has every kind of prompt."""

from __future__ import annotations

from collections.abc import Sequence

from hypernoise_pl.types import Prompt


def some(prompts: Sequence[Prompt], count: int | None) -> list[Prompt]:
    """So many prompts of a set, in its order: the tags in turn, each evenly spread, so that every kind stays in.

    Where a tag has fewer than its share, those that have more fill up.
    """
    if count is None or count >= len(prompts):
        return list(prompts)
    by_tag: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        by_tag.setdefault(prompt.tag, []).append(place)
    tags = list(by_tag.values())
    shares = [min((count + number) // len(tags), len(places)) for number, places in enumerate(tags)]
    while sum(shares) < count:
        least = min((share, number) for number, share in enumerate(shares) if share < len(tags[number]))[1]
        shares[least] += 1
    chosen = [
        places[turn * len(places) // share] for places, share in zip(tags, shares, strict=True) for turn in range(share)
    ]
    return [prompts[place] for place in sorted(chosen)]
