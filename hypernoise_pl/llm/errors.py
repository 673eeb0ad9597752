"""Errors of a chat endpoint: failed requests, and endpoints that cannot serve any."""

from __future__ import annotations


class ChatError(OSError):
    """A request without a usable answer; the message is one line."""


class EndpointUnusable(ChatError):
    """No request can succeed: a setting is missing, or the server rejects the key or the model."""


class RetryableError(ChatError):
    """A failure that another attempt may not have.

    Args:
        message: one line.
        wait: seconds that the server asks for before the next attempt; None if it names none.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait
