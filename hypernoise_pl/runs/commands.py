"""What each command does once model, data and trainer are built."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.adapters.files import restore, save_adapter
from hypernoise_pl.callbacks.early_stop import EarlyStop
from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.callbacks.image_grid import ImageGrid
from hypernoise_pl.callbacks.missed_validation import MakeUpValidation
from hypernoise_pl.callbacks.progress import Progress
from hypernoise_pl.callbacks.remember_logs import RememberLogs
from hypernoise_pl.callbacks.run_benchmark import RunBenchmark
from hypernoise_pl.callbacks.stop import SaveWhenAsked
from hypernoise_pl.compare.config import shard_of
from hypernoise_pl.compare.runner import Comparing
from hypernoise_pl.config.identity import described, digest_of, first_difference
from hypernoise_pl.config.merge import read_config
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.data.base import Split, check_prompts
from hypernoise_pl.data.columns import NUMBER
from hypernoise_pl.data.subset import stratified_subset
from hypernoise_pl.metrics.image_files import ImageFolder, save_png
from hypernoise_pl.metrics.judge import Judge, unjudged
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.progress import Steps, phase
from hypernoise_pl.report.figures import image_grid, to_tensor
from hypernoise_pl.report.growing import Growing
from hypernoise_pl.report.live import PAGE
from hypernoise_pl.report.page import write_report
from hypernoise_pl.report.results import Results
from hypernoise_pl.report.tables import few_methods, many_methods
from hypernoise_pl.runs.cache_prompts import cache_prompts as cache_prompts
from hypernoise_pl.runs.predictions import END, ROWS, Predictions
from hypernoise_pl.runs.rates import DEVICE, SECONDS, kind_of_device
from hypernoise_pl.system.files import held, write
from hypernoise_pl.system.threads import following_load
from hypernoise_pl.trained import digest
from hypernoise_pl.training.checkpoint_io import read_checkpoint, to_continue
from hypernoise_pl.training.loggers import conclude, end, go_on, tell, where
from hypernoise_pl.training.precision import check_trainer
from hypernoise_pl.training.profiling import traces
from hypernoise_pl.types import Prompt, Rollout, to_uint8


def fit(cli: Any, options: Options) -> None:
    """Train, save the adapter, test, and say what was reached."""
    model, trainer, output, checkpoint = cli.model, cli.trainer, options.folder, options.checkpoint
    if trainer.overfit_batches:
        _judge_of(cli, "train")
    else:
        _judge_of(cli, "test")
        _judge_validation_if_possible(cli)
    if checkpoint is None and trainer.is_global_zero:
        to_continue(None, output)  # another process may have come first while this one was loading
    output.mkdir(parents=True, exist_ok=True)
    write(output / "config.yaml", cli.written_config)
    validation = MakeUpValidation()
    trainer.callbacks += [RememberLogs(), SaveWhenAsked(), *options.callbacks, validation]
    if trainer.is_global_zero:
        _say(_start_lines(cli, output if options.scratch is None else None))
    if options.changed and trainer.is_global_zero:
        _say(f"fit: goes on otherwise than it began: {options.changed}")
    start = time.monotonic()
    if checkpoint is not None and trainer.is_global_zero:
        go_on(trainer.loggers, read_checkpoint(checkpoint))
    if trainer.is_global_zero:
        tell(trainer.loggers, read_config(output / "config.yaml"))
    trainer.fit(model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    fit_seconds = time.monotonic() - start
    if validation.missed(trainer):  # at the last step, with nothing left to train
        trainer.validate(model, datamodule=cli.datamodule, verbose=False)
    adapter = output / "adapter"
    save_adapter(model.hypernetwork, model.generator, adapter, model.objective.record(), trainer.is_global_zero)
    _measure(cli, options, "test", fit_seconds, adapter)
    if trainer.is_global_zero:
        if options.result is not None:
            conclude(trainer.loggers, read_config(output / "config.yaml"), options.result, trainer.global_step)
        end(trainer.loggers)


def validate(cli: Any, options: Options) -> None:
    """Measure an adapter on the validation prompts."""
    _judge_of(cli, "validation")
    _check_measures(cli, "limit_val_batches")
    adapter = _adapter_of(options)
    restore(cli.model.hypernetwork, cli.model.generator, adapter)
    _measure(cli, options, "validation", 0.0, adapter)


def test(cli: Any, options: Options) -> None:
    """Measure an adapter on the test prompts."""
    _judge_of(cli, "test")
    _check_measures(cli, "limit_test_batches")
    adapter = _adapter_of(options)
    restore(cli.model.hypernetwork, cli.model.generator, adapter)
    _measure(cli, options, "test", 0.0, adapter)


@torch.no_grad()
def predict(cli: Any, options: Options) -> None:
    """Write images for prompts, base and refined from the same noise."""
    model = cli.model
    seeds, adapter = options.seed_numbers, _adapter_of(options)
    prompts = options.requested or cli.datamodule.prompts("test")  # a benchmark's, of which no file was given
    check_trainer(cli.trainer)
    restore(model.hypernetwork, model.generator, adapter)
    model.to(cli.trainer.strategy.root_device)
    with phase("predict: hashing the weights"):
        settings = _settings(cli, options, adapter, prompts, seeds)
    if not options.chosen:
        options.folder = Predictions.unfinished(options.folder.parent, settings) or options.folder
    with held(options.folder):
        found = Predictions(options.folder, settings)
        kinds = {"base": 0.0, "refined": options.strength}
        done = [found.of(prompt.index, len(kinds) * len(seeds)) is not None for prompt in prompts]
        with Steps("predict", len(prompts), "prompts", sum(done)) as steps:
            for prompt in following_load([prompt for prompt in prompts if not done[prompt.index]]):
                noise = _noise(model, prompt, seeds, options).to(model.device)
                every = [prompt] * len(seeds)
                with cli.trainer.precision_plugin.forward_context():  # as test has it
                    rollouts = {kind: model(every, noise, strength, options.steps) for kind, strength in kinds.items()}
                write_images = _images if options.layout is None else partial(_in_layout, options.layout)
                found.add([row for kind, one in rollouts.items() for row in write_images(found, kind, one, seeds)])
                steps.advance()
        _grid(found).save(found.folder / END)
        options.result = found.rows
        made = f" ({sum(done)} prompts were there)" if any(done) else ""
        _say(f"{len(found.rows)} images{made}, {ROWS} and {END} are in {found.folder}")
        if options.benchmark is not None:
            more = [] if options.metadata is None else ["--metadata", str(options.metadata)]
            words = ["python", "-m", "hypernoise_pl", "score", options.benchmark, str(found.folder), *more]
            _say(f"next         {shlex.join(words)}")


def _settings(cli: Any, options: Options, adapter: Path, prompts: Sequence[Prompt], seeds: list[int]) -> dict[str, Any]:
    """All that decides the images of ``predict`` and their scores."""
    model = cli.model
    texts = [[prompt.text, prompt.tag, prompt.metadata.get(NUMBER)] for prompt in prompts]
    layout = {} if options.benchmark is None else {"benchmark": options.benchmark}
    return {
        "generator": described(model.generator) | {"noise_shape": list(model.generator.noise_shape)},
        "adapter": digest(adapter),
        "strength": options.strength,
        "steps": options.steps or model.steps,
        "precision": cli.trainer.precision,
        "seeds": seeds,
        "prompts": {"count": len(prompts), "contents": digest_of(texts)},
        "rewards": described(dict(model.rewards.items())),
        **layout,
    }


def _noise(model: Any, prompt: Prompt, seeds: Sequence[int], options: Options) -> torch.Tensor:
    """[N, *Z] one noise a seed; for a benchmark those of ``test``, where a seed is the number of a prompt's noise."""
    shape = model.generator.noise_shape
    if options.benchmark is None:
        return gaussian(shape, [seed_of(seed) for seed in seeds])
    return gaussian(shape, [seed_of(model.seed, prompt.index, seed) for seed in seeds])


