"""A family of generators as tests see it: how its tiny pipeline is built, called and read."""

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


def by_prompt(prompt: Any, count: int) -> dict[str, Any]:
    return {"prompt": prompt, "num_images_per_prompt": count}


@dataclass(frozen=True)
class Family:
    """A pipeline and our generator of it.

    Args:
        kind: of our generator.
        build: saves a tiny pipeline into a folder.
        options: of the generator, and of ``attach``.
        call: arguments of the pipeline, so that it does what the generator does.
        start: start noise [B, *Z] -> the pipeline's arguments for it.
        prompts: as our generator takes them.
        asks: the pipeline's argument for prompts.
        given: as the pipeline takes them.
        repeat: one prompt and a count of images -> the pipeline's arguments.
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
    repeat: Callable[[Any, int], dict[str, Any]] = by_prompt
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

    def images(self, pipe: Any, size: tuple[int, int] | None = None, steps: int = 1, **more: Any) -> Tensor:
        """The pipeline's images of its prompts; or whatever else is asked for."""
        pipe.set_progress_bar_config(disable=True)
        asked = {self.asks: list(self.given)} | self.call | more  # a list of its own: some write into it
        images: Tensor = pipe(**asked, **sides(size or self.size), num_inference_steps=steps, output_type="pt").images
        return images


def noise_for(generator: Any, count: int = 2) -> Tensor:
    """What a pipeline draws from ``SEED``, in the generator's precision."""
    noise = torch.randn(count, *generator.noise_shape, generator=torch.Generator().manual_seed(SEED))
    return noise.to(next(generator.network.parameters()).dtype)


def sides(size: tuple[int, int] | None) -> dict[str, int]:
    return {} if size is None else dict(zip(("height", "width"), size))
