"""``configs``: the configurations that come with the package, listed, shown and copied."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from hypernoise_pl.cli.parser import PROGRAM, closest
from hypernoise_pl.config.files import BENCHMARKS, SWEEPS, benchmark_names, conf_folder, config_names, sweep_names
from hypernoise_pl.config.options import Options


def main(options: Options) -> int:
    """List, show or copy.

    Returns:
        0 on success, 2 for what the user wrote or gave.
    """
    try:
        _run(options)
        return 0
    except (ValueError, OSError) as error:
        print(f"hypernoise_pl configs: error: {error}", file=sys.stderr)
        return 2


def every_name() -> list[str]:
    """Short names of all configurations, and of the sweeps and benchmarks after them."""
    return [*config_names(), *_apart()]


def _apart() -> list[str]:
    """Names of what ``--config`` does not take, with the folder."""
    return [
        *(f"{SWEEPS}/{name}" for name in sweep_names()),
        *(f"{BENCHMARKS}/{name}" for name in benchmark_names()),
    ]


def description(name: str) -> str:
    """Purpose of a configuration: its first line, a comment."""
    first, _, _ = (conf_folder() / f"{name}.yaml").read_text().partition("\n")
    return first.removeprefix("#").strip()


def _run(options: Options) -> None:
    if options.action == "list":
        if options.name is not None:
            raise ValueError(f"{options.name}: list takes no name; configs show {options.name} prints it")
        _list(options)
        return
    if options.name is None:
        raise ValueError(f"{options.action}: of which? {PROGRAM} configs lists them")
    name = options.name.removesuffix(".yaml")
    if name not in every_name():
        name = next((full for full in _apart() if full.partition("/")[2] == name), name)
    if name not in every_name():
        hint = (
            closest(name, [*every_name(), *(full.partition("/")[2] for full in _apart())])
            or f"; {PROGRAM} configs lists them"
        )
        raise ValueError(f"no configuration is called {options.name!r}{hint}")
    text = (conf_folder() / f"{name}.yaml").read_text()
    if options.action == "show":
        if options.file is not None:
            raise ValueError(f"{options.file}: show writes no file; configs copy {name} {options.file} does")
        options.result = yaml.safe_load(text)
        print(text, end="")
    else:
        _copy(options, name, text)


def _list(options: Options) -> None:
    names = every_name()
    options.result = [{"name": name, "description": description(name)} for name in names]
    width, group = max(map(len, names)), None
    for name in names:
        folder = name.rpartition("/")[0] or "recipes"
        if folder != group:
            print(f"{'' if group is None else chr(10)}{folder}")
            group = folder
        print(f"  {name:<{width}}  {description(name)}")
    print(f"\none of them  {PROGRAM} configs show NAME\nyour own     {PROGRAM} configs copy NAME mine.yaml")


def _copy(options: Options, name: str, text: str) -> None:
    file = options.file or Path(f"{name.rpartition('/')[2]}.yaml")
    if file.is_dir():
        file = file / f"{name.rpartition('/')[2]}.yaml"
    try:
        with file.open("x") as written:
            written.write(text)
    except FileExistsError:
        raise ValueError(f"{file} is there already; give another name: configs copy {name} FILE") from None
    except FileNotFoundError:
        raise ValueError(f"{file}: no folder {file.parent}") from None
    options.result = {"file": str(file)}
    if name.startswith(f"{SWEEPS}/"):
        command = f"sweep {file}"
    elif name.startswith(f"{BENCHMARKS}/"):
        command = f"score {file} IMAGES"
    else:
        command = f"{'compare' if 'compare' in yaml.safe_load(text) else 'fit'} --config {file}"
    print(f"{name} is copied to {file}\nnext  {PROGRAM} {command}")
