"""The glossary: the values that flow through the framework, and the letters of their shapes.

    prompts -> conditioning -> noise -> hypernetwork -> refined noise -> generator -> images -> rewards -> objective

Shape legend: ``B`` prompts in the batch, ``N`` candidate noises per prompt, ``*Z`` one noise (for example ``4 64 64``),
``3 H W`` one image, RGB in [0, 1], ``L`` text tokens, ``D`` features.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl.system.autocast import without_autocast

VALUE_TOLERANCE = 0.1  # image values may exceed [0, 1] by this; finite differences and soft decoders do


@dataclass(frozen=True)
class Prompt:
    """One prompt of a prompt set.

    Args:
        text: text that the generator encodes.
        tag: category of the prompt for tables (GenEval's ``single_object`` to ``color_attr``); empty if none.
        metadata: facts for judges (GenEval's ``include`` and ``exclude`` clauses); empty if none.
        index: position in the prompt set; together with a draw number it seeds the prompt's noise.
    """

    text: str
    tag: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    index: int = 0


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts, the input of a generator's network; the first dimension of every tensor is ``B``.

    Args:
        embeddings: text features [B, L, D].
        mask: token mask [B, L], 1 for real tokens and 0 for padding; None for families without one.
        pooled: pooled text features [B, D]; None for families without them.
    """

    embeddings: Tensor
    mask: Tensor | None = None
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    def map(self, function: Any) -> Conditioning:
        """Apply a function to every tensor (``lambda t: t[:4]``, ``lambda t: t.to(device)``)."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: function(t) for name, t in tensors.items() if t is not None})

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """Concatenate conditionings of one generator along the batch, in their own dtype."""
        first = parts[0]
        with without_autocast(first.embeddings.device):  # autocast refuses to mix half precisions
            joined = {
                f.name: torch.cat([getattr(part, f.name) for part in parts])
                for f in fields(first)
                if getattr(first, f.name) is not None
            }
        return replace(first, **joined)


@dataclass(frozen=True)
class Rollout:
    """The record of one pass of the method, in its order; loss, callbacks and reports read it.

    Args:
        prompts: B prompts.
        noise: standard normal noise x0 [B, *Z].
        residual: residual f(x0, c) [B, *Z]; zeros for the base generator.
        images: images [B, 3, H, W] in [0, 1].
        scores: reward name -> raw, unweighted scores [B]; higher is better.
        nfe: network evaluations per returned image. With classifier-free guidance an evaluation is one call on the
            doubled batch and counts once, though it costs about twice as much; ``seconds`` shows the cost.
        seconds: wall-clock seconds per image, including a search's own scoring; encoding of the prompts and the final
            scoring are left out. ``compare`` uses the same rule.
        nfe_backward: backward passes through the network per returned image.
        label: name of the method in tables and pictures: ``base``, ``hypernetwork``, ``ReNO (50 iterations)``.
    """

    prompts: list[Prompt]
    noise: Tensor
    residual: Tensor
    images: Tensor
    scores: dict[str, Tensor]
    nfe: int
    seconds: float = 0.0
    nfe_backward: int = 0
    label: str = ""

    @property
    def texts(self) -> list[str]:
        """The texts of the B prompts."""
        return [prompt.text for prompt in self.prompts]

    @property
    def refined(self) -> Tensor:
        """The refined noise [B, *Z], the input of the generator."""
        return self.noise + self.residual


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` with the closest known word, for the end of an error message; empty if none is close."""
    matches = get_close_matches(word, list(words), 1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def check_images(images: Any, count: int, values: bool = True) -> None:
    """Raise ``ValueError`` unless the images are floats [B, 3, H, W] in [0, 1].

    Args:
        images: value to check, of any type.
        count: expected number B of images.
        values: whether to check values in addition to type and shape; this synchronises a GPU.
    """
    if not isinstance(images, Tensor):
        raise ValueError(f"images must be a tensor [B, 3, H, W] of floats in [0, 1], got a {type(images).__name__}")
    check_shape("images", images, (count, 3, None, None))
    if not images.is_floating_point():
        raise ValueError(f"images must be floats in [0, 1], got {images.dtype}; divide bytes by 255")
    if not values or images.is_meta or not images.numel():
        return
    low, high = (end.item() for end in images.detach().aminmax())
    if low < -VALUE_TOLERANCE or high > 1 + VALUE_TOLERANCE:
        raise ValueError(
            f"images must be in [0, 1], got values from {low:.3g} to {high:.3g}; divide values up to 255 by 255, and "
            "map [-1, 1] to [0, 1] by x / 2 + 0.5"
        )


def to_uint8(images: Tensor) -> Tensor:
    """Convert images [..., 3, H, W] in [0, 1] to bytes [..., H, W, 3] on the CPU."""
    return (images.detach().float().clamp(0, 1) * 255).round().byte().movedim(-3, -1).contiguous().cpu()


@contextlib.contextmanager
def check_not_modified(images: Tensor, by: str) -> Iterator[None]:
    """Raise ``ValueError`` if the context modifies the images in place; in inference mode this goes unnoticed."""
    before = None if images.is_inference() else images._version
    yield
    if before is not None and images._version != before:
        raise ValueError(f"{by} writes into the images that it is given; other code shares them, so clone them first")


def check_shape(name: str, tensor: Tensor, expected: Sequence[int | None]) -> None:
    """Raise ``ValueError`` unless the tensor has the expected sizes; ``None`` stands for any size."""
    if len(tensor.shape) == len(expected) and all(e is None or e == s for s, e in zip(tensor.shape, expected)):
        return
    wanted = ", ".join("*" if e is None else str(e) for e in expected)
    raise ValueError(f"{name} must have shape [{wanted}], got {list(tensor.shape)}")
