"""Configuration files: where they are, how several become one, and which key was meant by a misspelt one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hypernoise_pl.types import nearest

PACKAGE = Path(__file__).parent


class ConfigError(ValueError):
    """Something is wrong with what the user wrote; the message is one line."""


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
    folder = conf_folder()
    known = [str(path.relative_to(folder).with_suffix("")) for path in sorted(folder.rglob("*.yaml"))]
    hint = nearest(name, known) or f"; conf/ has {', '.join(known)}"
    raise ConfigError(f"config {name}: no such file{hint}")


def load_configs(names: Sequence[str]) -> DictConfig:
    """Merge files, later over earlier: dicts merge, lists are replaced, ``${...}`` reaches across files.

    Raises:
        ConfigError: for a file that is missing, is no YAML mapping, or has a top-level key that the first file lacks.
    """
    register_resolvers()
    merged: DictConfig | None = None
    for name in names:
        path = find_config(name)
        try:
            loaded = OmegaConf.load(path)
        except Exception as error:  # YAML's errors span lines
            raise ConfigError(f"config {path}: not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(loaded, DictConfig):
            raise ConfigError(f"config {path}: needs keys and values, got {type(loaded).__name__}")
        if merged is not None:
            for key in loaded:
                if key not in merged:
                    raise ConfigError(
                        f"config {path}: no key is called {str(key)!r}{nearest(str(key), map(str, merged))}"
                    )
        merged = loaded if merged is None else _merge(merged, loaded)
    assert merged is not None
    return merged


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
    taken = init_parameters(class_path)
    kept = {k: base.init_args._get_node(k) for k in base.get("init_args", {}) if k in taken}
    return OmegaConf.create({"class_path": class_path, "init_args": kept})


def init_parameters(class_path: str) -> list[str]:
    """Names of the arguments of a class.

    Raises:
        ConfigError: if there is no such class.
    """
    module, _, name = class_path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"class_path {class_path}: no such class; write the module's full name") from error
    return list(inspect.signature(kind.__init__).parameters)[1:]


def check_classes(node: Any, where: str = "") -> None:
    """Check every class and argument name in a merged configuration, before anything is built.

    Raises:
        ConfigError: naming the first wrong key and the nearest right one.
    """
    if not isinstance(node, DictConfig):
        for index, item in enumerate(node if OmegaConf.is_list(node) else ()):
            check_classes(item, f"{where}[{index}]")
        return
    raw: Any = OmegaConf.to_container(node)
    class_path = raw.get("class_path")
    if isinstance(class_path, str):
        for key in node:
            if key not in ("class_path", "init_args", "dict_kwargs"):
                raise ConfigError(f"{where}.{key!s}: no key of a class{nearest(str(key), ('class_path', 'init_args'))}")
        if "." in class_path and node.get("init_args") is not None:
            taken = init_parameters(class_path)
            for key in node.init_args:
                if key not in taken and "kwargs" not in taken:
                    raise ConfigError(f"{where}: {class_path} takes no {str(key)!r}{nearest(str(key), taken)}")
    for key in node:
        child: Any = node._get_node(key)
        if isinstance(child, DictConfig) or OmegaConf.is_list(child):
            check_classes(child, f"{where}.{key!s}" if where else str(key))
