"""``export``: an adapter with a model card, in this package's format or another, in a folder and on the hub."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from hypernoise_pl.adapters.description import read_description
from hypernoise_pl.adapters.files import check_weights, load_hypernetwork
from hypernoise_pl.adapters.folder import OWN_CONFIG, PEFT_CONFIG, WEIGHTS, replace_folder
from hypernoise_pl.adapters.formats import export_peft
from hypernoise_pl.adapters.model_card import HUB_ID, model_card
from hypernoise_pl.cli.instantiate import instantiate
from hypernoise_pl.cli.outcome import Outcome
from hypernoise_pl.config.loading import read_config
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError, find_class, parameters
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.progress import phase
from hypernoise_pl.system.files import newest_run

FORMATS = {"own": (OWN_CONFIG, PEFT_CONFIG, WEIGHTS), "peft": (), "reference": (PEFT_CONFIG, WEIGHTS)}
PICTURE = "samples.png"


def main(options: Options) -> Outcome:
    """Run the command."""
    with Outcome("export", options.verbose) as outcome:
        outcome.begun = True
        _check(options)
        folder = export(options.adapter, options.run, options.output, options.format, options.push)
        outcome.result = {"folder": str(folder)}
        print(f"adapter and model card are in {folder}")
        if options.push is not None:
            with phase(f"export: pushing to {options.push}"):
                outcome.result["pushed"] = push(folder, options.push, options.private)
            print(f"pushed to {outcome.result['pushed']}")
    return outcome


def export(adapter: Path | None, run: Path | None, output: Path | None, layout: str, name: str | None = None) -> Path:
    """Write an adapter folder with a model card; an older folder is replaced once the new one is complete.

    Args:
        adapter: adapter folder; None for that of the newest fit.
        run: run folder of its fit; None for the one that the adapter lies in. Its figures and samples belong to its own
            ``adapter``, and are left out, with a warning, for other weights (``adapter-best``).
        output: folder to write; None for ``export-FORMAT`` in the run folder.
        layout: ``own``; ``peft``: an ordinary LoRA, which PEFT turns into the hypernetwork; ``reference``: files of the
            reference implementation.
        name: name of the adapter on its card; None for its run's name.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: if the adapter or its run's configuration is missing.
        ValueError: if one is damaged, or the adapter has no such format.
        OSError: if it cannot be written; an older folder stays as it is.
    """
    adapter = newest_run("fit", f"adapter/{WEIGHTS}") / "adapter" if adapter is None else adapter
    description, run = read_description(adapter), adapter.parent if run is None else run
    check_weights(adapter, description["rank"])
    config, (summary, picture) = _read(run / "config.yaml"), _figures(adapter, run)
    if layout != "own" and (description["adapts"] != "noise" or description["mode"] != "residual"):
        raise ValueError(f"adapter {adapter}: an ordinary LoRA already; use --format own")
    folder = run / f"export-{layout}" if output is None else output
    if folder.exists() and not (folder / PEFT_CONFIG).is_file() and any(folder.iterdir()):
        raise ValueError(f"--output {folder}: exists and is not an adapter folder; give another --output")
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        _write_weights(adapter, config, run, layout, partial)
        if picture is not None:
            shutil.copyfile(picture, partial / PICTURE)
        name = name or run.resolve().name
        card = _card(description, config, summary, None if picture is None else PICTURE, name, layout, run)
        (partial / "README.md").write_text(card)
        replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def push(folder: Path, name: str, private: bool = False) -> str:
    """Upload a folder to the hub as one commit.

    Args:
        folder: folder with the adapter and its card.
        name: repository as ``owner/name``; it is made if it is missing.
        private: whether a new repository is private.

    Returns:
        Its address.

    Raises:
        OSError: if the hub refuses it.
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


def _figures(adapter: Path, run: Path) -> tuple[Any, Path | None]:
    """The summary and the newest picture of a run; neither if they are of other weights than the adapter's."""
    summary = _read(run / "summary.json", needed=False)
    pictures = sorted((run / "images").glob("test-*.png")) or sorted((run / "images").glob("*.png"))
    own = run / "adapter" / WEIGHTS
    if own.is_file() and own.read_bytes() != (adapter / WEIGHTS).read_bytes():
        warnings.warn(
            f"export: {run} has measured its own adapter, {own.parent}, which has other weights than {adapter}: the "
            "card gets no figures and no samples",
            stacklevel=2,
        )
        return None, None
    return summary, pictures[-1] if pictures else None


def _write_weights(adapter: Path, config: Any, run: Path, layout: str, folder: Path) -> None:
    if layout == "peft":
        with phase("export: loading the generator"):
            generator = _generator(config, run)
        export_peft(load_hypernetwork(adapter, generator), folder)
        return
    folder.mkdir(parents=True)
    for file in FORMATS[layout]:
        shutil.copyfile(adapter / file, folder / file)


def _read(file: Path, needed: bool = True) -> Any:
    """A YAML or JSON file; None if a file that is not needed is missing."""
    if file.parent.exists() and not file.parent.is_dir():
        raise NotADirectoryError(f"--run {file.parent}: a file; give the fit's run folder")
    if file.is_dir():
        raise ValueError(f"{file}: a folder, where a fit's run folder has a file; give another --run")
    if not file.is_file():
        if not needed:
            return None
        raise FileNotFoundError(f"no {file.name} in {file.parent}; give the fit's run folder with --run")
    try:
        content = read_config(file) if file.suffix == ".yaml" else json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: damaged: {' '.join(str(error).split())}; give another --run") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: damaged: no keys in it")
    return content


def _card(description: Any, config: Any, summary: Any, picture: str | None, name: str, layout: str, run: Path) -> str:
    try:
        return model_card(description, config, summary, picture, name, layout, _call(description, config))
    except (KeyError, TypeError, StopIteration) as error:
        raise ValueError(f"{run}: config.yaml or summary.json was not written by fit: {error}") from error


def _call(description: Any, config: Any) -> dict[str, Any]:
    """Arguments of the pipeline's call, as in training; empty for a generator without a pipeline."""
    model = config["model"]["init_args"]
    cls: Any = find_class(model["generator"]["class_path"])
    if not issubclass(cls, PipelineGenerator):
        return {}
    options: dict[str, Any] = description.get("options", {})
    trained = {name: options[option] for option, name in cls.trained_options.items() if name and option in options}
    return cls.pipeline_call(model.get("steps", 1)) | trained


def _generator(config: Any, run: Path) -> Generator:
    """The generator of a run, whose last layer's weights the PEFT format subtracts.

    It is loaded in float32, in which that format is used: rounding to bfloat16 would leave a difference.
    """
    try:
        described = dict(config["model"]["init_args"]["generator"])
        if "dtype" in parameters(find_class(described["class_path"])):
            described["init_args"] = {**(described.get("init_args") or {}), "dtype": "float32"}
        return instantiate(Generator, described, "generator")  # type: ignore[type-abstract]
    except (ConfigError, KeyError, TypeError) as error:
        raise ValueError(f"{run / 'config.yaml'}: its generator is not understood: {error}") from error
