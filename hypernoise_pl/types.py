"""The glossary: what flows through the framework, and the letters its shapes are written in.

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
        text: what the generator reads.
        tag: the kind of prompt, for tables by kind (GenEval's ``single_object`` to ``color_attr``); empty if none.
        metadata: what a judge needs to know (GenEval's ``include`` and ``exclude`` clauses); empty if none.
        index: the prompt's place in its set; with a draw number it seeds the prompt's noise.
    """

    text: str
    tag: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    index: int = 0


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts, as a generator's network takes them; every tensor leads with ``B``.

    Args:
        embeddings: [B, L, D] text features.
        mask: [B, L] 1 for real tokens and 0 for padding, for families that use one.
        pooled: [B, D] pooled text features, for families that use them.
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
        """Join conditionings of one generator along the batch, in their own type whatever autocast says."""
        first = parts[0]
        with without_autocast(first.embeddings.device):  # which refuses another half precision
            joined = {
                f.name: torch.cat([getattr(part, f.name) for part in parts])
                for f in fields(first)
                if getattr(first, f.name) is not None
            }
        return replace(first, **joined)


@dataclass(frozen=True)
class Rollout:
    """One pass of the method, in the order it happened. Loss, callbacks, compare and demo all read this record.

    Args:
        prompts: the B prompts.
        noise: [B, *Z] x0, standard normal.
        residual: [B, *Z] what was added to it, f(x0, c); zeros for the base generator.
        images: [B, 3, H, W] in [0, 1].
        scores: reward name -> [B], raw and unweighted, higher is better.
        nfe: evaluations of the generator's network per image returned. With classifier-free guidance an evaluation is
            one call on the doubled batch and counts once, though it costs about two; ``seconds`` has its cost.
        seconds: wall-clock seconds per image; encoding the prompts and the final scoring are left out, what a search
            scores on its way is not. ``compare`` counts alike.
        nfe_backward: backward passes through the network per image returned.
        label: what made it, for tables and pictures: ``base``, ``hypernetwork``, ``ReNO (50 iterations)``.
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
        """The B prompt texts."""
        return [prompt.text for prompt in self.prompts]

    @property
    def refined(self) -> Tensor:
        """[B, *Z] the noise the generator was given."""
        return self.noise + self.residual


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the word most like this one, or nothing; to end an error message with."""
    found = get_close_matches(word, list(words), 1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def check_images(images: Any, count: int, values: bool = True) -> None:
    """Raise ``ValueError`` unless these are so many images [B, 3, H, W], floats in [0, 1].

    Args:
        images: of any type.
        count: B.
        values: whether to look at them too, and not at shape and type alone; a GPU has to be waited for then.
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
            f"images must be in [0, 1], got values from {low:.3g} to {high:.3g}; divide what goes to 255 by 255, and "
            "bring [-1, 1] to [0, 1] by x / 2 + 0.5"
        )


def to_uint8(images: Tensor) -> Tensor:
    """[..., H, W, 3] bytes of images [..., 3, H, W] in [0, 1], on the CPU."""
    return (images.detach().float().clamp(0, 1) * 255).round().byte().movedim(-3, -1).contiguous().cpu()


@contextlib.contextmanager
def check_not_modified(images: Tensor, by: str) -> Iterator[None]:
    """Raise ``ValueError`` if something writes into images that others see too; in inference mode nobody can tell."""
    before = None if images.is_inference() else images._version
    yield
    if before is not None and images._version != before:
        raise ValueError(f"{by} writes into the images that it is given, which others see too; let it clone them first")


def check_shape(name: str, tensor: Tensor, expected: Sequence[int | None]) -> None:
    """Raise ``ValueError`` unless the tensor has the expected sizes; ``None`` stands for any size."""
    if len(tensor.shape) == len(expected) and all(e is None or e == s for s, e in zip(tensor.shape, expected)):
        return
    wanted = ", ".join("*" if e is None else str(e) for e in expected)
    raise ValueError(f"{name} must have shape [{wanted}], got {list(tensor.shape)}")
