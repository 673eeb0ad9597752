"""What a search has cost, and what it had found by then."""

from __future__ import annotations

from dataclasses import dataclass


class BudgetExceeded(RuntimeError):
    """A method asked for more network evaluations than its budget holds."""


@dataclass
class Account:
    """What a search has cost per prompt; the drawing, decoding and verifying are in its seconds too.

    Args:
        nfe: forward evaluations of the generator's network; with classifier-free guidance one on the doubled batch
            counts once, in budgets too.
        nfe_backward: backward passes through it, counted apart.
        decodes: latents decoded to images.
        verified: samples scored.
        missing: samples of all prompts together that a verifier could not score.
        repeated: candidates of all prompts together that had been tried before, for want of a new one.
    """

    nfe: int = 0
    nfe_backward: int = 0
    decodes: int = 0
    verified: int = 0
    missing: int = 0
    repeated: int = 0

    def charge(self, budget: int, nfe: int, what: str) -> None:
        """Pay for evaluations before they are made.

        Raises:
            BudgetExceeded: if a budget of evaluations does not hold them; nothing is charged then.
        """
        if self.nfe + nfe > budget:
            raise BudgetExceeded(f"{what} do not fit: {self.nfe} of {budget} NFE are spent")
        self.nfe += nfe
