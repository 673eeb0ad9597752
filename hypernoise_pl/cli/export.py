"""``export``: an adapter with a model card, in our format or for others, in a folder and on the hub."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from hypernoise_pl.adapters.description import describe
from hypernoise_pl.adapters.files import check_weights, load_hypernetwork
from hypernoise_pl.adapters.folder import OWN_CONFIG, PEFT_CONFIG, WEIGHTS, replace_folder
from hypernoise_pl.adapters.formats import export_peft
from hypernoise_pl.adapters.model_card import HUB_ID, model_card
from hypernoise_pl.config.merge import read_config
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import find_class, parameters
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.progress import phase
from hypernoise_pl.system.files import newest_run

FORMATS = {"own": (OWN_CONFIG, PEFT_CONFIG, WEIGHTS), "peft": (), "reference": (PEFT_CONFIG, WEIGHTS)}
PICTURE = "samples.png"


def main(options: Options) -> int:
    """Run the command; every expected error is one line.

    Returns:
        0 on success, 2 for what the user wrote or gave, 1 for what went wrong later.
    """
    try:
        _check(options)
        folder = export(options.adapter, options.run, options.output, options.format, options.push)
        options.result = {"folder": str(folder)}
        print(f"adapter and model card are in {folder}")
        if options.push is not None:
            with phase(f"export: pushing to {options.push}"):
                options.result["pushed"] = push(folder, options.push, options.private)
            print(f"pushed to {options.result['pushed']}")
        return 0
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        if options.verbose:
            traceback.print_exc()
        line, code = str(error), 2
    except OSError as error:
        line, code = str(error), 1
    print(f"hypernoise_pl export: error: {' '.join(line.split())}", file=sys.stderr)
    return code


def export(adapter: Path | None, run: Path | None, output: Path | None, layout: str, name: str | None = None) -> Path:
    """Write an adapter folder with a model card; an older one is replaced only once the new one is whole.

    Args:
        adapter: folder; None for that of the newest fit.
        run: folder of its fit; None for the one it lies in. Its figures and samples are those of its own ``adapter``
            and are left out, with a warning, for other weights (``adapter-best``).
        output: to write; None for ``export-FORMAT`` in the run folder.
        layout: ``own``; ``peft``: an ordinary LoRA that any PEFT load makes the hypernetwork of; ``reference``: for
            the reference implementation.
        name: of the adapter on its card; None for its run's.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: if the adapter or its run's configuration is missing.
        ValueError: if one is damaged, or the adapter cannot be had in this format.
        OSError: if it cannot be written; what was there before is still there.
    """
    adapter = newest_run("fit", f"adapter/{WEIGHTS}") / "adapter" if adapter is None else adapter
    about, run = describe(adapter), adapter.parent if run is None else run
    check_weights(adapter, about["rank"])
    config, summary = _read(run / "config.yaml"), _read(run / "summary.json", needed=False)
    pictures = sorted((run / "images").glob("test-*.png")) or sorted((run / "images").glob("*.png"))
    own = run / "adapter" / WEIGHTS
    if own.is_file() and own.read_bytes() != (adapter / WEIGHTS).read_bytes():
        warnings.warn(
            f"export: {run} has measured its own adapter, {own.parent}, which has other weights than {adapter}: the "
            "card gets no figures and no samples",
            stacklevel=2,
        )
        summary, pictures = None, []
    if layout != "own" and (about["adapts"] != "noise" or about["mode"] != "residual"):
        raise ValueError(f"export: adapter {adapter} is an ordinary LoRA as it is; use --format own")
    folder = run / f"export-{layout}" if output is None else output
    if folder.exists() and not (folder / PEFT_CONFIG).is_file() and any(folder.iterdir()):
        raise ValueError(f"export: {folder} holds something else than an adapter; give another --output")
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        if layout == "peft":
            with phase("export: loading the generator"):
                generator = _generator(config, run)
            export_peft(load_hypernetwork(adapter, generator), partial)
        else:
            partial.mkdir(parents=True)
            for file in FORMATS[layout]:
                shutil.copyfile(adapter / file, partial / file)
        if pictures:
            shutil.copyfile(pictures[-1], partial / PICTURE)
        picture = PICTURE if pictures else None
        card = _card(about, config, summary, picture, name or run.resolve().name, layout, run)
        (partial / "README.md").write_text(card)
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def push(folder: Path, name: str, private: bool = False) -> str:
    """Upload a folder to the hub as one commit.

    Args:
        folder: with the adapter and its card.
        name: ``owner/name``; made if there is none.
        private: whether a new one is.

    Returns:
        Its address.

    Raises:
        OSError: if the hub does not take it.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        address = hub.create_repo(name, private=private, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Adapter and model card")
    except Exception as error:  # its HTTP library has changed before, and has errors of its own
        if not isinstance(error, OSError) and not type(error).__module__.startswith(
            ("httpx", "requests", "huggingface")
        ):
            raise
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise OSError(
            f"{name}: not pushed, {folder} is whole: {reason}; a token that may write is needed (hf auth login, or the "
            "variable HF_TOKEN)"
        ) from error
    return str(address)


def _check(options: Options) -> None:
    if options.push is not None and not HUB_ID.fullmatch(options.push):
        raise ValueError(f"--push {options.push}: needs owner/name")
    if options.private and options.push is None:
        raise ValueError("--private: only with --push")


def _read(file: Path, needed: bool = True) -> Any:
    """A YAML or JSON file; None where one that is not needed is missing."""
    if file.parent.exists() and not file.parent.is_dir():
        raise NotADirectoryError(f"export: --run {file.parent}: a file; give the fit's run folder")
    if file.is_dir():
        raise ValueError(f"export: {file}: a folder, where a fit's run folder has a file; give another --run")
    if not file.is_file():
        if not needed:
            return None
        raise FileNotFoundError(f"export: no {file.name} in {file.parent}; give the fit's run folder with --run")
    try:
        found = read_config(file) if file.suffix == ".yaml" else json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"export: {file}: damaged: {' '.join(str(error).split())}; give another --run") from error
    if not isinstance(found, dict):
        raise ValueError(f"export: {file}: damaged: no keys in it")
    return found


