"""One object of a configuration, built by itself."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Mapping
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

from hypernoise_pl.cli.errors import type_error
from hypernoise_pl.config.signatures import ConfigError

Part = TypeVar("Part")


def instantiate(cls: type[Part], config: Mapping[str, Any], key: str) -> Part:
    """Build an object of a class, or of one that derives from it.

    Args:
        cls: class.
        config: its class_path and init_args.
        key: name of the object in its configuration, for errors.

    Raises:
        ConfigError: for a value of the wrong type.
        Exception: as the object's class raises it.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(cls, key, required=True)
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            parsed = parser.parse_object({key: dict(config)})
        except argparse.ArgumentError as error:
            raise ConfigError(type_error(str(error), key)) from error
    made: Part = parser.instantiate_classes(parsed)[key]
    return made
