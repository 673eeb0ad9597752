"""The classes of the package that a contract is about, found by their base class."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

Base = TypeVar("Base")


def concrete_classes(base: type[Base], *modules: ModuleType) -> set[type[Base]]:
    """Subclasses of a base that are not abstract, in these modules and in every module inside these packages."""
    names = [module.__name__ for module in modules]
    for module in modules:
        if hasattr(module, "__path__"):
            names += [info.name for info in pkgutil.walk_packages(module.__path__, f"{module.__name__}.")]
    classes = {cls for name in names for _, cls in inspect.getmembers(importlib.import_module(name), inspect.isclass)}
    return {cls for cls in classes if issubclass(cls, base) and not inspect.isabstract(cls)}


def without_example(classes: set[type[Base]], examples: set[type]) -> str:
    """Names of the classes that no example is of, for a message."""
    return ", ".join(sorted(cls.__name__ for cls in classes - examples))
