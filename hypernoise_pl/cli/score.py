"""``score``: a benchmark's figures of images that any tool made, its result files, a table and a page of images."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypernoise_pl.cli.benchmark_config import benchmark_file, build, build_part, class_of, configuration
from hypernoise_pl.compare.config import shard_of
from hypernoise_pl.config.identity import described, digest_of
from hypernoise_pl.config.merge import pairs_of
from hypernoise_pl.config.options import Options
from hypernoise_pl.metrics.benchmark import Benchmark, ScoredImage
from hypernoise_pl.metrics.fidelity_benchmark import FidelityBenchmark
from hypernoise_pl.metrics.geneval.colours import ClipColours
from hypernoise_pl.metrics.geneval.results import CAVEAT, RESULTS, results
from hypernoise_pl.progress import phase, say
from hypernoise_pl.score import fidelity, geneval
from hypernoise_pl.score.journal import Journal
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.score.page import write_page
from hypernoise_pl.score.running import device, run
from hypernoise_pl.score.sources import Images, find_images, only
from hypernoise_pl.score.summary import summarise
from hypernoise_pl.score.table import left_out, table
from hypernoise_pl.system.files import held, new_run, write
from hypernoise_pl.system.signals import Stopped

SUMMARY = "summary.json"


def main(options: Options, flags: Sequence[str]) -> int:
    """Run the command; every expected error is one line.

    Args:
        options: flags of the command.
        flags: keys of the benchmark's configuration.

    Returns:
        0 on success, 2 for what the user wrote or gave, 1 for what went wrong later, 143 or 130 after a signal.
    """
    try:
        if options.detections is not None:
            _of_detections(options, flags)
        else:
            score_images(options, flags)
        return 0
    except Stopped as stopped:
        print(f"hypernoise_pl score: {stopped}; the same command goes on where it was", file=sys.stderr)
        return stopped.code
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        if options.verbose:
            traceback.print_exc()
        line, code = str(error), 2
    except OSError as error:
        line, code = str(error), 1
    print(f"hypernoise_pl score: error: {' '.join(line.split())}", file=sys.stderr)
    return code


def score_images(options: Options, flags: Sequence[str]) -> None:
    """Score images by the benchmark's own models; ``options.result`` has what ``summary.json`` has.

    Args:
        options: flags of the command.
        flags: keys of the benchmark's configuration.

    Raises:
        ValueError: for what is wrong with options, configuration or images.
        FileNotFoundError: if a file, folder or model is missing.
    """
    if options.images is None:
        raise ValueError("score: of which images? give a folder or a JSONL file after the benchmark")
    if options.detector is not None:
        raise ValueError("--detector: names what a --detections file comes from; without one the benchmark says it")
    if options.batch_size < 1:
        raise ValueError(f"--batch-size {options.batch_size}: at least 1 is needed")
    share = shard_of(options.shard)
    if share[1] > 1 and options.output is None:
        raise ValueError("score: several processes need one --output folder to meet in")
    config = configuration(str(options.benchmark), [*pairs_of(flags)])
    kind = class_of(config)
    images = _found(options, kind, config["benchmark"].get("init_args") or {})
    against = ""
    if issubclass(kind, FidelityBenchmark):
        images, against = fidelity.with_against(images, options.against)
    elif options.against is not None:
        raise ValueError(f"--against: {options.benchmark} holds images against none; fidelity does")
    with phase("score: loading models"):
        benchmark = build(config)
    _check(benchmark, images, options)
    with phase("score: hashing the weights"):
        settings = _settings(benchmark, images)
    folder = options.output or Journal.unfinished(Path("runs/score"), settings) or new_run("score")
    _check_folder(folder)
    journal = Journal(folder, settings, *share)
    say(f"score: {len(images.files)} images, {benchmark.title} by {benchmark.judged_by()}\nscore: run folder {folder}")
    with held(folder / f"share-{share[0]}-of-{share[1]}"):  # gone when it is done
        scored, left, whole = run(benchmark.to(device()), images.files, journal, options.batch_size, share)
    if not whole:
        say(f"shard {share[0]} of {share[1]} is done; the last one to finish writes the summary in {folder}")
        return
    about = {
        "benchmark": options.benchmark,
        "title": benchmark.title,
        "judged_by": benchmark.judged_by(),
        "caveat": benchmark.caveat,
        "binary": benchmark.binary,
        "images_from": str(options.images),
    }
    left = [*images.left, *left]
    if against:
        _write_fidelity(options, folder, about | {"against": str(options.against or against)}, (scored, left, against))
    else:
        _write(options, folder, about, (scored, left, images.prompts), benchmark.results)


def _found(options: Options, kind: type[Benchmark], arguments: Mapping[str, Any]) -> Images:
    """The images that are asked for, and their prompts."""
    assert options.images is not None
    prompts = None if options.metadata is None else kind.read(options.metadata, **arguments)
    found = find_images(options.images, kind.layout(**arguments), prompts)
    return found if options.method is None else only(found, options.method)


def _check(benchmark: Benchmark, images: Images, options: Options) -> None:
    """Raise if prompts cannot be scored; where they are the images' own, say whose could be given."""
    try:
        benchmark.check(images.prompts)
    except ValueError as error:
        hint = "" if options.metadata is not None else "; --metadata FILE gives the benchmark's own prompts"
        raise ValueError(f"{error}{hint}") from None


