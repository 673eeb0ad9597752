"""What a search has cost, and what it had found by then."""

from __future__ import annotations

from dataclasses import dataclass


class BudgetExceeded(RuntimeError):
    """A method asked for more network evaluations than its budget holds."""


@dataclass
class Account:
    """What a search has cost per prompt; the drawing, decoding and verifying are in its seconds too.

    Args:
        nfe: forward evaluations of the generator's network.
        nfe_backward: backward passes through it, counted apart.
        decodes: latents decoded to images.
        verified: samples scored.
        missing: samples of all prompts together that a verifier could not score.
    """

    nfe: int = 0
    nfe_backward: int = 0
    decodes: int = 0
    verified: int = 0
    missing: int = 0


@dataclass(frozen=True)
class CurvePoint:
    """The mean best score over prompts after some cost."""

    nfe: int
    seconds: float
    score: float
