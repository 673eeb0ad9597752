"""Backends: generators on the parts of a user's pipeline, which evaluate its network for an adapter."""

from __future__ import annotations

import copy
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

from torch import nn

from hypernoise_pl import generators
from hypernoise_pl.adapters.description import read_description
from hypernoise_pl.attachment.pipeline_checks import preserve_state
from hypernoise_pl.attachment.pipeline_subclass import start_scale
from hypernoise_pl.config.signatures import parameters
from hypernoise_pl.generators.loading import BACKENDS, network_name, network_of
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.types import did_you_mean


class Backends:
    """The generators of one pipeline, one for each set of options and image size; they hold no weights of their own.

    Args:
        pipe: diffusers pipeline.
        options: options of its generator class that the user gives.

    Attributes:
        cls: generator class of the pipeline.
        option_names: names of the options of that class.

    Raises:
        ValueError: if the pipeline's class is not supported, or an option has no such name.
    """

    def __init__(self, pipe: Any, options: dict[str, Any]) -> None:
        self.pipe, self.options, self.cls = pipe, options, _backend_class(pipe)
        self.option_names = tuple(parameters(self.cls))
        for option in options:
            if option not in self.option_names or option in ("model", "height", "width"):
                raise ValueError(
                    f"attach: {self.cls.__name__} has no option {option!r}{did_you_mean(option, self.option_names)}"
                )
        self._generators: dict[tuple[str, tuple[int, ...]], PipelineGenerator] = {}

    def __getstate__(self) -> dict[str, Any]:
        """State without the generators, for copies and pickles; a copy builds its own."""
        return vars(self) | {"_generators": {}}

    def copy_for(self, pipe: Any) -> Backends:
        """Backends of the same options for a copy of the pipeline."""
        other = object.__new__(Backends)
        vars(other).update(self.__getstate__() | {"pipe": pipe})
        return other

    def settings(self, remembered: dict[str, Any]) -> dict[str, Any]:
        """Options that a generator is built with.

        Args:
            remembered: options that an adapter remembers from its training.
        """
        settings = {option: value for option, value in remembered.items() if option in self.option_names} | self.options
        if "sampler" in self.option_names and "sampler" not in settings:  # one whose start noise has the same scale
            settings["sampler"] = "euler" if start_scale(self.pipe) > 1.5 else "ddim"
        return settings

    def get(self, settings: dict[str, Any], size: tuple[int, ...]) -> PipelineGenerator:
        """The generator of an image size on the pipeline's network; it is built once.

        Args:
            settings: result of ``settings``.
            size: height and width in pixels; empty for families of one size.
        """
        key = json.dumps(settings, sort_keys=True), size
        if key not in self._generators:
            with preserve_state(self.pipe):
                self._generators[key] = self.build(settings, size, network_of(self.pipe))
        return self._generators[key]

    def build(self, settings: dict[str, Any], size: tuple[int, ...], network: nn.Module) -> PipelineGenerator:
        """A generator on the pipeline's parts, with another network in the place of the pipeline's own.

        Args:
            settings: result of ``settings``.
            size: height and width in pixels; empty for families of one size.
            network: network of the generator.
        """
        pipe = _backend_pipeline(self.pipe, self.cls.scheduler_override, network)
        return self.cls(pipe, **settings | dict(zip(("height", "width"), size)))

    def trained_size(self, folder: Path) -> tuple[int, ...]:
        """Height and width in pixels of an adapter's training; empty for families of one size.

        Args:
            folder: folder of the adapter.
        """
        if "height" not in self.option_names:
            return ()
        shape = read_description(folder)["noise_shape"]
        return tuple(side * self.pipe.vae_scale_factor for side in shape[1:])


def _backend_class(pipe: Any) -> type[PipelineGenerator]:
    """The generator class of a pipeline's class or of one of its bases."""
    names = [cls.__name__ for cls in type(pipe).__mro__]
    backend = next((BACKENDS[name] for name in names if name in BACKENDS), None)
    if backend is None:
        raise ValueError(f"attach: {names[0]} is not supported; pipelines: {', '.join(BACKENDS)}")
    for info in pkgutil.iter_modules(generators.__path__, f"{generators.__name__}."):
        module = importlib.import_module(info.name)
        if hasattr(module, backend):
            cls: type[PipelineGenerator] = getattr(module, backend)
            return cls
    raise AssertionError(backend)


def _backend_pipeline(pipe: Any, scheduler: tuple[str, dict[str, Any]] | None, network: nn.Module) -> Any:
    """A pipeline of the same components, which a backend may change.

    Args:
        pipe: diffusers pipeline; it is not changed.
        scheduler: class name and arguments of the scheduler; None for a copy of the pipeline's own.
        network: network in the place of the pipeline's own.
    """
    import diffusers

    other = copy.copy(pipe)
    for name, component in pipe.components.items():
        if hasattr(component, "_orig_mod"):
            other.__dict__[name] = component._orig_mod
    other.__dict__[network_name(pipe)] = network
    if scheduler is None:
        other.scheduler = copy.deepcopy(pipe.scheduler)
    else:
        name, arguments = scheduler
        other.scheduler = getattr(diffusers, name)(**arguments)
    return other
