"""Measures how other busy processes slow a fit, by the number of threads and OpenMP's spin count.

    python benchmarks/busy_machine.py [--setting ours ...] [--busy 0 --busy 1] [--steps 20] [--rounds 2]

Every run is a short ``python -m hypernoise_pl fit`` in a process of its own, alone or beside processes that compute all
the time; settings take turns. Seconds are those of training. The reference is a thread for every core, alone
(``every core``). A setting that is a number is that of turns that a thread waits awake, with a thread for every core. A
run that takes ``--longest`` times as long is stopped and counted with that ratio. Needs a machine that does nothing
else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from hypernoise_pl.report.tables import markdown

RESULTS = Path(__file__).parent / "results"
VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
ALL_CORES = {"OMP_NUM_THREADS": str(os.cpu_count())}
SETTINGS = {
    "every core": ALL_CORES,
    "passive": ALL_CORES | {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "ours": {},  # as many threads as there are free cores
}


def environment(setting: str) -> dict[str, str]:
    """Environment of a setting, without other variables of OpenMP; a number is a spin count."""
    plain = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return plain | SETTINGS.get(setting, ALL_CORES | {"GOMP_SPINCOUNT": setting})


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Run processes that compute all the time."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def fit(setting: str, others: int, steps: int, batch: int, limit: float | None) -> float | None:
    """Seconds of training; None if the run took longer than ``limit`` seconds."""
    with tempfile.TemporaryDirectory() as folder, busy(others):
        command = [
            *(sys.executable, "-m", "hypernoise_pl", "fit", f"--output={folder}/run"),
            *(f"--trainer.max_steps={steps}", f"--data.batch_size={batch}", "--trainer.limit_val_batches=0"),
            *("--trainer.limit_test_batches=1", "--model.reference_search=null"),
        ]
        try:
            subprocess.run(command, env=environment(setting), capture_output=True, text=True, check=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return None
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{' '.join(command)}\n{error.stderr}") from error
        seconds: float = json.loads((Path(folder) / "run" / "summary.json").read_text())["fit"]["seconds"]
        return seconds


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per setting and number of busy processes: seconds of each round, and ratios to the reference."""
    settings = ["every core", *(setting for setting in arguments.setting if setting != "every core")]
    times_by_case: dict[tuple[str, int], list[float | None]] = {}
    limit = None
    for _ in range(arguments.rounds):
        for setting in settings:
            for others in arguments.busy:
                times = times_by_case.setdefault((setting, others), [])
                if None not in times:  # a stopped run is not repeated
                    times.append(fit(setting, others, arguments.steps, arguments.batch, limit))
                    print(json.dumps({"setting": setting, "busy": others, "seconds": times[-1]}), flush=True)
                if limit is None and (setting, others) == ("every core", 0) and times[0] is not None:
                    limit = arguments.longest * times[0] + arguments.start
    alone = [seconds for seconds in times_by_case["every core", 0] if seconds is not None]
    return [row(setting, others, times, alone, arguments.longest) for (setting, others), times in times_by_case.items()]


def row(setting: str, others: int, times: list[float | None], alone: list[float], longest: float) -> dict[str, Any]:
    """The figures of one setting with a number of busy processes."""
    stopped = None in times
    seconds = [time for time in times if time is not None]
    return {
        "setting": setting,
        "busy": others,
        "seconds": [round(time, 2) for time in seconds],
        "ratio_min": longest if stopped else round(min(seconds) / min(alone), 2),
        "ratio_median": longest if stopped else round(median(seconds) / median(alone), 2),
        "stopped": stopped,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Ratios as Markdown: one row per setting, one column per number of busy processes."""
    counts = sorted({row["busy"] for row in rows})
    lines = [["setting", *(f"{count} busy" if count else "alone" for count in counts)]]
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = {row["busy"]: row for row in rows if row["setting"] == setting}
        lines.append([setting, *(_shown(own[count]) for count in counts)])
    return markdown(lines)


def _shown(row: dict[str, Any]) -> str:
    return f"over {row['ratio_min']:g}" if row["stopped"] else f"{row['ratio_min']:.2f} ({row['ratio_median']:.2f})"


def main() -> None:
    """Measure, print a table, and write ``busy_machine.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", action="append", help=f"spin counts, or {', '.join(SETTINGS)}; several times")
    parser.add_argument("--busy", action="append", type=int, help="other busy processes; several times")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--longest", type=float, default=10.0, help="ratio at which a run is stopped")
    parser.add_argument("--start", type=float, default=60.0, help="seconds that starting and testing may take")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.setting = arguments.setting or ["ours", "3000", "one thread"]
    arguments.busy = sorted({0, *(arguments.busy or [1])})
    rows = measure(arguments)
    record = {"cores": os.cpu_count(), "steps": arguments.steps, "batch": arguments.batch, "rows": rows}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "busy_machine.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
