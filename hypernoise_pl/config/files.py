"""The configurations that come with the package: their folder and their short names. Standard library only."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def conf_folder() -> Path:
    """``conf/`` beside the package in a checkout, inside it in an installed wheel."""
    beside = PACKAGE.parent / "conf"
    return beside if (beside / "fit.yaml").exists() else PACKAGE / "conf"


SWEEPS = "sweeps"  # folder of conf/ with the files of sweep
BENCHMARKS = "benchmarks"  # folder of conf/ with the files of score


def config_names() -> list[str]:
    """Short names that ``--config`` takes (``shapes_long``, ``rewards/redness``): recipes first, then by folder."""
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
