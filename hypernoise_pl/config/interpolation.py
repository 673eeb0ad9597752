"""``${...}`` in a configuration: resolved, and put back where the user wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.config.signatures import (
    ConfigError,
    accepts,
    dict_value_types,
    field_types,
    find_class,
    item_type,
    parameters,
)


def to_omegaconf(config: Mapping[str, Any], key_types: Mapping[str, Any] | None = None) -> DictConfig:
    """A merged configuration as OmegaConf has it, without the dict entries that null removes.

    Args:
        config: plain configuration; ``${...}`` stays as it is.
        key_types: top-level key -> its type; None if they are not known.

    Raises:
        ConfigError: for a malformed interpolation.
    """
    register_resolvers()
    try:
        return OmegaConf.create(_without_removed(dict(config), key_types))
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from None


def resolve(config: DictConfig) -> dict[str, Any]:
    """Plain values, every ``${...}`` replaced by the value that it names.

    Raises:
        ConfigError: if one names nothing.
    """
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from None
    return plain  # type: ignore[no-any-return]


def restore_interpolations(full: Any, written: Any) -> Any:
    """Put ``${...}`` back into a resolved configuration.

    Args:
        full: configuration with every value filled in.
        written: the same as the user wrote it.
    """
    if isinstance(written, str) and "${" in written:
        return written
    if isinstance(full, Mapping) and isinstance(written, Mapping):
        removed = {key: None for key, value in written.items() if value is None and key not in full}
        return {**{key: restore_interpolations(value, written.get(key)) for key, value in full.items()}, **removed}
    if isinstance(full, list) and isinstance(written, list) and len(full) == len(written):
        return [restore_interpolations(*pair) for pair in zip(full, written)]
    return full


def register_resolvers() -> None:
    """Register ``${package:shapes/weights}``, a folder inside the installed package."""
    # OmegaConf 2.4 renamed the method
    register = getattr(OmegaConf, "register_resolver", None) or OmegaConf.register_new_resolver
    register("package", lambda path: str(PACKAGE / path), replace=True)


def _without_removed(node: Any, hint: Any) -> Any:
    """A node without those entries of free dicts that are null although their type has no null."""
    if isinstance(node, list):
        return [_without_removed(item, item_type(hint)) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("class_path"), str):
        known = parameters(find_class(node["class_path"]))
        arguments = node.get("init_args")
        return node if not arguments else {**node, "init_args": _without_removed(arguments, known)}
    known = hint if isinstance(hint, Mapping) else field_types(hint)
    values = [] if known else dict_value_types(hint)
    kept = {
        key: value for key, value in node.items() if not (values and value is None and not accepts(values[0], None))
    }
    return {key: _without_removed(value, values[0] if values else known.get(key)) for key, value in kept.items()}
