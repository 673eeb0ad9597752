"""How fast the shapes world is drawn and judged, on one thread.

    python benchmarks/shapes.py [--images 1024] [--rounds 5]

Renderer and judge take turns; medians of processor time, so that other jobs on the machine matter little. Wanted at
32 x 32: 2,000 pictures a second drawn and 700 judged. The references: drawing one picture at a time, and the bare
resizing of the pictures to the judge's 64 x 64, below which no judge at that size can come.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F

from hypernoise_pl.shapes.caption import sample_prompts
from hypernoise_pl.shapes.judge import SIZE, ShapesJudge
from hypernoise_pl.shapes.render import render_scenes
from hypernoise_pl.shapes.scene import sample_scenes


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Time all in turn and print one JSON line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    drawn = sample_prompts("test", arguments.images, seed=0)
    prompts = [prompt for prompt, _ in drawn]
    scenes = sample_scenes([combination for _, combination in drawn], torch.Generator().manual_seed(0))
    few = [scenes[index : index + 1] for index in range(min(64, len(scenes)))]
    judge = ShapesJudge()
    for size in (32, 64, 128):
        images = render_scenes(scenes, size)
        work: dict[str, tuple[int, Callable[[], object]]] = {
            "drawn": (len(scenes), lambda: render_scenes(scenes, size)),  # noqa: B023 - called before the next size
            "drawn_singly": (len(few), lambda: [render_scenes(scene, size) for scene in few]),  # noqa: B023
            "judged": (len(scenes), lambda: judge(images, prompts)),  # noqa: B023
            "resized": (len(scenes), lambda: F.interpolate(images, SIZE, mode="bilinear", antialias=True)),  # noqa: B023
        }
        rounds = [{name: seconds(one) for name, (_, one) in work.items()} for _ in range(arguments.rounds + 1)][1:]
        rate = {name: count / median(times[name] for times in rounds) for name, (count, _) in work.items()}
        report = {f"{name}_per_second": round(value) for name, value in rate.items()}
        ratio = {"drawn_to_singly": round(rate["drawn"] / rate["drawn_singly"], 1)}
        ratio["judged_to_resized"] = round(rate["judged"] / rate["resized"], 3)
        print(json.dumps({"size": size, "images": len(scenes), **report, **ratio}), flush=True)


if __name__ == "__main__":
    main()
