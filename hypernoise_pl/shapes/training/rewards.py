"""How the shapes world's rewards were made.

    python -m hypernoise_pl.shapes.training.rewards --config experiments/shapes_world/rewards.yaml --output FOLDER

Two branches, each of resumable stages: an image tower learns to see (``sight``), then the ImageReward-like model to
read captions against it (``image_reward``); the CLIP model (``clip``), and from it the preference model (``pick``).
All see scenes on the way from right to wrong (``flaws.towards``) with degraded pixels, and are taught how far along
a scene is, so that what they say changes smoothly with the picture.
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
        config: of all stages.
        work: where checkpoints and logs are kept; stages that are done there are not repeated.
        output: the folder of weights.
    """

    def stage(name: str, model: Any, loss: Loss) -> Any:
        part = config[name]
        return train(name, model, lambda step: loss(model, part, config.seed, step), LoopOptions(**part.loop), work)

    torch.manual_seed(config.seed)
    if branch == "image_reward":
        seeing = stage("sight", Matcher(config.image_reward, config.length), patch_loss)
        stage("image_reward", seeing, match_loss).save(output / "image_reward")
    else:
        clip = stage("clip", CLIPTowers(config.clip, config.length), clip_loss)
        clip.save(output / "clip")
        clip.set_max_scale()
        stage("pick", clip, pick_loss).save(output / "pick")


def main(argv: Sequence[str] | None = None) -> None:
    """Train the models that are not trained yet, save them and measure them."""
    parser = argparse.ArgumentParser(prog="python -m hypernoise_pl.shapes.training.rewards", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML: sizes, steps and rates of the stages")
    parser.add_argument("--work", type=Path, default=Path("runs/shapes_world/rewards"), help="checkpoints and logs")
    parser.add_argument("--output", type=Path, required=True, help="where the folders clip, pick, image_reward go")
    parser.add_argument("--only", choices=BRANCHES, help="one branch, without measuring the ensemble")
    parser.add_argument("--report", type=Path, help="where the measured quality is written (JSON)")
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
        for name in ("sight", "image_reward", "clip", "pick")
    }
    report["seconds_this_call"] = round(time.monotonic() - start)
    text = json.dumps(report, indent=1) + "\n"
    (arguments.report or arguments.work / "rewards.json").write_text(text)
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
