"""Text accuracy: the edit distance between the words that a prompt quotes and the text that OCR reads in the image."""

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

# a closing single quote is also an apostrophe: it closes only if no letter follows
_QUOTED = re.compile(r'"([^"]*)"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»|\u2018(.*?)\u2019(?!\w)')
_ALIKE = {True: str.maketrans("01i", "oll"), False: str.maketrans("01I", "Oll")}  # by whether case is ignored


class TextAccuracy(Verifier):
    """Text rendering accuracy, 0 to 1.

        score = max(0, 1 - edit distance(quoted words, text in the image) / number of quoted letters)

    The prompt quotes the words in "..." or typographic quotes; several quoted parts are joined in order. All text in
    the image counts, from top to bottom and left to right; surplus letters are errors. The score is NaN for an image
    with a value that is not finite, and for a prompt without quoted words.

    The score has no gradient: gradient search rejects it, and a fit logs it at validation and test, with weight 0.

    The recogniser is PP-OCRv4 (Chinese and English), on the CPU, from the package rapidocr-onnxruntime (Apache-2.0) of
    the extra ``ocr``. It enlarges images whose smaller side is below 736 pixels, and does not read accented letters.

    Args:
        ignore_case: count ``a`` and ``A`` as the same letter.
        ignore_lookalikes: count ``0`` and ``O``, and ``1``, ``l`` and ``I``, as the same letter.
        ignore_spaces: remove all spaces; otherwise each space and line end counts as one letter.
        allow_more: score 1 if the image contains the complete words in order, whatever other text it has, as in the
            source's code.

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
        """The package, or the library of it, that is missing; None if the recogniser can be loaded."""
        return _missing()

    def read(self, images: Tensor) -> list[str]:
        """Text in each of the images [B, 3, H, W] in [0, 1]; separate lines and words are joined by spaces."""
        reader = _reader()
        results = (reader(pixels[..., ::-1])[0] for pixels in to_uint8(images).numpy())
        return [" ".join(text for _, text, _ in lines or []) for lines in results]

    @torch.no_grad()
    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        scores = [
            self._image_score(image, " ".join(quoted(prompt))) for image, prompt in zip(images, prompts, strict=True)
        ]
        return torch.tensor(scores, device=images.device)

    def _image_score(self, image: Tensor, target: str) -> float:
        return self.accuracy(target, self.read(image[None])[0]) if target and image.isfinite().all() else nan

    def accuracy(self, target: str, text: str) -> float:
        """max(0, 1 - edit distance / length of the target).

        Raises:
            ValueError: if the target is empty.
        """
        from torchmetrics.functional.text import edit_distance

        target, text = self._normalise(target), self._normalise(text)
        if not target:
            raise ValueError("text accuracy: the target text is empty")
        if self.allow_more and target in text:
            return 1.0
        return max(0.0, 1 - int(edit_distance([text], [target], reduction="sum")) / len(target))

    def _normalise(self, text: str) -> str:
        text = unicodedata.normalize("NFKC", text)  # the recogniser may return full-width characters
        if self.ignore_case:
            text = unicodedata.normalize("NFKC", text.casefold())
        if self.ignore_lookalikes:
            text = text.translate(_ALIKE[self.ignore_case])
        return ("" if self.ignore_spaces else " ").join(text.split())


def quoted(prompt: str) -> list[str]:
    """The quoted parts of a prompt, in order; empty parts are left out."""
    parts = ["".join(part or "" for part in match.groups()) for match in _QUOTED.finditer(prompt)]
    return [part for part in parts if part.strip()]


def _missing() -> str | None:
    if find_spec("rapidocr_onnxruntime") is None:
        return "the package rapidocr-onnxruntime; run pip install 'hypernoise_pl[ocr]'"
    try:
        import cv2  # noqa: F401 - from opencv-python, which needs display libraries, or opencv-python-headless
    except ImportError as error:
        return (
            f"a library that OpenCV needs ({error}); run pip uninstall opencv-python, then "
            "pip install opencv-python-headless; it needs no display"
        )
    return None


@functools.cache
def _reader() -> Any:
    """The recogniser, with torch's number of threads; loaded once per process."""
    missing = _missing()
    if missing is not None:
        raise ValueError(f"text accuracy cannot score; missing is {missing}")
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=torch.get_num_threads(), inter_op_num_threads=1)
