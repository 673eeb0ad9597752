"""Configuration files: where they are, how several become one, and which key was meant by a misspelt one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hypernoise_pl.signatures import ConfigError, find_class, parameters
from hypernoise_pl.types import nearest

PACKAGE = Path(__file__).parent


def conf_folder() -> Path:
    """``conf/`` beside the package in a checkout, inside it in an installed wheel."""
    beside = PACKAGE.parent / "conf"
    return beside if (beside / "fit.yaml").exists() else PACKAGE / "conf"


def find_config(name: str) -> Path:
    """A file by its path, or by its short name in ``conf/`` (``shapes_long``, ``rewards/redness``).

    Raises:
        ConfigError: if there is none.
    """
    for path in (Path(name), conf_folder() / f"{name}.yaml", conf_folder() / name):
        if path.is_file():
            return path
    if Path(name).is_dir():
        raise ConfigError(f"config {name}: a folder; give a YAML file")
    folder = conf_folder()
    known = [str(path.relative_to(folder).with_suffix("")) for path in sorted(folder.rglob("*.yaml"))]
    hint = nearest(name, known) or f"; conf/ has {', '.join(known)}"
    raise ConfigError(f"config {name}: no such file{hint}")


def load_configs(names: Sequence[str], more_keys: Sequence[str] = ()) -> DictConfig:
    """Merge files, later over earlier: dicts merge, lists are replaced, ``${...}`` reaches across files.

    A file's ``include`` names files that are merged before it. Null in the place of a reward takes it out.

    Args:
        names: paths or short names.
        more_keys: top-level keys that later files may have though the first has not.

    Raises:
        ConfigError: for a file that is missing, is no YAML mapping, or has a top-level key that it may not have.
    """
    register_resolvers()
    merged: DictConfig | None = None
    for path, loaded in (found for name in names for found in _load(name)):
        if merged is not None:
            for key in loaded:
                known = [*map(str, merged), *more_keys]
                if str(key) not in known:
                    raise ConfigError(f"config {path}: no key is called {str(key)!r}{nearest(str(key), known)}")
        merged = loaded if merged is None else _merge(merged, loaded)
    assert merged is not None
    for group in ("rewards", "reward_weights"):
        entries = OmegaConf.select(merged, f"model.init_args.{group}")
        for key in [key for key in entries or () if entries._get_node(key)._is_none()]:
            del entries[key]
    return merged


def _load(name: str, within: tuple[Path, ...] = ()) -> Iterator[tuple[Path, DictConfig]]:
    """The files that a file includes, and itself."""
    path = find_config(name)
    if path in within:
        raise ConfigError(f"config {path}: includes itself, by way of {within[-1]}")
    try:
        loaded = OmegaConf.load(path)
    except Exception as error:  # YAML's errors span lines
        raise ConfigError(f"config {path}: not YAML: {' '.join(str(error).split())}") from error
    if path.stat().st_size == 0:
        raise ConfigError(f"config {path}: empty; it needs keys and values")
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"config {path}: needs keys and values, got {type(loaded).__name__}")
    included: Any = loaded.pop("include", None) or []
    if isinstance(included, str):
        raise ConfigError(f"config {path}: include needs a list of files, like [{included}]")
    for other in included:
        yield from _load(str(other), (*within, path))
    yield path, loaded


def register_resolvers() -> None:
    """``${package:shapes/weights}``: a folder inside the installed package, from wherever one stands."""
    # OmegaConf 2.4 renamed the method
    register = getattr(OmegaConf, "register_resolver", None) or OmegaConf.register_new_resolver
    register("package", lambda path: str(PACKAGE / path), replace=True)


def _merge(base: Any, later: Any) -> Any:
    if not (isinstance(base, DictConfig) and isinstance(later, DictConfig)):
        return later
    if "class_path" in base and later.get("class_path", base.class_path) != base.class_path:
        base = _for_class(base, str(later.class_path))
    merged = base.copy()
    for key in later:
        value = later._get_node(key)
        merged[key] = _merge(base._get_node(key), value) if key in base else value
    return merged


def _for_class(base: DictConfig, class_path: str) -> DictConfig:
    """The init_args that another class takes too."""
    taken = parameters(find_class(class_path))
    kept = {k: base.init_args._get_node(k) for k in base.get("init_args", {}) if k in taken}
    return OmegaConf.create({"class_path": class_path, "init_args": kept})
