"""A benchmark built from its configuration file and the keys of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypernoise_pl.cli.class_help import import_all_modules
from hypernoise_pl.cli.instantiate import instantiate
from hypernoise_pl.config.files import BENCHMARKS, benchmark_names
from hypernoise_pl.config.flags import merge_flag
from hypernoise_pl.config.interpolation import resolve, to_omegaconf
from hypernoise_pl.config.loading import merge_file
from hypernoise_pl.config.signatures import ConfigError, find_class
from hypernoise_pl.metrics.benchmark import Benchmark
from hypernoise_pl.types import did_you_mean

Part = TypeVar("Part")
KEY_TYPES = {"benchmark": Benchmark}


def benchmark_config(name: str, flags: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """A benchmark's configuration.

    Args:
        name: short name in ``conf/benchmarks``, or a YAML file with the key ``benchmark``.
        flags: dotted names and values, merged over the file.

    Raises:
        ConfigError: if there is no such file, or a key or class is wrong.
    """
    import_all_modules()
    config = merge_file({}, benchmark_file(name), KEY_TYPES)
    for flag, value in flags:
        config = merge_flag(config, flag, value, KEY_TYPES)
    config = resolve(to_omegaconf(config, KEY_TYPES))
    if not isinstance(config.get("benchmark"), dict) or "class_path" not in config["benchmark"]:
        raise ConfigError(f"config {name}: needs the key benchmark, with a class_path")
    if not issubclass(benchmark_class(config), Benchmark):
        raise ConfigError(f"config {name}: {config['benchmark']['class_path']} is no Benchmark")
    return config


def benchmark_class(config: dict[str, Any]) -> type[Benchmark]:
    """The class of a benchmark's configuration; nothing is built."""
    cls: type[Benchmark] = find_class(config["benchmark"]["class_path"])
    return cls


def build_benchmark(config: dict[str, Any]) -> Benchmark:
    """Build a benchmark and load its models.

    Raises:
        ConfigError: for a value of the wrong type.
        FileNotFoundError: if a model is missing.
        ValueError: if a model is damaged, or a package is not installed.
    """
    benchmark = instantiate(Benchmark, config["benchmark"], "benchmark")  # type: ignore[type-abstract]
    if (missing := benchmark.missing()) is not None:
        raise ConfigError(f"{benchmark.title} cannot score; missing is {missing}")
    return benchmark.eval().requires_grad_(False)


def build_part(config: dict[str, Any], name: str, cls: type[Part]) -> Part:
    """Build one of a benchmark's arguments alone; raises what ``build_benchmark`` does."""
    return instantiate(cls, config["benchmark"]["init_args"][name], name)


def benchmark_file(name: str) -> str:
    """The file of a short name, as ``merge_file`` takes it; a path stays as it is.

    Raises:
        ConfigError: if there is none; with the nearest name.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ConfigError(f"benchmark {name}: no such file")
        return name
    if name not in benchmark_names():
        hint = (
            did_you_mean(name, benchmark_names()) or f"; there are {', '.join(benchmark_names())}, or give a YAML file"
        )
        raise ConfigError(f"no benchmark is called {name!r}{hint}")
    return f"{BENCHMARKS}/{name}"
