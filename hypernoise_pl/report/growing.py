"""The report of a comparison while it goes on: its whole rows, and how much is done."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypernoise_pl.report.page import (
    REPORT,
    SO_FAR,
    UnderWay,
    devices_of,
    grid_of,
    image_stats,
    page,
    sections_of,
    verdict,
)
from hypernoise_pl.report.results import Results
from hypernoise_pl.report.standings import ImageStats, standings
from hypernoise_pl.system.files import write

EVERY = 30.0  # seconds between two pages, at least
SHARE = 0.05  # of a comparison's time that its pages may take
RELOAD = 15  # seconds between two reloads of an open page


@dataclass
class Growing:
    """Writes ``report.html`` and ``summary-so-far.json`` of a comparison that goes on; called after each unit of work.

    Any process may call it, as each file is written whole. Once every unit is done it writes nothing: the process that
    finds this writes the final report, and every process whose last unit ends after that one finds it too.

    Args:
        results: the run folder's.
        labels: the table's rows, in order.
        units: units of work of each row.
        base: label that the others are against.
        about: what is run, in a line.
        every: seconds between two pages, at least; more where a page takes long.
    """

    results: Results
    labels: Sequence[str]
    units: int
    base: str
    about: str
    every: float = EVERY
    _next: float = field(default=0.0, init=False)
    _stats: dict[str, ImageStats] = field(default_factory=dict, init=False)  # of whole rows, which do not change

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
        state = UnderWay(
            done=sum(done.values()),
            units=self.units * len(self.labels),
            rows={label: (count, self.units) for label, count in done.items() if 0 < count < self.units},
            left=sum(not count for count in done.values()),
            written=time.strftime("%Y-%m-%d %H:%M:%S"),
            reload=RELOAD,
        )
        whole = [label for label, count in done.items() if count == self.units]
        if self.base not in whole:
            said, about = f"No figure yet: every gain is against {self.base}, which is not done.", self.about
            found, text = {}, page({}, {}, [], self.base, about, said, state)
        else:
            rows = self.results.rows(whole)
            by_label = {label: [row for row in rows if row.label == label] for label in whole}
            for label in by_label.keys() - self._stats.keys():
                self._stats[label] = image_stats(self.results, by_label[label], None)
            found = standings(by_label, self.base, self._stats)
            about = self.about + devices_of(rows)
            grid = list(grid_of(self.results, by_label, self.base))
            sections = sections_of(found, by_label, self.base)
            text = page(found, sections, grid, self.base, about, verdict(found, self.base), state)
        summary = {"methods": found, "base": self.base, "about": about, "done": state.done, "units": state.units}
        write(self.results.folder / SO_FAR, json.dumps(summary, indent=1) + "\n")
        write(self.results.folder / REPORT, text)
