"""What a judge is: a verdict on each image, held out from training and search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from hypernoise_pl.types import Prompt, check_shape


class Judge(ABC):
    """Says of each image whether it shows what its prompt asks for."""

    @torch.no_grad()
    def __call__(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        """Judge images.

        Args:
            images: [B, 3, H, W] in [0, 1].
            prompts: B prompts with the metadata this judge reads.

        Returns:
            [B] bool.

        Raises:
            ValueError: if the shapes do not fit or a prompt has no metadata.
        """
        check_shape("images", images, (len(prompts), 3, None, None))
        for prompt in prompts:
            if "include" not in prompt.metadata:
                raise ValueError(f"prompt {prompt.text!r} has no 'include' clauses; a judge cannot know what is right")
        return self._judge(images, list(prompts))

    @abstractmethod
    def _judge(self, images: Tensor, prompts: list[Prompt]) -> Tensor: ...
