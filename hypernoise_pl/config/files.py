"""Where the configurations lie that come with the package, and what they are called. Standard library only."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def conf_folder() -> Path:
    """``conf/`` beside the package in a checkout, inside it in an installed wheel."""
    beside = PACKAGE.parent / "conf"
    return beside if (beside / "fit.yaml").exists() else PACKAGE / "conf"


SWEEPS = "sweeps"  # folder of conf/ whose files are for sweep, not for --config
BENCHMARKS = "benchmarks"  # and of those for score


def config_names() -> list[str]:
    """Short names of all of them (``shapes_long``, ``rewards/redness``): recipes first, then folder by folder."""
    folder = conf_folder()
    files = sorted(folder.rglob("*.yaml"), key=lambda file: (len(file.relative_to(folder).parts), file))
    names = [file.relative_to(folder).with_suffix("").as_posix() for file in files]
    return [name for name in names if not name.startswith((f"{SWEEPS}/", f"{BENCHMARKS}/"))]


def sweep_names() -> list[str]:
    """Short names of the sweeps."""
    return _names_in(SWEEPS)


def benchmark_names() -> list[str]:
    """Short names of the benchmarks."""
    return _names_in(BENCHMARKS)


def _names_in(folder: str) -> list[str]:
    return sorted(file.stem for file in (conf_folder() / folder).glob("*.yaml"))