def _of_detections(options: Options, flags: Sequence[str]) -> None:
    """Score a file of what a detector has found."""
    assert options.detections is not None
    benchmark_file(str(options.benchmark))  # whether there is one
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
    colours = None
    if options.images is not None:
        if not options.images.is_dir():
            raise FileNotFoundError(f"images {options.images}: no such folder")
        with phase("score: loading the model of colours"):
            colours = build_part(configuration("geneval", [*pairs_of(flags)]), "colours", ClipColours).to(device())
    with phase("score: judging the detections"):
        found = geneval.score(options.detections, options.metadata, options.images, colours)
    about = {
        "benchmark": "geneval",
        "title": "GenEval",
        "judged_by": (options.detector or f"the detections of {options.detections.name}")
        + ("" if colours is None else f"; colours that it lacks by {colours.display_name()}"),
        "caveat": CAVEAT,
        "binary": True,
        "detections": str(options.detections),
        "metadata": str(options.metadata),
    }
    folder = folder or new_run("score")
    folder.mkdir(parents=True, exist_ok=True)
    _write(options, folder, about, found, results)


def _write(
    options: Options,
    folder: Path,
    about: dict[str, Any],
    found: tuple[list[ScoredImage], list[LeftOut], list[Any]],
    files: Callable[[Sequence[ScoredImage]], dict[str, str]],
) -> None:
    """Write what was found, and print it."""
    scored, left, prompts = found
    if not scored:
        raise ValueError(f"score: no image can be scored; the first of {len(left)} left out: {left[0]}")
    options.result = about | summarise(scored, left, prompts)
    written: dict[str, Path] = {}
    for method in dict.fromkeys(each.image.made_by for each in scored):
        own = [each for each in scored if each.image.made_by == method]
        for name, text in files(own).items():
            file = folder / _folder_of(method) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, text)
            written.setdefault(name, file)
    with_files = [each for each in scored if each.image.path.is_file()]
    page = write_page(folder, options.result, with_files, left) if with_files else None
    write(folder / SUMMARY, json.dumps(options.result, indent=1) + "\n")
    lines = [table(options.result), "", *([left_out(options.result, left)] if left else [])]
    lines += [f"results      {file}" for file in written.values()]
    lines += [f"page         {page}"] if page else []
    say("\n".join([*lines, f"summary      {folder / SUMMARY}"]))


def _write_fidelity(
    options: Options, folder: Path, about: dict[str, Any], found: tuple[list[ScoredImage], list[LeftOut], str]
) -> None:
    """Write the figures of sets of images, and print them."""
    scored, left, against = found
    options.result = about | fidelity.summarise(scored, left, against)
    write(folder / SUMMARY, json.dumps(options.result, indent=1) + "\n")
    lines = [fidelity.table(options.result), "", *([left_out(options.result, left)] if left else [])]
    say("\n".join([*lines, f"summary      {folder / SUMMARY}"]))


def _settings(benchmark: Benchmark, images: Images) -> dict[str, Any]:
    """All that decides the figures, but for the images' contents."""
    prompts = [[prompt.text, prompt.tag, prompt.index, dict(prompt.metadata)] for prompt in images.prompts]
    names = [[image.made_by, image.name, image.prompt.index, image.number] for image in images.files]
    return {
        "benchmark": described(benchmark),
        "prompts": {"count": len(prompts), "contents": digest_of(prompts)},
        "images": {"count": len(names), "contents": digest_of(names)},
    }


def _folder_of(method: str) -> str:
    """Folder that is called like a method; what a path would read otherwise is escaped as in a URL."""
    name = quote(method, safe=" ()+,=")
    return name if name.strip(".") else name.replace(".", "%2E")


def _check_folder(folder: Path | None) -> None:
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {folder}: a file; give a folder")
