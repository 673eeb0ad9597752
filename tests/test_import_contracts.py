"""Members of a family do not know each other; found by the package, with no list kept by hand."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import hypernoise_pl
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.metrics.questions.benchmark import QuestionBenchmark
from hypernoise_pl.rewards.base import Verifier
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.base import Search

FAMILIES = {
    "hypernoise_pl.generators": Generator,
    "hypernoise_pl.rewards": Verifier,
    "hypernoise_pl.rewards.latent": LatentVerifier,
    "hypernoise_pl.search": Search,
    "hypernoise_pl.metrics.questions": QuestionBenchmark,
}


def members(package: str, base: type) -> set[str]:
    """Modules of a package that define a final class of its family."""
    found = set()
    for part in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        for kind in vars(importlib.import_module(part.name)).values():
            is_own = inspect.isclass(kind) and kind.__module__ == part.name
            if is_own and issubclass(kind, base) and kind is not base and not inspect.isabstract(kind):
                found.add(part.name)
    return found


def imported(module: str) -> set[str]:
    """Modules that a module imports, at its top or in a function."""
    tree = ast.parse(Path(importlib.import_module(module).__file__ or "").read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return names | {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}


@pytest.mark.parametrize("package", FAMILIES)
def test_members_of_a_family_do_not_import_each_other(package: str) -> None:
    family = members(package, FAMILIES[package])
    assert len(family) > 1
    found = {name: imported(name) & (family - {name}) for name in family}
    assert not {name: others for name, others in found.items() if others}


def test_the_package_imports_nothing_from_beside_it() -> None:
    root = Path(hypernoise_pl.__file__).parent
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.partition(".")[0] not in ("tests", "experiments", "benchmarks"), file
