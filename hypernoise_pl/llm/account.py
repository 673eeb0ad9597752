"""Cost of requests to a chat endpoint: prices, caps, and the account that all threads share."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock
from typing import Any

from hypernoise_pl.llm.errors import ChatError


@dataclass(frozen=True)
class Spending:
    """Prices of tokens, and caps on cost and requests.

    Args:
        prompt_price: price of a million prompt tokens.
        completion_price: price of a million completion tokens.
        cap: cost, in the currency of the prices, from which no request begins; requests under way then, at most
            ``concurrency`` - 1, still count.
        requests: largest number of requests, retries included.

    Raises:
        ValueError: for a negative number, or a cap without prices.
    """

    prompt_price: float = 0.0
    completion_price: float = 0.0
    cap: float | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        if min(self.prompt_price, self.completion_price, self.cap or 0, self.requests or 0) < 0:
            raise ValueError(f"spending: no number may be negative, got {self}")
        if self.cap is not None and self.prompt_price + self.completion_price == 0:
            raise ValueError("spending: a cap needs prompt_price and completion_price, in the same currency")


@dataclass
class ChatAccount:
    """Requests sent to an endpoint and their cost.

    Args:
        requests: requests sent, retries included.
        prompt_tokens: tokens that the model read.
        completion_tokens: tokens that the model wrote.
        cost: cost in the currency of the prices.
        failures: questions without a usable answer after all retries.
        last_failure: message of the last of them.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    failures: int = 0
    last_failure: str = ""


@dataclass
class SharedState:
    """State that all threads of an endpoint share.

    Args:
        slots: semaphore over concurrent requests.
        lock: lock of the account and the client.
        account: requests and cost so far.
        client: the OpenAI client; None before the first request.
    """

    slots: BoundedSemaphore
    lock: Lock = field(default_factory=Lock)
    account: ChatAccount = field(default_factory=ChatAccount)
    client: Any = None

    def count_request(self, spending: Spending) -> None:
        """Count a request before it is sent; hold the lock.

        Raises:
            ChatError: if a cap is reached.
        """
        if spending.requests is not None and self.account.requests >= spending.requests:
            raise ChatError(f"the cap of {spending.requests} requests is reached")
        if spending.cap is not None and self.account.cost >= spending.cap:
            raise ChatError(f"the cost cap of {spending.cap:g} is reached")
        self.account.requests += 1

    def record_usage(self, prompt_tokens: int, completion_tokens: int, spending: Spending) -> None:
        """Add an answer's tokens and their cost."""
        cost = prompt_tokens * spending.prompt_price + completion_tokens * spending.completion_price
        with self.lock:
            self.account.prompt_tokens += prompt_tokens
            self.account.completion_tokens += completion_tokens
            self.account.cost += cost / 1e6

    def record_failure(self, error: ChatError) -> None:
        """Count a question without a usable answer."""
        with self.lock:
            self.account.failures += 1
            self.account.last_failure = str(error)
