"""How well an image spells the words that its prompt quotes, read by a real text recogniser."""

from __future__ import annotations

import functools
import re
import unicodedata
from importlib.util import find_spec
from math import nan
from typing import Any, ClassVar

import torch
from torch import Tensor

from hypernoise_pl.rewards.base import Verifier
from hypernoise_pl.types import to_uint8

# a closing single quote is also an apostrophe: it closes only where no letter follows
_QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»|\u2018(.*?)\u2019(?!\w)')
_ALIKE = {True: str.maketrans("01i", "oll"), False: str.maketrans("01I", "Oll")}  # by whether case is ignored


class TextAccuracy(Verifier):
    """1 minus the edit distance between the quoted words and what is read, over the letters quoted; 0 to 1.

    The words stand between "..." or typographic quotes of any kind; several quoted parts count in the order of the
    prompt. What is read counts whole, from top to bottom and from left to right; letters too many are errors. A
    distance above the number of letters quoted scores 0. An image with a value that is not finite has no score (NaN),
    and neither has an image whose prompt quotes no words.

    It has no gradient: search that differentiates refuses it, and a fit logs it at validation and test, with a weight
    of 0.

    The recogniser is PP-OCRv4 (Chinese and English), on the CPU; code and weights are those of the package
    rapidocr-onnxruntime (Apache-2.0), part of the extra ``ocr``. It enlarges images whose smaller side is below 736
    pixels, and cannot read letters with accents.

    Args:
        ignore_case: count ``a`` and ``A`` as the same letter.
        ignore_lookalikes: count ``0`` and ``O``, and ``1``, ``l`` and ``I``, as the same letter.
        ignore_spaces: leave out all spaces; otherwise each space, and each end of a line, counts as one letter.
        allow_more: score 1 wherever the words are read whole and in order, whatever else is read before and after, as
            the source's code does.

    Source: Liu et al. 2025 (Flow-GRPO, arXiv 2505.05470), the reward of visual text rendering.
    """

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(
        self,
        ignore_case: bool = True,
        ignore_lookalikes: bool = False,
        ignore_spaces: bool = True,
        allow_more: bool = False,
    ) -> None:
        super().__init__()
        self.ignore_case, self.ignore_lookalikes = ignore_case, ignore_lookalikes
        self.ignore_spaces, self.allow_more = ignore_spaces, allow_more

    def missing(self) -> str | None:
        """The package that reads, or what it does not load without; None if nothing is missing."""
        return _missing()

    def read(self, images: Tensor) -> list[str]:
        """The text in each of the images [B, 3, H, W] in [0, 1]; lines and words apart are joined by spaces."""
        reader = _reader()
        found = (reader(pixels[..., ::-1])[0] for pixels in to_uint8(images).numpy())
        return [" ".join(text for _, text, _ in lines or []) for lines in found]

    @torch.no_grad()
    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        scores = [self._one(image, " ".join(quoted(prompt))) for image, prompt in zip(images, prompts, strict=True)]
        return torch.tensor(scores, device=images.device)

    def _one(self, image: Tensor, wanted: str) -> float:
        return self.accuracy(wanted, self.read(image[None])[0]) if wanted and image.isfinite().all() else nan

    def accuracy(self, wanted: str, found: str) -> float:
        """1 minus the edit distance between two texts over the length of the first, and 0 at least.

        Raises:
            ValueError: if nothing is wanted.
        """
        from torchmetrics.functional.text import edit_distance

        wanted, found = self._plain(wanted), self._plain(found)
        if not wanted:
            raise ValueError("text accuracy: the text that is wanted is empty")
        if self.allow_more and wanted in found:
            return 1.0
        return max(0.0, 1 - int(edit_distance([found], [wanted], reduction="sum")) / len(wanted))

    def _plain(self, text: str) -> str:
        text = unicodedata.normalize("NFKC", text)  # the recogniser may write signs in their full-width form
        if self.ignore_case:
            text = unicodedata.normalize("NFKC", text.casefold())
        if self.ignore_lookalikes:
            text = text.translate(_ALIKE[self.ignore_case])
        return ("" if self.ignore_spaces else " ").join(text.split())


def quoted(prompt: str) -> list[str]:
    """The parts of a prompt that stand in quotes, in their order; those of spaces alone are left out."""
    parts = ["".join(part or "" for part in match.groups()) for match in _QUOTED.finditer(prompt)]
    return [part for part in parts if part.strip()]


def _missing() -> str | None:
    if find_spec("rapidocr_onnxruntime") is None:
        return "the package rapidocr-onnxruntime; run pip install 'hypernoise_pl[ocr]'"
    try:
        import cv2  # noqa: F401 - of opencv-python, which needs a display's libraries, or of the one that does not
    except ImportError as error:
        return (
            f"what OpenCV loads ({error}); run pip uninstall opencv-python and pip install opencv-python-headless "
            "(it needs no display)"
        )
    return None


@functools.cache
def _reader() -> Any:
    """The recogniser, on as many threads as torch has; loaded once a process."""
    missing = _missing()
    if missing is not None:
        raise ValueError(f"text accuracy cannot read; missing is {missing}")
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=torch.get_num_threads(), inter_op_num_threads=1)
