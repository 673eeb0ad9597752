"""T2I-CompBench's image folder, and prompts in file names."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from hypernoise_pl.metrics.image_files import ImageFile, ImageFolder
from hypernoise_pl.types import Prompt

LONGEST = 244  # bytes of a prompt in a file name: file systems take 255, and number and ending are 11 of them
_UNSAFE = re.compile(r"[/\x00-\x1f\x7f\ud800-\udfff]|%(?=[0-9A-Fa-f]{2})")


class CompBenchImages(ImageFolder):
    """T2I-CompBench's layout: ``color/samples/a red book and a yellow vase_000000.png``.

    The original tools score one category at a time: give them ``color`` as the folder. The number is the prompt's index
    times 10 plus the image's number; with a single category it equals the original's. Folders of other tools may have
    any numbers; ``samples`` is read if the category has no folder.

    ``file_label`` escapes prompts that are no valid file names; the original tools read the escaped text.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350), reference evaluation.
    """

    images: int = 10

    def name(self, prompt: Prompt, number: int) -> str:
        """``color/samples/a red book and a yellow vase_000000.png``."""
        place = f"{prompt.tag}/samples" if prompt.tag else "samples"
        return f"{place}/{file_label(prompt.text)}_{prompt.index * self.images + number:06}.png"

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """Existing images in the order of prompts and numbers.

        Prompts with equal tag and text are told apart by number; if no number matches, each gets all files.
        """
        twins = Counter((prompt.tag, prompt.text) for prompt in prompts)
        places: dict[str, dict[str, dict[int, Path]]] = {}
        found = []
        for prompt in prompts:
            if prompt.tag not in places:
                own = folder / prompt.tag / "samples"
                places[prompt.tag] = _by_label(own if own.is_dir() else folder / "samples")
            files = places[prompt.tag].get(_same(file_label(prompt.text)), {})
            numbers = range(prompt.index * self.images, (prompt.index + 1) * self.images)
            ours = {number: file for number, file in files.items() if number in numbers}
            if ours and (len(ours) == len(files) or twins[prompt.tag, prompt.text] > 1):
                numbered = {number - numbers.start: file for number, file in ours.items()}
            else:
                numbered = dict(enumerate(files.values()))
            for number, path in numbered.items():
                found.append(ImageFile(path, prompt, number, path.relative_to(folder).as_posix()))
        return found


def file_label(text: str) -> str:
    """The name of a prompt in a file name: its text, escaped and shortened if necessary.

    Slashes, control characters and lone surrogates become ``%2F`` and similar, as does a ``%`` before two hexadecimal
    digits; different prompts have different labels. A label above 244 bytes is cut and ends in ``~`` and 16 digits of
    the prompt's SHA-256.
    """
    label = _UNSAFE.sub(lambda found: _hexadecimal(found.group()), text)
    if len(label.encode()) <= LONGEST:
        return label
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{label.encode()[: LONGEST - 17].decode(errors='ignore')}~{digest}"


def _hexadecimal(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


def _by_label(folder: Path) -> dict[str, dict[int, Path]]:
    """Label -> number -> its file, in the order of numbers."""
    if not folder.is_dir():
        return {}
    numbered: dict[str, dict[int, Path]] = {}
    for path in folder.iterdir():
        match = re.fullmatch(r"(.*)_(\d+)\.png", path.name, re.DOTALL)
        if match and path.is_file():
            numbered.setdefault(_same(match[1]), {})[int(match[2])] = path
    return {label: dict(sorted(files.items())) for label, files in numbered.items()}


def _same(label: str) -> str:
    """A label as it is compared: file systems differ in how they write letters with accents."""
    return unicodedata.normalize("NFC", label)
