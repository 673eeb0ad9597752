"""Mask2Former for detection: transformers' network without its loss, which needs SciPy."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.models.mask2former.modeling_mask2former import Mask2FormerModel, Mask2FormerPreTrainedModel


class Mask2FormerNetwork(Mask2FormerPreTrainedModel):
    """The weights of ``Mask2FormerForUniversalSegmentation``; only the last layer's outputs are computed.

    Args:
        config: transformers' ``Mask2FormerConfig``.
    """

    # layer norm of the backbone's classifier; no detector uses it, and published files lack it
    _keys_to_ignore_on_load_missing: ClassVar[list[str]] = [r"pixel_level_module\.encoder\.(swin\.)?layernorm\."]  # type: ignore[misc]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Mask2FormerModel(config)
        self.class_predictor = nn.Linear(config.hidden_dim, config.num_labels + 1)
        self.post_init()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Class and mask logits of each query.

        Args:
            pixels: [B, 3, H, W], normalised; both sides are multiples of 32.

        Returns:
            [B, Q, C + 1] class logits, the last for no object; [B, Q, H / 4, W / 4] mask logits.
        """
        output = self.model(pixel_values=pixels, output_hidden_states=True, return_dict=True)
        queries = output.transformer_decoder_intermediate_states[-1].transpose(0, 1)
        return self.class_predictor(queries), output.masks_queries_logits[-1]
