"""Measures the overhead of the framework: a Lightning training step against a hand-written one.

    python benchmarks/training_step.py [--batch 64] [--rounds 60] [--config NAME ...]

Both sides do the same mathematics on the same prompts with cached conditioning: hypernetwork, generator, rewards,
backward, clipping, optimiser. The bare side is a hand-written loop without Lightning, logging, guard or callbacks. They
take turns step by step in one process, so that a change of the machine's speed hits both; the ratio of medians is the
overhead (wanted: at most 1.10).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

from hypernoise_pl.cli.build import build
from hypernoise_pl.config.options import Options
from hypernoise_pl.objective import weighted_sum


class TakeTurns(L.Callback):
    """Times each step of the Trainer, and a hand-written step after it."""

    def __init__(self, warmup: int = 5) -> None:
        self.framework: list[float] = []
        self.bare: list[float] = []
        self.warmup, self.mark = warmup, 0.0
        self.optimizer: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Create the hand-written step's own optimiser of the same weights."""
        self.optimizer = torch.optim.AdamW(pl_module.trainable().values(), 1e-4)
        self.mark = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Time the finished step, then run and time the hand-written step."""
        framework = time.perf_counter() - self.mark
        start = time.perf_counter()
        self.step(pl_module, batch)
        bare = time.perf_counter() - start
        if trainer.global_step > self.warmup:
            self.framework.append(framework)
            self.bare.append(bare)
        self.mark = time.perf_counter()

    def step(self, module: Any, batch: Any) -> None:
        """Run the hand-written step."""
        texts = [prompt.text for prompt in batch]
        conditioning = module.encode(texts)
        noise = module.noise(module.generator.noise_shape, module.global_step, [prompt.index for prompt in batch])
        residual = module.adapter(noise, conditioning)
        images = module.generator.generate(noise + residual, conditioning, 1)
        scores = {name: reward(images, texts) for name, reward in module.ensemble.members.items()}
        reward = weighted_sum(scores, module.ensemble.weights)
        loss = (0.5 * residual.flatten(1).square().sum(1) - module.objective.reward_scale * reward).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.trainable().values(), 1.0)
        self.optimizer.step()


def main() -> None:
    """Time both sides in turn and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--config", action="append", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = Options(config=arguments.config, output=Path(folder))
        cli = build(
            "fit",
            options,
            [
                f"--data.batch_size={arguments.batch}",
                f"--trainer.max_steps={arguments.rounds}",
                "--trainer.limit_val_batches=0",
                f"--data.train={4 * arguments.batch}",  # all texts are encoded in the rounds that are not counted
            ],
        )
        turns = TakeTurns()
        cli.trainer.callbacks.append(turns)
        cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    framework, bare = statistics.median(turns.framework), statistics.median(turns.bare)
    figures = {
        "batch": arguments.batch,
        "threads": torch.get_num_threads(),
        "rounds": len(turns.bare),
        "framework_ms": round(1000 * framework, 1),
        "bare_ms": round(1000 * bare, 1),
        "ratio": round(framework / bare, 3),
        "images_per_second": round(arguments.batch / framework, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
