"""The shapes world's decoder: a renderer in the place of a pipeline's VAE."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from hypernoise_pl.shapes.caption import SHAPES
from hypernoise_pl.shapes.render import render
from hypernoise_pl.shapes.scene import CELLS, SLOTS, Scenes

CHANNELS = 16  # presence 1, shape 6, colour 3, centre 2, radius 1, background 3
# each group of channels is shifted and scaled to mean 0 and variance near 1, as diffusion likes its data
SHAPE_ON, SHAPE_OFF = 2.0, -0.4
RGB_MEAN, RGB_STD = 0.5, 0.35
CENTRE_STD = 0.22  # from the middle of the cell
RADIUS_MEAN, RADIUS_STD = 0.31, 0.045
BACKGROUND_MEAN, BACKGROUND_STD = 0.145, 0.06


class SlotRenderer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Decodes a 2 x 2 grid of object slots by drawing it.

    Every cell of the latent [B, 16, 2, 2] is one object (presence, six shape logits, colour, centre, radius) and one
    corner of the background. There is nothing to learn: the decoder is a differentiable renderer.

    Args:
        image_size: pixels a side; any size can be drawn from the same latent.
        sharpness: factor of presence and shape logits; at 2 the judge accepts 99 % of clean latents'
            pictures, and what is undecided stays visible, also to gradients.
        scaling_factor: divisor of the latents before ``decode``, as in ``AutoencoderDC``.
        encoder_block_out_channels: channels as in ``AutoencoderDC``; a pipeline reads the spatial compression,
            2 ** (length - 1) = 16, off their number.
    """

    config: Any

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        image_size: int = 32,
        sharpness: float = 2.0,
        scaling_factor: float = 1.0,
        encoder_block_out_channels: tuple[int, ...] = (1, 1, 1, 1, 1),
    ) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1), requires_grad=False)  # tells a pipeline its device and dtype

    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """Draw latents [B, 16, 2, 2] as images [B, 3, H, W] in [-1, 1]."""
        image = self.draw(z, self.config.image_size) * 2 - 1
        return DecoderOutput(sample=image) if return_dict else (image,)

    def draw(self, z: Tensor, size: int) -> Tensor:
        """Draw latents [B, 16, 2, 2] as images [B, 3, size, size] in [0, 1]."""
        sharpness = self.config.sharpness
        slots = z.flatten(2).transpose(1, 2)
        presence, shape, rgb, centre, radius, _ = slots.split((1, len(SHAPES), 3, 2, 1, 3), -1)
        return render(
            opacity=torch.sigmoid(2 * sharpness * presence[..., 0]),
            shape=torch.softmax(sharpness * shape, -1),
            rgb=(RGB_MEAN + RGB_STD * rgb).clamp(0, 1),
            centre=CELLS.to(centre) + CENTRE_STD * centre,
            radius=0.1 + F.softplus(RADIUS_MEAN - 0.1 + RADIUS_STD * radius[..., 0], beta=20),
            background=(BACKGROUND_MEAN + BACKGROUND_STD * z[:, -3:]).clamp(0, 1),
            size=size,
        )

    @staticmethod
    def encode_scenes(scenes: Scenes) -> Tensor:
        """[B, 16, 2, 2] clean latents of scenes; an empty slot's fields are 0."""
        here = scenes.present[..., None].to(scenes.rgb)
        one_hot = F.one_hot(scenes.shape, len(SHAPES)).to(scenes.rgb)
        radius = (scenes.radius[..., None] - RADIUS_MEAN) / RADIUS_STD
        fields = (
            2 * here - 1,
            here * (SHAPE_OFF + (SHAPE_ON - SHAPE_OFF) * one_hot),
            here * (scenes.rgb - RGB_MEAN) / RGB_STD,
            here * (scenes.centre - CELLS) / CENTRE_STD,
            here * radius,
        )
        slots = torch.cat(fields, -1).transpose(1, 2).unflatten(2, (2, SLOTS // 2))
        return torch.cat([slots, (scenes.background - BACKGROUND_MEAN) / BACKGROUND_STD], 1)
