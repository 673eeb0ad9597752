"""Prompts that a judge or a benchmark cannot work on, told before anything is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypernoise_pl.types import Prompt


def check_prompt_metadata(who: str, prompts: Sequence[Prompt], lacks: Callable[[Prompt], str | None]) -> None:
    """Check that no prompt lacks anything.

    Args:
        who: what cannot do what, first in the message: ``ShapesJudge cannot judge``.
        prompts: all of them.
        lacks: prompt -> what it lacks, as "has no ..."; None if nothing.

    Raises:
        ValueError: if one lacks something: how many, the first of them, and what it lacks.
    """
    lacking = [(prompt, lack) for prompt in prompts if (lack := lacks(prompt)) is not None]
    if lacking:
        prompt, lack = lacking[0]
        raise ValueError(f"{who} {len(lacking)} of {len(prompts)} prompts; the first, {prompt.text!r}, {lack}")
