"""The class of an attached pipeline: its own, with an ear for the prompts and a hand on the noise of every call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

KEPT = "_hypernoise"  # where an attached pipeline keeps its Attachment


def start_scale(pipe: Any) -> float:
    """Standard deviation of the latents that a pipeline starts from."""
    return float(getattr(pipe.scheduler, "init_noise_sigma", 1.0))


def refining(kind: type) -> type:
    """A class of the same name whose calls refine their noise."""
    own: Any = kind
    signature = inspect.signature(own.__call__)

    @functools.wraps(own.__call__)
    def call(self: Any, *args: Any, **named: Any) -> Any:
        given = signature.bind_partial(self, *args, **named)
        given.apply_defaults()
        with self.__dict__[KEPT].calling(given.arguments):
            return own.__call__(self, *args, **named)

    @functools.wraps(own.__call__)
    def call_and_watch(self: Any, *args: Any, **named: Any) -> Any:
        def first(*seen: Any) -> None:
            hook.remove()
            self.__dict__[KEPT].see(*seen)

        hook = self.transformer.register_forward_pre_hook(first, with_kwargs=True)
        try:
            return call(self, *args, **named)
        finally:
            hook.remove()

    methods: dict[str, Callable[..., Any]] = {"__call__": call_and_watch}
    if hasattr(own, "prepare_latents"):
        methods = {"__call__": call, **_prompts_and_latents(own)}
    return type(own.__name__, (own,), {"__module__": own.__module__, **methods})


def _prompts_and_latents(own: Any) -> dict[str, Callable[..., Any]]:
    """The two places where a pipeline shows its encoded prompts and its noise."""
    signature = inspect.signature(own.prepare_latents)

    @functools.wraps(own.encode_prompt)
    def encode_prompt(self: Any, *args: Any, **named: Any) -> Any:
        encoded = own.encode_prompt(self, *args, **named)
        self.__dict__[KEPT].hear(encoded)
        return encoded

    @functools.wraps(own.prepare_latents)
    def prepare_latents(self: Any, *args: Any, **named: Any) -> Any:
        prepared = own.prepare_latents(self, *args, **named)
        given = signature.bind_partial(self, *args, **named).arguments
        latents, *more = prepared if isinstance(prepared, tuple) else (prepared,)
        size = int(given["height"]), int(given["width"])
        latents = self.__dict__[KEPT].refine(latents, size, start_scale(self))
        return (latents, *more) if more else latents

    return {"encode_prompt": encode_prompt, "prepare_latents": prepare_latents}
