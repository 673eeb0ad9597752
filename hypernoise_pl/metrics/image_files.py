"""Where the images of a benchmark lie: the layouts that its original tools read and ``predict --benchmark`` writes."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.system.files import whole, write
from hypernoise_pl.types import Prompt, to_uint8


def save_png(file: Path, pixels: Tensor) -> None:
    """Write [H, W, 3] bytes as a PNG file, whole or not at all; its folder is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as partial:
        Image.fromarray(pixels.numpy()).save(partial, "PNG")


@dataclass(frozen=True)
class ImageFile:
    """One image of a benchmark.

    Args:
        path: of its file.
        prompt: that it was made from.
        number: of the image among its prompt's, from 0.
        name: of the image for people and result files; several images of one file differ in it.
        cell: its place in a file that holds a grid of images, as row, column, rows, columns; None for a whole file.
        made_by: method that made it; empty where all images are of one.
    """

    path: Path
    prompt: Prompt
    number: int
    name: str
    cell: tuple[int, int, int, int] | None = None
    made_by: str = ""


class ImageFolder(ABC):
    """A layout of a folder of images.

    Attributes:
        images: of a prompt, that the benchmark asks for.
        needs_prompts: whether images are found by their prompts.
        accepts_file: whether a file may name the images, in the folder's place.
    """

    images: int = 4
    needs_prompts: bool = True
    accepts_file: bool = False

    @abstractmethod
    def name(self, prompt: Prompt, number: int) -> str:
        """Path in the folder of a prompt's image, by its number from 0."""

    def write(self, folder: Path, prompt: Prompt, images: Tensor) -> list[str]:
        """Write a prompt's images, and what stands beside them.

        Args:
            folder: to write into.
            prompt: that they were made from.
            images: [N, 3, H, W] in [0, 1], by number.

        Returns:
            Path in the folder of each image.
        """
        for name, text in self.metadata_files(prompt).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write(folder / name, text)
        return self._write_images(folder, prompt, to_uint8(images))

    def _write_images(self, folder: Path, prompt: Prompt, pixels: Tensor) -> list[str]:
        """Write [N, H, W, 3] bytes, each as a file of its own."""
        names = [self.name(prompt, number) for number in range(len(pixels))]
        for name, own in zip(names, pixels):
            save_png(folder / name, own)
        return names

    def metadata_files(self, prompt: Prompt) -> dict[str, str]:
        """Path in the folder -> text of the files that stand beside a prompt's images; none by default."""
        return {}

    def read_metadata_files(self, folder: Path) -> dict[int, tuple[str, Prompt | str]]:
        """Index -> path in the folder, and prompt or what is wrong, of the files of ``beside``; none by default."""
        return {}

    def images_by_index(self, folder: Path) -> dict[int, list[str]]:
        """Index of a prompt -> names of all the images that the folder has of it, whether the benchmark has it or not.

        None by default: where images are called by their prompts, only those that are looked for are found.
        """
        return {}

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """The images that the folder has, in the order of prompts and numbers; missing ones are passed over."""
        found = []
        for prompt in prompts:
            for number in self._numbers(folder, prompt):
                name = self.name(prompt, number)
                found.append(ImageFile(folder / name, prompt, number, name))
        return found

    def _numbers(self, folder: Path, prompt: Prompt) -> list[int]:
        """Numbers of the images that a prompt has, in order."""
        first = folder / self.name(prompt, 0)
        if not first.parent.is_dir():
            return []
        # the place of the number in a file's name is where two of the layout's own names differ
        pattern = re.escape(Path(self.name(prompt, 987654321)).name).replace("987654321", r"(\d+)")
        numbers = (m for file in first.parent.iterdir() if (m := re.fullmatch(pattern, file.name)))
        found = sorted({int(match[1]) for match in numbers})
        return [number for number in found if (folder / self.name(prompt, number)).exists()]


class GenEvalFolder(ImageFolder):
    """GenEval's: ``00000/samples/0000.png`` with ``00000/metadata.jsonl``, by the prompt's index."""

    def name(self, prompt: Prompt, number: int) -> str:
        """``00000/samples/0000.png``."""
        return f"{prompt.index:05}/samples/{number:04}.png"

    def metadata_files(self, prompt: Prompt) -> dict[str, str]:
        """``metadata.jsonl``: the prompt's line of the benchmark's metadata."""
        fields: dict[str, Any] = {"tag": prompt.tag, **prompt.metadata, "prompt": prompt.text}
        return {f"{prompt.index:05}/metadata.jsonl": json.dumps(fields) + "\n"}

    def read_metadata_files(self, folder: Path) -> dict[int, tuple[str, Prompt | str]]:
        """The prompts of ``00000/metadata.jsonl`` and the like."""
        found: dict[int, tuple[str, Prompt | str]] = {}
        for index, place in _numbered(folder):
            file = place / "metadata.jsonl"
            if not file.exists():
                continue
            try:
                read: Prompt | str = replace(read_prompts(file)[0], index=index)
            except ValueError as error:
                read = str(error)
            found[index] = (file.relative_to(folder).as_posix(), read)
        return found

    def images_by_index(self, folder: Path) -> dict[int, list[str]]:
        """The images of all numbers, with as many digits as they have: GenEval's own scripts write ``00000.png``."""
        found: dict[int, list[str]] = {}
        for index, place in _numbered(folder):
            if (place / "samples").is_dir():
                files = [file for file in (place / "samples").iterdir() if re.fullmatch(r"\d+\.png", file.name)]
                files.sort(key=lambda file: (int(file.stem), file.name))
                found.setdefault(index, []).extend(file.relative_to(folder).as_posix() for file in files)
        return found

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """The images that the folder has, in the order of prompts and numbers; missing ones are passed over."""
        names = self.images_by_index(folder)
        return [
            ImageFile(folder / name, prompt, int(Path(name).stem), name)
            for prompt in prompts
            for name in names.get(prompt.index, ())
        ]


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """The folders that are called by a number, in order."""
    if not folder.is_dir():
        return []
    found = [(int(place.name), place) for place in folder.iterdir() if re.fullmatch(r"\d+", place.name)]
    return sorted(each for each in found if each[1].is_dir())
