"""Pictures of the shapes world of which a test knows which are right: true drawings, and grey ones, which are wrong."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image

from hypernoise_pl.__main__ import main
from hypernoise_pl.shapes.caption import sample_prompts
from hypernoise_pl.shapes.render import render_scenes
from hypernoise_pl.shapes.scene import sample_scenes
from hypernoise_pl.types import Prompt

COUNT = 12  # two prompts of each tag
SIZE = 64
Verdicts = dict[tuple[int, int], bool]  # index of the prompt and number of the image -> whether it is right

_PAIRS = sample_prompts("train", COUNT, seed=5)
PROMPTS: list[Prompt] = [prompt for prompt, _ in _PAIRS]
_TRUE = render_scenes(sample_scenes([named for _, named in _PAIRS], torch.Generator().manual_seed(0)), SIZE)


def picture(index: int, right: bool = True) -> Image.Image:
    """A prompt's picture, or a grey one."""
    if not right:
        return Image.new("RGB", (SIZE, SIZE), (128, 128, 128))
    return Image.fromarray((_TRUE[index].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def metadata(prompt: Prompt) -> dict[str, Any]:
    return {"tag": prompt.tag, **prompt.metadata, "prompt": prompt.text}


def write_folder(folder: Path, beside: bool = True, digits: int = 4, images: int = 2) -> Verdicts:
    """GenEval's layout. Of a prompt's images the first is right, the others are where its index is a multiple of 3."""
    verdicts = {}
    for prompt in PROMPTS:
        own = folder / f"{prompt.index:05}"
        (own / "samples").mkdir(parents=True)
        if beside:
            (own / "metadata.jsonl").write_text(json.dumps(metadata(prompt)) + "\n")
        for number in range(images):
            verdicts[prompt.index, number] = number == 0 or prompt.index % 3 == 0
            picture(prompt.index, verdicts[prompt.index, number]).save(own / "samples" / f"{number:0{digits}}.png")
    return verdicts


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def score_of(verdicts: Verdicts) -> float:
    """The mean over tags of the share of right images."""
    tags: dict[str, list[bool]] = {}
    for (index, _), right in verdicts.items():
        tags.setdefault(PROMPTS[index].tag, []).append(right)
    return mean(mean(map(float, own)) for own in tags.values())


def strict(text: str) -> Any:
    """JSON as its standard has it, without NaN."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def score(*arguments: str, benchmark: str = "shapes", output: str = "out") -> dict[str, Any]:
    """Run the command; what its summary has."""
    assert main(["score", benchmark, *arguments, f"--output={output}"]) == 0
    found: dict[str, Any] = strict(Path(output, "summary.json").read_text())
    return found
