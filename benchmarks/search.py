"""Measures search methods: overhead over their forward passes, memory, and the gain of batched prompts.

    python benchmarks/search.py [--prompts 60] [--rounds 5] [--candidates 4 ...] [--config NAME ...]

1. Overhead: a method's run against a loop that generates, decodes and scores (and differentiates) the same number of
   images in the same chunks, and does nothing else. They take turns; the ratio of medians is wanted at 1.10 at most.
2. Memory: the most that a process held in best-of-N, beyond what it held after best-of-1; flat once N fills a chunk.
3. Batching: ReNO over all prompts at once against one prompt at a time, seconds an image; wanted at 5 at least.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from hypernoise_pl.cli.build import build
from hypernoise_pl.config.options import Options
from hypernoise_pl.noise import gaussian
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.dno import DNO
from hypernoise_pl.search.evolution import Evolution
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from hypernoise_pl.search.zero_order import ZeroOrder

METHODS: list[Search] = [
    RandomSearch(32),
    ZeroOrder(8, 4),
    Evolution(4, 8),
    ReNO(8, lr=2.0),
    DNO(8),
]
CHUNK = 256


def load(configs: list[str]) -> tuple[Any, list[str]]:
    """Model and test prompts of a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        options = Options(config=configs, output=Path(folder))
        cli = build("fit", options, [])
        return cli.model, [prompt.text for prompt in cli.datamodule.prompts("test")]


def time_search(model: Any, search: Search, texts: list[str], chunk: int = CHUNK) -> tuple[float, NoiseProblem]:
    """Seconds of a method's run, and its problem."""
    noise = gaussian(model.generator.noise_shape, range(len(texts)))

    problem = NoiseProblem(model.generator, model.ensemble, texts, noise, search.nfe(), chunk=chunk)
    start = time.perf_counter()
    search.run(problem)
    problem.answer()
    return time.perf_counter() - start, problem


def time_passes(model: Any, texts: list[str], calls: list[int], backward: bool) -> float:
    """Seconds of the passes alone; ``calls`` has the candidates per prompt of each call."""
    conditioning = model.generator.encode(texts)
    plan = []
    for candidates in calls:
        rows = torch.arange(len(texts)).repeat_interleave(candidates)
        noise = torch.randn(len(rows), *model.generator.noise_shape)
        for part, own in zip(noise.split(CHUNK), rows.split(CHUNK), strict=True):
            selected = conditioning.map(lambda tensor: tensor[own])  # noqa: B023 - used here
            plan.append((part.requires_grad_(backward), selected, [texts[row] for row in own.tolist()]))
    start = time.perf_counter()
    for noise, selected, prompts in plan:
        with torch.set_grad_enabled(backward):
            images = model.generator.generate(noise, selected)
            score = model.ensemble(images, prompts)
            if backward:
                torch.autograd.grad(score.sum(), noise)
    return time.perf_counter() - start


def calls_of(search: Search, prompts: int) -> list[int]:
    """Candidates per prompt in each call of the verifier by a method."""
    if isinstance(search, RandomSearch):
        size = max(1, CHUNK // prompts)
        return [min(size, search.candidates - done) for done in range(0, search.candidates, size)]
    if isinstance(search, ZeroOrder):
        return [1, *[search.neighbours] * search.iterations]
    if isinstance(search, Evolution):
        return [1, *[search.population] * search.generations]
    return [1] * search.nfe()


def overhead(model: Any, texts: list[str], rounds: int) -> None:
    """Print one JSON line per method."""
    for search in METHODS:
        calls = calls_of(search, len(texts))
        ours, theirs = [], []
        for number in range(rounds + 1):
            seconds, problem = time_search(model, search, texts)
            passes = time_passes(model, texts, calls, search.needs_gradient)
            if number:  # the first round warms caches up
                ours.append(seconds)
                theirs.append(passes)
        images = problem.account.verified * len(texts)
        assert problem.account.verified == sum(calls)
        report = {
            "method": type(search).__name__,
            "images": images,
            "images_per_second": round(images / median(ours), 1),
            "bare_images_per_second": round(images / median(theirs), 1),
            "ratio": round(median(ours) / median(theirs), 3),
        }
        print(json.dumps(report), flush=True)


def memory(configs: list[str], counts: list[int]) -> None:
    """Print one JSON line: MiB above best-of-1 by number of candidates, each in its own process."""
    peaks = {}
    for candidates in counts:
        command = [sys.executable, __file__, "--peak", str(candidates), *[f"--config={name}" for name in configs]]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peaks[candidates] = json.loads(output.splitlines()[-1])
    print(json.dumps({"best_of_n_mib": peaks, "prompts": 16, "chunk": 64}), flush=True)


def peak(configs: list[str], candidates: int) -> float:
    """MiB of peak memory that best-of-N adds to best-of-1."""
    model, texts = load(configs)
    time_search(model, RandomSearch(1), texts[:16], chunk=64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    time_search(model, RandomSearch(candidates), texts[:16], chunk=64)
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)


def batching(model: Any, texts: list[str], rounds: int) -> None:
    """Print one JSON line: ReNO's time per image with all prompts at once and with one at a time."""
    search, few = ReNO(10, lr=2.0), texts[:4]
    together, alone = [], []
    for _ in range(rounds):
        together.append(time_search(model, search, texts)[0] / len(texts))
        alone.append(sum(time_search(model, search, [text])[0] for text in few) / len(few))
    report = {
        "reno_ms_per_image_together": round(1000 * median(together), 2),
        "reno_ms_per_image_alone": round(1000 * median(alone), 2),
        "prompts": len(texts),
        "ratio": round(median(alone) / median(together), 2),
    }
    print(json.dumps(report), flush=True)


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("--candidates", action="append", type=int, help="of which memory is measured; several times")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(json.dumps(peak(arguments.config, arguments.peak)))
        return
    model, texts = load(arguments.config)
    texts = texts[: arguments.prompts]
    print(json.dumps({"threads": torch.get_num_threads(), "prompts": len(texts), "chunk": CHUNK}), flush=True)
    overhead(model, texts, arguments.rounds)
    memory(arguments.config, arguments.candidates or [4, 16, 64, 256])
    batching(model, texts, arguments.rounds)


if __name__ == "__main__":
    main()
