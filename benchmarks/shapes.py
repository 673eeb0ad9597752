"""Measures how fast the shapes world is rendered and judged on one thread.

    python benchmarks/shapes.py [--images 512] [--batch 64] [--rounds 5]

Renderer and judge take turns; medians of processor time, so that other jobs on the machine matter little. Wanted at
32 x 32: 2,000 pictures a second drawn and 700 judged. The reference of both is the same work one picture at a time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

from hypernoise_pl.shapes.caption import sample_prompts
from hypernoise_pl.shapes.judge import ShapesJudge
from hypernoise_pl.shapes.render import render_scenes
from hypernoise_pl.shapes.scene import Scenes, sample_scenes
from hypernoise_pl.types import Prompt


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _draw(size: int, batches: list[Scenes]) -> Tensor:
    return torch.cat([render_scenes(batch, size) for batch in batches])


def _judge_singly(judge: ShapesJudge, images: Tensor, prompts: list[Prompt]) -> list[Tensor]:
    return [judge(image[None], [prompt]) for image, prompt in zip(images, prompts, strict=False)]


def main() -> None:
    """Time all work in turn and print one JSON line per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64, help="pictures drawn at once")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    drawn = sample_prompts("test", arguments.images, seed=0)
    prompts = [prompt for prompt, _ in drawn]
    scenes = sample_scenes([combination for _, combination in drawn], torch.Generator().manual_seed(0))
    batches = [scenes[start : start + arguments.batch] for start in range(0, len(scenes), arguments.batch)]
    few = [scenes[index : index + 1] for index in range(min(64, len(scenes)))]
    judge = ShapesJudge()
    for size in (32, 64, 128):
        draw = partial(_draw, size)
        images = draw(batches)
        work: dict[str, tuple[int, Callable[[], object]]] = {
            "drawn": (len(scenes), partial(draw, batches)),
            "drawn_singly": (len(few), partial(draw, few)),
            "judged": (len(scenes), partial(judge, images, prompts)),
            "judged_singly": (len(few), partial(_judge_singly, judge, images[: len(few)], prompts)),
        }
        rounds = [{name: seconds(one) for name, (_, one) in work.items()} for _ in range(arguments.rounds + 1)][1:]
        rate = {name: count / median(times[name] for times in rounds) for name, (count, _) in work.items()}
        report = {f"{name}_per_second": round(value) for name, value in rate.items()}
        ratio = {"drawn_to_singly": round(rate["drawn"] / rate["drawn_singly"], 1)}
        ratio["judged_to_singly"] = round(rate["judged"] / rate["judged_singly"], 1)
        print(json.dumps({"size": size, "images": len(scenes), **report, **ratio}), flush=True)


if __name__ == "__main__":
    main()
