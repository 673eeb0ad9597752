"""Creates full-size models with random weights from their architectures, without downloads."""

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
    """Options that save memory.

    Args:
        checkpoint: whether backward recomputes the activations of generator, hypernetwork and rewards.
        tiny_decoder: whether an ``AutoencoderTiny`` decodes.
        slicing: whether the decoder decodes one image at a time.
    """

    checkpoint: bool = False
    tiny_decoder: bool = False
    slicing: bool = False

    def __str__(self) -> str:
        return "+".join(name for name, on in vars(self).items() if on) or "plain"


@dataclass
class Placement:
    """Size, device and dtype of frozen weights.

    Args:
        tiny: whether the models are miniatures of the same classes.
        device: device of the weights; ``meta`` for tensors without data.
        dtype: dtype of the frozen weights.
    """

    tiny: bool = False
    device: str = "cuda"
    dtype: torch.dtype = torch.bfloat16

    @contextlib.contextmanager
    def creating(self) -> Iterator[None]:
        """Create weights directly on the device and in the dtype."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with torch.device(self.device):
                yield
        finally:
            torch.set_default_dtype(before)


def make_generator(name: str, placement: Placement, options: Options) -> Generator:
    """Create a generator of ``real_models.yaml`` with its pipeline."""
    architecture = ARCHITECTURES[name]
    small = architecture["tiny"] if placement.tiny else {}
    module = importlib.import_module(architecture["generator"][0])
    arguments = architecture["generator"][2] | small.get("generator", {})
    pipeline = _pipeline(architecture, small, placement, options)
    cls = getattr(module, architecture["generator"][1])
    generator: Generator = cls(pipeline, decoding=DecoderOptions(slicing=options.slicing), **arguments)
    return generator


def _pipeline(architecture: dict[str, Any], small: dict[str, Any], placement: Placement, options: Options) -> Any:
    import diffusers

    part, network, sizes = architecture["network"]
    decoder, decoder_sizes = architecture["decoder"]
    with placement.creating():
        parts = {part: getattr(diffusers, network)(**sizes | small.get("network", {}))}
        if options.tiny_decoder:
            parts["vae"] = diffusers.AutoencoderTiny(**architecture["tiny_decoder"])
        else:
            parts["vae"] = getattr(diffusers, decoder)(**decoder_sizes | small.get("decoder", {}))
    scheduler, settings = architecture["scheduler"]
    parts["scheduler"] = getattr(diffusers, scheduler)(**settings)
    extra: dict[str, Any] = {"text_encoder": None, "tokenizer": None}
    if architecture["pipeline"] == "FluxPipeline":
        extra |= {"text_encoder_2": None, "tokenizer_2": None}
    if architecture["pipeline"] == "StableDiffusionPipeline":
        extra |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return getattr(diffusers, architecture["pipeline"])(**parts, **extra)


def make_conditioning(name: str, batch: int, placement: Placement) -> Conditioning:
    """Random text features [B, L, D] of the real size; a real run encodes its prompts before training."""
    architecture = ARCHITECTURES[name]
    tokens, features, pooled = architecture["tiny"]["text"] if placement.tiny else architecture["text"]
    options: dict[str, Any] = {"device": placement.device, "dtype": placement.dtype}
    mask = torch.ones(batch, tokens, device=placement.device, dtype=torch.long) if name == "sana_sprint" else None
    return Conditioning(
        torch.randn(batch, tokens, features, **options),
        mask,
        torch.randn(batch, pooled, **options) if pooled else None,
    )


class ClipTowers(Reward):
    """Image towers of CLIP's ViT-H-14 with the cost of a reward ensemble; the score is one embedding coordinate.

    Args:
        count: number of towers.
        placement: size, device and dtype of their weights.
        checkpoint: whether backward recomputes their activations.
    """

    score_range: ClassVar[tuple[float, float]] = (-4.0, 4.0)

    def __init__(self, count: int, placement: Placement, checkpoint: bool) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        config = CLIPVisionConfig(**ARCHITECTURES["reward"]["tiny" if placement.tiny else "full"])
        with placement.creating():
            self.towers = nn.ModuleList(CLIPVisionModelWithProjection(config) for _ in range(count))
        self.eval().requires_grad_(False)
        if checkpoint:
            for tower in self.towers:
                checkpoint_layers(tower)
        self.size: int = ARCHITECTURES["reward"]["tiny" if placement.tiny else "full"]["image_size"]
        self.dtype = placement.dtype

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        return self.sum(images)

    def sum(self, images: Tensor) -> Tensor:
        """Scores [B], summed over the towers, of images [B, 3, H, W]."""
        pixels = preprocess(images, self.size).to(self.dtype)
        features = [at_least_float32(tower(pixel_values=pixels).image_embeds) for tower in self.towers]
        return torch.stack([nn.functional.normalize(embeddings, dim=-1)[:, 0] for embeddings in features]).sum(0)
