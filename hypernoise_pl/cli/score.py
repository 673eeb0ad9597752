"""``score``: a benchmark's figures of images that any tool made, its result files, a table and a page of images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypernoise_pl.cli.benchmark_config import (
    benchmark_class,
    benchmark_config,
    benchmark_file,
    build_benchmark,
    build_part,
)
from hypernoise_pl.cli.outcome import Outcome
from hypernoise_pl.compare.config import shard_of
from hypernoise_pl.config.flags import read_flags
from hypernoise_pl.config.identity import described, digest_of
from hypernoise_pl.config.options import Options
from hypernoise_pl.metrics.benchmark import Benchmark, ScoredImage
from hypernoise_pl.metrics.fidelity_benchmark import FidelityBenchmark
from hypernoise_pl.metrics.geneval.colours import ClipColours
from hypernoise_pl.metrics.geneval.results import CAVEAT, RESULTS, results
from hypernoise_pl.progress import phase, say
from hypernoise_pl.runs.unfinished import unfinished_folder
from hypernoise_pl.score import fidelity, geneval
from hypernoise_pl.score.journal import SETTINGS, Journal
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.score.page import write_page
from hypernoise_pl.score.running import device, run
from hypernoise_pl.score.sources import Images, find_images, select_method
from hypernoise_pl.score.summary import summarise
from hypernoise_pl.score.table import left_out_lines, table
from hypernoise_pl.system.files import lock_folder, new_run, write_text
from hypernoise_pl.system.signals import Stopped

SUMMARY = "summary.json"


def main(options: Options, flags: Sequence[str]) -> Outcome:
    """Run the command.

    Args:
        options: flags of the command.
        flags: keys of the benchmark's configuration.
    """
    with Outcome("score", options.verbose) as outcome:
        outcome.begun = True
        try:
            outcome.result = (score_images if options.detections is None else _score_detections)(options, flags)
        except Stopped as stopped:
            stopped.add_note("the same command goes on where it was")
            raise
    return outcome


def score_images(options: Options, flags: Sequence[str]) -> dict[str, Any] | None:
    """Score images by the benchmark's own models.

    Args:
        options: flags of the command.
        flags: keys of the benchmark's configuration.

    Returns:
        The contents of ``summary.json``; None where other processes have images left.

    Raises:
        ValueError: for an error in options, configuration or images.
        FileNotFoundError: if a file, folder or model is missing.
    """
    shard = _check_options(options)
    config = benchmark_config(str(options.benchmark), [*read_flags(flags)])
    cls = benchmark_class(config)
    images, against = _images(options, cls, config["benchmark"].get("init_args") or {})
    with phase("score: loading models"):
        benchmark = build_benchmark(config)
    _check_prompts(benchmark, images, options)
    with phase("score: hashing the weights"):
        settings = _settings(benchmark, images)
    folder = options.output or unfinished_folder(Path("runs/score"), SETTINGS, SUMMARY, settings) or new_run("score")
    _check_folder(folder)
    journal = Journal(folder, settings, *shard)
    say(f"score: {len(images.files)} images, {benchmark.title} by {benchmark.judged_by()}\nscore: run folder {folder}")
    with lock_folder(folder / f"share-{shard[0]}-of-{shard[1]}"):  # removed at the end
        scored, left, complete = run(benchmark.to(device()), images.files, journal, options.batch_size, shard)
    if complete:
        journal.remove_locks()
    else:
        say(f"shard {shard[0]} of {shard[1]} is done; the last one to finish writes the summary in {folder}")
        return None
    facts = {
        "benchmark": options.benchmark,
        "title": benchmark.title,
        "judged_by": benchmark.judged_by(),
        "caveat": benchmark.caveat,
        "binary": benchmark.binary,
        "images_from": str(options.images),
    }
    left = [*images.left_out, *left]
    if against:
        return _write_fidelity(folder, facts | {"against": str(options.against or against)}, scored, left, against)
    return _write(folder, facts, (scored, left, images.prompts), benchmark.results)


def _check_options(options: Options) -> tuple[int, int]:
    """Check the flags of ``score``; gives the shard and the number of shards."""
    if options.images is None:
        raise ValueError("IMAGES: missing; give a folder or a JSONL file after the benchmark")
    if options.detector is not None:
        raise ValueError("--detector: names what a --detections file comes from; without one the benchmark says it")
    if options.batch_size < 1:
        raise ValueError(f"--batch-size {options.batch_size}: at least 1 is needed")
    shard, shards = shard_of(options.shard)
    if shards > 1 and options.output is None:
        raise ValueError("score: several processes need a common folder; give --output DIR")
    return shard, shards


def _images(options: Options, cls: type[Benchmark], arguments: Mapping[str, Any]) -> tuple[Images, str]:
    """The images of the command line with their prompts, and the images that they are compared with, if any."""
    assert options.images is not None
    prompts = None if options.metadata is None else cls.read(options.metadata, **arguments)
    images = find_images(options.images, cls.layout(**arguments), prompts)
    images = images if options.method is None else select_method(images, options.method)
    if issubclass(cls, FidelityBenchmark):
        return fidelity.add_reference(images, options.against)
    if options.against is not None:
        raise ValueError(f"--against: {options.benchmark} holds images against none; fidelity does")
    return images, ""


def _check_prompts(benchmark: Benchmark, images: Images, options: Options) -> None:
    """Check that the prompts can be scored; the error names --metadata if that was not given."""
    try:
        benchmark.check(images.prompts)
    except ValueError as error:
        hint = "" if options.metadata is not None else "; --metadata FILE gives the benchmark's own prompts"
        raise ValueError(f"{error}{hint}") from None


def _score_detections(options: Options, flags: Sequence[str]) -> dict[str, Any]:
    """Score a file of a detector's detections."""
    folder, detections, metadata = options.output, options.detections, _check_detections(options, flags)
    assert detections is not None
    colours = None
    if options.images is not None:
        if not options.images.is_dir():
            raise FileNotFoundError(f"images {options.images}: no such folder")
        with phase("score: loading the model of colours"):
            config = benchmark_config("geneval", [*read_flags(flags)])
            colours = build_part(config, "colours", ClipColours).to(device())
    with phase("score: judging the detections"):
        scored = geneval.score_detections(detections, metadata, options.images, colours)
    facts = {
        "benchmark": "geneval",
        "title": "GenEval",
        "judged_by": (options.detector or f"the detections of {detections.name}")
        + ("" if colours is None else f"; colours that it lacks by {colours.display_name()}"),
        "caveat": CAVEAT,
        "binary": True,
        "detections": str(detections),
        "metadata": str(metadata),
    }
    folder = folder or new_run("score")
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder, facts, scored, results)


