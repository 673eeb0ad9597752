"""A model behind an OpenAI-compatible chat endpoint: structured answers, retries, bounded cost."""

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
from threading import BoundedSemaphore
from typing import Any, ClassVar, TypeVar

from hypernoise_pl.llm.account import ChatAccount, SharedState, Spending
from hypernoise_pl.llm.answer_schema import AnswerSchema
from hypernoise_pl.llm.errors import ChatError, EndpointUnusable, RetryableError

URL_VARIABLE = "OPENAI_BASE_URL"
MAX_WAIT = 60.0  # seconds between attempts, even if the server asks for more

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ChatEndpoint:
    """A model behind an OpenAI-compatible chat endpoint. A deep copy is the same endpoint, with the same account.

    Args:
        model: name of the model on the server.
        base_url: URL of the server, such as ``http://127.0.0.1:8000/v1``; the environment variable OPENAI_BASE_URL if
            left out.
        key_variable: environment variable that holds the key; null for a server without keys.
        timeout_seconds: seconds that a request may stay silent.
        retries: further attempts after a rate limit, time-out, server error, broken connection or invalid answer.
        concurrency: largest number of requests at once.
        temperature: sampling temperature; the server's default if left out.
        spending: prices and caps; each process has its own account and applies them alone.

    Raises:
        ValueError: for a number out of range, no model, or a base_url that is no http URL.
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
    _shared: SharedState = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.model or self.timeout_seconds <= 0 or self.retries < 0 or self.concurrency < 1:
            raise ValueError(
                "chat endpoint needs a model, timeout_seconds above 0, retries of at least 0 and concurrency of at "
                f"least 1, got {self}"
            )
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"chat endpoint: base_url must begin with http:// or https://, got {self.base_url!r}")
        object.__setattr__(self, "_shared", SharedState(BoundedSemaphore(self.concurrency)))

    def __deepcopy__(self, memo: dict[int, Any]) -> ChatEndpoint:
        return self

    def __reduce__(self) -> tuple[type[ChatEndpoint], tuple[Any, ...]]:
        return ChatEndpoint, tuple(getattr(self, f.name) for f in fields(self) if f.init)

    @property
    def account(self) -> ChatAccount:
        """Requests sent so far and their cost."""
        return self._shared.account

    def missing(self) -> str | None:
        """The first requirement that is missing, in words; None if the endpoint can be used."""
        if find_spec("openai") is None:
            return "the package openai; run pip install 'hypernoise_pl[llm]'"
        if not (self.base_url or os.environ.get(URL_VARIABLE)):
            return f"a chat endpoint; give its base_url or set the environment variable {URL_VARIABLE}"
        if self.key_variable is not None and not os.environ.get(self.key_variable):
            return f"the chat endpoint's key; set the environment variable {self.key_variable}, or key_variable: null"
        return None

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result | ChatError]:
        """Call a function that asks this endpoint for every item, ``concurrency`` items at a time.

        Returns:
            Results in the order of the items; a failed question has its error in the result's place.

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

    def ask(self, messages: Sequence[Mapping[str, Any]], schema: AnswerSchema) -> dict[str, Any]:
        """Ask one question, with retries.

        Args:
            messages: messages of the chat protocol.
            schema: fields of the answer.

        Returns:
            The answer's fields.

        Raises:
            ChatError: if no attempt brings a valid answer, or a cap is reached.
            EndpointUnusable: if no request can succeed.
        """
        with self._shared.slots:
            try:
                return self._request_with_retries(messages, schema)
            except ChatError as error:
                self._shared.record_failure(error)
                raise

    def _request_with_retries(self, messages: Sequence[Mapping[str, Any]], schema: AnswerSchema) -> dict[str, Any]:
        for attempt in itertools.count():
            try:
                text = self._request(messages, schema)
                try:
                    return schema.parse(text)
                except ValueError as error:
                    raise RetryableError(self._message(f"invalid answer: {error}"), wait=0) from error
            except RetryableError as error:
                if attempt == self.retries:
                    raise
                time.sleep(min(0.5 * 2**attempt if error.wait is None else error.wait, MAX_WAIT))
        raise AssertionError

    def _request(self, messages: Sequence[Mapping[str, Any]], schema: AnswerSchema) -> str:
        """Send one request; return the text of the answer."""
        client = self._start_request()
        import openai

        options = {} if self.temperature is None else {"temperature": self.temperature}
        try:
            completion = client.chat.completions.create(
                model=self.model, messages=list(messages), response_format=schema.response_format(), **options
            )
        except openai.APIStatusError as error:
            raise self._status_error(error.status_code, error.message, error.response.headers) from error
        except openai.APITimeoutError as error:
            raise RetryableError(self._message(f"no answer within {self.timeout_seconds:g} s")) from error
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            raise RetryableError(self._message(f"no answer: {error.__cause__ or error}")) from error
        self._record_usage(getattr(completion, "usage", None))
        return self._content(completion)

    def _start_request(self) -> Any:
        """Count a request and return the client.

        The client's own retries are off: they would bypass the account and the caps.
        """
        missing = self.missing()
        if missing is not None:
            raise EndpointUnusable(f"{self.model}: missing: {missing}")
        with self._shared.lock:
            try:
                self._shared.count_request(self.spending)
            except ChatError as error:
                raise ChatError(self._message(str(error))) from None
            if self._shared.client is None:
                from openai import OpenAI

                key = os.environ[self.key_variable] if self.key_variable is not None else "none"
                self._shared.client = OpenAI(
                    api_key=key, base_url=self.base_url, timeout=self.timeout_seconds, max_retries=0
                )
            return self._shared.client

    def _record_usage(self, usage: Any) -> None:
        counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
        if self.spending.cap is not None and not all(isinstance(count, int) for count in counts):
            raise EndpointUnusable(
                self._message("the server does not report token usage; remove spending.cap, or use another server")
            )
        prompt_tokens, completion_tokens = (count if isinstance(count, int) else 0 for count in counts)
        self._shared.record_usage(prompt_tokens, completion_tokens, self.spending)

    def _content(self, completion: Any) -> str:
        choices = getattr(completion, "choices", None)
        message: Any = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        if getattr(message, "refusal", None):
            raise ChatError(self._message(f"the model refused: {message.refusal}"))
        if getattr(message, "content", None) is None:
            raise RetryableError(self._message("the server's answer is no chat completion; check base_url"))
        return str(message.content)

    def _status_error(self, status: int, message: str, headers: Mapping[str, str]) -> ChatError:
        text = self._message(f"HTTP {status}: {message}")
        if status in (401, 403, 404):
            return EndpointUnusable(text)
        if status not in (408, 409, 429) and status < 500:
            return ChatError(text)
        wait = None
        with contextlib.suppress(KeyError, ValueError):  # absent, or a date
            wait = max(0.0, float(headers["retry-after"]))
        return RetryableError(text, wait)

    def _message(self, text: str) -> str:
        """One line that begins with the model's name."""
        return f"chat model {self.model}: {' '.join(text.split())[:300]}"
