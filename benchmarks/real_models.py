"""Measures full-size models: training step, inference, peak memory and model FLOP utilisation.

    python benchmarks/real_models.py [--model sana_sprint ...] [--batch 1 --batch 8] [--rewards 4] [--rounds 5]
    python benchmarks/real_models.py --tiny          the same classes in miniature, on any machine
    python benchmarks/real_models.py --estimate      peak memory without a GPU, by tracking tensors that have no data

Weights are random and made in memory. A step is Algorithm 1: hypernetwork, generator in one step, decoder, rewards,
backward, clipping, optimiser; conditioning is given. Model FLOPs are those of a step without recomputation; their
utilisation is against the device's dense bfloat16 peak. The reference of every training row is the plain one of the
same model and batch; of every refined image the base one.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from full_size import ARCHITECTURES, MODELS, ClipTowers, Options, Placement, make_conditioning, make_generator
from torch.utils.flop_counter import FlopCounterMode

from hypernoise_pl.distributed.fsdp import block_names
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions, trainable
from hypernoise_pl.report.tables import markdown
from hypernoise_pl.training.memory import LiveTensors

RESULTS = Path(__file__).parent / "results"
PEAK = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "4090": 165.0}  # dense bf16 TFLOP/s, data sheets


class Step:
    """A training step and an inference step of one model.

    Args:
        name: name of the model.
        batch: batch size.
        placement: size, device and dtype of the frozen weights.
        options: memory options.
        rewards: number of ViT-H-14 towers.
    """

    def __init__(self, name: str, batch: int, placement: Placement, options: Options, rewards: int) -> None:
        self.placement, self.batch = placement, batch
        architecture = ARCHITECTURES[name]
        self.generator = make_generator(name, placement, options)
        lora = {"rank": 4, "alpha": 8.0} if placement.tiny else architecture["lora"]
        self.hypernetwork = NoiseHypernetwork(self.generator, LoraOptions(**lora))
        if options.checkpoint:
            self.generator.checkpoint_activations()
            self.generator.checkpoint_activations(self.hypernetwork.view)
        self.reward = ClipTowers(rewards, placement, options.checkpoint)
        optimizer, settings = architecture["optimizer"]
        self.weights = trainable(self.hypernetwork)
        self.optimizer = getattr(torch.optim, optimizer)(self.weights, **settings)
        self.conditioning = make_conditioning(name, batch, placement)
        self.noise = torch.randn(batch, *self.generator.noise_shape, device=placement.device)

    def forward_backward(self) -> None:
        """Run forward and backward."""
        with self._autocast():
            residual = self.hypernetwork(self.noise, self.conditioning)
            images = self.generator.generate(self.noise + residual, self.conditioning, 1)
            reward = self.reward.sum(images)
            loss = (0.5 * residual.flatten(1).square().mean(1) - reward).mean()
        loss.backward()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        device = torch.device(self.placement.device).type  # meta tensors have no autocast
        return contextlib.nullcontext() if device == "meta" else torch.autocast(device, torch.bfloat16)

    def train(self) -> None:
        """Run one training step with its optimiser."""
        self.forward_backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def infer(self, refined: bool) -> None:
        """Generate a batch of images."""
        with self._autocast():
            noise = self.noise + self.hypernetwork(self.noise, self.conditioning) if refined else self.noise
            self.generator.generate(noise, self.conditioning, 1)


def seconds(work: Callable[[], None], device: str, rounds: int) -> float:
    """Median wall-clock time of a call, after two warm-up calls."""
    times = []
    for turn in range(rounds + 2):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        if turn >= 2:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(step: Step, flops: float, rounds: int) -> dict[str, Any]:
    """Times, memory and utilisation of one model with one batch size and one set of options."""
    device, batch = step.placement.device, step.batch
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    train = seconds(step.train, device, rounds)
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
    base = seconds(lambda: step.infer(False), device, rounds)
    refined = seconds(lambda: step.infer(True), device, rounds)
    known = [value for key, value in PEAK.items() if cuda and key in torch.cuda.get_device_name()]
    return {
        "train_seconds": train,
        "images_per_second": batch / train,
        "peak_gib": peak,
        "tflop": flops / 1e12,
        "utilisation": flops / train / (known[0] * 1e12) if known else None,
        "base_seconds_per_image": base / batch,
        "refined_seconds_per_image": refined / batch,
        "refined_over_base": refined / base,
    }


def model_flops(name: str, batch: int, tiny: bool, rewards: int) -> float:
    """Floating-point operations of forward and backward without recomputation, counted on tensors without data."""
    step = Step(name, 1, Placement(tiny, "meta"), Options(), rewards)
    with FlopCounterMode(display=False) as counter:
        step.forward_backward()
    return float(counter.get_total_flops()) * batch


def estimate(name: str, batch: int, tiny: bool, options: Options, rewards: int) -> dict[str, Any]:
    """Peak memory of a training step in GiB, from the sizes and lifetimes of its tensors, which have no data.

    The LoRA's branches count in bfloat16, as autocast computes them; its weights count in float32 with their gradient,
    the optimiser's state and autocast's copy. ``spread_gib`` is the part that ``strategy/fsdp`` shards over the
    processes; ``block_gib`` is the largest block, which a process gathers while it computes it.
    """
    step = Step(name, batch, Placement(tiny, "meta"), options, rewards)
    lora = sum(weight.numel() for weight in step.weights)
    state = 8 if isinstance(step.optimizer, torch.optim.AdamW) else 4
    network, view = step.generator.network, step.hypernetwork.view
    blocks = [sum(p.nbytes for p in view.get_submodule(block).parameters()) for block in block_names(network)]
    spread = sum(weight.nbytes for weight in network.parameters()) + lora * (4 + 4 + state)
    for weight in step.weights:
        weight.data = weight.data.bfloat16()
    parts = (step.generator, step.hypernetwork, step.reward)
    with LiveTensors([weight for part in parts for weight in (*part.parameters(), *part.buffers())]) as live:
        step.forward_backward()
    frozen = {id(weight): weight.nbytes for part in (step.generator, step.reward) for weight in part.parameters()}
    held = sum(frozen.values()) + lora * (4 + 4 + state + 2)
    gradient = 2 * lora  # counted by LiveTensors, and above in float32
    return {
        "peak_gib": (held + live.peak - gradient) / 2**30,
        "frozen_gib": sum(frozen.values()) / 2**30,
        "spread_gib": spread / 2**30,
        "block_gib": max(blocks) / 2**30,
        "lora_weights": lora,
    }


def variants(name: str) -> Iterator[Options]:
    """The sets of memory options to measure."""
    yield Options()
    yield Options(checkpoint=True)
    yield Options(checkpoint=True, slicing=True)
    if ARCHITECTURES[name]["tiny_decoder"] is not None:
        yield Options(checkpoint=True, tiny_decoder=True)


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for each model, batch size and set of options; ``out_of_memory`` marks one that does not fit."""
    for name in arguments.model or MODELS:
        for batch in arguments.batch or (ARCHITECTURES[name]["batches"] if not arguments.tiny else [2]):
            plain = None
            for options in variants(name):
                row: dict[str, Any] = {"model": name, "batch": batch, "options": str(options)}
                try:
                    if arguments.estimate:
                        row |= estimate(name, batch, arguments.tiny, options, arguments.rewards)
                    else:
                        flops = model_flops(name, batch, arguments.tiny, arguments.rewards)
                        placement = Placement(arguments.tiny, arguments.device)
                        step = Step(name, batch, placement, options, arguments.rewards)
                        row |= measure(step, flops, arguments.rounds)
                        plain = plain or (row["train_seconds"] if str(options) == "plain" else None)
                        row["over_plain"] = row["train_seconds"] / plain if plain else None
                except torch.OutOfMemoryError:
                    row["out_of_memory"] = True
                print(json.dumps(row), flush=True)
                yield row
                step = None  # type: ignore[assignment]
                _free(arguments.device)


def main() -> None:
    """Measure and write ``results/real_models-DEVICE.json`` and a table beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--batch", action="append", type=int)
    parser.add_argument("--rewards", type=int, default=4, help="ViT-H-14 towers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.device == "cpu" and not (arguments.tiny or arguments.estimate):
        parser.error("full-size models need a GPU; --tiny runs the same classes in miniature, --estimate only counts")
    measured = list(rows(arguments))
    cuda = arguments.device.startswith("cuda")
    device = torch.cuda.get_device_name() if cuda else "CPU"
    suffix = "-estimate" if arguments.estimate else "-tiny" if arguments.tiny else ""
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / f"real_models{suffix}-{device.replace(' ', '-')}.json"
    record = {"device": device, "torch": torch.__version__, "rewards": arguments.rewards, "rows": measured}
    file.write_text(json.dumps(record, indent=1) + "\n")
    file.with_suffix(".md").write_text(table(measured))
    print(file.with_suffix(".md").read_text())


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return markdown([columns, *([_shown(row.get(column)) for column in columns] for row in rows)])


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _free(device: str) -> None:
    gc.collect()
    with contextlib.suppress(RuntimeError):
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
