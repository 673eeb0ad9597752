"""The classes that a configuration may name by their short names, and a page about one of them."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil

import hypernoise_pl
from hypernoise_pl.config.signatures import ConfigError, class_path_of, find_class, items, kinds, parameters
from hypernoise_pl.types import nearest


def families() -> dict[str, set[type]]:
    """Import every module of the package, so that short names mean something; and all classes by name.

    Besides the package's own there are those that the Trainer takes (callbacks, loggers, strategies, ...), optimisers
    and schedules. A name that several have stands for all of them.
    """
    from lightning import Trainer

    from hypernoise_pl.module import HyperNoiseModule

    found: dict[str, set[type]] = {}
    for part in pkgutil.walk_packages(hypernoise_pl.__path__, "hypernoise_pl."):
        if not part.name.endswith("__main__"):
            for name, kind in vars(importlib.import_module(part.name)).items():
                if inspect.isclass(kind) and kind.__module__ == part.name and not name.startswith("_"):
                    found.setdefault(name, set()).add(kind)
    for hint in (*parameters(Trainer).values(), *parameters(HyperNoiseModule).values()):
        for kind in (*kinds(hint), *kinds(items(hint))):
            found.setdefault(kind.__name__, set()).add(kind)
    return found


def page(name: str) -> str:
    """What a class is, and its options with their defaults.

    Raises:
        ConfigError: if there is none of that name, or more than one.
    """
    from jsonargparse import ArgumentParser

    known = families()
    several = {find_class(name)} if "." in name else known.get(name, set())
    if not several:
        raise ConfigError(f"--help-class {name}: no such class{nearest(name, known)}")
    if len(several) > 1:
        paths = ", ".join(sorted(map(class_path_of, several)))
        raise ConfigError(f"--help-class {name}: there are several; give one's full name: {paths}")
    (kind,) = several
    parser = ArgumentParser(prog=kind.__name__, usage=argparse.SUPPRESS, add_help=False)
    parser.add_class_arguments(kind, as_group=False, fail_untyped=False)
    about = (inspect.getdoc(kind) or "").partition("Args:")[0].strip()
    return f"{kind.__module__}.{kind.__qualname__}\n\n{about}\n\n{parser.format_help()}"
