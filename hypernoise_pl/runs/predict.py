"""``predict``: images for prompts, base and refined from the same noise."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from hypernoise_pl.adapters.description import adapter_digest
from hypernoise_pl.adapters.files import load_weights
from hypernoise_pl.config.identity import described, digest_of
from hypernoise_pl.data.columns import NUMBER
from hypernoise_pl.metrics.image_files import save_png
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.progress import Steps, phase, say
from hypernoise_pl.report.figures import image_grid, to_tensor
from hypernoise_pl.runs.context import PredictRequest, RunContext
from hypernoise_pl.runs.predictions import END, ROWS, SETTINGS, Predictions
from hypernoise_pl.runs.unfinished import unfinished_folder
from hypernoise_pl.system.files import lock_folder
from hypernoise_pl.system.threads import adaptive_threads
from hypernoise_pl.training.precision import check_trainer
from hypernoise_pl.types import Prompt, Rollout, to_uint8


@torch.no_grad()
def predict(run: RunContext) -> list[dict[str, Any]]:
    """Write images for prompts, base and refined from the same noise.

    Returns:
        The rows of ``predictions.jsonl``.
    """
    model, request = run.model, run.request
    assert request is not None and run.adapter is not None
    prompts = request.prompts or run.datamodule.prompts("test")
    check_trainer(run.trainer)
    load_weights(model.adapter, run.adapter)
    model.to(run.trainer.strategy.root_device)
    with phase("predict: hashing the weights"):
        settings = _settings(run, run.adapter, prompts, request.seeds)
    if not run.folder.named:
        earlier = unfinished_folder(run.folder.path.parent, SETTINGS, END, settings)
        run.folder.switch_to(earlier or run.folder.path)
    with lock_folder(run.folder.path):
        predictions = Predictions(run.folder.path, settings)
        kept = _write_missing(run, request, predictions, prompts)
        _grid(predictions).save(predictions.folder / END)
        note = f" ({kept} prompts were there)" if kept else ""
        say(f"{len(predictions.rows)} images{note}, {ROWS} and {END} are in {predictions.folder}")
        if run.options.benchmark is not None:
            say(f"next         {_score_command(run, predictions.folder)}")
    return predictions.rows


def _write_missing(
    run: RunContext, request: PredictRequest, predictions: Predictions, prompts: Sequence[Prompt]
) -> int:
    """Write the images of those prompts that have none yet.

    Returns:
        Prompts whose images were there before.
    """
    strengths = {"base": 0.0, "refined": run.options.strength}
    seeds, count = request.seeds, len(strengths) * len(request.seeds)
    done = [predictions.of(prompt.index, count) is not None for prompt in prompts]
    with Steps("predict", len(prompts), "prompts", sum(done)) as steps:
        for prompt in adaptive_threads([prompt for prompt in prompts if not done[prompt.index]]):
            noise = _noise(run, prompt, seeds).to(run.model.device)
            repeated = [prompt] * len(seeds)
            with run.trainer.precision_plugin.forward_context():  # as test does
                rollouts = {
                    kind: run.model(repeated, noise, strength, run.options.steps)
                    for kind, strength in strengths.items()
                }
            predictions.add(
                [
                    row
                    for kind, rollout in rollouts.items()
                    for row in _write_images(predictions, request, kind, rollout)
                ]
            )
            steps.advance()
    return sum(done)


def _settings(run: RunContext, adapter: Path, prompts: Sequence[Prompt], seeds: Sequence[int]) -> dict[str, Any]:
    """All settings that decide the images and their scores."""
    model, options = run.model, run.options
    texts = [[prompt.text, prompt.tag, prompt.metadata.get(NUMBER)] for prompt in prompts]
    layout = {} if options.benchmark is None else {"benchmark": options.benchmark}
    return {
        "generator": described(model.generator) | {"noise_shape": list(model.generator.noise_shape)},
        "adapter": adapter_digest(adapter),
        "strength": options.strength,
        "steps": options.steps or model.steps,
        "precision": run.trainer.precision,
        "seeds": list(seeds),
        "prompts": {"count": len(prompts), "contents": digest_of(texts)},
        "rewards": described(dict(model.ensemble.members.items())),
        **layout,
    }


def _noise(run: RunContext, prompt: Prompt, seeds: Sequence[int]) -> torch.Tensor:
    """[N, *Z] one noise a seed; for a benchmark those of ``test``, where a seed is the index of a prompt's noise."""
    shape = run.model.generator.noise_shape
    if run.options.benchmark is None:
        return gaussian(shape, [seed_of(seed) for seed in seeds])
    return gaussian(shape, [seed_of(run.model.seed, prompt.index, seed) for seed in seeds])


def _write_images(
    predictions: Predictions, request: PredictRequest, kind: str, rollout: Rollout
) -> Iterator[dict[str, Any]]:
    """Write the images of one prompt, one a seed, and give a row for each.

    With a benchmark each kind has a folder of its own in the benchmark's layout.
    """
    if request.layout is not None:
        names = request.layout.write(predictions.folder / kind, rollout.prompts[0], rollout.images)
        for index, (seed, name) in enumerate(zip(request.seeds, names, strict=True)):
            yield _row(kind, rollout, index, seed, f"{kind}/{name}")
        return
    for index, (seed, prompt, image) in enumerate(zip(request.seeds, rollout.prompts, to_uint8(rollout.images))):
        words = re.sub(r"[^a-z0-9]+", "-", prompt.text.lower()).strip("-")[:60]
        file = f"{prompt.index:04d}-{words}-seed{seed}-{kind}.png"
        save_png(predictions.folder / file, image)
        yield _row(kind, rollout, index, seed, file)


def _row(kind: str, rollout: Rollout, index: int, seed: int, file: str) -> dict[str, Any]:
    prompt = rollout.prompts[index]
    return {
        "number": prompt.index,
        "id": prompt.metadata.get(NUMBER, prompt.index),
        "prompt": prompt.text,
        "tag": prompt.tag,
        "seed": seed,
        "kind": kind,
        "file": file,
        "scores": {key: round(score[index].item(), 4) for key, score in rollout.scores.items()},
    }


def _grid(predictions: Predictions, columns: int = 8) -> Any:
    """The first images, base above refined."""
    from PIL import Image

    rows = {kind: [row for row in predictions.rows if row["kind"] == kind][:columns] for kind in ("base", "refined")}
    pictures = [
        torch.stack([to_tensor(Image.open(predictions.folder / row["file"]).convert("RGB")) for row in part])
        for part in rows.values()
    ]
    return image_grid(pictures, [*rows], [row["prompt"] for row in rows["base"]])


def _score_command(run: RunContext, folder: Path) -> str:
    """The command that scores a benchmark's images, quoted for a shell."""
    metadata = [] if run.options.metadata is None else ["--metadata", str(run.options.metadata)]
    return shlex.join(["python", "-m", "hypernoise_pl", "score", str(run.options.benchmark), str(folder), *metadata])
