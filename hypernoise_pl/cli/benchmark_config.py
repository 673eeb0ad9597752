"""A benchmark out of its configuration file and the command line's keys."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

from hypernoise_pl.cli.class_help import families
from hypernoise_pl.config.files import BENCHMARKS, benchmark_names
from hypernoise_pl.config.merge import finished, merge_file, merge_flag, resolved
from hypernoise_pl.config.signatures import ConfigError, find_class
from hypernoise_pl.metrics.benchmark import Benchmark
from hypernoise_pl.types import nearest

Part = TypeVar("Part")
ROOTS = {"benchmark": Benchmark}


def configuration(name: str, flags: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """A benchmark's configuration.

    Args:
        name: short name in ``conf/benchmarks``, or a YAML file with the key ``benchmark``.
        flags: dotted names and values that are merged over it.

    Raises:
        ConfigError: if there is no such file, or a key or class is wrong.
    """
    families()
    config = merge_file({}, benchmark_file(name), ROOTS)
    for flag, value in flags:
        config = merge_flag(config, flag, value, ROOTS)
    config = resolved(finished(config, ROOTS))
    if not isinstance(config.get("benchmark"), dict) or "class_path" not in config["benchmark"]:
        raise ConfigError(f"config {name}: needs the key benchmark, with a class_path")
    if not issubclass(class_of(config), Benchmark):
        raise ConfigError(f"config {name}: {config['benchmark']['class_path']} is no Benchmark")
    return config


def class_of(config: dict[str, Any]) -> type[Benchmark]:
    """The benchmark's class, of which nothing is built."""
    kind: type[Benchmark] = find_class(config["benchmark"]["class_path"])
    return kind


def build(config: dict[str, Any]) -> Benchmark:
    """The benchmark, with its models loaded.

    Raises:
        ConfigError: for a value of the wrong type.
        FileNotFoundError: if a model is missing.
        ValueError: if a model is damaged, or what the benchmark needs is not installed.
    """
    benchmark: Benchmark = _made(config["benchmark"], Benchmark, "benchmark")
    if (missing := benchmark.missing()) is not None:
        raise ConfigError(f"{benchmark.title} cannot score; missing is {missing}")
    return benchmark.eval().requires_grad_(False)


def build_part(config: dict[str, Any], name: str, kind: type[Part]) -> Part:
    """One of the benchmark's arguments alone, an object of this class; raises what ``build`` does."""
    made: Part = _made(config["benchmark"]["init_args"][name], kind, name)
    return made


def _made(config: dict[str, Any], kind: type, name: str) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, name, required=True)
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            parsed = parser.parse_object({name: config})
        except Exception as error:
            raise ConfigError(_complaint(str(error))) from None
    return parser.instantiate_classes(parsed)[name]


def _complaint(text: str) -> str:
    """What the parser says, in one line: the key and what it wanted there, without the types that it tried."""
    keys = [key for key in re.findall(r'(?:Parser key|Key) "([^"]+)"', text) if key != "benchmark"]
    said = [line.strip(" -") for line in text.splitlines()]
    telling = [
        line for line in said if line and not re.match(r"Parser key|Does not|Subtypes|Errors|Problem|Given", line)
    ]
    wanted = next((line for line in telling if "NoneType" not in line), (telling or said)[0])
    return f"benchmark: {wanted}" if not keys else f"benchmark.{'.'.join(dict.fromkeys(keys))}: {wanted}"


def benchmark_file(name: str) -> str:
    """The file of a short name, as ``merge_file`` takes it; a path stays as it is.

    Raises:
        ConfigError: if there is none; with the nearest name.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ConfigError(f"score: {name}: no such file")
        return name
    if name not in benchmark_names():
        hint = nearest(name, benchmark_names()) or f"; there are {', '.join(benchmark_names())}, or give a YAML file"
        raise ConfigError(f"score: no benchmark is called {name!r}{hint}")
    return f"{BENCHMARKS}/{name}"