def _check_detections(options: Options, flags: Sequence[str]) -> Path:
    """Check the flags of ``score --detections``; gives the benchmark's file of prompts."""
    benchmark_file(str(options.benchmark))  # raises for an unknown name
    if options.benchmark != "geneval":
        raise ValueError(f"--detections: a file for geneval; {options.benchmark} looks at images")
    if options.metadata is None:
        raise ValueError("score geneval --detections: needs --metadata evaluation_metadata.jsonl too")
    if flags and options.images is None:
        raise ValueError(f"{flags[0]}: not understood; a file of detections without images is scored without models")
    folder = options.output
    _check_folder(folder)
    if folder is not None and any((folder / name).exists() for name in (SUMMARY, RESULTS)):
        raise ValueError(f"--output {folder}: holds another run's figures; give another --output")
    return options.metadata


def _write(
    folder: Path,
    facts: dict[str, Any],
    outcomes: tuple[list[ScoredImage], list[LeftOut], list[Any]],
    files: Callable[[Sequence[ScoredImage]], dict[str, str]],
) -> dict[str, Any]:
    """Write and print the figures of a benchmark; gives the contents of ``summary.json``."""
    scored, left, prompts = outcomes
    if not scored:
        raise ValueError(f"score: no image can be scored; the first of {len(left)} left out: {left[0]}")
    summary = facts | summarise(scored, left, prompts)
    written: dict[str, Path] = {}
    for method in dict.fromkeys(each.image.made_by for each in scored):
        own = [each for each in scored if each.image.made_by == method]
        for name, text in files(own).items():
            file = folder / _method_folder(method) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, text)
            written.setdefault(name, file)
    with_files = [each for each in scored if each.image.path.is_file()]
    page = write_page(folder, summary, with_files, left) if with_files else None
    write_text(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    lines = [table(summary), "", *([left_out_lines(summary, left)] if left else [])]
    lines += [f"results      {file}" for file in written.values()]
    lines += [f"page         {page}"] if page else []
    say("\n".join([*lines, f"summary      {folder / SUMMARY}"]))
    return summary


def _write_fidelity(
    folder: Path, facts: dict[str, Any], scored: list[ScoredImage], left: list[LeftOut], against: str
) -> dict[str, Any]:
    """Write and print the figures of sets of images; gives the contents of ``summary.json``."""
    summary = facts | fidelity.summarise(scored, left, against)
    write_text(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    lines = [fidelity.table(summary), "", *([left_out_lines(summary, left)] if left else [])]
    say("\n".join([*lines, f"summary      {folder / SUMMARY}"]))
    return summary


def _settings(benchmark: Benchmark, images: Images) -> dict[str, Any]:
    """All settings that decide the figures, without the images' contents."""
    prompts = [[prompt.text, prompt.tag, prompt.index, dict(prompt.metadata)] for prompt in images.prompts]
    names = [[image.made_by, image.name, image.prompt.index, image.number] for image in images.files]
    return {
        "benchmark": described(benchmark),
        "prompts": {"count": len(prompts), "contents": digest_of(prompts)},
        "images": {"count": len(names), "contents": digest_of(names)},
    }


def _method_folder(method: str) -> str:
    """The folder of a method; characters that a path cannot have are escaped as in a URL."""
    name = quote(method, safe=" ()+,=")
    return name if name.strip(".") else name.replace(".", "%2E")


def _check_folder(folder: Path | None) -> None:
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {folder}: a file; give a folder")
