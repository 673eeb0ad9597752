"""PipelineGenerator: a generator on one of diffusers' pipelines; the part that all families share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.loading import DecoderOptions, decoder_of, load_pipeline, network_of
from hypernoise_pl.progress.truncation import Truncation
from hypernoise_pl.system.autocast import without_autocast
from hypernoise_pl.system.dtypes import at_least_float32
from hypernoise_pl.types import Conditioning


class PipelineGenerator(Generator):
    """A diffusers pipeline, real or in miniature; for the same noise its images equal the pipeline's own.

    A family names its ``pipelines``, sets its ``schedule``, and writes ``_encode`` and ``_forward_network``. It
    overrides ``_latent_layout`` if its latents have another layout, and ``_null_conditioning`` if guidance compares
    with something other than an empty prompt.

    Args:
        model: folder or hub id; from Python also a loaded diffusers pipeline, which is used as it is.
        height: image height in pixels; None for the network's own size.
        width: image width in pixels; None for the network's own size.
        dtype: dtype of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: git revision of a hub id.
        local_only: True never contacts the hub.
        variant: variant of the weight files, such as ``fp16``; needed where the folder has no other.
        decoding: decoder options.

    Attributes:
        pipelines: names of the diffusers classes that a family reads.
        replaced_components: components in the place of the folder's own, which are then not loaded; None leaves one
            out. A subclass whose arguments decide on them sets them before it calls ``super().__init__``.
        owns_pipeline: whether the generator has loaded its pipeline, and may change it.
        scheduler_override: name and arguments of a scheduler that replaces the user's own in ``attach``, where the
            hypernetwork is evaluated once, at the first time; None keeps the pipeline's own.
        size_multiple: number of pixels of which height and width must be multiples.
        call: arguments of the pipeline's call that give the images of a generator with default options.
        classifier_free_guidance: scale of classifier-free guidance; values <= 1 disable it.
        guided_channels: number of leading output channels that guidance changes; None for all.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing, or the hub does not provide it.
        ValueError: if a file is damaged, ``dtype`` is float16 and the family overflows in it, the pipeline is of
            another class, its scheduler has a setting that is not supported, or a size does not fit.
    """

    neutral: ClassVar[tuple[str, ...]] = ("local_only",)
    pipelines: ClassVar[tuple[str, ...]]
    replaced_components: Mapping[str, Any] = {}
    scheduler_override: ClassVar[tuple[str, dict[str, Any]] | None] = None
    call: ClassVar[dict[str, Any]] = {}
    last_layer = "proj_out"
    network: Any
    decoder: Any
    classifier_free_guidance = 1.0
    guided_channels: int | None = None
    _unconditional: Conditioning | None = None

    def __init__(
        self,
        model: Any,
        height: int | None = None,
        width: int | None = None,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        variant: str | None = None,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__()
        self.local_only = local_only
        self.owns_pipeline = isinstance(model, (str, Path))
        if self.owns_pipeline:
            if not self.float16 and dtype == "float16":
                raise ValueError(f"generator {model}: {type(self).__name__} overflows in dtype float16; use bfloat16")
            options = {"revision": revision, "local_files_only": local_only} | ({"variant": variant} if variant else {})
            self.pipeline = load_pipeline(self.pipelines, str(model), dtype, **options, **self.replaced_components)
            self.name = str(model)
        else:
            self.pipeline, self.name = model, str(model.name_or_path or type(model).__name__)
            self.arguments["model"] = self.name
        self.name += "" if revision is None else f"@{revision}"
        self.truncation = Truncation(f"generator {self.name}")
        self.network = network_of(self.pipeline)
        for name, component in self.pipeline.components.items():
            if name.startswith("text_encoder"):
                setattr(self, name, component)
        (channels, patch, side), compression = self._latent_layout(), self._compression
        self.decoder = decoder_of(self.pipeline, decoding, dtype)
        self.size_multiple = patch * compression
        self.height, self.width = image_size(height, width, side, self.size_multiple)
        self.noise_shape = (channels, self.height // compression, self.width // compression)
        self.eval().requires_grad_(False)

    @classmethod
    def pipeline_call(cls, steps: int) -> dict[str, Any]:
        """Arguments of the pipeline's call, besides prompts and noise, that give this class's images.

        They hold for a generator with default options.

        Args:
            steps: number of network evaluations.
        """
        return {"num_inference_steps": steps} | cls.call

    @classmethod
    def check_call(cls, arguments: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` for arguments that the pipeline's own call refuses with a less clear error."""

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Conditioning from the result of the pipeline's ``encode_prompt``, whose first part is the text features."""
        return Conditioning(encoded[0])

    def unpack_latents(self, latents: Tensor) -> Tensor:
        """Latents [B, *Z] from the pipeline's own layout; a family that packs none has the same."""
        return latents

    def pack_latents(self, latents: Tensor) -> Tensor:
        """Latents [B, *Z] in the pipeline's own layout; the inverse of ``unpack_latents``."""
        return latents

    def _latent_layout(self) -> tuple[int, int, int]:
        """(latent channels, patch size, default image side in pixels)."""
        config = self.network.config
        return config.in_channels, config.get("patch_size", 1), config.sample_size * self._compression

    @property
    def _compression(self) -> int:
        """Pixels a side of one latent."""
        return int(self.pipeline.vae_scale_factor)

    @abstractmethod
    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        """The network's raw output [B, *Z] for its scaled input [B, *Z] at its own timestep."""

    def _predict(self, network: nn.Module, noise: Tensor, conditioning: Conditioning) -> Tensor:
        t = self.schedule.first_t
        state, timestep = self.schedule.scale_model_input(noise, t), self.schedule.model_timestep(t)
        return self._forward_network(network, state, conditioning, timestep)

    def _denoise(self, network: nn.Module, state: Tensor, conditioning: Conditioning, t: float) -> Tensor:
        state, timestep = at_least_float32(state), self.schedule.model_timestep(t)
        output = self._guided(network, self.schedule.scale_model_input(state, t), conditioning, timestep)
        return self.schedule.predict_x0(state, output, t)

    def _guided(self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float) -> Tensor:
        """The network's output with classifier-free guidance (Ho and Salimans 2022, eq. 6).

        With w the scale and e the outputs, it is e_null + w * (e_prompt - e_null).
        """
        scale = self.classifier_free_guidance
        if scale <= 1:
            return at_least_float32(self._forward_network(network, state, conditioning, timestep))
        if self._unconditional is None:
            with self.text_encoders_on(), torch.no_grad(), without_autocast(state.device):
                self._unconditional = self._null_conditioning()
        null = self._unconditional.map(lambda t: t.to(state.device).expand(len(state), *t.shape[1:]))
        both = Conditioning.cat([conditioning, null])
        outputs = self._forward_network(network, torch.cat([state, state]), both, timestep)
        conditional, unconditional = at_least_float32(outputs).chunk(2)
        guided = unconditional + scale * (conditional - unconditional)
        if self.guided_channels is None:
            return guided
        return torch.cat([guided[:, : self.guided_channels], conditional[:, self.guided_channels :]], dim=1)

    def _null_conditioning(self) -> Conditioning:
        """The conditioning of one empty prompt, for guidance."""
        return self._encode([""])

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_images(self.decoder, latents)


