"""A training with benchmarks among its callbacks, in this process or on two.

python -m tests.benchmarked SANA_FOLDER OUTPUT
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor

from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.callbacks.run_benchmark import RunBenchmark
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.metrics.benchmark import Benchmark, Outcome
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.types import Prompt
from tests.tiny import module
from tests.worker import Rings, quiet

MIDDLE = 0.5  # brightness that divides right from wrong
PROMPTS = [Prompt(f"{'two' if n % 3 else 'a'} ring {n}", "b" if n % 3 else "a", index=n) for n in range(7)]


class Bright(Judge):
    """Right is what is brighter than the middle."""

    def missing_metadata(self, prompt: Prompt) -> str | None:
        return None

    def _judge(self, images: Tensor, prompts: list[Prompt]) -> Tensor:
        return images.flatten(1).mean(1) > MIDDLE


class Brightnesses(Benchmark):
    """The brightness of each image; a prompt with ``dark`` in it cannot be scored."""

    title: ClassVar[str] = "Brightness"
    caveat: ClassVar[str] = "A caveat."

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []  # prompts of each call

    def missing_metadata(self, prompt: Prompt) -> str | None:
        return "is dark" if "dark" in prompt.text else None

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        if not file.exists():
            raise FileNotFoundError(f"prompts {file}: no such file")
        return PROMPTS

    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        self.seen.append([prompt.index for prompt in prompts])
        red = images[:, 0].flatten(1).mean(1).tolist()
        return [
            Outcome(value, figures={"red": own} if prompt.tag == "b" else {})
            for value, own, prompt in zip(images.flatten(1).mean(1).tolist(), red, prompts, strict=True)
        ]


class Prompts(Rings):
    """The training prompts of ``Rings``; others to measure on."""

    measured_on: ClassVar[Sequence[Prompt]] = PROMPTS

    def prompts(self, split: str) -> list[Prompt]:
        return super().prompts(split) if split == "train" else list(self.measured_on)


class Logged(L.Callback):
    """Figures as each validation logs them, and all weights as they are then."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.weights: list[Tensor] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows.append((trainer.global_step, {n: v for n, v in figures.items() if n.startswith("validation/")}))
        self.weights.append(pl_module.adapter.view.proj_out.lora_B["hypernoise"].weight.detach().clone())


def fitted(
    sana: Path, output: Path, *callbacks: L.Callback, kind: Any = NoiseHypernetwork, checkpoint: Path | None = None,
    **options: Any,
) -> L.Trainer:  # fmt: skip
    """A training of four steps, a validation after each, and its test."""
    method = module(
        sana,
        kind,
        lora=LoraOptions(4, 8.0),
        images_per_prompt=2,
        optimizer=lambda parameters: torch.optim.SGD(parameters, 0.02),
    )
    trainer = L.Trainer(
        **{
            "max_steps": 4,
            "val_check_interval": 1,
            "check_val_every_n_epoch": None,
            "log_every_n_steps": 1,
            "enable_checkpointing": False,
            "default_root_dir": output,
            **quiet(),
            **options,
        },
        callbacks=[Evaluate(Bright()), *callbacks],
    )
    data = Prompts(4 // trainer.world_size, 2)
    trainer.fit(method, datamodule=data, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    trainer.test(method, datamodule=data, verbose=False)
    return trainer


def figures(sana: Path, output: Path, **options: Any) -> dict[str, Any]:
    """All that a run finds: of the whole set and of a subset, at validations and at the test."""
    torch.set_num_threads(1)
    whole, part = RunBenchmark(Brightnesses(), "whole"), RunBenchmark(Brightnesses(), "part", prompts=5)
    logged = Logged()
    trainer = fitted(sana, output, whole, part, logged, **options)
    test = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
    return {"rows": logged.rows, "found": {"whole": whole.figures, "part": part.figures}, "test": test}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    result = figures(Path(sys.argv[1]), Path(sys.argv[2]), devices=2, strategy="ddp")
    torch.save(result, Path(sys.argv[2]) / f"rank{os.environ.get('LOCAL_RANK', 0)}.pt")
