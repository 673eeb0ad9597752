"""What the wheel takes along."""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    found = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "hypernoise_pl").rglob("__init__.py")}
    assert listed - {"hypernoise_pl.conf"} == found
