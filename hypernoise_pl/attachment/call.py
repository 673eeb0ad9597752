"""PipelineCall: the prompts and the LoRA scale of one call of an attached pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.types import Conditioning


@dataclass
class PipelineCall:
    """One call of an attached pipeline.

    Args:
        embeddings: the call's ``prompt_embeds``; None if it has a text.
        lora_scale: scale of the pipeline's other LoRAs.
        encoded: first result of ``encode_prompt`` in the call; None before it.
        images: number of rows that ``encoded`` has for each prompt.
        encode_once: function that encodes the same prompts with one row each.
    """

    embeddings: Any = None
    lora_scale: float = 1.0
    encoded: Any = None
    images: int = 1
    encode_once: Callable[[], Any] | None = None

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> PipelineCall:
        """A call before its prompts are encoded.

        Args:
            arguments: arguments of the pipeline's ``__call__``.
        """
        named = [arguments.get(f"{prefix}attention_kwargs") or {} for prefix in ("cross_", "joint_", "")]
        lora_scale = float(next((options["scale"] for options in named if "scale" in options), 1.0))
        return cls(arguments.get("prompt_embeds"), lora_scale)

    def conditioning(self, generator: PipelineGenerator, warn: Callable[[str, str], None]) -> Conditioning:
        """The call's conditioning, with one row a prompt, or one row an image if the pipeline encodes it so.

        Args:
            generator: backend of the pipeline.
            warn: function of a key and a text.
        """
        if self.encoded is None:  # some pipelines do not encode given embeddings
            assert self.embeddings is not None
            return generator.conditioning_of((self.embeddings,))
        rows = generator.conditioning_of(self.encoded)
        if self.images == 1 or rows.mask is None or bool((rows.mask == rows.mask[:1]).all()):
            return rows
        assert self.encode_once is not None
        conditioning = generator.conditioning_of(self.encode_once())  # diffusers repeats the masks in another order
        assert conditioning.mask is not None
        if not torch.equal(conditioning.mask.repeat_interleave(self.images, 0), rows.mask):
            name = type(generator.pipeline).__name__
            warn(
                "mask",
                f"attach: {name} gives images the attention mask of other prompts when prompts of unequal length and "
                "num_images_per_prompt are given together; the noise is refined for each image's own prompt. Repeat a "
                "prompt once for each image instead",
            )
        return conditioning
