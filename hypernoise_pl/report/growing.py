"""The report of an unfinished comparison: its finished rows, and the progress of the others."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypernoise_pl.report.page import REPORT, SO_FAR, State, devices_of, empty_page, grid_of, page, sections_of
from hypernoise_pl.report.results import Results
from hypernoise_pl.report.summary import ImageStats, summary
from hypernoise_pl.system.files import write_text

EVERY = 30.0  # seconds between two pages, at least
SHARE = 0.05  # of a comparison's time that its pages may take
RELOAD = 15  # seconds between two reloads of an open page


@dataclass
class Growing:
    """Writes ``report.html`` and ``summary-so-far.json`` of an unfinished comparison; called after each unit of work.

    Any process may call it, as each file is written whole. Once every unit is done it writes nothing: the process that
    finds this writes the final report, and every process whose last unit ends after that one finds it too.

    Args:
        results: run folder.
        labels: rows of the table, in order.
        units: units of work of each row.
        base: label of the row that gains are against.
        description: run, prompts and device in a line.
        judged_by: judge and its models in a sentence; None without a judge.
        every: seconds between two pages, at least; more where a page takes long.
    """

    results: Results
    labels: Sequence[str]
    units: int
    base: str
    description: str
    judged_by: str | None = None
    every: float = EVERY
    _next: float = field(default=0.0, init=False)
    _stats: dict[str, ImageStats] = field(default_factory=dict, init=False)  # of finished rows, which do not change

    def __call__(self) -> None:
        """Write the page, if it is time."""
        start = time.monotonic()
        if start < self._next:
            return
        done = {label: sum(self.results.has(label, number) for number in range(self.units)) for label in self.labels}
        if sum(done.values()) < self.units * len(self.labels):
            self._write(done)
        now = time.monotonic()
        self._next = now + max(self.every, (now - start) / SHARE)

    def _write(self, done: dict[str, int]) -> None:
        state = State(
            done=sum(done.values()),
            units=self.units * len(self.labels),
            rows={label: (count, self.units) for label, count in done.items() if 0 < count < self.units},
            left=sum(not count for count in done.values()),
            written=time.strftime("%Y-%m-%d %H:%M:%S"),
            reload=RELOAD,
        )
        whole = [label for label, count in done.items() if count == self.units]
        units = {"done": state.done, "units": state.units}
        if self.base not in whole:
            reason = f"No figure yet: every gain is against {self.base}, which is not done."
            text, record = empty_page(reason, self.description, state), {"description": self.description}
        else:
            rows = self.results.rows(whole)
            for label in rows.keys() - self._stats.keys():
                self._stats[label] = self.results.image_stats(rows[label], None)
            record = summary(rows, self.base, self._stats, self.description + devices_of(rows), self.judged_by)
            text = page(record, sections_of(record, rows), list(grid_of(self.results, rows, self.base)), state)
        write_text(self.results.folder / SO_FAR, json.dumps(record | units, indent=1) + "\n")
        write_text(self.results.folder / REPORT, text)
