"""Every family's tiny pipeline as somebody else has it: loaded by diffusers, called with its own arguments."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.generators.dit import DiT
from hypernoise_pl.generators.pixart import PixArt
from hypernoise_pl.generators.qwen_image import QwenImage
from hypernoise_pl.generators.sana_flow import Sana
from hypernoise_pl.generators.z_image import ZImage
from tests.generators.tiny_dit import save_dit
from tests.generators.tiny_pixart import save_pixart
from tests.generators.tiny_qwen_image import save_qwen_image
from tests.generators.tiny_sana import save_sana
from tests.generators.tiny_z_image import save_z_image
from tests.pipelines import FAMILIES, TOKENS, Family, build_sana

SEED = 5  # of start noise
PROMPTS = ["a red circle", "three stars in the dark"]


def latents(noise: Tensor) -> dict[str, Any]:
    return {"latents": noise}


def by_prompt(prompt: Any, count: int) -> dict[str, Any]:
    return {"prompt": prompt, "num_images_per_prompt": count}


@dataclass(frozen=True)
class Attached:
    """A family as the suite of ``attach`` sees it.

    Args:
        build: saves its tiny pipeline into a folder.
        kind: of our generator.
        options: of the generator, and of ``attach``.
        call: arguments of the pipeline, so that it does what the generator does.
        start: start noise [B, *Z] -> the pipeline's arguments for it.
        prompts: as our generator takes them.
        asks: the pipeline's argument for prompts.
        given: as the pipeline takes them.
        repeat: one prompt and a count of images -> the pipeline's arguments.
        size: height and width in pixels, where the pipeline takes them.
        wide: others.
        least: fewest steps that the pipeline's scheduler can walk.
    """

    build: Callable[[Path], object]
    kind: Any
    options: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    start: Callable[[Tensor], dict[str, Any]] = latents
    prompts: list[str] = field(default_factory=lambda: list(PROMPTS))
    asks: str = "prompt"
    given: list[Any] = field(default_factory=lambda: list(PROMPTS))
    repeat: Callable[[Any, int], dict[str, Any]] = by_prompt
    size: tuple[int, int] | None = (16, 16)
    wide: tuple[int, int] | None = (16, 32)
    least: int = 1

    def generator(self, folder: Path, size: tuple[int, int] | None = None) -> Any:
        return self.kind(str(folder), **self.options, **sides(size or self.size))

    def pipe(self, folder: Path) -> Any:
        from diffusers import DiffusionPipeline

        pipe = DiffusionPipeline.from_pretrained(folder)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def images(self, pipe: Any, size: tuple[int, int] | None = None, steps: int = 0, **more: Any) -> Tensor:
        """The pipeline's images of its prompts; or whatever else is asked for."""
        asked = {self.asks: list(self.given)} | more
        images: Tensor = pipe(
            **asked,
            **self.call,
            **sides(size or self.size),
            num_inference_steps=max(steps, self.least),
            output_type="pt",
        ).images
        return images


def sides(size: tuple[int, int] | None) -> dict[str, int]:
    return {} if size is None else dict(zip(("height", "width"), size))


def of_contract(family: Family) -> Attached:
    """A family of the contract suite."""
    side = 8 * family.compression

    def start(noise: Tensor) -> dict[str, Any]:
        return {"latents": family.pack(noise)}

    options = {key: value for key, value in family.options.items() if key not in ("height", "width")}
    return Attached(family.build, family.kind, options, family.call, start, size=(side, side), wide=family.wide)


def build_pixart(folder: Path) -> None:
    save_pixart(folder, sigma=True)


def build_sana_flow(folder: Path) -> None:
    build_sana(folder / "sprint")
    save_sana(folder, folder / "sprint")


def qwen_tokens(noise: Tensor) -> dict[str, Any]:
    from diffusers import QwenImagePipeline

    return {"latents": QwenImagePipeline._pack_latents(noise, *noise.shape)}


def drawn_by_itself(noise: Tensor) -> dict[str, Any]:
    return {"generator": torch.Generator().manual_seed(SEED)}  # the pipeline takes no noise


def by_class(label: Any, count: int) -> dict[str, Any]:
    return {"class_labels": [label] * count}


_READ: dict[str, Any] = {"max_sequence_length": TOKENS}
_PLAIN = {"clean_caption": False, "use_resolution_binning": False}
_QWEN = {"max_sequence_length": 200}
_CLASSES: dict[str, Any] = {
    "start": drawn_by_itself,
    "prompts": ["goldfish", "2"],
    "asks": "class_labels",
    "given": [1, 2],
    "repeat": by_class,
    "size": None,
    "wide": None,
}
ATTACHED = {name: of_contract(family) for name, family in FAMILIES.items()} | {
    "dit": Attached(save_dit, DiT, {"guidance_scale": 1.0}, {"guidance_scale": 1.0}, **_CLASSES),
    "dit-guided": Attached(save_dit, DiT, {}, {}, **_CLASSES),
    "pixart": Attached(build_pixart, PixArt, _READ, _READ | _PLAIN),
    "qwen-image": Attached(
        save_qwen_image, QwenImage, _QWEN | {"shift": None}, _QWEN | {"true_cfg_scale": 1.0}, qwen_tokens, least=2
    ),
    "sana": Attached(
        build_sana_flow,
        Sana,
        _READ,
        _READ | _PLAIN | {"complex_human_instruction": None},
        size=(32, 32),
        wide=(32, 64),
    ),
    "z-image": Attached(
        save_z_image, ZImage, {"max_sequence_length": 40}, {"max_sequence_length": 40, "guidance_scale": 0.0}
    ),
}
