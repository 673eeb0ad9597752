"""LAION's aesthetic predictors: a rating of an image from its CLIP features."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from hypernoise_pl.checkpoints.conversion import convert_keys, load_strict, read_checkpoint
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.features import CLIPImageFeatures, clip_features
from hypernoise_pl.rewards.key_maps import AESTHETIC_V1, AESTHETIC_V2
from hypernoise_pl.system.dtypes import at_least_float32


class Aesthetic(Reward):
    """Predicted rating of an image, about 1 to 10. The score ignores the prompt.

    Args:
        head: checkpoint file of the predictor: version 1, one linear layer (``sa_0_4_vit_l_14_linear.pth``), or version
            2, five linear layers without activations (``sac+logos+ava1-l14-linearMSE.pth``); the file decides which.
        features: image encoder whose normalised features the predictor reads; OpenAI's ``ViT-L/14`` for LAION's files.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, the head is neither version, or its width differs from the features'.

    Source: Schuhmann et al. 2022 (LAION-5B, arXiv 2210.08402), the aesthetic subsets; licence of version 2: Apache-2.0.
    """

    score_range: ClassVar[tuple[float, float]] = (1.0, 10.0)

    def __init__(self, head: str, features: CLIPImageFeatures) -> None:
        super().__init__()
        self.features = features
        self.head = _head(Path(head), features.projection.out_features).eval().requires_grad_(False)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        features = at_least_float32(clip_features(self.features.tower, self.features.projection, images))
        return self.head(F.normalize(features, dim=-1)).squeeze(-1)


def _head(file: Path, width: int) -> nn.Sequential:
    what = f"reward {file}"
    tensors = read_checkpoint(file, "reward")
    weights = convert_keys(tensors, AESTHETIC_V1 if "weight" in tensors else AESTHETIC_V2, what)
    count = len(weights) // 2
    sizes = [len(weights.get(f"{index}.weight", ())) for index in range(count)]
    head = nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise([width, *sizes[:-1], 1])))
    load_strict(head, weights, f"{what} on features of {width}")
    return head
