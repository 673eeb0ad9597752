"""Training of the shapes world's rewards.

    python -m hypernoise_pl.shapes.training.rewards --config experiments/shapes_world/rewards.yaml --output FOLDER

Two branches of resumable stages: the image tower (``vision_tower``), then the ImageReward-like model
(``image_reward``); the CLIP model (``clip``), then the preference model (``pick``). All train on degraded images of
scenes interpolated towards a flaw (``interpolate_to_flaw``) and regress the amount of the flaw, which makes their
scores smooth functions of the image.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from hypernoise_pl.shapes.training.clip_towers import CLIPTowers, clip_loss, pick_loss
from hypernoise_pl.shapes.training.loop import LoopOptions, train
from hypernoise_pl.shapes.training.matcher import Matcher, match_loss, patch_loss
from hypernoise_pl.shapes.training.quality import load_rewards, measure
from hypernoise_pl.system.signals import run_script

BRANCHES = ("image_reward", "clip")
Loss = Callable[[Any, DictConfig, int, int], tuple[Tensor, dict[str, float]]]


def train_branch(branch: str, config: DictConfig, work: Path, output: Path) -> None:
    """Train and save the models of a branch.

    Args:
        branch: one of ``BRANCHES``.
        config: configuration of all stages.
        work: folder of checkpoints and logs; complete stages are not repeated.
        output: folder of weights.
    """

    def stage(name: str, model: Any, loss: Loss) -> Any:
        part = config[name]
        return train(name, model, lambda step: loss(model, part, config.seed, step), LoopOptions(**part.loop), work)

    torch.manual_seed(config.seed)
    if branch == "image_reward":
        matcher = stage("vision_tower", Matcher(config.image_reward, config.length), patch_loss)
        stage("image_reward", matcher, match_loss).save(output / "image_reward")
    else:
        clip = stage("clip", CLIPTowers(config.clip, config.length), clip_loss)
        clip.save(output / "clip")
        clip.set_max_scale()
        stage("pick", clip, pick_loss).save(output / "pick")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, save and measure the rewards; complete stages are not repeated."""
    parser = argparse.ArgumentParser(prog="python -m hypernoise_pl.shapes.training.rewards", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file: sizes, steps and rates of the stages")
    parser.add_argument("--work", type=Path, default=Path("runs/shapes_world/rewards"), help="folder of checkpoints")
    parser.add_argument("--output", type=Path, required=True, help="parent of the folders clip, pick, image_reward")
    parser.add_argument("--only", choices=BRANCHES, help="train one branch, without the report")
    parser.add_argument("--report", type=Path, help="JSON file of the measured quality")
    arguments = parser.parse_args(argv)
    config = OmegaConf.load(arguments.config)
    assert isinstance(config, DictConfig)
    start = time.monotonic()
    for branch in BRANCHES if arguments.only is None else (arguments.only,):
        train_branch(branch, config, arguments.work, arguments.output)
    if arguments.only is not None:
        return
    weights = {name: float(weight) for name, weight in config.measure.weights.items()}
    report = measure(load_rewards(arguments.output), weights, "test", config.measure.pairs)
    report["seconds"] = {
        name: json.loads((arguments.work / f"{name}.jsonl").read_text().splitlines()[-1])["seconds"]
        for name in ("vision_tower", "image_reward", "clip", "pick")
    }
    report["seconds_this_call"] = round(time.monotonic() - start)
    text = json.dumps(report, indent=1) + "\n"
    (arguments.report or arguments.work / "rewards.json").write_text(text)
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