def image_size(height: int | None, width: int | None, side: int, multiple: int) -> tuple[int, int]:
    """Height and width in pixels.

    Args:
        height: requested height; None for the default side.
        width: requested width; None for the default side.
        side: default side.
        multiple: number of which both must be multiples.

    Raises:
        ValueError: if one is not a positive multiple.
    """
    height, width = side if height is None else height, side if width is None else width
    if min(height, width) < 1 or height % multiple or width % multiple:
        raise ValueError(f"height and width must be multiples of {multiple}, got {height} x {width}")
    return height, width


def decode_images(decoder: Any, latents: Tensor) -> Tensor:
    """Images [B, 3, H, W] in [0, 1] from clean latents [B, *Z], by a diffusers autoencoder of still images."""
    config = decoder.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        shift, scale = (latents.new_tensor(values).view(1, -1, 1, 1) for values in (mean, std))
        latents = latents * scale / config.scaling_factor + shift
    else:
        latents = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
    return to_unit_range(decoder.decode(latents.to(decoder.dtype), return_dict=False)[0])


def to_unit_range(images: Tensor) -> Tensor:
    """Images in [0, 1] from a decoder's output in [-1, 1], which may exceed its range a little."""
    return (at_least_float32(images) / 2 + 0.5).clamp(0, 1)
