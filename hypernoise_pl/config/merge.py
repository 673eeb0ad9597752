"""One configuration out of files and flags: how they are merged, and which class a name means where it stands.

Files and flags are merged by the same rules, later over earlier. Mappings are merged, lists are replaced. A mapping
over a list changes the entries that it names, each by its class or its place from 0. Where a class takes another's
place, the arguments of the old one stay that the new one takes by the same name and type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hypernoise_pl.config.files import PACKAGE, SWEEPS, conf_folder, config_names, sweep_names
from hypernoise_pl.config.signatures import (
    ConfigError,
    accepts,
    bases,
    class_path_of,
    entries,
    fields,
    find_class,
    items,
    kinds,
    must_be_in,
    must_fit,
    named,
    options,
    parameters,
)
from hypernoise_pl.types import nearest


def find_config(name: str, beside: Path | None = None) -> Path:
    """A file by its path, or by its short name in ``conf/`` (``shapes_long``, ``rewards/redness``).

    Args:
        name: of the file.
        beside: folder of the file that includes it, where it is looked for first.

    Raises:
        ConfigError: if there is none.
    """
    first = [] if beside is None else [beside / name]
    for path in (*first, Path(name), conf_folder() / f"{name}.yaml", conf_folder() / name):
        if path.is_file() and path.parent != conf_folder() / SWEEPS:
            return path
    if Path(name).is_dir():
        raise ConfigError(f"config {name}: a folder; give a YAML file")
    if (short := Path(name).with_suffix("").name) in sweep_names():
        raise ConfigError(f"config {name}: a sweep, and no configuration of one run; `sweep {short}` runs it")
    known = config_names()
    hint = nearest(name, known) or f"; conf/ has {', '.join(known)}"
    raise ConfigError(f"config {name}: no such file{hint}")


def load_configs(names: Sequence[str], roots: Mapping[str, Any] | None = None) -> DictConfig:
    """Merge files, later over earlier; ``${...}`` reaches across files.

    A file's ``include`` names files that are merged before it. Null in the place of a reward takes it out.

    Args:
        names: paths or short names.
        roots: top-level key -> its type; None leaves top-level keys unchecked.

    Raises:
        ConfigError: for a file that is missing, is no YAML mapping, or has a key or class that it may not have.
    """
    merged: dict[str, Any] = {}
    for name in names:
        merged = merge_file(merged, name, roots)
    return finished(merged, roots)


def merge_file(config: dict[str, Any], name: str, roots: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A configuration with a file, and those that it includes, merged over it."""
    for path, loaded in _load(name):
        config = merge_config(config, loaded, roots, f"config {path}")
    return config


