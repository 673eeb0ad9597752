"""Methods side by side: the same prompts, the same starting noises, every cost counted; resumable and shardable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypernoise_pl import __version__
from hypernoise_pl.adapters.description import digest
from hypernoise_pl.adapters.files import load_adapter
from hypernoise_pl.compare.config import Comparison, Entry, Method
from hypernoise_pl.config.identity import described, digest_of
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.progress import Steps, part
from hypernoise_pl.report.results import Results
from hypernoise_pl.report.rows import ENSEMBLES, JUDGE, RANKED, WEIGHTED, Cost, ImageRow, image_rows
from hypernoise_pl.rewards.base import Reward, Verifier
from hypernoise_pl.rewards.ensemble import RankMean
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.running import SearchResult, run_search
from hypernoise_pl.search.scoring import AnyScorer, ByRow
from hypernoise_pl.system.threads import following_load
from hypernoise_pl.types import Prompt, nearest

MEASURED = 8  # network evaluations, at least, by which a search's speed is measured


@dataclass
class Comparing:
    """A comparison under way.

    Args:
        comparison: what to compare.
        model: generator, rewards and their weights; on its device.
        judge: the truth, where there is one.
        prompts: the prompt set.
        adapter: what was trained, for methods that name none; None if nothing was.
        results: the run folder's.
        precision: by the Trainer's name, of ``computing``.
        computing: makes the context in which networks and rewards compute, as the Trainer has it.

    Raises:
        ConfigError: if there is no prompt, a budget holds not even one candidate, a verifier or adapter is not there,
            a method cannot be served by this generator or verifier, or two rows would have one name.
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
    over: dict[str, str] = field(default_factory=dict, init=False)  # what a budget of seconds does not hold
    _adapters: dict[Path, Adapter] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ConfigError("compare: the prompt set is empty; there is nothing to compare on")
        for each in self.comparison.verifiers.values():
            each.eval().requires_grad_(False).to(self.model.device)
        for method in self.comparison.methods:
            verifier = self.comparison.verifiers.get(method.verifier)
            asked = verifier.missing() if isinstance(verifier, Verifier) else None
            blind = "there is no judge to search by" if method.verifier == "judge" and self.judge is None else None
            missing = method.search.missing() or asked or blind
            if missing is None:
                self._check(method)
            elif method.name == self.comparison.base:
                raise ConfigError(f"method {method.name!r} is the base and cannot run: {missing}")
            else:
                self.skipped[method.name] = missing
        names = [*ENSEMBLES, JUDGE, *self.model.ensemble.members, *self.comparison.verifiers]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"compare.verifiers: {name!r} is the name of something else too; choose another")
        labels = [cell.label for cell in self._cells(timed=False)]
        for label in labels:
            if labels.count(label) > 1:
                raise ConfigError(f"compare.methods: two rows would be called {label!r}; rename one method")
        timed = self.comparison.budget_seconds is not None
        for method in self.comparison.methods:
            rows = len(method.budgets or [None])
            if method.name == self.comparison.base and rows > 1 and (not timed or isinstance(method.search, NoSearch)):
                raise ConfigError(
                    f"compare.base: method {method.name!r} has {rows} budgets, and so {rows} rows; give it one"
                )

    def run(self, shard: int = 0, shards: int = 1, after: Callable[[], None] = lambda: None) -> bool:
        """Do what of this shard is not yet done.

        Args:
            shard: number of this process's share.
            shards: how many there are.
            after: called after each unit of work.

        Returns:
            Whether now every unit of all shards is done.
        """
        cells, blocks = self.cells, list(self._blocks())
        units = [(cell, number) for cell in cells for number in range(len(blocks))]
        todo = units[shard::shards]
        left = [(cell, number) for cell, number in todo if not self.results.has(cell.label, number)]
        total, rest = (sum(_price(cell) * len(blocks[number]) for cell, number in part) for part in (todo, left))
        with Steps("compare", total, "NFE", total - rest) as steps:
            for cell, number in following_load(left):
                with part(cell.label):
                    self.results.add(cell.label, number, *self.measure(cell, blocks[number]))
                    steps.advance(_price(cell) * len(blocks[number]))
                after()
        return all(self.results.has(cell.label, number) for cell, number in units)

    @property
    def cells(self) -> list[Entry]:
        """The table's rows."""
        return self._cells(timed=self.comparison.budget_seconds is not None)

    @property
    def units(self) -> int:
        """Units of work of each row."""
        return len(self._blocks())

    def measure(self, cell: Entry, block: Sequence[tuple[Prompt, int]]) -> tuple[list[ImageRow], Tensor]:
        """Search a block's noises by a method; everything measured of every image, and the images."""
        prompts, texts = [prompt for prompt, _ in block], [prompt.text for prompt, _ in block]
        noises = [seed_of(self.model.seed, prompt.index, draw) for prompt, draw in block]
        noise = gaussian(self.model.generator.noise_shape, noises).to(self.model.device)
        with self.computing():
            best = run_search(
                cell.search,
                self.model.generator,
                self._scorer(cell.method, prompts),
                texts,
                noise,
                adapter=self._adapter_of(cell.method),
                steps=cell.method.steps,
                seed=self.model.seed,
                budget=cell.budget,
                chunk=self.comparison.batch_size,
                label=cell.label,
            )
        return self._rows(cell, block, best), best.images

    @property
    def device(self) -> str:
        """The name of the device that the model is on."""
        device = self.model.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

    @property
    def _where(self) -> str:
        """What the seconds of a unit of work depend on: the device, and its threads now where it is the CPU."""
        threads = torch.get_num_threads()
        words = f" with {threads} thread{'s' if threads > 1 else ''}" if self.model.device.type == "cpu" else ""
        return self.device + words

    def identity(self) -> dict[str, Any]:
        """All that decides a figure; a run folder holds the results of one identity.

        ``batch_size`` decides none, and the device none but how much a budget of seconds holds. ``unit_size`` is in it:
        a folder is filled by units.
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
            "device": None if comparison.budget_seconds is None else self.device,  # what it does in that time
            "precision": self.precision,
        }

    def _describe(self, method: Method) -> dict[str, Any]:
        """A method with what is in its adapter's folder in the place of the folder's name."""
        found: dict[str, Any] = described(replace(method, adapter=None))
        uses = method.start == "hypernetwork" and method.name not in self.skipped
        return found | {"adapter": digest(self._folder(method)) if uses else None}

    def _rows(self, entry: Entry, unit: Sequence[tuple[Prompt, int]], best: SearchResult) -> list[ImageRow]:
        account, ensemble = best.account, self.model.ensemble
        prompts = [prompt for prompt, _ in unit]
        cost = Cost(
            account.nfe,
            account.nfe_backward,
            best.seconds,
            self._where,
            account.decodes,
            account.verified,
            account.missing / len(unit),
        )
        with torch.no_grad(), self.computing():
            scores = ensemble.scores(best.images, [prompt.text for prompt in prompts])
        verdicts = None if self.judge is None else self.judge(best.images, prompts)
        return image_rows(entry.info, cost, unit, scores, ensemble.weights, verdicts)

    def _cells(self, timed: bool) -> list[Entry]:
        found = []
        for method in self.comparison.methods:
            if method.name in self.skipped:
                continue
            costs = self._costs(method)
            budgets: Sequence[int | None] = method.budgets or [None]
            if timed and not isinstance(method.search, NoSearch):
                budgets = [self._affordable(method)]
            for budget in budgets:
                try:
                    sized = method.search if budget is None else method.search.within(budget, *costs)
                except ValueError as error:
                    raise ConfigError(f"method {method.name!r}: {error}") from None
                label = method.name if len(budgets) == 1 else f"{method.name}-{budget}"
                spent = sized.budget(*costs)
                found.append(Entry(label, method, sized, spent if budget is None else budget, spent))
        return found

    def _blocks(self) -> list[list[tuple[Prompt, int]]]:
        """Prompts and draws, cut into units."""
        every = [(prompt, draw) for prompt in self.prompts for draw in range(self.comparison.seeds)]
        size = self.comparison.unit_size
        return [every[place : place + size] for place in range(0, len(every), size)]

    def _check(self, method: Method) -> None:
        """Whatever can be wrong with a method is said here."""
        known = [*ENSEMBLES, *self.model.ensemble.members, *self.comparison.verifiers, *([JUDGE] if self.judge else [])]
        name, where = method.verifier, f"method {method.name!r}"
        if name not in known:
            raise ConfigError(
                f"{where}: no verifier is called {name!r}{nearest(name, known)}; there are {', '.join(known)}"
            )
        if name == RANKED and not self.model.ensemble.counted:
            raise ConfigError(f"{where}: every reward has weight 0, so that {name!r} has no member; give one a weight")
        verifier = self._verifiers.get(name)
        blind = not isinstance(verifier, (Reward, LatentVerifier))
        if method.search.needs_gradient and blind:
            raise ConfigError(f"{where}: {type(method.search).__name__} differentiates, and {name!r} has no gradient")
        try:
            method.search.check(self.model.generator, method.steps)
            if isinstance(verifier, LatentVerifier):
                verifier.check(self.model.generator)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
        self._adapter_of(method)

    def _costs(self, method: Method) -> tuple[int, int, int]:
        """Network evaluations per image generated, per noise drawn and per sample verified."""
        verifier = self.comparison.verifiers.get(method.verifier)
        verifying = verifier.nfe if isinstance(verifier, LatentVerifier) else 0
        adapter = self._adapter_of(method)
        return method.steps, 0 if adapter is None else adapter.nfe, verifying

    def _adapter_of(self, method: Method) -> Adapter | None:
        """The adapter that a method's noises go through; None for gaussian noises and the base generator."""
        if method.start == "gaussian":
            return None
        folder = self._folder(method)
        if folder not in self._adapters:
            adapter = load_adapter(folder, self.model.generator).eval().requires_grad_(False)
            self._adapters[folder] = adapter.to(self.model.device)
        return self._adapters[folder]

    def _folder(self, method: Method) -> Path:
        if method.adapter is not None:
            return Path(method.adapter)
        if self.adapter is None:
            raise ConfigError(
                f"method {method.name!r} starts from what was trained, and no fit was found; run "
                "`python -m hypernoise_pl fit` first, or give --adapter"
            )
        return self.adapter

    def _scorer(self, method: Method, prompts: Sequence[Prompt]) -> AnyScorer:
        """The verifier a method searches by, in the form a problem takes."""

        def judged(images: Tensor, places: list[int]) -> Tensor:
            assert self.judge is not None
            return self.judge(images, [prompts[place] for place in places]).float()

        if method.verifier == JUDGE:
            return ByRow(judged)
        return self._verifiers[method.verifier]

    @property
    def _verifiers(self) -> dict[str, Any]:
        """Name -> every verifier that a method may search by, but for the judge."""
        ensemble = self.model.ensemble
        ranked = {RANKED: RankMean(ensemble)} if ensemble.counted else {}
        return {WEIGHTED: ensemble, **ranked, **ensemble.members, **self.comparison.verifiers}

    def _affordable(self, method: Method) -> int:
        """The budget that a method's own speed, measured once for the run folder, allows."""
        costs = self._costs(method)
        shortest = method.search.shortest(*costs)
        seconds = self.comparison.budget_seconds
        assert seconds is not None

        def measured() -> float:
            block = self._blocks()[0]
            sized = method.search.within(max(2 * shortest, MEASURED), *costs)
            spent = sized.budget(*costs)
            cell = Entry(method.name, method, sized, spent, spent)
            self.measure(cell, block)  # the first run warms caches up
            rows, _ = self.measure(cell, block)
            return rows[0].cost.seconds / rows[0].cost.nfe

        speed = self.results.speed(method.name, measured)
        if shortest > int(seconds / speed):
            self.over[method.name] = (
                f"takes {shortest} evaluations an image at the least, about {shortest * speed:.3g} s: more than "
                f"{seconds:g} s"
            )
        return max(shortest, int(seconds / speed))


def _price(cell: Entry) -> int:
    """For the progress: a backward pass costs about two forward ones."""
    return cell.budget * (3 if cell.search.needs_gradient else 1)
