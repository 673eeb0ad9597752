"""README and the pages in docs name only what exists; the picture of the import layers is that of setup.cfg."""

import configparser
import importlib
import re
from pathlib import Path

import pytest
import yaml

import hypernoise_pl

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
FOLDERS = ("hypernoise_pl/", "conf/", "docs/", "tests/", "experiments/", "benchmarks/")
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "setup.cfg", "pyproject.toml", "Makefile")
OTHERS = ("tests/gpu/",)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def found(name: str) -> object:
    """What a dotted name means.

    Raises:
        ImportError, AttributeError: if it means nothing.
    """
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for part in parts[depth:]:
            thing = getattr(thing, part)
        return thing
    raise ImportError(name)


def names(text: str) -> set[str]:
    """Dotted names of the package."""
    return {name for name in re.findall(r"\bhypernoise_pl(?:\.\w+)+", text) if not name.endswith(".egg")}


def paths(text: str) -> set[str]:
    """Paths of the repository in backticks, without what stands for a name (``NAME``, ``*``)."""
    quoted = {code for code in re.findall(r"`([^`\s]+)`", text) if re.fullmatch(r"[\w./-]+", code)}
    return {code for code in quoted if code.startswith(FOLDERS) or code in FILES}


def links(text: str) -> set[str]:
    """Targets of links and pictures that are files."""
    return {target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target}


@every_page
def test_every_name_of_the_package_exists(page):
    for name in names(page.read_text()):
        found(name)


@every_page
def test_every_path_exists(page):
    text = page.read_text()
    missing = [path for path in paths(text) if not (ROOT / path).exists()]
    missing += [target for target in links(text) if not (page.parent / target).exists()]
    assert not missing, f"{page.name} names {missing}"


@every_page
def test_every_link_to_a_heading_has_one(page):
    headings = {
        re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^#+ (.+)", page.read_text(), re.M)
    }
    targets = re.findall(r"\]\(#([^)]+)\)", page.read_text())
    assert {*targets} <= headings


def test_the_checks_find_what_is_wrong():
    assert names("see `hypernoise_pl.types.Prompt`.") == {"hypernoise_pl.types.Prompt"}
    for wrong in ("hypernoise_pl.types.Promt", "hypernoise_pl.tipes"):
        with pytest.raises((ImportError, AttributeError)):
            found(wrong)
    assert paths("`hypernoise_pl/none.py` and `a / b`") == {"hypernoise_pl/none.py"}


def test_the_picture_of_layers_is_that_of_the_contract():
    """docs/architecture.md has the lines of setup.cfg, in their order."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    layers = setup["importlinter:contract:layers"]["layers"].strip().splitlines()
    text = (ROOT / "docs" / "architecture.md").read_text()
    (block,) = re.findall(
        r"\n\n((?:    .*\n)+)", text[text.index("### Who may import whom") : text.index("## Two trees")]
    )
    drawn = [line.split() for line in block.splitlines()]
    assert drawn == [layer.replace("|", " ").split() for layer in layers]


def test_every_folder_of_the_package_is_in_the_architecture():
    text = (ROOT / "docs" / "architecture.md").read_text()
    folders = {path.parent.name for path in Path(hypernoise_pl.__path__[0]).glob("*/__init__.py")}
    assert folders <= {path.split("/")[1] for path in paths(text) if path.startswith("hypernoise_pl/")}


def test_the_citation_file_has_what_the_format_asks_for():
    """The required keys of CFF 1.2.0, and the version and licence of the package."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["title"] == "hypernoise_pl"
    assert cited["authors"] == [{"name": "hypernoise_pl contributors"}] and cited["type"] == "software"
    assert cited["version"] == hypernoise_pl.__version__
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert cited["license"] == setup["metadata"]["license"]
    for reference in cited["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        assert all({"family-names", "given-names"} <= set(author) for author in reference["authors"])


def test_the_change_log_begins_with_what_is_not_released():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+?)\]", text, re.M)
    assert versions[0] == "Unreleased"
    assert {*re.findall(r"^### (.+)$", text, re.M)} <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
