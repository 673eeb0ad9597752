"""Asking a language model over an OpenAI-compatible chat endpoint: answers in a form, bounded cost, an account."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from threading import BoundedSemaphore, Lock
from typing import Any, ClassVar, TypeVar

from hypernoise_pl.llm.answer_schema import AnswerSchema

URL_VARIABLE = "OPENAI_BASE_URL"
LONGEST_WAIT = 60.0  # seconds; a server may ask for more before a retry, a run should not stand still longer

Item = TypeVar("Item")
Result = TypeVar("Result")


class ChatError(OSError):
    """A request that brought no usable answer; the message is one line."""


class EndpointUnusable(ChatError):
    """No request can succeed: something is not set, or the server does not know the key or the model."""


class RetryableError(ChatError):
    """A failure that may pass.

    Args:
        message: one line.
        wait: seconds the server asked for before the next try; None if it did not say.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class Spending:
    """What requests cost, and how much may be spent.

    Args:
        prompt_price: money per million prompt tokens.
        completion_price: money per million completion tokens.
        cap: in the same money. No request begins once it is reached; those on their way then, one less than
            ``concurrency`` at most, still count.
        requests: most requests, retries included.

    Raises:
        ValueError: for a negative number, or a cap where nothing has a price.
    """

    prompt_price: float = 0.0
    completion_price: float = 0.0
    cap: float | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        if min(self.prompt_price, self.completion_price, self.cap or 0, self.requests or 0) < 0:
            raise ValueError(f"spending: no number may be negative, got {self}")
        if self.cap is not None and self.prompt_price + self.completion_price == 0:
            raise ValueError("spending: a cap needs prompt_price and completion_price, in the same money")


