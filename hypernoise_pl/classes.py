"""The classes that a configuration may name by their short names, and a page about one of them."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil

from hypernoise_pl.signatures import ConfigError, find_class
from hypernoise_pl.types import nearest


def families() -> dict[str, type]:
    """Import every module of the families, so that short names mean something; and their classes by name."""
    from hypernoise_pl import callbacks, data, finetune, generators, module, rewards, search

    places = [finetune, module]
    for package in (callbacks, data, generators, rewards, search):
        for part in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            places.append(importlib.import_module(part.name))
    found: dict[str, type] = {}
    for place in places:
        for name, kind in vars(place).items():
            if isinstance(kind, type) and kind.__module__ == place.__name__ and not name.startswith("_"):
                found[name] = kind
    return found


def page(name: str) -> str:
    """What a class is, and its options with their defaults.

    Raises:
        ConfigError: if there is none of that name.
    """
    from jsonargparse import ArgumentParser

    known = families()
    kind = find_class(name) if "." in name else known.get(name)
    if kind is None:
        raise ConfigError(f"--help-class {name}: no such class{nearest(name, known)}")
    parser = ArgumentParser(prog=kind.__name__, usage=argparse.SUPPRESS, add_help=False)
    parser.add_class_arguments(kind, as_group=False)
    about = (inspect.getdoc(kind) or "").partition("Args:")[0].strip()
    return f"{kind.__module__}.{kind.__qualname__}\n\n{about}\n\n{parser.format_help()}"
