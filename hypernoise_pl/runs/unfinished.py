"""Run folders that a stopped command left unfinished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypernoise_pl.config.identity import first_difference
from hypernoise_pl.system.files import read_settings


def unfinished_folder(root: Path, settings_file: str, last_file: str, settings: Mapping[str, Any]) -> Path | None:
    """Find the newest run folder that was begun with the same settings and is not complete.

    Args:
        root: folder of the run folders.
        settings_file: name of the file with a run's settings.
        last_file: name of the file that a run writes last.
        settings: settings of this run.

    Raises:
        ValueError: if a settings file is damaged.
    """
    files = sorted(root.glob(f"*/{settings_file}"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        if not (file.parent / last_file).exists() and first_difference(read_settings(file), settings) is None:
            return file.parent
    return None