def _card(about: Any, config: Any, summary: Any, picture: str | None, name: str, layout: str, run: Path) -> str:
    try:
        return model_card(about, config, summary, picture, name, layout, _call(about, config))
    except (KeyError, TypeError, StopIteration) as error:
        raise ValueError(f"export: {run}: config.yaml or summary.json is of no fit: {error}") from error


def _call(about: Any, config: Any) -> dict[str, Any]:
    """Arguments of the pipeline's call, as in training; none for a generator that is no pipeline."""
    model = config["model"]["init_args"]
    kind: Any = find_class(model["generator"]["class_path"])
    if not issubclass(kind, PipelineGenerator):
        return {}
    options: dict[str, Any] = about.get("options", {})
    told = {name: options[option] for option, name in kind.trained_options.items() if name and option in options}
    return kind.pipeline_call(model.get("steps", 1)) | told


def _generator(config: Any, run: Path) -> Generator:
    """The generator of a run, whose last layer's weights the PEFT format takes away.

    In float32, in which that format is to be used: weights rounded to bfloat16 would leave their rounding behind.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--generator", type=Generator)
    try:
        described = dict(config["model"]["init_args"]["generator"])
        if "dtype" in parameters(find_class(described["class_path"])):
            described["init_args"] = {**(described.get("init_args") or {}), "dtype": "float32"}
        given = parser.parse_object({"generator": described})
    except (argparse.ArgumentError, KeyError, TypeError) as error:
        raise ValueError(f"export: {run / 'config.yaml'}: its generator is not understood: {error}") from error
    generator: Generator = parser.instantiate_classes(given).generator
    return generator
