"""Reader of T2I-CompBench's validation prompts; training prompts are rejected."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from hypernoise_pl.data.compbench import CompBenchFolder
from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.types import Prompt, did_you_mean

CATEGORIES = ("color", "shape", "texture", "spatial", "3d_spatial", "numeracy", "non_spatial", "complex")
VALIDATION, TRAINING = "_val.txt", "_train.txt"


def categories_in(path: Path) -> list[str]:
    """Categories of a folder's validation prompts, or of a file by its name.

    Raises:
        ValueError: if a file has training prompts, or its name contains no category.
    """
    if path.is_dir():
        return sorted(file.name.removesuffix(VALIDATION) for file in path.glob(f"*{VALIDATION}"))
    if path.name.endswith(TRAINING):
        raise ValueError(f"T2I-CompBench {path}: has training prompts; it is measured on those of *{VALIDATION}")
    if not path.name.endswith(VALIDATION):
        return []
    category = path.name.removesuffix(VALIDATION)
    if category not in CATEGORIES:
        raise ValueError(f"T2I-CompBench {path}: no category {category!r}{did_you_mean(category, CATEGORIES)}")
    return [category]


def read_categories(path: Path, categories: Collection[str]) -> list[Prompt]:
    """The prompts of some of the categories, one category after the other, each with its category as tag.

    Args:
        path: the folder of the benchmark's text files, or one of them; or any file of prompts with tags.
        categories: categories to read.

    Raises:
        FileNotFoundError: if it is missing, or has no validation prompts, or those of ``complex`` without the files
            that say which of them are about place and which about actions.
        ValueError: if a file is bad, or has training prompts.
    """
    if path.is_dir():
        own = [name for name in categories_in(path) if name in categories]
        found = CompBenchFolder(str(path.absolute()), "val", own or None).read(Path())
    else:
        own = categories_in(path)
        found = [replace(prompt, tag=own[0]) if own else prompt for prompt in read_prompts(path)]
    if any(prompt.tag == "complex" and "relations" not in prompt.metadata for prompt in found):
        found = _with_relations(found, path if path.is_dir() else path.parent)
    return found


def _with_relations(prompts: list[Prompt], folder: Path) -> list[Prompt]:
    """The prompts, those of ``complex`` with ``relations``: both, where neither list has them."""
    lists: dict[str, set[str]] = {}
    for relation in ("spatial", "action"):
        file = folder / f"complex_val_{relation}.txt"
        if not file.is_file():
            raise FileNotFoundError(
                f"T2I-CompBench {folder}: no {file.name}; it tells which complex prompts are scored for {relation}"
            )
        lists[relation] = {_key(prompt) for prompt in read_prompts(file)}
    found = []
    for prompt in prompts:
        if prompt.tag == "complex":
            # the reference evaluation asks the lists in this order
            own = next(([relation] for relation, keys in lists.items() if _key(prompt) in keys), [*lists])
            prompt = replace(prompt, metadata={**prompt.metadata, "relations": own})
        found.append(prompt)
    return found


def _key(prompt: Prompt) -> str:
    return prompt.text.partition(".")[0].lower()
