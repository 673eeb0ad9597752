"""The images that ``predict`` is asked for, read from its flags before anything is loaded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypernoise_pl.cli.benchmark_config import benchmark_class, benchmark_config
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.metrics.image_files import ImageFolder
from hypernoise_pl.runs.context import PredictRequest
from hypernoise_pl.types import Prompt


def read_request(options: Options) -> PredictRequest:
    """Read and check the flags of ``predict``.

    Raises:
        ConfigError: for a benchmark or a file that is missing, or a value that is out of range.
    """
    if options.steps is not None and options.steps < 1:
        raise ConfigError(f"--steps {options.steps}: at least 1 is needed")
    if not math.isfinite(options.strength):
        raise ConfigError(f"--strength {options.strength}: needs a finite number, like 1")
    if options.benchmark is not None:
        prompts, layout = _read_benchmark(options, options.benchmark)
        return PredictRequest(prompts, _read_seeds(options.seeds, layout.images), layout)
    return PredictRequest(_read_prompts(options), _read_seeds(options.seeds, 1))


def _read_prompts(options: Options) -> list[Prompt]:
    if options.metadata is not None:
        raise ConfigError("--metadata: a benchmark's file; name the benchmark too: --benchmark NAME")
    prompts = [Prompt(text) for text in options.prompt]
    prompts += read_prompts(options.prompts) if options.prompts is not None else []
    if not prompts:
        raise ConfigError("predict: no prompts; give --prompt TEXT, --prompts FILE or --benchmark NAME")
    return [replace(prompt, index=index) for index, prompt in enumerate(prompts)]


def _read_benchmark(options: Options, name: str) -> tuple[Sequence[Prompt], ImageFolder]:
    """A benchmark's prompts, if their file is given, and the layout of its images."""
    if options.prompt or options.prompts is not None:
        raise ConfigError("--benchmark: has prompts of its own; leave --prompt and --prompts out")
    config = benchmark_config(name)
    cls, arguments = benchmark_class(config), config["benchmark"].get("init_args") or {}
    prompts = [] if options.metadata is None else cls.read(options.metadata, **arguments)
    return prompts, cls.layout(**arguments)


def _read_seeds(text: str | None, count: int) -> list[int]:
    """The seeds of ``--seeds``; so many from 0 on without it."""
    if text is None:
        return [*range(count)]
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds {text}: needs whole numbers with commas between, like 0,1,2") from None
    repeated = next((seed for seed, count in Counter(seeds).items() if count > 1), None)
    if repeated is not None:
        raise ConfigError(f"--seeds {text}: {repeated} is there twice, and would be one image; leave one out")
    return seeds
