"""Finds the images to score: in a benchmark's folder, a JSONL file, or a run of ``predict`` or ``compare``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypernoise_pl.data.columns import NUMBER, TAG, find_name
from hypernoise_pl.data.text_file import read_text
from hypernoise_pl.metrics.image_files import ImageFile, ImageFolder
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.types import Prompt, did_you_mean

PREDICTIONS, COMPARISON = "predictions.jsonl", "results.parquet"


@dataclass
class Images:
    """Images to score.

    Args:
        files: image files by method, prompt and number.
        left_out: images and lines that cannot be scored, known without opening an image file.
        prompts: prompts of the benchmark; those of the images without a file of prompts.
    """

    files: list[ImageFile] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)


def find_images(path: Path, layout: ImageFolder, prompts: Sequence[Prompt] | None) -> Images:
    """Find the images of a folder or a file.

    Args:
        path: folder in the layout of the benchmark's original tools, or run folder of ``predict`` or ``compare``; or a
            JSONL file with ``prompt``, ``image_path`` (relative to the file's folder) and optionally ``id``, ``tag`` or
            ``category``, ``method`` and the metadata that the benchmark reads.
        layout: layout of the benchmark's folder.
        prompts: prompts of the benchmark; None to read those beside the images.

    Raises:
        FileNotFoundError: if the path does not exist.
        ValueError: if it holds no image of the benchmark, or the file has another format.
    """
    if path.is_file() and path.suffix in (".jsonl", ".ndjson"):
        images = _listed_images(_read_rows(path, "image_path"), path.parent, prompts)
    elif not path.exists():
        raise FileNotFoundError(f"images {path}: no such file or folder")
    elif path.is_file() and not layout.accepts_file:
        raise ValueError(f"images {path}: neither a folder nor a JSONL file (.jsonl)")
    elif (path / PREDICTIONS).is_file():
        images = _predicted_images(path, layout, prompts)
    elif (path / COMPARISON).is_file():
        images = _listed_images(_comparison_rows(path / COMPARISON), path, prompts)
    elif (path / "parts").is_dir() and (path / "comparison.json").is_file():
        raise ValueError(f"images {path}: an unfinished comparison; run the same compare again to finish it")
    else:
        images = _folder_images(path, layout, prompts)
    if not images.files:
        first = f"; the first left out is {images.left_out[0]}" if images.left_out else ""
        raise ValueError(f"images {path}: no image of the benchmark there{_example(layout, images)}{first}")
    return images


def select_method(images: Images, method: str) -> Images:
    """The images of one method.

    Raises:
        ValueError: if there is no such method; the message suggests the nearest.
    """
    files = [image for image in images.files if image.made_by == method]
    left_out = [item for item in images.left_out if item.method in ("", method)]
    if not files:
        names = list(dict.fromkeys(image.made_by for image in images.files if image.made_by))
        known = f"; there are {', '.join(names)}" if names else "; the images have no method names"
        raise ValueError(f"--method {method}: no image has this method{did_you_mean(method, names)}{known}")
    return replace(images, files=files, left_out=left_out)


def _example(layout: ImageFolder, images: Images) -> str:
    return f", such as {layout.name(images.prompts[0], 0)}" if images.prompts else ""


def _folder_images(folder: Path, layout: ImageFolder, prompts: Sequence[Prompt] | None) -> Images:
    """The images of a folder in the layout of the benchmark's original tools."""
    if not layout.needs_prompts:
        files = layout.find(folder, [])
        return Images(files, [], list({image.prompt.index: image.prompt for image in files}.values()))
    beside, names = layout.read_metadata_files(folder), layout.images_by_index(folder)
    if prompts is None:
        prompts = [prompt for _, prompt in beside.values() if isinstance(prompt, Prompt)]
    if not prompts and not beside:
        raise ValueError(f"images {folder}: no prompts beside the images; give the benchmark's file: --metadata FILE")
    by_index = {prompt.index: prompt for prompt in prompts}
    left_out = []
    for index in sorted({*names, *beside}):
        reason = _mismatch(by_index.get(index), *beside.get(index, ("", None)))
        if reason:
            by_index.pop(index, None)
            left_out += [LeftOut(name, None, reason) for name in names.get(index) or [beside[index][0]]]
    own = [prompt for prompt in prompts if prompt.index in by_index]
    files = layout.find(folder, own)
    return Images(files, [*left_out, *_missing(layout, files, own)], list(prompts))


def _mismatch(prompt: Prompt | None, name: str, beside: Prompt | str | None) -> str:
    """The difference between a benchmark's prompt and the prompt beside the images; empty if they are equal."""
    if isinstance(beside, str):
        return f"{name} beside it: {beside}"
    if prompt is None:
        return "the benchmark has no prompt of this number" if beside else "no prompt beside it"
    if beside is not None and beside.text != prompt.text:
        return f"its prompt is {beside.text!r}, the benchmark has {prompt.text!r}"
    return ""


def _missing(layout: ImageFolder, files: Sequence[ImageFile], prompts: Sequence[Prompt]) -> list[LeftOut]:
    """Missing images of prompts, of the numbers that other prompts have."""
    existing = {(image.prompt.index, image.number) for image in files}
    return [
        LeftOut(layout.name(prompt, number), None, "no such file")
        for prompt in prompts
        for number in sorted({image.number for image in files})
        if (prompt.index, number) not in existing
    ]


def _predicted_images(path: Path, layout: ImageFolder, prompts: Sequence[Prompt] | None) -> Images:
    """The images of a run of ``predict``: from the benchmark's layout if the run has it, else from its rows."""
    rows = _read_rows(path / PREDICTIONS, "file")
    kinds = [kind for kind in dict.fromkeys(str(row.get("kind")) for row in rows) if (path / kind).is_dir()]
    if kinds and layout.needs_prompts and (prompts or layout.read_metadata_files(path / kinds[0])):
        images = Images()
        for kind in kinds:
            part = _folder_images(path / kind, layout, prompts)
            images.files += [replace(image, made_by=kind) for image in part.files]
            images.left_out += [replace(item, method=kind) for item in part.left_out]
            images.prompts = images.prompts or part.prompts
        if images.files:
            return images
    return _listed_images(
        [{"image_path": row["file"], "method": row.get("kind"), **row} for row in rows], path, prompts
    )


def _listed_images(rows: Sequence[Mapping[str, Any]], folder: Path, prompts: Sequence[Prompt] | None) -> Images:
    """The images of a file's rows."""
    images = Images()
    counts: Counter[tuple[str, int]] = Counter()
    named: dict[str, Prompt] = {}
    lines: dict[tuple[str, str, int], int] = {}  # method, name and prompt index of an image -> row
    for number, row in enumerate(rows, 1):
        name, text, method = row.get("image_path"), row.get("prompt"), str(row.get("method") or "")
        if not isinstance(name, str) or not isinstance(text, str):
            images.left_out.append(LeftOut(None, number, 'needs the texts "prompt" and "image_path"', method))
            continue
        prompt = _prompt_of(row, named) if prompts is None else _matching_prompt(row, prompts)
        if prompt is None:
            images.left_out.append(LeftOut(name, number, f"the benchmark has no prompt {text!r}", method))
            continue
        first = lines.setdefault((method, name, prompt.index), number)
        if first != number:
            images.left_out.append(LeftOut(name, number, f"duplicate of line {first}, which is scored", method))
            continue
        key = method, prompt.index
        images.files.append(ImageFile(folder / name, prompt, counts[key], name, made_by=method))
        counts[key] += 1
    methods = list(dict.fromkeys(image.made_by for image in images.files))
    images.files.sort(key=lambda image: (methods.index(image.made_by), image.prompt.index, image.number))
    images.prompts = list(named.values()) if prompts is None else list(prompts)
    return images


def _matching_prompt(row: Mapping[str, Any], prompts: Sequence[Prompt]) -> Prompt | None:
    """The benchmark's prompt of a row: the prompt of its id if the text is equal, else the first of equal text.

    An id is the benchmark's own id if its prompts have ids, or the index of a prompt.
    """
    same = [prompt for prompt in prompts if prompt.text == row["prompt"]]
    given = [row[key] for key in (NUMBER, "number") if key in row]
    named = [prompt for prompt in same if prompt.metadata.get(NUMBER, prompt.index) in given]
    indexed = [prompt for prompt in same if prompt.index in given]
    return next(iter([*named, *indexed, *same]), None)


def _prompt_of(row: Mapping[str, Any], named: dict[str, Prompt]) -> Prompt:
    """The prompt of a row without a benchmark; rows of equal text, tag and metadata share a prompt."""
    text, tag = row["prompt"], str(row.get(find_name(TAG, list(row)) or "") or "")
    reserved = {"prompt", "image_path", "method", "file", "kind", "number", "seed", "scores", *TAG}
    metadata = {key: value for key, value in row.items() if key not in reserved}
    identity = json.dumps([text, tag, {key: value for key, value in metadata.items() if key != NUMBER}], sort_keys=True)
    return named.setdefault(identity, Prompt(text, tag, metadata, len(named)))


def _read_rows(file: Path, key: str) -> list[dict[str, Any]]:
    """Read the objects of a JSONL file.

    Raises:
        ValueError: if a line is not an object with ``key``.
    """
    rows = []
    for number, line in enumerate(read_text(file, "images", "line").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"images {file}, line {number}: not JSON: {error.msg}") from error
        if not isinstance(row, dict) or key not in row:
            names = list(row) if isinstance(row, dict) else []
            raise ValueError(f'images {file}, line {number}: needs an object with "{key}"{did_you_mean(key, names)}')
        rows.append(row)
    return rows


def _comparison_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a comparison's images, all methods in the same order of noises."""
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise ValueError(f"images {file}: needs the package pyarrow; pip install 'hypernoise_pl[compare]'") from None

    names = {"label": "method", "text": "prompt", "tag": "tag", "prompt": "number", "image": "image_path"}
    rows = sorted(pq.read_table(file, columns=[*names, "seed"]).to_pylist(), key=lambda row: row["seed"])
    return [{new: row[old] for old, new in names.items()} for row in rows]
