"""Creates the folder of a sweep, and checks a folder that is continued."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from hypernoise_pl.config.flat import changes
from hypernoise_pl.config.loading import read_mapping
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.plan import Plan
from hypernoise_pl.system.files import write_text

DEFINITION, BASE, ID = "sweep.yaml", "base.yaml", "id"


def prepare_folder(folder: Path, definition: Definition, base: dict[str, Any]) -> None:
    """Write the definition and the base configuration into the folder of a new or continued sweep.

    Raises:
        ConfigError: if the folder holds another sweep or other files.
    """
    file = folder / DEFINITION
    if file.is_file():
        existing = Definition(**read_mapping(file))
        differences = changes(existing.fixed(), definition.fixed()) or changes(read_mapping(folder / BASE), base)
        if differences:
            raise ConfigError(f"--output {folder}: holds another sweep: {differences}; give another --output")
    elif folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"--output {folder}: holds other files and no sweep; give another --output")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / BASE).is_file():
        write_text(folder / BASE, yaml.safe_dump(base, sort_keys=False, width=120))
    write_text(file, definition.as_yaml())


def bind_study(plan: Plan) -> None:
    """Create the study, or check that the existing study of this name belongs to this folder.

    Raises:
        ConfigError: if the study belongs to another folder; its points would count as points of this sweep.
    """
    study, file = plan.study(), plan.folder / ID
    with suppress(FileExistsError), file.open("x") as opened:
        opened.write(secrets.token_hex(8))
    while not (own_id := file.read_text()):
        time.sleep(0.1)  # another process is writing the file
    owner = study.user_attrs.get("folder", {"id": own_id})
    if owner["id"] != own_id:
        raise ConfigError(
            f"--storage: already has a sweep called {study.study_name}, of the folder {owner['path']}; give that "
            "folder as --output, or change `name` in the file"
        )
    study.set_user_attr("folder", {"id": own_id, "path": str(plan.folder.resolve())})