def _images(found: Predictions, kind: str, rollout: Rollout, seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Write the images of one prompt, one a seed; a row for each."""
    for place, (seed, prompt, image) in enumerate(zip(seeds, rollout.prompts, to_uint8(rollout.images))):
        words = re.sub(r"[^a-z0-9]+", "-", prompt.text.lower()).strip("-")[:60]
        file = f"{prompt.index:04d}-{words}-seed{seed}-{kind}.png"
        save_png(found.folder / file, image)
        yield _row(kind, rollout, place, seed, file)


def _in_layout(
    layout: ImageFolder, found: Predictions, kind: str, rollout: Rollout, seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """The same in a benchmark's layout, each kind in a folder of its own."""
    names = layout.write(found.folder / kind, rollout.prompts[0], rollout.images)
    for place, (seed, name) in enumerate(zip(seeds, names, strict=True)):
        yield _row(kind, rollout, place, seed, f"{kind}/{name}")


def _row(kind: str, rollout: Rollout, place: int, seed: int, file: str) -> dict[str, Any]:
    prompt = rollout.prompts[place]
    return {
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
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigError("compare needs the package pyarrow; pip install 'hypernoise_pl[search]' has it")
    shard, shards = shard_of(options.shard)
    if shards > 1 and not options.chosen:
        raise ConfigError("compare: several processes need one --output folder to meet in")
    check_trainer(cli.trainer)
    model.to(_device(cli.trainer))
    judge = _judge_of(cli, "test")
    every = cli.datamodule.prompts("test")
    check_prompts(every, f"test prompts of {type(cli.datamodule).__name__}")
    prompts = stratified_subset(every, comparison.prompts)
    results = Results(options.folder)
    precision, computing = cli.trainer.precision, cli.trainer.precision_plugin.forward_context
    comparing = Comparing(comparison, model, judge, prompts, options.adapter, results, precision, computing)
    with phase("compare: hashing the weights"):
        identity = comparing.identity()
    if not options.chosen:
        results.folder = Results.unfinished(options.folder.parent, identity, first_difference) or options.folder
        options.folder = results.folder
    results.begin(identity, first_difference)
    if model.steps != 1 and all(method.steps == 1 for method in comparison.methods):
        _say(
            f"compare: the run is of {model.steps} steps, every method here of 1; compare.methods sets each one's steps"
        )
    for name, missing in comparing.skipped.items():
        _say(f"compare: {name} is left out: {missing}")
    timed = comparison.budget_seconds is not None
    with phase("compare: measuring the speed of every method") if timed else contextlib.nullcontext():
        cells = comparing.cells
    for name, why in comparing.over.items():
        _say(f"compare: {name} {why}")
    images = f"{len(prompts)} prompts x {comparison.seeds} noises"
    _say(f"compare: {cli.config.about}\ncompare: {len(cells)} rows, {images}, on {model.device}")
    _say(f"compare: run folder {results.folder}")
    judged_by = None if judge is None else judge.credit()
    description = f"{cli.config.about}; {images}, on {model.device}"
    description += "".join(f"; {name} {why}" for name, why in comparing.over.items())
    labels = [cell.label for cell in cells]
    growing = Growing(results, labels, comparing.units, comparison.base, description, judged_by)
    growing()
    if not comparing.run(shard, shards, growing):
        _say(f"shard {shard} of {shards} is done; the last one to finish writes the report in {results.folder}")
        return
    with phase("compare: writing the report"):
        features = _features(comparison, model.device)
        summary = write_report(results, labels, comparison.base, description, features, judged_by)
    folder = results.folder
    options.result = json.loads((folder / "summary.json").read_text())
    _say(f"\n{many_methods(summary)}\n")
    _say(f"report       {folder / 'report.html'}\nsummary      {folder / 'summary.json'}")
    _say(f"images       {folder / 'results.parquet'} (a row an image), {folder / 'images'}")


def _judge_of(cli: Any, *splits: Split) -> Judge | None:
    """The judge, which says before anything is trained or generated whether it can judge these splits' prompts."""
    judge: Judge | None = cli.config_init.judge
    if judge is None:
        return None
    for split in splits:
        try:
            judge.check(cli.datamodule.prompts(split))
        except ValueError as error:
            raise ConfigError(
                f"judge: {error}; give {split} prompts that have it (data.{split}), or --judge=null to measure rewards "
                "alone"
            ) from None
    return judge


def _judge_validation_if_possible(cli: Any) -> None:
    """Leave the judge out of a fit's validations where their prompts lack what it reads, and say so."""
    judge: Judge | None = cli.config_init.judge
    if judge is None:
        return
    prompts = cli.datamodule.prompts("validation")
    lacks = [lack for prompt in prompts if (lack := judge.lacks(prompt)) is not None]
    if lacks:
        evaluate = next(c for c in cli.trainer.callbacks if isinstance(c, Evaluate))
        evaluate.unjudged.add("validation")
        if cli.trainer.is_global_zero:
            _say(f"fit: validations are not judged, the test is: {unjudged(lacks, len(prompts))}")


def _adapter_of(options: Options) -> Path:
    """The adapter folder that ``cli.build`` has found."""
    assert options.adapter is not None
    return options.adapter


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


def _measure(cli: Any, options: Options, split: Split, fit_seconds: float, adapter: Path) -> None:
    trainer = cli.trainer
    said = [cli.model.skipped(), _short_of_steps(trainer)] if fit_seconds else []  # a test has no steps
    evaluate = next(c for c in trainer.callbacks if isinstance(c, Evaluate))
    evaluate.clear()  # of the last validation
    loop = trainer.validate if split == "validation" else trainer.test
    loop(cli.model, datamodule=cli.datamodule, verbose=False)
    if not trainer.is_global_zero:
        return
    lines = [""]
    if evaluate.rows:  # none where the Trainer's limit_test_batches is 0
        fitted = {"seconds": fit_seconds, **_speed(cli)} if fit_seconds else None
        summary = evaluate.summary(fitted, cli.config.about or type(cli.model).__name__)
        lines += [few_methods(summary), ""]
        for run in (each for each in trainer.callbacks if isinstance(each, RunBenchmark) and each.figures):
            summary["benchmarks"][run.name] = run.figures
            lines += [run.table(), ""]
        options.result = summary
    if any(said):
        lines += [*filter(None, said), ""]
    if options.scratch is not None:
        _say("\n".join([*lines, "fast_dev_run: every part has run once; nothing is kept"]))
        return
    lines.append(f"adapter      {adapter}")
    if evaluate.rows:
        options.folder.mkdir(parents=True, exist_ok=True)
        write(options.folder / "summary.json", json.dumps(summary, indent=1) + "\n")
        lines.append(f"summary      {options.folder / 'summary.json'}")
    picture = next((c.last for c in trainer.callbacks if isinstance(c, ImageGrid)), None)
    lines += [
        *([f"picture      {picture}"] if picture else []),
        *([f"page         {live}"] if fit_seconds and (live := options.folder / PAGE).exists() else []),
        *(f"{name:<12} {place}" for name, place in [*map(where, trainer.loggers), *traces(trainer.profiler)]),
        f"next         {_predict_command(adapter, cli.datamodule.measured(split)[0].text)}",
    ]
    _say("\n".join(lines))


def _speed(cli: Any) -> dict[str, Any]:
    """How long a step has taken, on what."""
    seconds = next((each.seconds_per_step for each in cli.trainer.callbacks if isinstance(each, Progress)), None)
    return {SECONDS: seconds, DEVICE: kind_of_device(cli.trainer.strategy.root_device)}


def _check_measures(cli: Any, limit: str) -> None:
    """Raise if nothing would be measured; an adapter's run may have had its reason for that."""
    if getattr(cli.trainer, limit) == 0:
        raise ConfigError(f"trainer.{limit}: 0, so that nothing is measured; --trainer.{limit}=1.0 measures all")


def _short_of_steps(trainer: Any) -> str:
    """That a training ended before ``trainer.max_steps``, or began after it; empty if neither."""
    steps, wanted = trainer.global_step, trainer.max_steps
    if trainer.fast_dev_run or wanted < 0 or steps == wanted:
        return ""
    if steps > wanted:
        return f"nothing was trained: the checkpoint is of step {steps}, and trainer.max_steps is {wanted}"
    told = next((each.why for each in trainer.callbacks if isinstance(each, EarlyStop) and each.why), "")
    why = told or "trainer.max_epochs, max_time, limit_train_batches or a callback stopped it"
    return f"the training ended after step {steps} of {wanted}: {why}"


def _predict_command(adapter: Path, prompt: str) -> str:
    """The command that shows what an adapter does, as a shell takes it."""
    return shlex.join(["python", "-m", "hypernoise_pl", "predict", "--adapter", str(adapter), "--prompt", prompt])


def _start_lines(cli: Any, output: Path | None) -> str:
    trainer, model, config = cli.trainer, cli.model, cli.config
    weights = sum(parameter.numel() for parameter in model.trainable().values())
    length = (
        f"{trainer.max_steps} steps" if trainer.max_steps and trainer.max_steps > 0 else f"{trainer.max_epochs} epochs"
    )
    device = str(trainer.strategy.root_device)
    count = torch.get_num_threads()
    threads = f" ({count} thread{'s' if count > 1 else ''})" if device == "cpu" else ""
    place = "fast_dev_run: nothing is kept" if output is None else f"run folder {output}"
    return (
        f"fit: {config.about or type(model).__name__}\n"
        f"fit: {length} of {cli.datamodule.batch_size} prompts, {weights:,} trainable weights, on {device}{threads}\n"
        f"fit: {place}"
    )


def _say(text: str) -> None:
    print(text)
    sys.stdout.flush()
