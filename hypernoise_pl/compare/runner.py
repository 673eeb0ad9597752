"""The runner of a comparison: it runs all methods on the same prompts and noises, in resumable, sharded units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl import __version__
from hypernoise_pl.adapters.description import adapter_digest
from hypernoise_pl.compare.config import Comparison, Entry, Method
from hypernoise_pl.compare.method_parts import MethodParts
from hypernoise_pl.config.identity import described, digest_of
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.progress import Steps, part
from hypernoise_pl.report.results import Results
from hypernoise_pl.report.rows import Cost, ImageRow, image_rows
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.running import SearchResult, run_search
from hypernoise_pl.system.threads import adaptive_threads
from hypernoise_pl.types import Prompt

MEASURED_NFE = 8  # smallest number of network evaluations of a speed measurement


@dataclass
class ComparisonRunner:
    """Runs a comparison and stores its results in a run folder.

    Args:
        comparison: methods, prompts, noises and budgets.
        model: generator, rewards and their weights, on their device.
        judge: judge of the images; None without one.
        prompts: test prompts.
        adapter: default adapter folder of the methods; None without one.
        results: results in the run folder.
        precision: the Trainer's precision, in effect within ``computing``.
        computing: function that returns the Trainer's context (autocast) for networks and rewards.

    Raises:
        ConfigError: if there is no prompt, a budget is smaller than the cost of one candidate, a verifier or adapter is
            missing, a method cannot run with this generator or verifier, or two rows have the same label.
    """

    comparison: Comparison
    model: HyperNoiseModule
    judge: Judge | None
    prompts: Sequence[Prompt]
    adapter: Path | None
    results: Results
    precision: str = "32-true"
    computing: Callable[[], AbstractContextManager[Any]] = nullcontext
    skipped: dict[str, str] = field(default_factory=dict, init=False)
    over_budget: dict[str, str] = field(default_factory=dict, init=False)  # methods that exceed the budget of seconds

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ConfigError("compare: the prompt set is empty; there is nothing to compare on")
        for verifier in self.comparison.verifiers.values():
            verifier.eval().requires_grad_(False).to(self.model.device)
        self._parts = MethodParts(self.comparison, self.model, self.judge, self.adapter)
        for method in self.comparison.methods:
            missing = self._parts.missing(method)
            if missing is None:
                self._parts.check(method)
            elif method.name == self.comparison.base:
                raise ConfigError(f"method {method.name!r} is the base and cannot run: {missing}")
            else:
                self.skipped[method.name] = missing
        self._parts.check_names()
        labels = [entry.label for entry in self._entries(timed=False)]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError(f"compare.methods: two rows have the label {label!r}; rename one method")
        timed = self.comparison.budget_seconds is not None
        for method in self.comparison.methods:
            rows = len(method.budgets or [None])
            if method.name == self.comparison.base and rows > 1 and (not timed or isinstance(method.search, NoSearch)):
                raise ConfigError(
                    f"compare.base: method {method.name!r} has {rows} budgets, hence {rows} rows; give it one budget"
                )

    def run(self, shard: int = 0, shards: int = 1, after: Callable[[], None] = lambda: None) -> bool:
        """Run the remaining units of a shard.

        Args:
            shard: number of the shard, from 0.
            shards: number of shards.
            after: function that is called after each unit.

        Returns:
            True once every unit of all shards is complete.
        """
        entries, units = self.entries, self._units()
        work = [(entry, number) for entry in entries for number in range(len(units))]
        todo = work[shard::shards]
        left = [(entry, number) for entry, number in todo if not self.results.has(entry.label, number)]
        total, rest = (
            sum(_progress_cost(entry) * len(units[number]) for entry, number in part) for part in (todo, left)
        )
        with Steps("compare", total, "NFE", total - rest) as steps:
            for entry, number in adaptive_threads(left):
                with part(entry.label):
                    self.results.add(entry.label, number, *self.measure(entry, units[number]))
                    steps.advance(_progress_cost(entry) * len(units[number]))
                after()
        return all(self.results.has(entry.label, number) for entry, number in work)

    @property
    def entries(self) -> list[Entry]:
        """The entries, one per row of the table."""
        return self._entries(timed=self.comparison.budget_seconds is not None)

    @property
    def unit_count(self) -> int:
        """The number of units of each entry."""
        return len(self._units())

    def measure(self, entry: Entry, unit: Sequence[tuple[Prompt, int]]) -> tuple[list[ImageRow], Tensor]:
        """Run one entry on one unit of prompts and noises; return its rows and images."""
        prompts, texts = [prompt for prompt, _ in unit], [prompt.text for prompt, _ in unit]
        noises = [seed_of(self.model.seed, prompt.index, draw) for prompt, draw in unit]
        noise = gaussian(self.model.generator.noise_shape, noises).to(self.model.device)
        with self.computing():
            best = run_search(
                entry.search,
                self.model.generator,
                self._parts.scorer(entry.method, prompts),
                texts,
                noise,
                adapter=self._parts.adapter_of(entry.method),
                steps=entry.method.steps,
                seed=self.model.seed,
                budget=entry.budget,
                chunk=self.comparison.batch_size,
                label=entry.label,
            )
        return self._rows(entry, unit, best), best.images

    @property
    def device(self) -> str:
        """The device name of the model."""
        device = self.model.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

    @property
    def _timing_device(self) -> str:
        """The device that a unit's seconds belong to, with the number of threads on a CPU."""
        threads = torch.get_num_threads()
        suffix = f" with {threads} thread{'s' if threads > 1 else ''}" if self.model.device.type == "cpu" else ""
        return self.device + suffix

    def identity(self) -> dict[str, Any]:
        """All settings that determine a figure; a run folder holds the results of one identity.

        ``batch_size`` is left out. The device is included only for a budget in seconds. ``unit_size`` is included,
        since results are stored by unit.
        """
        comparison, model = self.comparison, self.model
        return {
            "version": __version__,
            "generator": described(model.generator) | {"noise_shape": list(model.generator.noise_shape)},
            "rewards": described(dict(model.ensemble.members.items())),
            "reward_weights": dict(model.ensemble.weights),
            "verifiers": described(comparison.verifiers),
            "judge": described(self.judge),
            "features": described(comparison.features),
            "methods": {method.name: self._describe(method) for method in comparison.methods},
            "base": comparison.base,
            "prompts": {"count": len(self.prompts)}
            | {part.name: digest_of(getattr(prompt, part.name) for prompt in self.prompts) for part in fields(Prompt)},
            "seeds": comparison.seeds,
            "seed": model.seed,
            "unit_size": comparison.unit_size,
            "budget_seconds": comparison.budget_seconds,
            "device": None
            if comparison.budget_seconds is None
            else self.device,  # it determines the work done in that time
            "precision": self.precision,
        }

    def _describe(self, method: Method) -> dict[str, Any]:
        """The settings of a method, with its adapter's digest instead of the folder name."""
        settings: dict[str, Any] = described(replace(method, adapter=None))
        uses = method.start == "hypernetwork" and method.name not in self.skipped
        return settings | {"adapter": adapter_digest(self._parts.folder_of(method)) if uses else None}

    def _rows(self, entry: Entry, unit: Sequence[tuple[Prompt, int]], best: SearchResult) -> list[ImageRow]:
        account, ensemble = best.account, self.model.ensemble
        prompts = [prompt for prompt, _ in unit]
        cost = Cost(
            account.nfe,
            account.nfe_backward,
            best.seconds,
            self._timing_device,
            account.decodes,
            account.verified,
            account.missing / len(unit),
        )
        with torch.no_grad(), self.computing():
            scores = ensemble.scores(best.images, [prompt.text for prompt in prompts])
        verdicts = None if self.judge is None else self.judge(best.images, prompts)
        return image_rows(entry.info, cost, unit, scores, ensemble.weights, verdicts)

    def _entries(self, timed: bool) -> list[Entry]:
        entries = []
        for method in self.comparison.methods:
            if method.name in self.skipped:
                continue
            costs = self._parts.costs(method)
            budgets: Sequence[int | None] = method.budgets or [None]
            if timed and not isinstance(method.search, NoSearch):
                budgets = [self._budget_for_seconds(method)]
            for budget in budgets:
                try:
                    sized = method.search if budget is None else method.search.fit_to(budget, *costs)
                except ValueError as error:
                    raise ConfigError(f"method {method.name!r}: {error}") from None
                label = method.name if len(budgets) == 1 else f"{method.name}-{budget}"
                spent = sized.nfe(*costs)
                entries.append(Entry(label, method, sized, spent if budget is None else budget, spent))
        return entries

    def _units(self) -> list[list[tuple[Prompt, int]]]:
        """The units: lists of prompts and draw numbers."""
        images = [(prompt, draw) for prompt in self.prompts for draw in range(self.comparison.seeds)]
        size = self.comparison.unit_size
        return [images[start : start + size] for start in range(0, len(images), size)]

    def _budget_for_seconds(self, method: Method) -> int:
        """The budget of a method for the comparison's seconds; its speed is measured once per run folder."""
        costs = self._parts.costs(method)
        shortest = method.search.min_nfe(*costs)
        seconds = self.comparison.budget_seconds
        assert seconds is not None

        def seconds_per_nfe() -> float:
            unit = self._units()[0]
            sized = method.search.fit_to(max(2 * shortest, MEASURED_NFE), *costs)
            spent = sized.nfe(*costs)
            entry = Entry(method.name, method, sized, spent, spent)
            self.measure(entry, unit)  # the first run warms up caches
            rows, _ = self.measure(entry, unit)
            return rows[0].cost.seconds / rows[0].cost.nfe

        speed = self.results.speed(method.name, seconds_per_nfe)
        if shortest > int(seconds / speed):
            self.over_budget[method.name] = (
                f"takes at least {shortest} evaluations per image, about {shortest * speed:.3g} s: more than "
                f"{seconds:g} s"
            )
        return max(shortest, int(seconds / speed))


def _progress_cost(entry: Entry) -> int:
    """The cost per image of an entry in the progress bar; a backward pass counts as two evaluations."""
    return entry.budget * (3 if entry.search.needs_gradient else 1)
