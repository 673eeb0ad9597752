"""The classes that a configuration may name by their short names, and the help of one of them."""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
from types import ModuleType

import hypernoise_pl
from hypernoise_pl.config.signatures import ConfigError, class_path_of, find_class, item_type, known_classes, parameters
from hypernoise_pl.types import did_you_mean


def import_all_modules() -> list[ModuleType]:
    """Import every module of the package; a configuration may then name their classes by short names."""
    names = [part.name for part in pkgutil.walk_packages(hypernoise_pl.__path__, "hypernoise_pl.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def classes_by_name() -> dict[str, set[type]]:
    """Short name -> the classes of that name.

    Besides the package's own they are those that the Trainer takes (callbacks, loggers, strategies, ...), optimisers
    and schedules.
    """
    from lightning import Trainer

    from hypernoise_pl.module import HyperNoiseModule

    classes: dict[str, set[type]] = {}
    for module in import_all_modules():
        for name, cls in vars(module).items():
            if inspect.isclass(cls) and cls.__module__ == module.__name__ and not name.startswith("_"):
                classes.setdefault(name, set()).add(cls)
    for hint in (*parameters(Trainer).values(), *parameters(HyperNoiseModule).values()):
        for cls in (*known_classes(hint), *known_classes(item_type(hint))):
            classes.setdefault(cls.__name__, set()).add(cls)
    return classes


def class_help(name: str) -> str:
    """The help of a class: its description, and its options with their defaults.

    Raises:
        ConfigError: if there is none of that name, or more than one.
    """
    from jsonargparse import ArgumentParser

    known = classes_by_name()
    classes = {find_class(name)} if "." in name else known.get(name, set())
    if not classes:
        raise ConfigError(f"--help-class {name}: no such class{did_you_mean(name, known)}")
    if len(classes) > 1:
        paths = ", ".join(sorted(map(class_path_of, classes)))
        raise ConfigError(f"--help-class {name}: there are several; give one's full name: {paths}")
    (cls,) = classes
    parser = ArgumentParser(prog=cls.__name__, usage=argparse.SUPPRESS, add_help=False)
    parser.add_class_arguments(cls, as_group=False, fail_untyped=False)
    description = (inspect.getdoc(cls) or "").partition("Args:")[0].strip()
    return f"{cls.__module__}.{cls.__qualname__}\n\n{description}\n\n{parser.format_help()}"
