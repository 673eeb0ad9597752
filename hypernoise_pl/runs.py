"""What each command does once model, data and trainer are built."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from hypernoise_pl.adapter import restore, save_adapter
from hypernoise_pl.cache_prompts import cache_prompts as cache_prompts
from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.callbacks.image_grid import ImageGrid
from hypernoise_pl.callbacks.remember_logs import RememberLogs
from hypernoise_pl.callbacks.stop import SaveWhenAsked
from hypernoise_pl.checkpoints import read_checkpoint
from hypernoise_pl.compare import Comparing
from hypernoise_pl.comparison import shard_of, some
from hypernoise_pl.data.base import Split
from hypernoise_pl.data.columns import NUMBER
from hypernoise_pl.data.reading import read_prompts
from hypernoise_pl.identity import described, difference, digest_of
from hypernoise_pl.logs import go_on, where
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.options import Options
from hypernoise_pl.predictions import END, ROWS, Predictions
from hypernoise_pl.report.figures import image_grid, to_tensor, to_uint8
from hypernoise_pl.report.page import verdict, write_report
from hypernoise_pl.report.results import Results
from hypernoise_pl.report.sections import aligned, lines
from hypernoise_pl.report.tables import summarise, table
from hypernoise_pl.run_folder import newest_run, whole, write
from hypernoise_pl.signatures import ConfigError
from hypernoise_pl.trained import digest
from hypernoise_pl.types import Prompt, Rollout


def fit(cli: Any, options: Options) -> None:
    """Train, save the adapter, test, and say what was reached."""
    model, trainer, output, checkpoint = cli.model, cli.trainer, options.folder, options.checkpoint
    _judge_of(cli, "validation", "test")
    output.mkdir(parents=True, exist_ok=True)
    write(output / "config.yaml", cli.parser.dump(cli.config, skip_none=False, skip_check=True))
    trainer.callbacks += [RememberLogs(), SaveWhenAsked()]
    _say(_start_line(cli, output))
    start = time.monotonic()
    if checkpoint is not None and trainer.is_global_zero:
        go_on(trainer.loggers, read_checkpoint(checkpoint))
    trainer.fit(model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    fit_seconds = time.monotonic() - start
    adapter = output / "adapter"
    save_adapter(model.hypernetwork, model.generator, adapter, model.objective.record(), trainer.is_global_zero)
    _measure(cli, options, trainer.test, fit_seconds, adapter)


def validate(cli: Any, options: Options) -> None:
    """Measure an adapter on the validation prompts."""
    _judge_of(cli, "validation")
    folder = _load(cli.model, options.adapter)
    _measure(cli, options, cli.trainer.validate, 0.0, folder)


def test(cli: Any, options: Options) -> None:
    """Measure an adapter on the test prompts."""
    _judge_of(cli, "test")
    folder = _load(cli.model, options.adapter)
    _measure(cli, options, cli.trainer.test, 0.0, folder)


@torch.no_grad()
def predict(cli: Any, options: Options) -> None:
    """Write images for prompts, base and refined from the same noise."""
    model = cli.model
    prompts = [Prompt(text) for text in options.prompt]
    if options.prompts is not None:
        prompts += read_prompts(options.prompts)
    prompts = [replace(prompt, index=index) for index, prompt in enumerate(prompts)]
    if not prompts:
        raise ConfigError("predict: no prompts; give --prompt TEXT or --prompts FILE")
    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds {options.seeds}: needs whole numbers with commas between, like 0,1,2") from None
    if options.steps is not None and options.steps < 1:
        raise ConfigError(f"--steps {options.steps}: at least 1 is needed")
    adapter = options.adapter = _load(model, options.adapter)
    model.to(cli.trainer.strategy.root_device)
    settings = _settings(cli, options, adapter, prompts, seeds)
    if not options.chosen:
        options.folder = Predictions.unfinished(options.folder.parent, settings) or options.folder
    found = Predictions(options.folder, settings)
    kinds = {"base": 0.0, "refined": options.strength}
    done = [found.of(prompt.index, len(kinds) * len(seeds)) is not None for prompt in prompts]
    for prompt in tqdm(prompts, desc="predict", disable=len(prompts) < 8):
        if not done[prompt.index]:
            noise = gaussian(model.generator.noise_shape, [seed_of(seed) for seed in seeds]).to(model.device)
            every = [prompt] * len(seeds)
            rollouts = {kind: model(every, noise, strength, options.steps) for kind, strength in kinds.items()}
            found.add([row for kind, rollout in rollouts.items() for row in _images(found, kind, rollout, seeds)])
    _grid(found).save(found.folder / END)
    made = f" ({sum(done)} prompts were there)" if any(done) else ""
    _say(f"{len(found.rows)} images{made}, {ROWS} and {END} are in {found.folder}")


def _settings(cli: Any, options: Options, adapter: Path, prompts: Sequence[Prompt], seeds: list[int]) -> dict[str, Any]:
    """All that decides the images of ``predict`` and their scores."""
    model = cli.model
    texts = [[prompt.text, prompt.tag, prompt.metadata.get(NUMBER)] for prompt in prompts]
    return {
        "generator": described(model.generator) | {"noise_shape": list(model.generator.noise_shape)},
        "adapter": digest(adapter),
        "strength": options.strength,
        "steps": options.steps or model.steps,
        "seeds": seeds,
        "prompts": {"count": len(prompts), "contents": digest_of(texts)},
        "rewards": described(dict(model.rewards.items())),
    }


def _images(found: Predictions, kind: str, rollout: Rollout, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Write the images of one prompt, one a seed; a row for each."""
    for place, (seed, prompt, image) in enumerate(zip(seeds, rollout.prompts, to_uint8(rollout.images))):
        words = re.sub(r"[^a-z0-9]+", "-", prompt.text.lower()).strip("-")[:60]
        file = f"{prompt.index:04d}-{words}-seed{seed}-{kind}.png"
        _save_image(found.folder / file, image)
        yield {
            "number": prompt.index,
            "id": prompt.metadata.get(NUMBER, prompt.index),
            "prompt": prompt.text,
            "tag": prompt.tag,
            "seed": seed,
            "kind": kind,
            "file": file,
            "scores": {key: round(score[place].item(), 4) for key, score in rollout.scores.items()},
        }


