"""Subsets of a prompt set with every tag in them."""

from __future__ import annotations

from collections.abc import Sequence

from hypernoise_pl.types import Prompt


def stratified_subset(prompts: Sequence[Prompt], count: int | None) -> list[Prompt]:
    """Pick ``count`` prompts, stratified by tag and evenly spaced within each, in the set's order; None picks all.

    Where a tag has fewer prompts than its share, tags that have more fill up.
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
