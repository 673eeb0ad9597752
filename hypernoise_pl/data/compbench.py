"""T2I-CompBench's prompts: one text file per category and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.data.source import PromptSource
from hypernoise_pl.types import Prompt, did_you_mean


@dataclass(frozen=True)
class CompBenchFolder(PromptSource):
    """T2I-CompBench's ``examples/dataset``: ``color_train.txt``, ``color_val.txt`` and so on. The tag is the category.

    Args:
        path: folder; a relative path starts at the data module's ``folder``.
        split: split: ``train`` (700 prompts per category) or ``val`` (300).
        categories: categories to read; None for all categories of the folder.

    Source: Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350).
    """

    path: str = "t2i_compbench"
    split: Literal["train", "val"] = "train"
    categories: Sequence[str] | None = None

    def read(self, folder: Path) -> list[Prompt]:
        """Prompts of the categories, in alphabetical order of the categories."""
        prompts: list[Prompt] = []
        for category, file in self._files(folder).items():
            for prompt in read_prompts(file):
                prompts.append(replace(prompt, tag=category, index=len(prompts)))
        return prompts

    def check(self, folder: Path) -> None:
        """Read the files, which are small."""
        self.read(folder)

    def _files(self, folder: Path) -> dict[str, Path]:
        place, ending = folder / self.path, f"_{self.split}.txt"
        if not place.is_dir():
            what = "a file; give the folder of its text files" if place.exists() else "no such folder"
            raise NotADirectoryError(f"T2I-CompBench {place}: {what}")
        found = {file.name.removesuffix(ending): file for file in sorted(place.glob(f"*{ending}"))}
        if not found:
            raise FileNotFoundError(f"T2I-CompBench {place}: no *{ending} in this folder")
        for category in self.categories or ():
            if category not in found:
                raise ValueError(
                    f"T2I-CompBench {place}: no category {category!r}{did_you_mean(category, found)} with {ending}; "
                    f"there are {', '.join(found)}"
                )
        return {name: file for name, file in found.items() if self.categories is None or name in self.categories}