def _grid(found: Predictions, columns: int = 8) -> Any:
    """The first images, base above refined."""
    from PIL import Image

    rows = {kind: [row for row in found.rows if row["kind"] == kind][:columns] for kind in ("base", "refined")}
    pictures = [
        torch.stack([to_tensor(Image.open(found.folder / row["file"]).convert("RGB")) for row in part])
        for part in rows.values()
    ]
    return image_grid(pictures, [*rows], [row["prompt"] for row in rows["base"]])


def compare(cli: Any, options: Options) -> None:
    """Run the methods side by side; whoever finishes the last unit writes the report."""
    comparison, model = cli.config_init.compare, cli.model
    for package in ("pyarrow", "jinja2"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"compare needs the package {package}; pip install 'hypernoise_pl[search]' has it")
    shard, shards = shard_of(options.shard)
    if shards > 1 and not options.chosen:
        raise ConfigError("compare: several processes need one --output folder to meet in")
    model.to(_device(cli.trainer))
    judge = _judge_of(cli, "test")
    prompts = some(cli.datamodule.prompts("test"), comparison.prompts)
    results = Results(options.folder)
    comparing = Comparing(comparison, model, judge, prompts, _newest_adapter(options), results)
    identity = comparing.identity()
    if not options.chosen:
        results.folder = Results.unfinished(options.folder.parent, identity, difference) or options.folder
        options.folder = results.folder
    results.begin(identity, difference)
    for name, missing in comparing.skipped.items():
        _say(f"compare: {name} is left out: {missing}")
    cells = comparing.cells
    images = f"{len(prompts)} prompts x {comparison.seeds} noises"
    _say(f"compare: {cli.config.about}: {len(cells)} rows, {images}, on {model.device}; run folder {results.folder}")
    if not comparing.run(shard, shards):
        _say(f"shard {shard} of {shards} is done; the last one to finish writes the report in {results.folder}")
        return
    about = f"{cli.config.about}; {images}, on {model.device}"
    found = write_report(
        results, [cell.label for cell in cells], comparison.base, about, _features(comparison, model.device)
    )
    folder = results.folder
    shown = 8 if found[comparison.base]["judge"] else 7
    _say(f"\n{aligned(lines(found, comparison.base), shown)}\n\n{verdict(found, comparison.base)}\n")
    _say(f"report       {folder / 'report.html'}\nsummary      {folder / 'summary.json'}")
    _say(f"images       {folder / 'results.parquet'} (a row an image), {folder / 'images'}")


