"""The check that all prompts have the metadata of a judge or benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypernoise_pl.types import Prompt


def check_prompt_metadata(who: str, prompts: Sequence[Prompt], lacks: Callable[[Prompt], str | None]) -> None:
    """Check that no prompt lacks metadata.

    Args:
        who: start of the message, such as ``ShapesJudge cannot judge``.
        prompts: prompts to check.
        lacks: function from a prompt to its missing metadata, as "has no ..."; None if it is complete.

    Raises:
        ValueError: with the number of prompts that lack metadata, the first of them and its missing metadata.
    """
    lacking = [(prompt, lack) for prompt in prompts if (lack := lacks(prompt)) is not None]
    if lacking:
        prompt, lack = lacking[0]
        raise ValueError(f"{who} {len(lacking)} of {len(prompts)} prompts; the first, {prompt.text!r}, {lack}")
