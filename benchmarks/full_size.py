"""Real models in their full size with random weights, made in memory from their architectures: nothing is fetched."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.loading import DecoderOptions
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.frozen_network import checkpoint_layers
from hypernoise_pl.rewards.preprocess import preprocess
from hypernoise_pl.system.dtypes import at_least_float32
from hypernoise_pl.types import Conditioning

ARCHITECTURES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("real_models.yaml").read_text())
MODELS = [name for name in ARCHITECTURES if name != "reward"]


@dataclass(frozen=True)
class Options:
    """What costs or saves memory.

    Args:
        checkpoint: recompute activations in backward, of generator, hypernetwork and rewards.
        tiny_decoder: decode with an ``AutoencoderTiny``.
        slicing: decode one image at a time.
    """

    checkpoint: bool = False
    tiny_decoder: bool = False
    slicing: bool = False

    def __str__(self) -> str:
        return "+".join(name for name, on in vars(self).items() if on) or "plain"


@dataclass
class Place:
    """Where and in which precision frozen weights are made.

    Args:
        tiny: the same classes in miniature.
        device: of the weights; ``meta`` for tensors with shapes and no data, to count with.
        dtype: of the frozen weights.
    """

    tiny: bool = False
    device: str = "cuda"
    dtype: torch.dtype = torch.bfloat16

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """Make weights here, and not first on the CPU in float32."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with torch.device(self.device):
                yield
        finally:
            torch.set_default_dtype(before)


def make_generator(name: str, place: Place, options: Options) -> Generator:
    """A generator of ``real_models.yaml``, of the pipeline that is made here."""
    told = ARCHITECTURES[name]
    small = told["tiny"] if place.tiny else {}
    module = importlib.import_module(told["generator"][0])
    arguments = told["generator"][2] | small.get("generator", {})
    pipeline = _pipeline(told, small, place, options)
    kind = getattr(module, told["generator"][1])
    generator: Generator = kind(pipeline, decoding=DecoderOptions(slicing=options.slicing), **arguments)
    return generator


def _pipeline(told: dict[str, Any], small: dict[str, Any], place: Place, options: Options) -> Any:
    import diffusers

    part, network, sizes = told["network"]
    decoder, decoder_sizes = told["decoder"]
    with place.making():
        parts = {part: getattr(diffusers, network)(**sizes | small.get("network", {}))}
        if options.tiny_decoder:
            parts["vae"] = diffusers.AutoencoderTiny(**told["tiny_decoder"])
        else:
            parts["vae"] = getattr(diffusers, decoder)(**decoder_sizes | small.get("decoder", {}))
    kind, settings = told["scheduler"]
    parts["scheduler"] = getattr(diffusers, kind)(**settings)
    extra: dict[str, Any] = {"text_encoder": None, "tokenizer": None}
    if told["pipeline"] == "FluxPipeline":
        extra |= {"text_encoder_2": None, "tokenizer_2": None}
    if told["pipeline"] == "StableDiffusionPipeline":
        extra |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return getattr(diffusers, told["pipeline"])(**parts, **extra)


def make_conditioning(name: str, batch: int, place: Place) -> Conditioning:
    """[B, L, D] random text features of the real size: prompts are encoded beforehand in every real run."""
    told = ARCHITECTURES[name]
    tokens, features, pooled = told["tiny"]["text"] if place.tiny else told["text"]
    made: dict[str, Any] = {"device": place.device, "dtype": place.dtype}
    mask = torch.ones(batch, tokens, device=place.device, dtype=torch.long) if name == "sana_sprint" else None
    return Conditioning(
        torch.randn(batch, tokens, features, **made),
        mask,
        torch.randn(batch, pooled, **made) if pooled else None,
    )


class Towers(Reward):
    """So many image towers of CLIP's ViT-H-14, each compared with one fixed direction: what the ensemble costs.

    Args:
        count: towers.
        place: where they are made.
        checkpoint: recompute their activations in backward.
    """

    score_range: ClassVar[tuple[float, float]] = (-4.0, 4.0)

    def __init__(self, count: int, place: Place, checkpoint: bool) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        config = CLIPVisionConfig(**ARCHITECTURES["reward"]["tiny" if place.tiny else "full"])
        with place.making():
            self.towers = nn.ModuleList(CLIPVisionModelWithProjection(config) for _ in range(count))
        self.eval().requires_grad_(False)
        if checkpoint:
            for tower in self.towers:
                checkpoint_layers(tower)
        self.size: int = ARCHITECTURES["reward"]["tiny" if place.tiny else "full"]["image_size"]
        self.dtype = place.dtype

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        return self.sum(images)

    def sum(self, images: Tensor) -> Tensor:
        """[B] the sum of what the towers see in images [B, 3, H, W]."""
        pixels = preprocess(images, self.size).to(self.dtype)
        features = [at_least_float32(tower(pixel_values=pixels).image_embeds) for tower in self.towers]
        return torch.stack([nn.functional.normalize(each, dim=-1)[:, 0] for each in features]).sum(0)
