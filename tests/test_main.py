"""The command table, before anything heavy is imported: how long OpenMP's threads wait awake."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hypernoise_pl.__main__ import SPINCOUNT, main

ROOT = Path(__file__).parents[1]


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process without settings of OpenMP's but these."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    environment = plain | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, SPINCOUNT),
        ({"OMP_NUM_THREADS": "2"}, SPINCOUNT),
        ({"GOMP_SPINCOUNT": "77"}, "77"),
        ({"OMP_WAIT_POLICY": "passive"}, "0"),
    ],
    ids=str,
)
def test_openmp_itself_says_what_a_command_has_set(variables: dict[str, str], wanted: str) -> None:
    done = python("-m", "hypernoise_pl", "export", "--adapter=nowhere", OMP_DISPLAY_ENV="verbose", **variables)
    assert done.returncode == 2 and "nowhere" in done.stderr
    assert set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)) == {wanted}


def test_importing_the_package_leaves_the_environment_alone() -> None:
    done = python("-c", "import os; b = dict(os.environ); import hypernoise_pl.__main__; print(os.environ == b)")
    assert done.stdout == "True\n"


def test_a_command_called_after_torch_leaves_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: F401 - OpenMP has read its settings

    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert main(["--version"]) == 0
    assert "GOMP_SPINCOUNT" not in os.environ


def test_make_sets_what_a_command_sets() -> None:
    assert f"\nexport GOMP_SPINCOUNT ?= {SPINCOUNT}\n" in (ROOT / "Makefile").read_text()
