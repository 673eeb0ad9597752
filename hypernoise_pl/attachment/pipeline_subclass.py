"""The class of an attached pipeline: its own, whose calls note the prompts and refine the noise."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

KEPT = "_hypernoise"  # where an attached pipeline keeps its Attachment


def start_scale(pipe: Any) -> float:
    """Standard deviation of the latents that a pipeline starts from."""
    return float(getattr(pipe.scheduler, "init_noise_sigma", 1.0))


@functools.cache
def refining(kind: type) -> type:
    """A class of the same name whose calls refine their noise.

    Only an attached pipeline and its copies are of it: a pipeline that is made by it is one of ``kind``.
    """
    own: Any = kind
    signature = inspect.signature(own.__call__)

    @functools.wraps(own.__init__)
    def init(self: Any, *args: Any, **named: Any) -> None:
        self.__class__ = own  # ``type(pipe)(**pipe.components)``, ``from_pipe``, ``from_pretrained``
        own.__init__(self, *args, **named)

    def reduce(self: Any, protocol: Any) -> tuple[Any, ...]:
        return _blank, (own,), self.__dict__

    def shallow(self: Any) -> Any:
        other = _blank(own)
        other.__dict__.update(self.__dict__)
        other.__dict__[KEPT] = self.__dict__[KEPT].copied(other)
        return other

    @functools.wraps(own.__call__)
    def call(self: Any, *args: Any, **named: Any) -> Any:
        given = signature.bind_partial(self, *args, **named)
        given.apply_defaults()
        with self.__dict__[KEPT].calling(given.arguments):
            return own.__call__(self, *args, **named)

    @functools.wraps(own.__call__)
    def call_and_watch(self: Any, *args: Any, **named: Any) -> Any:
        network = self.transformer
        self.__dict__["transformer"] = _Watched(self, network)
        try:
            return call(self, *args, **named)
        finally:
            self.__dict__["transformer"] = network

    methods: dict[str, Callable[..., Any]] = {"__init__": init, "__reduce_ex__": reduce, "__copy__": shallow}
    methods["__call__"] = call_and_watch
    if hasattr(own, "prepare_latents"):
        methods |= {"__call__": call, **_prompts_and_latents(own)}
    return type(own.__name__, (own,), {"__module__": own.__module__, **methods})


class _Watched:
    """What stands in a pipeline's network's place until it is evaluated: what it is given is refined first.

    Args:
        pipe: whose network it is; it has it back then.
        network: is not changed; compiled or offloaded, it would not evaluate a hook of its own as asked.
    """

    def __init__(self, pipe: Any, network: Any) -> None:
        self.pipe, self.network = pipe, network

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        self.pipe.__dict__["transformer"] = self.network
        self.pipe.__dict__[KEPT].see(*inputs, **named)
        return self.network(*inputs, **named)


def _blank(kind: type) -> Any:
    """What a copy of an attached pipeline, or a pickled one, is filled into."""
    return object.__new__(refining(kind))


def _prompts_and_latents(own: Any) -> dict[str, Callable[..., Any]]:
    """The two places where a pipeline shows its encoded prompts and its noise."""
    encoding, preparing = inspect.signature(own.encode_prompt), inspect.signature(own.prepare_latents)

    @functools.wraps(own.encode_prompt)
    def encode_prompt(self: Any, *args: Any, **named: Any) -> Any:
        again = encoding.bind(self, *args, **named)
        images = again.arguments.get("num_images_per_prompt", 1)
        again.arguments |= {key: [*given] for key, given in again.arguments.items() if isinstance(given, list)}
        encoded = own.encode_prompt(self, *args, **named)  # which may write into the lists that it is given

        def one_each() -> Any:
            again.arguments["num_images_per_prompt"] = 1
            return own.encode_prompt(*again.args, **again.kwargs)

        self.__dict__[KEPT].hear(encoded, images, one_each)
        return encoded

    @functools.wraps(own.prepare_latents)
    def prepare_latents(self: Any, *args: Any, **named: Any) -> Any:
        prepared = own.prepare_latents(self, *args, **named)
        given = preparing.bind_partial(self, *args, **named).arguments
        latents, *more = prepared if isinstance(prepared, tuple) else (prepared,)
        size = int(given["height"]), int(given["width"])
        latents = self.__dict__[KEPT].refine(latents, size, start_scale(self))
        return (latents, *more) if more else latents

    return {"encode_prompt": encode_prompt, "prepare_latents": prepare_latents}
