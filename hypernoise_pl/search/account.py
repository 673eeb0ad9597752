"""The account of a search: network evaluations, decodes and verifications."""

from __future__ import annotations

from dataclasses import dataclass


class BudgetExceeded(RuntimeError):
    """A method asked for more network evaluations than its budget holds."""


@dataclass
class Account:
    """Cost of a search per prompt.

    Args:
        nfe: forward evaluations of the generator's network. With classifier-free guidance an evaluation is one call on
            the doubled batch and counts once, in budgets too.
        nfe_backward: backward passes through the network.
        decodes: latents decoded to images.
        verified: samples scored.
        missing: samples without a score, over all prompts.
        repeated: candidates that had been tried before, over all prompts.
    """

    nfe: int = 0
    nfe_backward: int = 0
    decodes: int = 0
    verified: int = 0
    missing: int = 0
    repeated: int = 0

    def charge(self, budget: int, nfe: int, what: str) -> None:
        """Charge evaluations before they are made.

        Raises:
            BudgetExceeded: if the budget is smaller than their sum; nothing is charged then.
        """
        if self.nfe + nfe > budget:
            raise BudgetExceeded(f"{what} do not fit: {self.nfe} of {budget} NFE are spent")
        self.nfe += nfe
