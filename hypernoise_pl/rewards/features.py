"""What describes images by numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class ImageFeatures(nn.Module, ABC):
    """Images [B, 3, H, W] in [0, 1] -> [B, D]."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, D]."""
        return self._features(images).float()

    @abstractmethod
    def _features(self, images: Tensor) -> Tensor: ...
