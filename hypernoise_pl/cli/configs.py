"""``configs``: the configurations that come with the package, listed, shown and copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hypernoise_pl.cli.command_table import PROGRAM
from hypernoise_pl.cli.outcome import Outcome
from hypernoise_pl.cli.parser import closest
from hypernoise_pl.config.files import BENCHMARKS, SWEEPS, benchmark_names, conf_folder, config_names, sweep_names
from hypernoise_pl.config.options import Options


def main(options: Options) -> Outcome:
    """List, show or copy."""
    with Outcome("configs", options.verbose) as outcome:
        outcome.result = _run(options)
    return outcome


def every_name() -> list[str]:
    """Short names of all configurations, then of the sweeps and benchmarks."""
    return [*config_names(), *_sweeps_and_benchmarks()]


def _sweeps_and_benchmarks() -> list[str]:
    """Names of the sweeps and benchmarks with their folder; ``--config`` does not take them."""
    return [
        *(f"{SWEEPS}/{name}" for name in sweep_names()),
        *(f"{BENCHMARKS}/{name}" for name in benchmark_names()),
    ]


def description(name: str) -> str:
    """Purpose of a configuration: its first line, a comment."""
    first, _, _ = (conf_folder() / f"{name}.yaml").read_text().partition("\n")
    return first.removeprefix("#").strip()


def _run(options: Options) -> Any:
    if options.action == "list":
        if options.name is not None:
            raise ValueError(f"{options.name}: list takes no name; configs show {options.name} prints it")
        return _list()
    if options.name is None:
        raise ValueError(f"{options.action}: the name is missing; {PROGRAM} configs lists the names")
    name = _full_name(options.name)
    text = (conf_folder() / f"{name}.yaml").read_text()
    if options.action == "copy":
        return _copy(name, text, options.file)
    if options.file is not None:
        raise ValueError(f"{options.file}: show writes no file; configs copy {name} {options.file} does")
    print(text, end="")
    return yaml.safe_load(text)


def _full_name(name: str) -> str:
    """The name of a configuration with its folder, which may be left out for a sweep or a benchmark."""
    name = name.removesuffix(".yaml")
    short_names = {full.partition("/")[2]: full for full in reversed(_sweeps_and_benchmarks())}
    if name in every_name():
        return name
    if name in short_names:
        return short_names[name]
    hint = closest(name, [*every_name(), *short_names]) or f"; {PROGRAM} configs lists them"
    raise ValueError(f"no configuration is called {name!r}{hint}")


def _list() -> list[dict[str, str]]:
    names = every_name()
    width, group = max(map(len, names)), None
    for name in names:
        folder = name.rpartition("/")[0] or "recipes"
        if folder != group:
            print(f"{'' if group is None else chr(10)}{folder}")
            group = folder
        print(f"  {name:<{width}}  {description(name)}")
    print(f"\none of them  {PROGRAM} configs show NAME\nyour own     {PROGRAM} configs copy NAME mine.yaml")
    return [{"name": name, "description": description(name)} for name in names]


def _copy(name: str, text: str, file: Path | None) -> dict[str, str]:
    short = f"{name.rpartition('/')[2]}.yaml"
    file = file or Path(short)
    file = file / short if file.is_dir() else file
    try:
        with file.open("x") as opened:
            opened.write(text)
    except FileExistsError:
        raise ValueError(f"{file} is there already; give another name: configs copy {name} FILE") from None
    except FileNotFoundError:
        raise ValueError(f"{file}: no folder {file.parent}") from None
    if name.startswith(f"{SWEEPS}/"):
        command = f"sweep {file}"
    elif name.startswith(f"{BENCHMARKS}/"):
        command = f"score {file} IMAGES"
    else:
        command = f"{'compare' if 'compare' in yaml.safe_load(text) else 'fit'} --config {file}"
    print(f"{name} is copied to {file}\nnext  {PROGRAM} {command}")
    return {"file": str(file)}