def _judge_of(cli: Any, *splits: Split) -> Judge | None:
    """The judge, which says before anything is trained or generated whether it can judge these splits' prompts."""
    judge: Judge | None = cli.config_init.judge
    for split in splits if judge is not None else ():
        try:
            judge.check(cli.datamodule.prompts(split))
        except ValueError as error:
            raise ConfigError(
                f"judge: {error}; give {split} prompts that have it (data.{split}), or --judge=null to measure rewards "
                "alone"
            ) from None
    return judge


def _newest_adapter(options: Options) -> Path | None:
    """The adapter that was named, or that of the newest fit, if there is one."""
    if options.adapter is not None:
        return Path(options.adapter)
    try:
        return newest_run("fit", "adapter/adapter_model.safetensors") / "adapter"
    except FileNotFoundError:
        return None


def _device(trainer: Any) -> torch.device:
    """The Trainer's device; under torchrun each process has a GPU of its own."""
    device: torch.device = trainer.strategy.root_device
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def _features(comparison: Any, device: torch.device) -> Any:
    if comparison.features is None:
        return None
    features = comparison.features.to(device)

    @torch.no_grad()
    def seen(images: torch.Tensor) -> torch.Tensor:
        return features(images.to(device)).cpu()  # type: ignore[no-any-return]

    return seen


def _load(model: Any, adapter: Path | None) -> Path:
    folder = adapter or newest_run("fit", "adapter/adapter_model.safetensors") / "adapter"
    restore(model.hypernetwork, model.generator, folder)
    return folder


def _measure(cli: Any, options: Options, loop: Any, fit_seconds: float, adapter: Path) -> None:
    loop(cli.model, datamodule=cli.datamodule, verbose=False)
    trainer = cli.trainer
    evaluate = next(c for c in trainer.callbacks if isinstance(c, Evaluate))
    if not trainer.is_global_zero:
        return
    summary = summarise(evaluate.tallies, fit_seconds)
    options.folder.mkdir(parents=True, exist_ok=True)
    write(options.folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    kind = "" if type(cli.model) is HyperNoiseModule else f"--model={type(cli.model).__name__} "
    picture = next((c.last for c in trainer.callbacks if isinstance(c, ImageGrid)), None)
    lines = [
        "",
        table(summary),
        "",
        f"adapter      {adapter}",
        f"summary      {options.folder / 'summary.json'}",
        *([f"picture      {picture}"] if picture else []),
        *(f"{name:<12} {place}" for name, place in map(where, trainer.loggers)),
        f"next         python -m hypernoise_pl predict {kind}--adapter {adapter} --prompt "
        '"a red circle left of a blue star"',
    ]
    _say("\n".join(lines))


def _start_line(cli: Any, output: Path) -> str:
    trainer, model, config = cli.trainer, cli.model, cli.config
    weights = sum(parameter.numel() for parameter in model.trainable().values())
    minutes = f", about {config.expected_minutes:g} minutes" if config.expected_minutes else ""
    length = (
        f"{trainer.max_steps} steps" if trainer.max_steps and trainer.max_steps > 0 else f"{trainer.max_epochs} epochs"
    )
    device = str(trainer.strategy.root_device)
    threads = f" ({torch.get_num_threads()} threads)" if device == "cpu" else ""
    return (
        f"fit: {config.about or type(model).__name__}: {length} of {cli.datamodule.batch_size} prompts, "
        f"{weights:,} trainable weights, on {device}{threads}{minutes}; run folder {output}"
    )


def _say(text: str) -> None:
    print(text)
    sys.stdout.flush()


def _save_image(file: Path, pixels: torch.Tensor) -> None:
    from PIL import Image

    with whole(file) as partial:
        Image.fromarray(pixels.numpy()).save(partial, "PNG")
