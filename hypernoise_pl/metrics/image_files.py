"""Image folders of benchmarks: the layouts that original tools read and ``predict --benchmark`` writes."""

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
from hypernoise_pl.system.files import atomic_write, write_text
from hypernoise_pl.types import Prompt, to_uint8


def save_png(file: Path, pixels: Tensor) -> None:
    """Write [H, W, 3] bytes as a PNG file atomically; its folder is created if needed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as partial:
        Image.fromarray(pixels.numpy()).save(partial, "PNG")


@dataclass(frozen=True)
class ImageFile:
    """One image of a benchmark.

    Args:
        path: file of the image.
        prompt: prompt of the image.
        number: number of the image among those of its prompt, from 0.
        name: name of the image in result files; unique among the images of one file.
        cell: row, column, rows and columns in a file with a grid of images; None for a file with one image.
        made_by: method that generated the image; empty if all images are of one method.
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
        images: number of images per prompt in the benchmark.
        needs_prompts: whether images are found by their prompts.
        accepts_file: whether a file with image paths may replace the folder.
    """

    images: int = 4
    needs_prompts: bool = True
    accepts_file: bool = False

    @abstractmethod
    def name(self, prompt: Prompt, number: int) -> str:
        """Relative path of a prompt's image, by its number from 0."""

    def write(self, folder: Path, prompt: Prompt, images: Tensor) -> list[str]:
        """Write a prompt's images and metadata files.

        Args:
            folder: folder to write into.
            prompt: prompt of the images.
            images: [N, 3, H, W] in [0, 1], by number.

        Returns:
            Relative path of each image.
        """
        for name, text in self.metadata_files(prompt).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_text(folder / name, text)
        return self._write_images(folder, prompt, to_uint8(images))

    def _write_images(self, folder: Path, prompt: Prompt, pixels: Tensor) -> list[str]:
        """Write [N, H, W, 3] bytes, one file per image."""
        names = [self.name(prompt, number) for number in range(len(pixels))]
        for name, own in zip(names, pixels):
            save_png(folder / name, own)
        return names

    def metadata_files(self, prompt: Prompt) -> dict[str, str]:
        """Relative path -> text of the metadata files of a prompt; none by default."""
        return {}

    def read_metadata_files(self, folder: Path) -> dict[int, tuple[str, Prompt | str]]:
        """Prompt index -> relative path and prompt (or error) of each metadata file; none by default."""
        return {}

    def images_by_index(self, folder: Path) -> dict[int, list[str]]:
        """Prompt index -> names of all images in the folder, including prompts outside the benchmark.

        Empty by default: layouts that name images by prompt find the images of known prompts only.
        """
        return {}

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """Existing images in the order of prompts and numbers."""
        found = []
        for prompt in prompts:
            for number in self._numbers(folder, prompt):
                name = self.name(prompt, number)
                found.append(ImageFile(folder / name, prompt, number, name))
        return found

    def _numbers(self, folder: Path, prompt: Prompt) -> list[int]:
        """Numbers of a prompt's existing images, in order."""
        first = folder / self.name(prompt, 0)
        if not first.parent.is_dir():
            return []
        # an unusual number marks the position of the number in a file name
        pattern = re.escape(Path(self.name(prompt, 987654321)).name).replace("987654321", r"(\d+)")
        numbers = (m for file in first.parent.iterdir() if (m := re.fullmatch(pattern, file.name)))
        found = sorted({int(match[1]) for match in numbers})
        return [number for number in found if (folder / self.name(prompt, number)).exists()]


class GenEvalFolder(ImageFolder):
    """GenEval's layout: ``00000/samples/0000.png`` and ``00000/metadata.jsonl``, by the prompt's index."""

    def name(self, prompt: Prompt, number: int) -> str:
        """Relative path of an image: ``00000/samples/0000.png``."""
        return f"{prompt.index:05}/samples/{number:04}.png"

    def metadata_files(self, prompt: Prompt) -> dict[str, str]:
        """``metadata.jsonl`` with the prompt's line of the benchmark's metadata."""
        fields: dict[str, Any] = {"tag": prompt.tag, **prompt.metadata, "prompt": prompt.text}
        return {f"{prompt.index:05}/metadata.jsonl": json.dumps(fields) + "\n"}

    def read_metadata_files(self, folder: Path) -> dict[int, tuple[str, Prompt | str]]:
        """Prompts of the files ``00000/metadata.jsonl``."""
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
        """Images with any number of digits: GenEval's own scripts write ``00000.png``."""
        found: dict[int, list[str]] = {}
        for index, place in _numbered(folder):
            if (place / "samples").is_dir():
                files = [file for file in (place / "samples").iterdir() if re.fullmatch(r"\d+\.png", file.name)]
                files.sort(key=lambda file: (int(file.stem), file.name))
                found.setdefault(index, []).extend(file.relative_to(folder).as_posix() for file in files)
        return found

    def find(self, folder: Path, prompts: Sequence[Prompt]) -> list[ImageFile]:
        """Existing images in the order of prompts and numbers."""
        names = self.images_by_index(folder)
        return [
            ImageFile(folder / name, prompt, int(Path(name).stem), name)
            for prompt in prompts
            for name in names.get(prompt.index, ())
        ]


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Folders with numeric names, in order."""
    if not folder.is_dir():
        return []
    found = [(int(place.name), place) for place in folder.iterdir() if re.fullmatch(r"\d+", place.name)]
    return sorted(each for each in found if each[1].is_dir())
