"""Where T2I-CompBench's images lie, and what a prompt is called in a file name."""

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
    """T2I-CompBench's: ``color/samples/a red book and a yellow vase_000000.png``.

    Its original tools score one category at a time: give them ``color`` as the folder. They want a number that is
    unique in the category; here it is the prompt's index times 10 plus the image's number, which is theirs where a
    single category is read. Other tools' folders are read with any numbers, each prompt's images in their order, and
    ``samples`` is read too where there is no folder of the category.

    A prompt that no file can be called is escaped, as ``file_label`` says; the original tools read the escaped words.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350), reference evaluation.
    """

    images: int = 10

    def name(self, prompt: Prompt, number: int) -> str:
        """``color/samples/a red book and a yellow vase_000000.png``."""
        place = f"{prompt.tag}/samples" if prompt.tag else "samples"
        return f"{place}/{file_label(prompt.text)}_{prompt.index * self.images + number:06}.png"

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """The images that the folder has, in the order of prompts and numbers; missing ones are passed over.

        Of prompts with the same tag and words, each has the files of its own numbers, or all where none has its.
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
    """What stands for a prompt in a file name: its own words, wherever a file may be called so.

    Slashes, control characters and lone surrogates are written as ``%2F`` and the like, and so is a ``%`` that two
    hexadecimal digits follow, so that no two prompts are written alike. What is longer than 244 bytes is cut there, and
    ``~`` and 16 digits of the SHA-256 of the whole prompt are added.
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
