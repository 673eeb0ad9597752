"""The import contracts of setup.cfg know every module: none can be added without a place."""

import configparser
import importlib
import pkgutil
from pathlib import Path

import pytest

CONFIG = Path(__file__).parent.parent / "setup.cfg"


def layered() -> dict[str, str]:
    """Package -> the contract in which each of its modules has a layer."""
    config = configparser.ConfigParser()
    config.read(CONFIG)
    return {config[name]["containers"].strip(): name for name in config.sections() if "containers" in config[name]}


@pytest.mark.parametrize("package", layered())
def test_every_module_has_a_layer(package):
    config = configparser.ConfigParser()
    config.read(CONFIG)
    contract = layered()[package]
    named = set(config[contract]["layers"].replace("|", " ").split())
    there = {part.name for part in pkgutil.iter_modules(importlib.import_module(package).__path__)}
    assert not there - named, f"enter {sorted(there - named)} into a layer of [{contract}] in setup.cfg"
    assert not named - there, f"[{contract}] in setup.cfg names {sorted(named - there)}, which {package} does not have"
    assert config[contract].getboolean("exhaustive"), f"[{contract}] in setup.cfg must be exhaustive"


def test_packages_of_interchangeable_members_have_a_contract():
    assert {"hypernoise_pl", "hypernoise_pl.generators", "hypernoise_pl.rewards", "hypernoise_pl.search"} <= set(
        layered()
    )
