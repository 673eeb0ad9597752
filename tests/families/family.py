"""A family of generators as tests see it: how its tiny pipeline is built, called and read."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SEED = 5  # of start noise
PROMPTS = ["a red circle", "three stars in the dark"]


def latents(noise: Tensor) -> dict[str, Any]:
    return {"latents": noise}


def by_prompt(prompts: list[Any], count: int) -> dict[str, Any]:
    return {"prompt": prompts, "num_images_per_prompt": count}


@dataclass(frozen=True)
class Family:
    """A pipeline and our generator of it.

    Args:
        kind: of our generator.
        build: saves a tiny pipeline into a folder.
        options: of the generator, and of ``attach``.
        call: arguments of the pipeline, besides those that the generator's class names, so that it does what the
            generator does.
        start: start noise [B, *Z] -> the pipeline's arguments for it.
        prompts: as our generator takes them.
        asks: the pipeline's argument for prompts.
        given: as the pipeline takes them.
        repeat: prompts and a count of images of each -> the pipeline's arguments.
        encoded: the pipeline's arguments for what its ``encode_prompt`` returns, in that order; none where it encodes
            nothing.
        repeats: whether the pipeline repeats embeddings for several images of each.
        guidance: arguments that switch classifier-free guidance on; none where there is none.
        size: height and width in pixels, where the pipeline takes them.
        wide: others.
        tiny: whether there is a tiny decoder for its latents.
        blind: whether its network runs without looking at values, as on a device that has none.
        tolerance: of gradients against finite differences in float64.
    """

    kind: Any
    build: Callable[[Path], None]
    options: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    start: Callable[[Tensor], dict[str, Any]] = latents
    prompts: list[str] = field(default_factory=lambda: list(PROMPTS))
    asks: str = "prompt"
    given: list[Any] = field(default_factory=lambda: list(PROMPTS))
    repeat: Callable[[list[Any], int], dict[str, Any]] = by_prompt
    encoded: tuple[str, ...] = ()
    repeats: bool = True
    guidance: dict[str, Any] = field(default_factory=lambda: {"guidance_scale": 3.0})
    size: tuple[int, int] | None = (16, 16)
    wide: tuple[int, int] | None = (16, 32)
    tiny: bool = True
    blind: bool = True
    tolerance: float = 1e-4

    def generator(self, folder: Path, size: tuple[int, int] | None = None, **options: Any) -> Any:
        return self.kind(str(folder), **self.options | sides(size or self.size) | options)

    def pipe(self, folder: Path) -> Any:
        """As somebody else has it."""
        from diffusers import DiffusionPipeline

        return DiffusionPipeline.from_pretrained(folder)

    def asked(self, pipe: Any, given: list[Any], count: int, guided: bool, embedded: bool) -> dict[str, Any]:
        """The pipeline's arguments for images of prompts.

        Args:
            pipe: encodes them, where they are to be embedded.
            given: prompts as the pipeline takes them.
            count: images of each.
            guided: whether with classifier-free guidance, away from a negative prompt where there is one.
            embedded: whether prompts are given as embeddings.
        """
        if embedded and not self.repeats:
            given, count = [prompt for prompt in given for _ in range(count)], 1
        asked = {self.asks: None} | self.repeat(list(given), count) | (self.guidance if guided else {})
        if embedded:
            asked |= {self.asks: None} | self._embeddings(pipe, list(given), self.called(1) | asked, guided)
        named = inspect.signature(pipe.__call__).parameters
        if guided and "negative_prompt" in named:
            asked["negative_prompt"] = None if "negative_prompt_embeds" in asked else ["dark"] * len(given)
        return asked

    def _embeddings(self, pipe: Any, given: list[Any], call: dict[str, Any], guided: bool) -> dict[str, Any]:
        called = {"device": "cpu", "prompt_2": None, "prompt_3": None, "do_classifier_free_guidance": guided} | call
        called |= {"prompt": given, "num_images_per_prompt": 1}
        named = inspect.signature(pipe.encode_prompt).parameters
        encoded = pipe.encode_prompt(**{name: value for name, value in called.items() if name in named})
        return {name: value for name, value in zip(self.encoded, encoded) if value is not None and len(value)}

    def called(self, steps: int) -> dict[str, Any]:
        """The pipeline's arguments, besides prompts, noise and size, for images of a number of steps."""
        return self.kind.pipeline_call(steps) | self.call

    def images(self, pipe: Any, size: tuple[int, int] | None = None, steps: int = 1, **more: Any) -> Tensor:
        """The pipeline's images of its prompts; or whatever else is asked for."""
        pipe.set_progress_bar_config(disable=True)
        asked = {self.asks: list(self.given)} | self.called(steps) | more  # a list of its own: some write into it
        images: Tensor = pipe(**asked, **sides(size or self.size), output_type="pt").images
        return images


def noise_for(generator: Any, count: int = 2) -> Tensor:
    """What a pipeline draws from ``SEED``, in the generator's precision."""
    noise = torch.randn(count, *generator.noise_shape, generator=torch.Generator().manual_seed(SEED))
    return noise.to(next(generator.network.parameters()).dtype)


def sides(size: tuple[int, int] | None) -> dict[str, int]:
    return {} if size is None else dict(zip(("height", "width"), size))