def merge_config(
    config: dict[str, Any], later: Mapping[str, Any], roots: Mapping[str, Any] | None, source: str
) -> dict[str, Any]:
    """A configuration with another, of a source that errors name, merged over it."""
    try:
        return _merge_keys(config, later, roots, "")
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def merge_flag(config: dict[str, Any], flag: str, text: str, roots: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with one flag merged over it.

    Args:
        config: plain, merged so far.
        flag: dotted name, without init_args (``model.adapter.lora.rank``); a class or a number is a place in a
            list, a ``+`` at the end appends to one.
        text: value, as YAML; where a text is wanted, the text itself.
        roots: top-level key -> its type.

    Raises:
        ConfigError: naming the flag, and the nearest right key or class.
    """
    try:
        must_be_in(flag.partition(".")[0].rstrip("+"), roots, "")
        return _enter(config, flag.rstrip("+").split("."), text, roots, "", flag.endswith("+"))
    except ConfigError as error:
        raise ConfigError(f"--{flag}: {str(error).removeprefix(f'{flag}: ')}") from None


def pairs_of(flags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and value of each flag, written as ``--name=value`` or ``--name value``."""
    rest = iter(flags)
    for flag in rest:
        if not flag.startswith("--"):
            raise ConfigError(f"{flag}: not understood; a value of the configuration is set by --KEY=VALUE")
        name, equals, value = flag[2:].partition("=")
        found = value if equals else next(rest, None)
        if found is None or (not equals and found.startswith("--")):
            raise ConfigError(f"{flag}: needs a value; write {flag}=VALUE")
        yield name, found


def finished(config: Mapping[str, Any], roots: Mapping[str, Any] | None = None) -> DictConfig:
    """A merged configuration without the entries of dicts that null has taken out; ``${...}`` stands as it was.

    Raises:
        ConfigError: for an interpolation that is not written as one.
    """
    register_resolvers()
    try:
        return OmegaConf.create(_without_null(dict(config), None if roots is None else roots))
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from None


def resolved(config: DictConfig) -> dict[str, Any]:
    """Plain values, every ``${...}`` replaced by what it names.

    Raises:
        ConfigError: if one names nothing.
    """
    try:
        found: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(" ".join(str(error).split())) from None
    return found  # type: ignore[no-any-return]


def read_config(file: Path) -> dict[str, Any]:
    """A run's own configuration, its ``${...}`` replaced.

    Raises:
        ConfigError: if it is no YAML mapping, or one of them names nothing.
    """
    return resolved(finished(read_mapping(file)))


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file's keys and values, every ``${...}`` as it was written.

    Raises:
        ConfigError: if it is no YAML mapping.
    """
    try:
        loaded = OmegaConf.load(path)
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:  # their messages span lines
        raise ConfigError(f"config {path}: not YAML: {' '.join(str(error).split())}") from error
    if path.stat().st_size == 0:
        raise ConfigError(f"config {path}: empty; it needs keys and values")
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"config {path}: needs keys and values, got {type(loaded).__name__}")
    plain: Any = OmegaConf.to_container(loaded)
    return {str(key): value for key, value in plain.items()}


def with_interpolations(full: Any, written: Any) -> Any:
    """A configuration in which every value is filled in, with the ``${...}`` put back that were written there."""
    if isinstance(written, str) and "${" in written:
        return written
    if isinstance(full, Mapping) and isinstance(written, Mapping):
        taken_out = {key: None for key, value in written.items() if value is None and key not in full}
        return {**{key: with_interpolations(value, written.get(key)) for key, value in full.items()}, **taken_out}
    if isinstance(full, list) and isinstance(written, list) and len(full) == len(written):
        return [with_interpolations(*pair) for pair in zip(full, written)]
    return full


def register_resolvers() -> None:
    """``${package:shapes/weights}``: a folder inside the installed package, from wherever one stands."""
    # OmegaConf 2.4 renamed the method
    register = getattr(OmegaConf, "register_resolver", None) or OmegaConf.register_new_resolver
    register("package", lambda path: str(PACKAGE / path), replace=True)


def _load(name: str, within: tuple[Path, ...] = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The files that a file includes, and itself."""
    path = find_config(name, within[-1].parent if within else None)
    if path in within:
        raise ConfigError(f"config {path}: includes itself, by way of {within[-1]}")
    loaded = read_mapping(path)
    included: Any = loaded.pop("include", None) or []
    if isinstance(included, str):
        raise ConfigError(f"config {path}: include needs a list of files, like [{included}]")
    for other in included:
        yield from _load(str(other), (*within, path))
    yield path, loaded


def _merge(base: Any, later: Any, hint: Any, where: str) -> Any:
    """A value over what stands at a place of this type; names of classes become class_paths."""
    base, later = _fields_of(base, hint), _with_class(later, hint, where)
    later = later if isinstance(base, dict) and "class_path" in base else _fields_of(later, hint)
    if isinstance(later, list):
        return [_merge(None, item, items(hint), f"{where}[{place}]") for place, item in enumerate(later)]
    if not isinstance(later, dict):
        must_fit(later, hint, where)
        return later
    if isinstance(base, list) and "class_path" not in later:
        merged_items = [*base]
        for key, value in later.items():
            place = _place(base, str(key), where)
            merged_items[place] = _merge(merged_items[place], value, items(hint), f"{where}.{key}")
        return merged_items
    base = base if isinstance(base, dict) else {}
    if "class_path" not in later and "class_path" not in base:
        return _merge_keys(base, later, fields(hint) or _dict_of(hint, base, later, where), where)
    kind = find_class(later.get("class_path", base.get("class_path")))
    for key in map(str, later):
        if key in parameters(kind):
            raise ConfigError(f"{where}: {key!r} is an argument of {kind.__name__}; write it under {where}.init_args")
        must_be_in(key, ("class_path", "init_args", "dict_kwargs"), where)
    if "class_path" in later and "class_path" in base and find_class(base["class_path"]) is not kind:
        base = {"class_path": class_path_of(kind), "init_args": _kept(base.get("init_args") or {}, kind)}
    merged = {**base, **later}
    if "init_args" in merged:
        arguments = base.get("init_args") or {}, later.get("init_args") or {}
        merged["init_args"] = _merge_keys(*arguments, parameters(kind), where, f" of {kind.__name__}")
    return merged


def _fields_of(value: Any, hint: Any) -> Any:
    """The fields of a dataclass, where one is wanted and its own class_path says no more than that."""
    if not (isinstance(value, dict) and value and set(value) <= {"class_path", "init_args"} and fields(hint)):
        return value
    named = value.get("class_path")
    return (value.get("init_args") or {}) if named is None or find_class(named) in options(hint) else value


def _merge_keys(base: Any, later: Any, hints: Mapping[str, Any] | None, where: str, whose: str = "") -> dict[str, Any]:
    merged = dict(base)
    for key, value in later.items():
        if hints is not None:
            must_be_in(str(key), hints, where, whose)
        below = None if hints is None else hints[str(key)]
        merged[str(key)] = _merge(base.get(key), value, below, f"{where}.{key}" if where else str(key))
    return merged


def _dict_of(hint: Any, base: Any, later: Any, where: str) -> Mapping[str, Any] | None:
    """The hints of a dict with free keys; one that holds objects takes a new key only with a class in its place."""
    if not (values := entries(hint)):
        return None
    for key, value in later.items():
        unclear = isinstance(value, dict) and "class_path" not in value and not fields(values[0])
        if bases(values[0]) and key not in base and unclear:
            raise ConfigError(f"{where}: no key is called {key!r}{nearest(str(key), base)}; a new one names its class")
    return dict.fromkeys(map(str, later), values[0])


def _with_class(value: Any, hint: Any, where: str) -> Any:
    """A value in which the name of a class, short or full, has become a class_path."""
    name = value.get("class_path") if isinstance(value, dict) else value
    if not isinstance(name, str) or "${" in name or not bases(hint):
        return value
    plain = name is value and accepts(hint, name)  # a text may stand there too (trainer.strategy)
    try:
        kind = named(name, hint)
    except ConfigError:
        if not plain:
            raise
        kind = None
    if kind is None and plain:
        return value
    if kind is None:
        known = sorted({kind.__name__ for kind in kinds(hint) if not kind.__name__.startswith("_")})
        there = f"; there are {', '.join(known)}" if len(known) <= 30 else ""
        raise ConfigError(f"{where}: no class is called {name!r}{nearest(name, known)}{there}")
    path = class_path_of(kind) if "." not in name else name
    return {**value, "class_path": path} if isinstance(value, dict) else {"class_path": path}


def _kept(arguments: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The arguments of a class that another takes too: of the same name, and of its type."""
    taken = parameters(kind)
    return {key: value for key, value in arguments.items() if key in taken and accepts(taken[key], value)}


def _enter(node: Any, parts: Sequence[str], text: str, hint: Any, where: str, append: bool) -> Any:
    """What stands at a place, with a flag's value entered at the dotted name below it."""
    if not parts:
        if append:
            item = _merge(None, _read(text, items(hint)), items(hint), where)
            before = node if isinstance(node, list) else [node] if node else []
            return [*before, *(item if isinstance(item, list) else [item])]
        return _merge(node, _read(text, hint), hint, where)
    part, rest = parts[0], parts[1:]
    below = f"{where}.{part}" if where else part
    if isinstance(node, list):
        place = _place(node, part, where)
        return [*node[:place], _enter(node[place], rest, text, items(hint), below, append), *node[place + 1 :]]
    if isinstance(node, dict) and "class_path" in node:
        if part == "class_path":
            return _merge(node, {"class_path": text}, hint, where)
        if part == "init_args" and rest:
            part, rest = rest[0], rest[1:]
        kind = find_class(node["class_path"])
        known, arguments = parameters(kind), node.get("init_args") or {}
        must_be_in(part, known, where, f" of {kind.__name__}")
        entered = _enter(arguments.get(part), rest, text, known[part], f"{where}.{part}", append)
        return {**node, "init_args": {**arguments, part: entered}}
    if node is not None and not isinstance(node, dict):
        raise ConfigError(f"{node!r} stands there, which takes no {part!r}; name a class first: --{where}=NAME")
    known = hint if isinstance(hint, Mapping) else fields(hint)
    if known:
        must_be_in(part, known, where)
    elif values := entries(hint):
        begins = not rest and (not bases(values[0]) or isinstance(_read(text, values[0]), (str, dict)))
        if not begins:
            must_be_in(part, node or {}, where)
        known = {part: values[0]}
    elif bases(hint):
        raise ConfigError(f"no class stands there that could take {part!r}; name one first: --{where}=NAME")
    return {**(node or {}), part: _enter((node or {}).get(part), rest, text, known.get(part), below, append)}


def _place(entries: Sequence[Any], name: str, where: str) -> int:
    """The place of the entry of a list that a class or a number names."""
    if name.isdigit() and int(name) < len(entries):
        return int(name)
    classes = [str(entry.get("class_path") if isinstance(entry, dict) else "").rpartition(".")[2] for entry in entries]
    if classes.count(name) == 1:
        return classes.index(name)
    if name in classes:
        places = " and ".join(str(place) for place, found in enumerate(classes) if found == name)
        raise ConfigError(f"{where}: {name!r} stands there more than once; say which by its place: {places}")
    raise ConfigError(
        f"{where}: a list of {len(entries)}; {name!r} is no place in it and no class there{nearest(name, classes)}"
    )


def _read(text: str, hint: Any) -> Any:
    """A flag's value, as YAML; the text itself where that is what is wanted."""
    try:
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[call-overload,index]
    except (yaml.YAMLError, OmegaConfBaseException):
        return text
    return text if isinstance(value, str) or (not accepts(hint, value) and accepts(hint, text)) else value


def _without_null(node: Any, hint: Any) -> Any:
    """A node without the entries of free dicts that are null where their type has no null."""
    if isinstance(node, list):
        return [_without_null(item, items(hint)) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("class_path"), str):
        known = parameters(find_class(node["class_path"]))
        arguments = node.get("init_args")
        return node if not arguments else {**node, "init_args": _without_null(arguments, known)}
    known = hint if isinstance(hint, Mapping) else fields(hint)
    values = [] if known else entries(hint)
    kept = {
        key: value for key, value in node.items() if not (values and value is None and not accepts(values[0], None))
    }
    return {key: _without_null(value, values[0] if values else known.get(key)) for key, value in kept.items()}
