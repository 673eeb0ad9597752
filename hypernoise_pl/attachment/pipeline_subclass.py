"""Subclass of a user's pipeline that intercepts its prompts and its noise.

An attached pipeline must intercept ``__call__``. Python looks ``__call__`` up on the type, never on the instance, so
``attach`` changes the instance's class to a subclass, and ``detach`` changes it back. The subclass intercepts two other
methods as well: ``encode_prompt`` records the prompt encoding, and ``prepare_latents`` refines the noise.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

ATTACHMENT_KEY = "_hypernoise"  # instance attribute of an attached pipeline that holds its Attachment


def start_scale(pipe: Any) -> float:
    """Standard deviation of a pipeline's start latents."""
    return float(getattr(pipe.scheduler, "init_noise_sigma", 1.0))


@functools.cache
def attached_class(cls: type) -> type[Any]:
    """A subclass of the same name whose calls refine their noise.

    Only an attached pipeline and its copies are instances of it: its constructor makes instances of ``cls``.

    Args:
        cls: class of a diffusers pipeline.
    """
    own: Any = cls
    signature = inspect.signature(own.__call__)

    @functools.wraps(own.__init__)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self.__class__ = own  # ``type(pipe)(**pipe.components)``, ``from_pipe``, ``from_pretrained``
        own.__init__(self, *args, **kwargs)

    def reduce(self: Any, protocol: Any) -> tuple[Any, ...]:
        return _blank, (own,), self.__dict__

    def shallow_copy(self: Any) -> Any:
        other = _blank(own)
        other.__dict__.update(self.__dict__)
        other.__dict__[ATTACHMENT_KEY] = self.__dict__[ATTACHMENT_KEY].copy_for(other)
        return other

    @functools.wraps(own.__call__)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        with self.__dict__[ATTACHMENT_KEY].active_call(bound.arguments):
            return own.__call__(self, *args, **kwargs)

    @functools.wraps(own.__call__)
    def call_with_watched_network(self: Any, *args: Any, **kwargs: Any) -> Any:
        network = self.transformer
        self.__dict__["transformer"] = _WatchedNetwork(self, network)
        try:
            return call(self, *args, **kwargs)
        finally:
            self.__dict__["transformer"] = network

    methods: dict[str, Callable[..., Any]] = {"__init__": init, "__reduce_ex__": reduce, "__copy__": shallow_copy}
    methods["__call__"] = call_with_watched_network
    if hasattr(own, "prepare_latents"):
        methods |= {"__call__": call, **_prompts_and_latents(own)}
    return type(own.__name__, (own,), {"__module__": own.__module__, **methods})


class _WatchedNetwork:
    """A stand-in for a pipeline's network whose first evaluation refines its input.

    A forward hook would not do: a compiled or offloaded network does not run it.

    Args:
        pipe: attached pipeline; it has its network back from the first evaluation on.
        network: the pipeline's network; it is not changed.
    """

    def __init__(self, pipe: Any, network: Any) -> None:
        self.pipe, self.network = pipe, network

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.pipe.__dict__["transformer"] = self.network
        self.pipe.__dict__[ATTACHMENT_KEY].refine_network_input(*args, **kwargs)
        return self.network(*args, **kwargs)


def _blank(cls: type) -> Any:
    """An attached pipeline without attributes, which copying and unpickling fill."""
    return object.__new__(attached_class(cls))


def _prompts_and_latents(own: Any) -> dict[str, Callable[..., Any]]:
    """Methods that intercept ``encode_prompt`` and ``prepare_latents`` of a pipeline class."""
    encode_signature, prepare_signature = inspect.signature(own.encode_prompt), inspect.signature(own.prepare_latents)

    @functools.wraps(own.encode_prompt)
    def encode_prompt(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = encode_signature.bind(self, *args, **kwargs)
        images = bound.arguments.get("num_images_per_prompt", 1)
        # the pipeline may write into lists that it is given
        bound.arguments |= {key: [*value] for key, value in bound.arguments.items() if isinstance(value, list)}
        encoded = own.encode_prompt(self, *args, **kwargs)

        def encode_once() -> Any:
            bound.arguments["num_images_per_prompt"] = 1
            return own.encode_prompt(*bound.args, **bound.kwargs)

        self.__dict__[ATTACHMENT_KEY].record_encoding(encoded, images, encode_once)
        return encoded

    @functools.wraps(own.prepare_latents)
    def prepare_latents(self: Any, *args: Any, **kwargs: Any) -> Any:
        prepared = own.prepare_latents(self, *args, **kwargs)
        arguments = prepare_signature.bind_partial(self, *args, **kwargs).arguments
        latents, *rest = prepared if isinstance(prepared, tuple) else (prepared,)
        size = int(arguments["height"]), int(arguments["width"])
        latents = self.__dict__[ATTACHMENT_KEY].refine(latents, size, start_scale(self))
        return (latents, *rest) if rest else latents

    return {"encode_prompt": encode_prompt, "prepare_latents": prepare_latents}
