"""The network of the shapes world's generator: a text encoder and a transformer that predicts the flow's velocity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from hypernoise_pl.shapes.tokenizer import gemma_tokenizer


class TextToLatent(nn.Module):
    """Text encoder and transformer as one module, for joint training.

    Args:
        config: ``text_encoder``, ``transformer``, ``max_sequence_length`` and ``guidance_scale``.
    """

    def __init__(self, config: DictConfig) -> None:
        super().__init__()
        from diffusers import SanaTransformer2DModel
        from transformers import Gemma2Config, Gemma2Model

        self.tokenizer = gemma_tokenizer()
        self.length = config.max_sequence_length
        self.guidance = config.guidance_scale * 0.1
        options: Any = OmegaConf.to_container(config)
        text = Gemma2Config(vocab_size=len(self.tokenizer), **options["text_encoder"])
        self.text_encoder: Any = Gemma2Model(text)
        self.transformer: Any = SanaTransformer2DModel(**options["transformer"])

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """[C, H, W] of a latent."""
        config = self.transformer.config
        return config.in_channels, config.sample_size, config.sample_size

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """[B, L, D] features and [B, L] mask, as from ``SanaSprintPipeline.encode_prompt``."""
        self.tokenizer.padding_side = "right"
        ids = self.tokenizer(
            list(texts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        return self.text_encoder(ids.input_ids, attention_mask=ids.attention_mask)[0], ids.attention_mask

    def velocity(self, state: Tensor, time: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
        """The flow's velocity at ``state = (1 - time) * latent + time * noise``."""
        guidance = torch.full((len(state),), self.guidance)
        out = self.transformer(
            state,
            encoder_hidden_states=text[0],
            encoder_attention_mask=text[1],
            guidance=guidance,
            timestep=time,
            return_dict=False,
        )
        return out[0]  # type: ignore[no-any-return]
