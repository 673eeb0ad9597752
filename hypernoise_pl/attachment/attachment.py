"""Attachment: the adapters on a pipeline, and the residual that they add to the noise of its calls."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.adapters.description import read_description, trained_options
from hypernoise_pl.adapters.files import load_hypernetwork
from hypernoise_pl.adapters.folder import OWN_CONFIG, PEFT_CONFIG, WEIGHTS
from hypernoise_pl.adapters.formats import PICKLED, load_reference
from hypernoise_pl.attachment.backends import Backends
from hypernoise_pl.attachment.branches import LoraBranches
from hypernoise_pl.attachment.call import PipelineCall
from hypernoise_pl.attachment.pipeline_checks import (
    check_prompts_are_texts,
    preserve_random_state,
    preserve_state,
    with_lora_scale,
    without_hooks,
)
from hypernoise_pl.attachment.pipeline_subclass import ATTACHMENT_KEY, attached_class, start_scale
from hypernoise_pl.checkpoints.loading import find_file
from hypernoise_pl.generators.loading import network_of
from hypernoise_pl.system.dtypes import at_least_float32
from hypernoise_pl.types import Conditioning, did_you_mean


class Attachment:
    """The adapters on a pipeline.

    Args:
        pipe: diffusers pipeline; it is changed when the first adapter is added.
        options: options of its generator class.

    Attributes:
        scale: factor of the residual; 0 gives the base pipeline, 1 is the adapters' training.
        weights: adapter name -> its weight.
        pipeline_class: the pipeline's own class.
    """

    def __init__(self, pipe: Any, options: dict[str, Any]) -> None:
        self.pipe, self.options, self.scale = pipe, options, 1.0
        self.pipeline_class = type(pipe)
        self.weights: dict[str, float] = {}
        self._backends = Backends(pipe, options)
        self._adapters: dict[str, LoraBranches] = {}
        self._settings: dict[str, dict[str, Any]] = {}  # adapter name -> options that its generator is built with
        self._trained: dict[str, dict[str, Any]] = {}  # adapter name -> values of the generator's ``trained_options``
        self._warned: set[Hashable] = set()
        self._network: nn.Module | None = None  # the pipeline's network when the last adapter was added
        self._size_multiple = 1
        self._call: PipelineCall | None = None  # while the pipeline is called

    def __getstate__(self) -> dict[str, Any]:
        """State without the current call, for copies and pickles."""
        return vars(self) | {"_call": None}

    def copy_for(self, pipe: Any) -> Attachment:
        """An attachment for a shallow copy of the pipeline, with its own scale, weights and adapters."""
        other = object.__new__(Attachment)
        state = {key: value.copy() if isinstance(value, (dict, set)) else value for key, value in vars(self).items()}
        vars(other).update(state | {"pipe": pipe, "_backends": self._backends.copy_for(pipe), "_call": None})
        return other

    def add(self, name: str, adapter: str | Path, weight: float = 1.0) -> None:
        """Load an adapter onto the pipeline; arguments and errors are those of ``attach``."""
        folder, is_own_format = _fetch(str(adapter))
        remembered = read_description(folder).get("options", {}) if is_own_format else {}
        settings, network = self._backends.settings(remembered), network_of(self.pipe)
        with preserve_state(self.pipe), preserve_random_state(network), warnings.catch_warnings():
            for option in self.options:  # the user has asked for the difference
                warnings.filterwarnings("ignore", f"adapter .*: trained with {option} ")
            size = self._backends.trained_size(folder) if is_own_format else ()
            generator = self._backends.build(settings, size, without_hooks(network))
            branches = LoraBranches((load_hypernetwork if is_own_format else load_reference)(folder, generator))
        if unknown := remembered.keys() - self._backends.option_names:
            raise ValueError(
                f"adapter {folder}: trained with option {min(unknown)!r}, which {self._backends.cls.__name__} does not "
                "accept"
            )
        self._adapters[name] = branches
        self._settings[name], self._trained[name] = settings, trained_options(generator)
        self.weights[name], self._size_multiple, self._network = weight, generator.size_multiple, network
        if self.pipe.__dict__.get(ATTACHMENT_KEY) is None:
            self.pipe.__dict__[ATTACHMENT_KEY] = self
            self.pipe.__class__ = attached_class(self.pipeline_class)  # type: ignore[arg-type]

    def remove(self, name: str) -> None:
        """Remove one adapter from the pipeline.

        Raises:
            KeyError: if there is none of that name.
        """
        del self._adapters[name], self.weights[name]

    def detach(self) -> None:
        """Restore the pipeline to its state before ``attach``, bit for bit."""
        attachment: Attachment | None = self.pipe.__dict__.pop(ATTACHMENT_KEY, None)
        if attachment is not None:
            self.pipe.__class__ = attachment.pipeline_class

    @contextlib.contextmanager
    def active_call(self, arguments: dict[str, Any]) -> Iterator[None]:
        """Record prompts and refine noise during one call of the pipeline.

        Args:
            arguments: arguments of the call, defaults included.

        Raises:
            ValueError: if the pipeline does not support such a call.
        """
        self._backends.cls.check_call(arguments)
        self._compare_with_training(arguments)
        self._call = PipelineCall.from_arguments(arguments)
        try:
            yield
        finally:
            self._call = None

    def record_encoding(self, encoded: Any, images: int, encode_once: Callable[[], Any]) -> None:
        """Store the call's first prompt encoding; a separately encoded negative prompt comes later and is ignored.

        Args:
            encoded: result of the pipeline's ``encode_prompt``.
            images: number of rows that it has for each prompt.
            encode_once: function that encodes the same prompts with one row each.
        """
        if self._call is not None and self._call.encoded is None:
            self._call.encoded, self._call.images, self._call.encode_once = encoded, images, encode_once

    def refine(self, latents: Tensor, size: tuple[int, ...], scale: float) -> Tensor:
        """Refined start latents of the current call.

        Args:
            latents: start latents in the pipeline's own layout.
            size: height and width in pixels, for families of several sizes.
            scale: standard deviation of the latents.

        Raises:
            ValueError: if the call has no prompt, or the size does not fit.
        """
        active = self.active_weights()
        if not active or self._call is None:
            return latents
        size = tuple(side // self._size_multiple * self._size_multiple for side in size)  # some pipelines round down
        generator = self._backends.get(self._settings[next(iter(active))], size)
        conditioning = self._call.conditioning(generator, self._warn_once)
        wide = at_least_float32(latents)
        noise = generator.unpack_latents(wide) / scale
        images = len(noise) // len(conditioning)  # of a prompt, for pipelines that repeat prompts later
        conditioning = conditioning.map(lambda tensor: tensor.to(noise.device).repeat_interleave(images, 0))
        residual = generator.pack_latents(self.residual(size, noise, conditioning))
        return (wide + scale * residual).to(latents.dtype)

    def refine_network_input(self, state: Tensor, *, class_labels: Tensor, **_: Any) -> None:
        """Refine the network input in place, for class-conditional pipelines, which expose no ``prepare_latents``.

        Args:
            state: [B, *Z] noise, or [2 B, *Z] with guidance.
            class_labels: class numbers, one a row; the second half has the null class.

        Raises:
            ValueError: if the scheduler scales the noise.
        """
        active = self.active_weights()
        if not active:
            return
        if start_scale(self.pipe) != 1:
            raise ValueError(
                f"attach: {type(self.pipe.scheduler).__name__} scales the network input, and this pipeline's noise is "
                "refined there; give it a DDIMScheduler or DPMSolverMultistepScheduler"
            )
        generator: Any = self._backends.get(self._settings[next(iter(active))], ())
        labels = class_labels[class_labels < generator.classes]  # without the null class of guidance
        conditioning = generator.conditioning_of([labels])
        residual = self.residual((), at_least_float32(state[: len(labels)]), conditioning)
        state.add_(residual.to(state.dtype).repeat(len(class_labels) // len(labels), 1, 1, 1))

    def residual(self, size: tuple[int, ...], noise: Tensor, conditioning: Conditioning) -> Tensor:
        """The weighted sum [B, *Z] of all adapters' residuals for noise [B, *Z], times ``scale``.

        Args:
            size: height and width of the images in pixels; empty for families of one size.
            noise: [B, *Z] standard normal.
            conditioning: conditioning of the same B prompts.
        """
        if network_of(self.pipe) is not self._network:
            raise ValueError("attach: the pipeline's network was replaced; detach, and attach again")
        check_prompts_are_texts(self._network)
        lora_scale = 1.0 if self._call is None else self._call.lora_scale
        parts = []
        for name, weight in self.active_weights().items():
            generator = self._backends.get(self._settings[name], size)
            with with_lora_scale(self._network, lora_scale):
                residual = self._adapters[name].residual(generator, noise, conditioning)
            parts.append(weight * self.scale * residual)
        return torch.stack(parts).sum(0)

    def active_weights(self) -> dict[str, float]:
        """Adapter name -> weight, of those adapters that change the noise.

        Raises:
            ValueError: if ``weights`` has a name of no adapter.
        """
        if unknown := self.weights.keys() - self._adapters.keys():
            name = min(unknown)
            raise ValueError(f"attach: weights: no adapter is called {name!r}{did_you_mean(name, self._adapters)}")
        return {name: weight for name, weight in self.weights.items() if weight * self.scale}

    def _compare_with_training(self, arguments: dict[str, Any]) -> None:
        """Warn, once, of call arguments that differ from an adapter's training."""
        options = {option: key for option, key in self._backends.cls.trained_options.items() if key is not None}
        for name, (option, key) in itertools.product(self.active_weights(), options.items()):
            trained, given = self._trained[name][option], arguments.get(key)
            if trained != given:
                self._warn_once(
                    (name, option),
                    f"attach: adapter {name!r} was trained with {key}={trained!r}, this call has {given!r}",
                )

    def _warn_once(self, key: Hashable, text: str) -> None:
        if key not in self._warned:
            self._warned.add(key)
            warnings.warn(text, stacklevel=2)


def _fetch(adapter: str) -> tuple[Path, bool]:
    """The folder of an adapter, downloaded if it is a hub id, and whether it has this package's format."""
    folder = find_file(adapter, PEFT_CONFIG, "adapter").parent

    def has(name: str) -> bool:
        try:
            return find_file(adapter, name, "adapter").is_file()
        except FileNotFoundError:
            return False

    if not has(WEIGHTS):
        find_file(adapter, PICKLED, "adapter")
    return folder, has(OWN_CONFIG)
