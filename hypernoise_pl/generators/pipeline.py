"""A generator that is one of diffusers' pipelines: what all families share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.loading import DecoderOptions, Loaded, decoder_of, load_pipeline, network_of
from hypernoise_pl.progress.truncation import Truncation
from hypernoise_pl.system.autocast import without_autocast
from hypernoise_pl.types import Conditioning


class PipelineGenerator(Generator):
    """A pipeline of diffusers, real or in miniature; for the same noise its images equal the pipeline's own.

    A family names its ``pipelines``, sets its ``schedule``, and fills in ``_encode`` and ``_evaluate``; and ``_layout``
    where its images are laid out otherwise, ``_nothing`` where guidance knows something else than an empty prompt.

    Args:
        model: folder or hub id.
        height: pixels; None for the network's own size.
        width: like ``height``.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        variant: ``fp16``, for a repository or folder that has its files in that precision only, or to load less.
        decoding: how latents become images.
        _parts: what takes the place of the pipeline's own parts, which are then not loaded.

    Attributes:
        pipelines: names of the diffusers classes that a family reads.
        stand_in: name and arguments of a scheduler that the family walks by, for one evaluation at the first level;
            None where ``sampler`` chooses one, or where none is read.
        grain: pixels of which height and width must be multiples.
        call: arguments of the pipeline's call for the images of a generator with default options.
        classifier_free_guidance: scale of it, which doubles the batch of an evaluation; up to 1 there is none.
        guided_channels: how many of the output's channels it is for, the first ones; None for all.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing, or the hub does not give it.
        ValueError: if a file is damaged, float16 is asked for where it overflows, the pipeline is of another class or
            walks otherwise than is written here, or a size does not fit.
    """

    neutral: ClassVar[tuple[str, ...]] = ("local_only",)
    pipelines: ClassVar[tuple[str, ...]]
    stand_in: ClassVar[tuple[str, dict[str, Any]] | None] = None
    call: ClassVar[dict[str, Any]] = {}
    last_layer = "proj_out"
    network: Any
    decoder: Any
    classifier_free_guidance = 1.0
    guided_channels: int | None = None
    _unconditional: Conditioning | None = None

    def __init__(
        self,
        model: str,
        height: int | None = None,
        width: int | None = None,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        variant: str | None = None,
        decoding: DecoderOptions = DecoderOptions(),
        _parts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name = str(model) if revision is None else f"{model}@{revision}"
        self.truncation = Truncation(f"generator {self.name}")
        self.local_only = local_only
        if not self.float16 and dtype == "float16" and not isinstance(model, Loaded):
            raise ValueError(f"generator {model}: a {type(self).__name__} overflows in dtype float16; use bfloat16")
        options = {"revision": revision, "local_files_only": local_only, **({"variant": variant} if variant else {})}
        self.pipeline = load_pipeline(self.pipelines, model, dtype, **options, **(_parts or {}))
        self.network = network_of(self.pipeline)
        for name, part in self.pipeline.components.items():
            if name.startswith("text_encoder"):
                setattr(self, name, part)
        (channels, patch, side), compression = self._layout(), self._compression
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        self.grain = patch * compression
        self.height, self.width = image_size(height, width, side, self.grain)
        self.noise_shape = (channels, self.height // compression, self.width // compression)
        self.eval().requires_grad_(False)

    @classmethod
    def pipeline_call(cls, steps: int) -> dict[str, Any]:
        """Arguments of the pipeline's call, besides prompts and noise, for images of a number of steps.

        With them, and with default options, the pipeline's images are the generator's.
        """
        return {"num_inference_steps": steps} | cls.call

    @classmethod
    def check_call(cls, arguments: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` for arguments that the pipeline's own call refuses with a less clear error."""

    def _layout(self) -> tuple[int, int, int]:
        """Channels of latents, latents a side of what the network takes as one, pixels a side of its own images."""
        config = self.network.config
        return config.in_channels, config.get("patch_size", 1), config.sample_size * self._compression

    @property
    def _compression(self) -> int:
        """Pixels a side of one latent."""
        return int(self.pipeline.vae_scale_factor)

    @abstractmethod
    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        """The network's raw output [B, *Z] for its own input at its own time."""

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        level = self.schedule.first
        return self._evaluate(network, self.schedule.scaled(noise, level), conditioning, self.schedule.time(level))

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, level: float) -> Tensor:
        state, time = at_least_single(state), self.schedule.time(level)
        output = self._guided(network, self.schedule.scaled(state, level), conditioning, time)
        return self.schedule.clean(state, output, level)

    def _guided(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        """With classifier-free guidance (Ho and Salimans 2022, eq. 6)."""
        scale = self.classifier_free_guidance
        if scale <= 1:
            return at_least_single(self._evaluate(network, state, conditioning, time))
        if self._unconditional is None:
            with self.text_encoders_at_hand(), torch.no_grad(), without_autocast(state.device):
                self._unconditional = self._nothing()
        nothing = self._unconditional.map(lambda t: t.to(state.device).expand(len(state), *t.shape[1:]))
        both = self._evaluate(network, torch.cat([state, state]), Conditioning.cat([conditioning, nothing]), time)
        asked, unasked = at_least_single(both).chunk(2)
        guided = unasked + scale * (asked - unasked)
        if self.guided_channels is None:
            return guided
        return torch.cat([guided[:, : self.guided_channels], asked[:, self.guided_channels :]], dim=1)

    def _nothing(self) -> Conditioning:
        """The conditioning of one prompt that asks for nothing."""
        return self._encode([""])

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_images(self.decoder, latents)


def image_size(height: int | None, width: int | None, side: int, multiple: int) -> tuple[int, int]:
    """Height and width in pixels, a side's length where none is asked for.

    Raises:
        ValueError: if one is not a positive multiple of what the network needs.
    """
    height, width = side if height is None else height, side if width is None else width
    if min(height, width) < 1 or height % multiple or width % multiple:
        raise ValueError(f"height and width must be multiples of {multiple}, got {height} x {width}")
    return height, width


def decode_images(decoder: Any, latents: Tensor) -> Tensor:
    """Images [B, 3, H, W] in [0, 1] of clean latents [B, *Z], by an autoencoder of diffusers for still images."""
    config = decoder.config
    mean, deviation = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and deviation is not None:
        shift, scale = (latents.new_tensor(values).view(1, -1, 1, 1) for values in (mean, deviation))
        latents = latents * scale / config.scaling_factor + shift
    else:
        latents = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
    return in_range(decoder.decode(latents.to(decoder.dtype), return_dict=False)[0])


def in_range(images: Tensor) -> Tensor:
    """Images in [0, 1] of a decoder's, which are in [-1, 1] or a little beyond."""
    return (at_least_single(images) / 2 + 0.5).clamp(0, 1)


def at_least_single(tensor: Tensor) -> Tensor:
    """Half precision is for the networks; what happens between them is in float32, as in the pipelines."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