@dataclass
class ChatAccount:
    """What an endpoint was asked and what it cost.

    Args:
        requests: sent, retries included.
        prompt_tokens: read by the model.
        completion_tokens: written by it.
        cost: in the money of the prices.
        failures: questions that in the end had no usable answer.
        last_failure: what the last of them failed of.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    failures: int = 0
    last_failure: str = ""


@dataclass
class _Line:
    """What all threads that ask an endpoint share."""

    slots: BoundedSemaphore
    lock: Lock = field(default_factory=Lock)
    account: ChatAccount = field(default_factory=ChatAccount)
    client: Any = None


@dataclass(frozen=True)
class ChatEndpoint:
    """A model behind an OpenAI-compatible chat endpoint. A deep copy is the same endpoint, with the same account.

    Args:
        model: name by which the server knows it.
        base_url: for example ``http://127.0.0.1:8000/v1``; the environment variable OPENAI_BASE_URL if left out.
        key_variable: environment variable that holds the key; null for a server that wants none.
        timeout_seconds: how long a request may stay silent.
        retries: further tries after a rate limit, time-out, server error, broken connection or ill-formed answer.
        concurrency: most requests at once.
        temperature: of the model's sampling; the server's own if left out.
        spending: prices and caps. They hold in one process; every process has its own account.

    Raises:
        ValueError: for numbers that make no sense.
    """

    neutral: ClassVar[tuple[str, ...]] = ("key_variable", "timeout_seconds", "retries", "concurrency", "spending")

    model: str
    base_url: str | None = None
    key_variable: str | None = "OPENAI_API_KEY"
    timeout_seconds: float = 60.0
    retries: int = 3
    concurrency: int = 4
    temperature: float | None = None
    spending: Spending = Spending()
    _line: _Line = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.model or self.timeout_seconds <= 0 or self.retries < 0 or self.concurrency < 1:
            raise ValueError(f"chat endpoint needs a model, a time-out above 0 and a concurrency of 1, got {self}")
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"chat endpoint: base_url must begin with http:// or https://, got {self.base_url!r}")
        object.__setattr__(self, "_line", _Line(BoundedSemaphore(self.concurrency)))

    def __deepcopy__(self, memo: dict[int, Any]) -> ChatEndpoint:
        return self

    def __reduce__(self) -> tuple[type[ChatEndpoint], tuple[Any, ...]]:
        return ChatEndpoint, tuple(getattr(self, part.name) for part in fields(self) if part.init)

    @property
    def account(self) -> ChatAccount:
        """What was asked so far, and what it cost."""
        return self._line.account

    def missing(self) -> str | None:
        """What must be there before it can be asked, in words; None if nothing is missing."""
        if find_spec("openai") is None:
            return "the package openai; run pip install 'hypernoise_pl[search]'"
        if not (self.base_url or os.environ.get(URL_VARIABLE)):
            return f"a chat endpoint; give its base_url or set the environment variable {URL_VARIABLE}"
        if self.key_variable is not None and not os.environ.get(self.key_variable):
            return f"the chat endpoint's key; set the environment variable {self.key_variable}, or key_variable: null"
        return None

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result | ChatError]:
        """Call a function that asks this endpoint for every item, ``concurrency`` at a time.

        Returns:
            The results in the order of the items; where a question failed, its error.

        Raises:
            EndpointUnusable: if no question can succeed.
        """

        def guarded(item: Item) -> Result | ChatError:
            try:
                return function(item)
            except EndpointUnusable:
                raise
            except ChatError as error:
                return error

        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = [pool.submit(guarded, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def ask(self, messages: Sequence[Mapping[str, Any]], form: AnswerSchema) -> dict[str, Any]:
        """Ask once, with retries.

        Args:
            messages: as the chat protocol has them.
            form: of the answer.

        Returns:
            The answer's fields.

        Raises:
            ChatError: if there is no usable answer, or a cap is reached.
            EndpointUnusable: if there can be none.
        """
        with self._line.slots:
            try:
                return self._retried(messages, form)
            except ChatError as error:
                with self._line.lock:
                    self.account.failures += 1
                    self.account.last_failure = str(error)
                raise

    def _retried(self, messages: Sequence[Mapping[str, Any]], form: AnswerSchema) -> dict[str, Any]:
        for attempt in itertools.count():
            try:
                text = self._sent(messages, form)
                try:
                    return form.read(text)
                except ValueError as error:
                    raise RetryableError(self._says(f"ill-formed answer: {error}"), wait=0) from error
            except RetryableError as error:
                if attempt == self.retries:
                    raise
                time.sleep(min(0.5 * 2**attempt if error.wait is None else error.wait, LONGEST_WAIT))
        raise AssertionError

    def _sent(self, messages: Sequence[Mapping[str, Any]], form: AnswerSchema) -> str:
        """The text of one answer to one request."""
        client = self._begin()
        import openai

        options = {} if self.temperature is None else {"temperature": self.temperature}
        try:
            completion = client.chat.completions.create(
                model=self.model, messages=list(messages), response_format=form.response_format(), **options
            )
        except openai.APIStatusError as error:
            raise self._refusal(error.status_code, error.message, error.response.headers) from error
        except openai.APITimeoutError as error:
            raise RetryableError(self._says(f"no answer within {self.timeout_seconds:g} s")) from error
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            raise RetryableError(self._says(f"no answer: {error.__cause__ or error}")) from error
        self._book(getattr(completion, "usage", None))
        choices = getattr(completion, "choices", None)
        message: Any = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        if getattr(message, "refusal", None):
            raise ChatError(self._says(f"the model refused: {message.refusal}"))
        if getattr(message, "content", None) is None:
            raise RetryableError(self._says("the server's answer is no chat completion; is base_url right?"))
        return str(message.content)

    def _begin(self) -> Any:
        """The client, once the account holds one request more.

        Its own retries are switched off: they would not be counted, nor kept under the caps.
        """
        lacking, spending, account = self.missing(), self.spending, self.account
        if lacking is not None:
            raise EndpointUnusable(f"{self.model}: missing is {lacking}")
        with self._line.lock:
            if spending.requests is not None and account.requests >= spending.requests:
                raise ChatError(self._says(f"the cap of {spending.requests} requests is reached"))
            if spending.cap is not None and account.cost >= spending.cap:
                raise ChatError(self._says(f"the cost cap of {spending.cap:g} is reached"))
            account.requests += 1
            if self._line.client is None:
                from openai import OpenAI

                key = os.environ[self.key_variable] if self.key_variable is not None else "none"
                self._line.client = OpenAI(
                    api_key=key, base_url=self.base_url, timeout=self.timeout_seconds, max_retries=0
                )
            return self._line.client

    def _book(self, usage: Any) -> None:
        """Put an answer's tokens down."""
        counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
        if self.spending.cap is not None and not all(isinstance(count, int) for count in counts):
            raise EndpointUnusable(self._says("the server does not say how many tokens it used; no cost cap can hold"))
        read, written = (count if isinstance(count, int) else 0 for count in counts)
        cost = read * self.spending.prompt_price + written * self.spending.completion_price
        with self._line.lock:
            self.account.prompt_tokens += read
            self.account.completion_tokens += written
            self.account.cost += cost / 1e6

    def _refusal(self, status: int, message: str, headers: Mapping[str, str]) -> ChatError:
        text = self._says(f"HTTP {status}: {message}")
        if status in (401, 403, 404):
            return EndpointUnusable(text)
        if status not in (408, 409, 429) and status < 500:
            return ChatError(text)
        wait = None
        with contextlib.suppress(KeyError, ValueError):  # absent, or a date
            wait = max(0.0, float(headers["retry-after"]))
        return RetryableError(text, wait)

    def _says(self, text: str) -> str:
        """One line of a message, with who says it."""
        return f"chat model {self.model}: {' '.join(text.split())[:300]}"
