"""Mask2Former for detection: transformers' network without its loss, which alone needs SciPy."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.models.mask2former.modeling_mask2former import Mask2FormerModel, Mask2FormerPreTrainedModel


class Mask2FormerNetwork(Mask2FormerPreTrainedModel):
    """``Mask2FormerForUniversalSegmentation`` by its weights, with the last layer's outputs alone.

    Args:
        config: transformers' ``Mask2FormerConfig``.
    """

    # of the backbone's classifier; no detector uses it, and published files do not have it
    _keys_to_ignore_on_load_missing: ClassVar[list[str]] = [r"pixel_level_module\.encoder\.(swin\.)?layernorm\."]  # type: ignore[misc]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Mask2FormerModel(config)
        self.class_predictor = nn.Linear(config.hidden_dim, config.num_labels + 1)
        self.post_init()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What each query sees.

        Args:
            pixels: [B, 3, H, W], normalised; sides that are multiples of 32.

        Returns:
            [B, Q, C + 1] logits of classes, the last of no object; [B, Q, H / 4, W / 4] logits of masks.
        """
        seen = self.model(pixel_values=pixels, output_hidden_states=True, return_dict=True)
        queries = seen.transformer_decoder_intermediate_states[-1].transpose(0, 1)
        return self.class_predictor(queries), seen.masks_queries_logits[-1]
