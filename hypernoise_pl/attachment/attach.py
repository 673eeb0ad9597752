"""Refined noise in anybody's own diffusers pipeline: ``attach(pipe, adapter)``, then call the pipeline as before."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl import generators
from hypernoise_pl.adapters.description import describe, trained_options
from hypernoise_pl.adapters.files import load_hypernetwork
from hypernoise_pl.adapters.folder import OWN_CONFIG, PEFT_CONFIG, WEIGHTS
from hypernoise_pl.adapters.formats import PICKLED, load_reference
from hypernoise_pl.attachment.branches import Branches
from hypernoise_pl.attachment.pipeline_checks import (
    as_it_was,
    backend_pipeline,
    check_prompts_are_texts,
    lora_scale_of,
    random_state_kept,
    with_loras_scaled,
    without_additions,
)
from hypernoise_pl.attachment.pipeline_subclass import KEPT, refining, start_scale
from hypernoise_pl.checkpoints.loading import find_file
from hypernoise_pl.config.signatures import parameters
from hypernoise_pl.generators.loading import BACKENDS, network_of
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.system.dtypes import at_least_float32
from hypernoise_pl.types import Conditioning, nearest


def attach(pipe: Any, adapter: str | Path, name: str = "default", weight: float = 1.0, **options: Any) -> Attachment:
    """Let a diffusers pipeline refine its noise from now on; nothing else of how it is called changes.

    The refined noise is ``x0 + scale * sum over adapters of weight * f(x0, c)``, with the prompt features that the
    pipeline itself computes; one network evaluation more an image and adapter.

    Args:
        pipe: of one of the classes in ``generators.loading.BACKENDS``.
        adapter: folder, or hub id, of an adapter; one in the reference implementation's format too.
        name: of this adapter among several on the same pipeline; one of the same name is replaced.
        weight: of this adapter; 0 leaves it out at no cost.
        options: of the generator class, in the place of those that the adapter was trained with and remembers
            (``guidance_scale``, ``sampler``, ``timesteps``); not its size.

    Returns:
        What holds ``scale``, ``weights`` and ``detach``.

    Raises:
        FileNotFoundError: if there is no such adapter, or a file of it is missing.
        NotADirectoryError: if it is a file.
        ValueError: if the pipeline's class or scheduler is not known, its weights are not in memory, an option has no
            such name, or the adapter is of another generator.

    Example::

        pipe = SanaSprintPipeline.from_pretrained("Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers")
        attach(pipe, "runs/fit/TIME/adapter")
        call = {"num_inference_steps": 1, "intermediate_timesteps": None, "complex_human_instruction": None}
        image = pipe("a red circle", **call, generator=torch.manual_seed(0)).images[0]
    """
    held: Attachment | None = getattr(pipe, "__dict__", {}).get(KEPT)
    attachment = Attachment(pipe, options) if held is None else held
    if held is not None and options and options != held.options:
        raise ValueError(f"attach: the pipeline is attached with options {held.options}; detach it first")
    try:
        attachment.add(name, adapter, weight)
    except BaseException:
        if held is None:
            attachment.detach()
        raise
    return attachment


def detach(pipe: Any) -> None:
    """Make a pipeline what it was before ``attach``, bit for bit; nothing happens to one that is not attached."""
    held: Attachment | None = pipe.__dict__.pop(KEPT, None)
    if held is not None:
        pipe.__class__ = held.kind


class Attachment:
    """The adapters on a pipeline.

    Args:
        pipe: the pipeline; it is changed when the first adapter is added.
        options: of its generator class.

    Attributes:
        scale: share of the residual to add; 0 is the base pipeline, 1 what the adapters were trained for.
        weights: adapter name -> its weight.
        kind: the pipeline's own class.
    """

    def __init__(self, pipe: Any, options: dict[str, Any]) -> None:
        self.pipe, self.options, self.scale = pipe, options, 1.0
        self.weights: dict[str, float] = {}
        self._kind = _backend_of(pipe)
        self._takes = parameters(self._kind)
        for option in options:
            if option not in self._takes or option in ("model", "height", "width"):
                raise ValueError(
                    f"attach: {self._kind.__name__} has no option {option!r}{nearest(option, self._takes)}"
                )
        self._adapters: dict[str, Branches] = {}
        self._settings: dict[str, dict[str, Any]] = {}  # adapter name -> options of its generator
        self._seen: dict[str, dict[str, Any]] = {}  # and those that it sees, the defaults too
        self._warned: set[Any] = set()
        self._generators: dict[tuple[str, tuple[int, ...]], PipelineGenerator] = {}
        self._encoded: tuple[Any, int, Callable[[], Any]] | None = None
        self._given: tuple[Any] | None = None  # embeddings that the call gives
        self._lora_scale = 1.0  # of other LoRAs, that the call asks for
        self._calling = False
        self._grain = 1
        self._network: nn.Module | None = None  # that adapters were compared with
        self.kind = type(pipe)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes along: no backends, which it makes for itself."""
        return vars(self) | {"_generators": {}, "_encoded": None, "_given": None, "_calling": False}

    def copied(self, pipe: Any) -> Attachment:
        """The same for a copy of the pipeline that shares its parts: scale, weights and adapters are its own."""
        other = object.__new__(Attachment)
        shared = {key: value.copy() if isinstance(value, (dict, set)) else value for key, value in vars(self).items()}
        vars(other).update(shared | {"pipe": pipe, "_generators": {}, "_encoded": None, "_given": None})
        other._calling = False
        return other

    def add(self, name: str, adapter: str | Path, weight: float = 1.0) -> None:
        """Load one more adapter; raises what ``attach`` does."""
        folder, is_own = _fetched(str(adapter))
        remembered = describe(folder).get("options", {}) if is_own else {}
        settings = {option: value for option, value in remembered.items() if option in self._takes} | self.options
        if "sampler" in self._takes and "sampler" not in settings:  # one that starts from noise of the same scale
            settings["sampler"] = "euler" if start_scale(self.pipe) > 1.5 else "ddim"
        network = network_of(self.pipe)
        with as_it_was(self.pipe), random_state_kept(network), warnings.catch_warnings():
            for option in self.options:  # what differs there was asked for
                warnings.filterwarnings("ignore", f"adapter .*: trained with {option} ")
            generator = self._backend(settings, self._size(folder) if is_own else (), without_additions(network))
            branches = Branches((load_hypernetwork if is_own else load_reference)(folder, generator))
        if unknown := remembered.keys() - self._takes:
            raise ValueError(f"adapter {folder}: trained with {min(unknown)}, which a {self._kind.__name__} has not")
        self._adapters[name] = branches
        self._settings[name], self._seen[name] = settings, trained_options(generator)
        self.weights[name], self._grain, self._network = weight, generator.size_multiple, network
        if self.pipe.__dict__.get(KEPT) is None:
            self.pipe.__dict__[KEPT] = self
            self.pipe.__class__ = refining(self.kind)  # type: ignore[arg-type]

    def remove(self, name: str) -> None:
        """Take one adapter off again.

        Raises:
            KeyError: if there is none of that name.
        """
        del self._adapters[name], self.weights[name]

    def detach(self) -> None:
        """Make the pipeline what it was."""
        detach(self.pipe)

    @contextlib.contextmanager
    def calling(self, arguments: dict[str, Any]) -> Iterator[None]:
        """Listen and refine for as long as the pipeline is called; at other times its parts are its own.

        Args:
            arguments: of the call.

        Raises:
            ValueError: if the pipeline takes no such call.
        """
        self._kind.check_call(arguments)
        self._compare_with_training(arguments)
        self._calling = True
        embeddings = arguments.get("prompt_embeds")
        self._given = None if embeddings is None else (embeddings,)
        self._lora_scale = lora_scale_of(arguments)
        try:
            yield
        finally:
            self._calling, self._encoded, self._given = False, None, None

    def _compare_with_training(self, arguments: dict[str, Any]) -> None:
        """Warn, once, of what an adapter was not trained with."""
        told = {option: argument for option, argument in self._kind.trained_options.items() if argument is not None}
        for name, (option, argument) in itertools.product(self._live(), told.items()):
            trained, asked = self._seen[name][option], arguments.get(argument)
            if trained != asked:
                self._warn(
                    (name, option),
                    f"attach: adapter {name!r} was trained with {argument}={trained!r}, this call has {asked!r}",
                )

    def hear(self, encoded: Any, images: int, one_each: Callable[[], Any]) -> None:
        """Take note of encoded prompts: the first of a call; a negative prompt, where encoded apart, comes after.

        Args:
            encoded: what the pipeline's ``encode_prompt`` returned.
            images: of a prompt that it has rows for.
            one_each: encodes the same prompts for one image each.
        """
        if self._calling and self._encoded is None:
            self._encoded = encoded, images, one_each

    def refine(self, latents: Tensor, size: tuple[int, ...], scale: float) -> Tensor:
        """Refined start latents.

        Args:
            latents: in the pipeline's own order.
            size: height and width in pixels, for families of many sizes.
            scale: standard deviation of the latents.

        Raises:
            ValueError: if the call gave no prompt, or the size does not fit.
        """
        live = self._live()
        if not live or not self._calling:
            return latents
        size = tuple(side // self._grain * self._grain for side in size)  # some pipelines round down
        generator = self._generator(self._settings[next(iter(live))], size)
        conditioning = self._conditioning(generator)
        single = at_least_float32(latents)
        noise = generator.unpack_latents(single) / scale
        images = len(noise) // len(conditioning)  # of a prompt, where the pipeline repeats them later
        conditioning = conditioning.map(lambda tensor: tensor.to(noise.device).repeat_interleave(images, 0))
        residual = generator.pack_latents(self.residual(size, noise, conditioning))
        return (single + scale * residual).to(latents.dtype)

    def _conditioning(self, generator: PipelineGenerator) -> Conditioning:
        """The call's prompts, a row each; or a row an image, where they are encoded so."""
        if self._encoded is None:  # a pipeline that encodes nothing where it is given embeddings
            assert self._given is not None
            return generator.conditioning_of(self._given)
        encoded, images, one_each = self._encoded
        rows = generator.conditioning_of(encoded)
        if images == 1 or rows.mask is None or bool((rows.mask == rows.mask[:1]).all()):
            return rows
        conditioning = generator.conditioning_of(one_each())  # diffusers repeats the masks in another order
        assert conditioning.mask is not None
        if not torch.equal(conditioning.mask.repeat_interleave(images, 0), rows.mask):
            self._warn(
                "mask",
                f"attach: a {self.kind.__name__} gives images the attention mask of other prompts when prompts of "
                "unequal length and num_images_per_prompt are given together; the noise is refined for each image's "
                "own prompt. Give a prompt as often as images of it are wanted",
            )
        return conditioning

    def _warn(self, about: Any, text: str) -> None:
        """Warn of something, once."""
        if about not in self._warned:
            self._warned.add(about)
            warnings.warn(text, stacklevel=2)

    def see(self, state: Tensor, *, class_labels: Tensor, **_: Any) -> None:
        """Refine, in place, what a class-conditional network is given: what its pipeline goes on with.

        Args:
            state: [B, *Z] noise; twice as many rows with guidance.
            class_labels: [B], of no class in the second half.

        Raises:
            ValueError: if the scheduler scales the noise.
        """
        live = self._live()
        if not live:
            return
        if start_scale(self.pipe) != 1:
            kind = type(self.pipe.scheduler).__name__
            raise ValueError(
                f"attach: a {kind} scales what the network sees, where this pipeline's noise is refined; give it a "
                "DDIMScheduler or DPMSolverMultistepScheduler"
            )
        generator: Any = self._generator(self._settings[next(iter(live))], ())
        asked = class_labels[class_labels < generator.classes]  # guidance has as many rows more, of no class
        conditioning = generator.conditioning_of([asked])
        residual = self.residual((), at_least_float32(state[: len(asked)]), conditioning)
        state.add_(residual.to(state.dtype).repeat(len(class_labels) // len(asked), 1, 1, 1))

    def residual(self, size: tuple[int, ...], noise: Tensor, conditioning: Conditioning) -> Tensor:
        """[B, *Z] what all adapters together add to noise [B, *Z] of images of a size."""
        if network_of(self.pipe) is not self._network:
            raise ValueError("attach: the pipeline's network was replaced since; detach, and attach again")
        check_prompts_are_texts(self._network)
        parts = []
        for name, weight in self._live().items():
            generator = self._generator(self._settings[name], size)
            with with_loras_scaled(self._network, self._lora_scale):
                residual = self._adapters[name].residual(generator, noise, conditioning)
            parts.append(weight * self.scale * residual)
        return torch.stack(parts).sum(0)

    def _live(self) -> dict[str, float]:
        if unknown := self.weights.keys() - self._adapters.keys():
            name = min(unknown)
            raise ValueError(f"attach: weights: no adapter is called {name!r}{nearest(name, self._adapters)}")
        return {name: weight for name, weight in self.weights.items() if weight * self.scale}

    def _generator(self, settings: dict[str, Any], size: tuple[int, ...]) -> PipelineGenerator:
        """The backend for images of a size; it holds no weights of its own."""
        key = json.dumps(settings, sort_keys=True), size
        if key not in self._generators:
            with as_it_was(self.pipe):
                self._generators[key] = self._backend(settings, size, network_of(self.pipe))
        return self._generators[key]

    def _backend(self, settings: dict[str, Any], size: tuple[int, ...], network: nn.Module) -> PipelineGenerator:
        """A generator of the pipeline's parts with a network in the place of its own."""
        options = settings | dict(zip(("height", "width"), size))
        pipe = backend_pipeline(self.pipe, self._kind.scheduler_override, network)
        return self._kind(pipe, **options)

    def _size(self, folder: Path) -> tuple[int, ...]:
        """Height and width in pixels that an adapter was trained at."""
        if "height" not in self._takes:
            return ()
        shape = describe(folder)["noise_shape"]
        return tuple(side * self.pipe.vae_scale_factor for side in shape[1:])


def _backend_of(pipe: Any) -> type[PipelineGenerator]:
    """The generator class of a pipeline, by its class's name or that of a class it is derived from."""
    names = [kind.__name__ for kind in type(pipe).__mro__]
    found = next((BACKENDS[name] for name in names if name in BACKENDS), None)
    if found is None:
        raise ValueError(f"attach: a {names[0]} is not known; pipelines: {', '.join(BACKENDS)}")
    for part in pkgutil.iter_modules(generators.__path__, f"{generators.__name__}."):
        module = importlib.import_module(part.name)
        if hasattr(module, found):
            kind: type[PipelineGenerator] = getattr(module, found)
            return kind
    raise AssertionError(found)


def _fetched(adapter: str) -> tuple[Path, bool]:
    """The folder of an adapter, fetched from the hub if need be, and whether it is in our own format."""
    folder = find_file(adapter, PEFT_CONFIG, "adapter").parent

    def has(name: str) -> bool:
        try:
            return find_file(adapter, name, "adapter").is_file()
        except FileNotFoundError:
            return False

    if not has(WEIGHTS):
        find_file(adapter, PICKLED, "adapter")
    return folder, has(OWN_CONFIG)
