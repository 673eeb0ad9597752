"""``score``: reads detections and metadata, writes verdicts and figures, and prints the table."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

from hypernoise_pl.options import Options
from hypernoise_pl.progress import phase
from hypernoise_pl.run_folder import new_run, write
from hypernoise_pl.score.geneval import score, summarise
from hypernoise_pl.score.table import left_out, table

RESULTS, SUMMARY = "results.jsonl", "summary.json"


def main(options: Options) -> int:
    """Run the command; every expected error is one line.

    Returns:
        0 on success, 2 for what the user wrote or gave, 1 for what went wrong later.
    """
    try:
        _run(options)
        return 0
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        if options.verbose:
            traceback.print_exc()
        line, code = str(error), 2
    except OSError as error:
        line, code = str(error), 1
    print(f"hypernoise_pl score: error: {' '.join(line.split())}", file=sys.stderr)
    return code


def _run(options: Options) -> None:
    assert options.detections is not None and options.metadata is not None  # the parser asks for both
    _check_output(options.output)
    with phase("score: judging the detections"):
        scored, left, prompts = score(options.detections, options.metadata)
        detector = options.detector or f"the detections of {options.detections.name}"
        summary = summarise(scored, left, prompts, detector)
    files = {"detections": str(options.detections), "metadata": str(options.metadata)}
    options.result = summary | files
    folder = options.output or new_run("score")
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(each.result(), separators=(",", ":")) for each in scored)
    write(folder / RESULTS, "".join(f"{line}\n" for line in lines))
    write(folder / SUMMARY, json.dumps(options.result, indent=1) + "\n")
    print(table(summary), end="\n\n")
    if left:
        print(left_out(summary, left))
    print(f"verdicts     {folder / RESULTS}\nsummary      {folder / SUMMARY}", flush=True)


def _check_output(folder: Path | None) -> None:
    if folder is None or not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"--output {folder}: a file; give a folder")
    if (folder / SUMMARY).exists() or (folder / RESULTS).exists():
        raise ValueError(f"--output {folder}: holds another run's figures; give another --output")
