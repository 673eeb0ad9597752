"""Which images are to be scored: a benchmark's own folder, a JSONL file, and what ``predict`` and ``compare`` write."""

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
        files: in the order of prompts and numbers, method by method.
        left: what cannot be scored, found without opening an image.
        prompts: of the benchmark; those of the images where no file of prompts was given.
    """

    files: list[ImageFile] = field(default_factory=list)
    left: list[LeftOut] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)


def find_images(place: Path, layout: ImageFolder, prompts: Sequence[Prompt] | None) -> Images:
    """The images at a place.

    Args:
        place: folder in the layout of the benchmark's original tools, or a run folder of ``predict`` or ``compare``; or
            a JSONL file with ``prompt``, ``image_path`` (from the file's folder on) and, if there are, ``id``,
            ``tag`` or ``category``, ``method`` and the metadata that the benchmark reads.
        layout: of the benchmark's folder.
        prompts: of the benchmark; None to take what stands beside the images.

    Raises:
        FileNotFoundError: if there is no such place.
        ValueError: if it holds no image of the benchmark, or its file is of another format.
    """
    if place.is_file() and place.suffix in (".jsonl", ".ndjson"):
        found = _listed(_rows_of(place, "image_path"), place.parent, prompts)
    elif not place.exists():
        raise FileNotFoundError(f"images {place}: no such file or folder")
    elif place.is_file() and not layout.accepts_file:
        raise ValueError(f"images {place}: neither a folder nor a JSONL file (.jsonl)")
    elif (place / PREDICTIONS).is_file():
        found = _predicted(place, layout, prompts)
    elif (place / COMPARISON).is_file():
        found = _listed(_compared(place / COMPARISON), place, prompts)
    elif (place / "parts").is_dir() and (place / "comparison.json").is_file():
        raise ValueError(f"images {place}: a comparison that has not ended; the same compare goes on with it")
    else:
        found = _in_layout(place, layout, prompts)
    if not found.files:
        first = f"; the first thing left out is {found.left[0]}" if found.left else ""
        raise ValueError(f"images {place}: no image of the benchmark there{_example(layout, found)}{first}")
    return found


def only(images: Images, method: str) -> Images:
    """The images of one method.

    Raises:
        ValueError: naming the nearest, if there is none.
    """
    files = [image for image in images.files if image.made_by == method]
    left = [each for each in images.left if each.method in ("", method)]
    if not files:
        names = list(dict.fromkeys(image.made_by for image in images.files if image.made_by))
        there = f"; there are {', '.join(names)}" if names else "; the images are of one method, without a name"
        raise ValueError(f"--method {method}: no image is of it{did_you_mean(method, names)}{there}")
    return replace(images, files=files, left=left)


def _example(layout: ImageFolder, found: Images) -> str:
    return f", such as {layout.name(found.prompts[0], 0)}" if found.prompts else ""


def _in_layout(folder: Path, layout: ImageFolder, prompts: Sequence[Prompt] | None) -> Images:
    """The images of a folder as the benchmark's original tools have it."""
    if not layout.needs_prompts:
        files = layout.find(folder, [])
        return Images(files, [], list({image.prompt.index: image.prompt for image in files}.values()))
    beside, names = layout.read_metadata_files(folder), layout.images_by_index(folder)
    if prompts is None:
        prompts = [prompt for _, prompt in beside.values() if isinstance(prompt, Prompt)]
    if not prompts and not beside:
        raise ValueError(
            f"images {folder}: its prompts do not stand beside the images; give the benchmark's file: --metadata FILE"
        )
    wanted = {prompt.index: prompt for prompt in prompts}
    left = []
    for index in sorted({*names, *beside}):
        why = _mismatch(wanted.get(index), *beside.get(index, ("", None)))
        if why:
            wanted.pop(index, None)
            left += [LeftOut(name, None, why) for name in names.get(index) or [beside[index][0]]]
    own = [prompt for prompt in prompts if prompt.index in wanted]
    files = layout.find(folder, own)
    return Images(files, [*left, *_missing(layout, files, own)], list(prompts))


def _mismatch(prompt: Prompt | None, name: str, beside: Prompt | str | None) -> str:
    """Why the images beside which this prompt stands are not those of the benchmark's; empty if they are."""
    if isinstance(beside, str):
        return f"{name} beside it: {beside}"
    if prompt is None:
        return "the benchmark has no prompt of this number" if beside else "no prompt stands beside it"
    if beside is not None and beside.text != prompt.text:
        return f"its prompt is {beside.text!r}, where {prompt.text!r} is asked for"
    return ""


def _missing(layout: ImageFolder, files: Sequence[ImageFile], prompts: Sequence[Prompt]) -> list[LeftOut]:
    """The images that prompts lack, of those numbers that some prompt has."""
    there = {(image.prompt.index, image.number) for image in files}
    return [
        LeftOut(layout.name(prompt, number), None, "no such file")
        for prompt in prompts
        for number in sorted({image.number for image in files})
        if (prompt.index, number) not in there
    ]


def _predicted(place: Path, layout: ImageFolder, prompts: Sequence[Prompt] | None) -> Images:
    """The images of a run of ``predict``: in the benchmark's layout where it has written that, else by its rows."""
    rows = _rows_of(place / PREDICTIONS, "file")
    kinds = [kind for kind in dict.fromkeys(str(row.get("kind")) for row in rows) if (place / kind).is_dir()]
    if kinds and layout.needs_prompts and (prompts or layout.read_metadata_files(place / kinds[0])):
        found = Images()
        for kind in kinds:
            part = _in_layout(place / kind, layout, prompts)
            found.files += [replace(image, made_by=kind) for image in part.files]
            found.left += [replace(each, method=kind) for each in part.left]
            found.prompts = found.prompts or part.prompts
        if found.files:
            return found
    return _listed([{"image_path": row["file"], "method": row.get("kind"), **row} for row in rows], place, prompts)


def _listed(rows: Sequence[Mapping[str, Any]], folder: Path, prompts: Sequence[Prompt] | None) -> Images:
    """The images that rows name."""
    found = Images()
    counts: Counter[tuple[str, int]] = Counter()
    named: dict[str, Prompt] = {}
    lines: dict[tuple[str, str, int], int] = {}  # method, name and prompt of an image -> row
    for number, row in enumerate(rows, 1):
        name, text, method = row.get("image_path"), row.get("prompt"), str(row.get("method") or "")
        if not isinstance(name, str) or not isinstance(text, str):
            found.left.append(LeftOut(None, number, 'needs the texts "prompt" and "image_path"', method))
            continue
        prompt = _prompt_of(row, named) if prompts is None else _matching(row, prompts)
        if prompt is None:
            found.left.append(LeftOut(name, number, f"the benchmark has no prompt {text!r}", method))
            continue
        first = lines.setdefault((method, name, prompt.index), number)
        if first != number:
            found.left.append(LeftOut(name, number, f"named twice, first in line {first}, which is taken", method))
            continue
        place = method, prompt.index
        found.files.append(ImageFile(folder / name, prompt, counts[place], name, made_by=method))
        counts[place] += 1
    methods = list(dict.fromkeys(image.made_by for image in found.files))
    found.files.sort(key=lambda image: (methods.index(image.made_by), image.prompt.index, image.number))
    found.prompts = list(named.values()) if prompts is None else list(prompts)
    return found


def _matching(row: Mapping[str, Any], prompts: Sequence[Prompt]) -> Prompt | None:
    """The benchmark's prompt of a row: the one that its id names, if the text is the same, or the first of its text.

    An id is the benchmark's own, where its prompts have one, or a prompt's place from 0 on.
    """
    same = [prompt for prompt in prompts if prompt.text == row["prompt"]]
    given = [row[key] for key in (NUMBER, "number") if key in row]
    named = [prompt for prompt in same if prompt.metadata.get(NUMBER, prompt.index) in given]
    placed = [prompt for prompt in same if prompt.index in given]
    return next(iter([*named, *placed, *same]), None)


def _prompt_of(row: Mapping[str, Any], named: dict[str, Prompt]) -> Prompt:
    """The prompt of a row that stands for itself; rows of one text, tag and metadata share it."""
    text, tag = row["prompt"], str(row.get(find_name(TAG, list(row)) or "") or "")
    taken = {"prompt", "image_path", "method", "file", "kind", "number", "seed", "scores", *TAG}
    metadata = {key: value for key, value in row.items() if key not in taken}
    own = json.dumps([text, tag, {key: value for key, value in metadata.items() if key != NUMBER}], sort_keys=True)
    return named.setdefault(own, Prompt(text, tag, metadata, len(named)))


def _rows_of(file: Path, key: str) -> list[dict[str, Any]]:
    """The objects of a JSONL file.

    Raises:
        ValueError: with the line that is no object, or the first that has no ``key``.
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


def _compared(file: Path) -> list[dict[str, Any]]:
    """The images of a comparison."""
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise ValueError(f"images {file}: needs the package pyarrow; pip install 'hypernoise_pl[compare]'") from None

    names = {"label": "method", "text": "prompt", "tag": "tag", "prompt": "number", "image": "image_path"}
    rows = sorted(pq.read_table(file, columns=[*names, "seed"]).to_pylist(), key=lambda row: row["seed"])
    return [{new: row[old] for old, new in names.items()} for row in rows]  # of all methods in one order of noises
