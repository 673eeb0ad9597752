"""Methods side by side: the same prompts, the same starting noises, every cost counted; resumable and shardable."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hypernoise_pl.adapter import describe, load_adapter, restore
from hypernoise_pl.finetune import AdaptedGenerator
from hypernoise_pl.hypernetwork import LoraOptions
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.noise import gaussian, seed_of
from hypernoise_pl.objective import weighted_sum
from hypernoise_pl.report.results import Results, Row
from hypernoise_pl.rewards.features import ImageFeatures
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.none import NoSearch
from hypernoise_pl.search.problem import NoiseProblem, Refine, Scorer
from hypernoise_pl.signatures import ConfigError
from hypernoise_pl.types import Conditioning, Prompt


@dataclass(frozen=True)
class Method:
    """One line of the comparison.

    Args:
        name: of the method; with several budgets each has its own row.
        search: what is done at test time; NoSearch for a generator or hypernetwork alone.
        budgets: network evaluations per image; each makes the search as long as it allows. Left out: the search's own.
        start: ``gaussian`` noise, or what was ``trained``: noise refined by the hypernetwork (one evaluation a draw),
            or the fine-tuned generator.
        adapter: folder of what was trained; that of the comparison if left out.
        verifier: what the search maximises: ``weighted`` (the ensemble), ``rank`` (mean rank over its members), the
            name of one reward, or ``judge``, the oracle.
        steps: network evaluations per image of the generator.
    """

    name: str
    search: Search = NoSearch()
    budgets: list[int] | None = None
    start: Literal["gaussian", "trained"] = "gaussian"
    adapter: str | None = None
    verifier: str = "weighted"
    steps: int = 1


@dataclass(frozen=True)
class Comparison:
    """What is compared, and on what.

    Args:
        methods: in the order of the table; names are unique.
        prompts: how many of the test prompts, from the first; None for all.
        seeds: noises per prompt, the same for every method.
        block: images searched together; a unit of work that is done or not done.
        chunk: images generated at once; bounds memory.
        budget_seconds: seconds per image that every search may take instead of its budgets: its speed is measured
            first and kept in the run folder.
        base: method that the others are measured against.
        features: what tells, by kernel distance, how far a method's images are from the base's; None to leave it out.
    """

    methods: list[Method]
    prompts: int | None = None
    seeds: int = 4
    block: int = 120
    chunk: int = 256
    budget_seconds: float | None = None
    base: str = "none"
    features: ImageFeatures | None = None

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"compare.methods: {name!r} stands there twice; give each a name of its own")
            if not name or not all(letter.isalnum() or letter in "-_." for letter in name):
                raise ConfigError(f"compare.methods: {name!r} cannot name files; use letters, digits, - _ and .")
        if self.base not in names:
            raise ConfigError(f"compare.base: no method is called {self.base!r}; there are {', '.join(names)}")
        if min(self.seeds, self.block, self.chunk, *([self.prompts] if self.prompts is not None else [])) < 1:
            raise ConfigError("compare: prompts, seeds, block and chunk must be at least 1")


@dataclass(frozen=True)
class Cell:
    """A method at one of its budgets: a row of the table."""

    label: str
    method: Method
    search: Search
    budget: int


@dataclass
class Trained:
    """What an adapter changes: noises are refined, or another view of the network generates."""

    refine: Refine | None = None
    network: nn.Module | None = None

    @property
    def drawing(self) -> int:
        """Evaluations per noise drawn."""
        return int(self.refine is not None)


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
    """

    comparison: Comparison
    model: HyperNoiseModule
    judge: Judge | None
    prompts: Sequence[Prompt]
    adapter: Path | None
    results: Results
    _trained: dict[Path, Trained] = field(default_factory=dict, init=False)

    def run(self, shard: int = 0, shards: int = 1) -> bool:
        """Do what of this shard is not yet done.

        Returns:
            Whether now every unit of all shards is done.
        """
        cells, blocks = self.cells(), list(self.blocks())
        units = [(cell, number) for cell in cells for number in range(len(blocks))]
        todo = units[shard::shards]
        done = [self.results.has(cell.label, number) for cell, number in todo]
        cost = [self._price(cell) * len(blocks[number]) for cell, number in todo]
        first = sum(itertools.compress(cost, done))
        with tqdm(total=sum(cost), initial=first, unit="NFE", unit_scale=True, desc="compare") as bar:
            for (cell, number), price, is_done in zip(todo, cost, done, strict=True):
                if is_done:
                    continue
                bar.set_postfix_str(cell.label)
                self.results.add(cell.label, number, *self.measure(cell, blocks[number]))
                bar.update(price)
        return all(self.results.has(cell.label, number) for cell, number in units)

    def cells(self) -> list[Cell]:
        """The table's rows; every budget is checked before anything runs.

        Raises:
            ConfigError: for a budget that holds not even one candidate, a verifier or adapter that is not there, or a
                method that this generator or verifier cannot serve.
        """
        found = []
        for method in self.comparison.methods:
            drawing = self._check(method)
            budgets: Sequence[int | None] = method.budgets or [None]
            if self.comparison.budget_seconds is not None and not isinstance(method.search, NoSearch):
                budgets = [self._affordable(method, self.comparison.budget_seconds)]
            for budget in budgets:
                try:
                    sized = method.search.within(budget, method.steps, drawing) if budget else method.search
                except ValueError as error:
                    raise ConfigError(f"method {method.name!r}: {error}") from None
                label = method.name if len(budgets) == 1 else f"{method.name}-{budget}"
                found.append(Cell(label, method, sized, sized.budget(method.steps, drawing)))
        return found

    def blocks(self) -> Iterator[list[tuple[Prompt, int]]]:
        """Prompts and draws, cut into units."""
        every = [(prompt, draw) for prompt in self.prompts for draw in range(self.comparison.seeds)]
        for place in range(0, len(every), self.comparison.block):
            yield every[place : place + self.comparison.block]

    def measure(self, cell: Cell, block: Sequence[tuple[Prompt, int]]) -> tuple[list[Row], Tensor]:
        """Search a block's noises by a method; everything measured of every image, and the images."""
        prompts, texts = [prompt for prompt, _ in block], [prompt.text for prompt, _ in block]
        noises = [seed_of(self.model.seed, prompt.index, draw) for prompt, draw in block]
        noise = gaussian(self.model.generator.noise_shape, noises).to(self.model.device)
        trained = self._trained_of(cell.method)
        problem = NoiseProblem(
            self.model.generator,
            self._scorer(cell.method, prompts),
            texts,
            noise,
            cell.budget,
            self.model.seed,
            cell.method.steps,
            self.comparison.chunk,
            trained.refine,
            trained.network,
        )
        cell.search.run(problem)
        best = problem.answer()
        assert best.images is not None
        seconds, account = problem.seconds / len(block), problem.account
        with torch.no_grad():
            scores = self.model.score(best.images, texts)
            weighted = weighted_sum(scores, self.model.reward_weights)
        verdict = None if self.judge is None else self.judge(best.images, prompts).tolist()
        rows = [
            Row(
                label=cell.label,
                method=cell.method.name,
                search=type(cell.search).__name__,
                verifier=cell.method.verifier,
                trained=cell.method.start == "trained",
                budget=cell.budget,
                prompt=prompt.index,
                text=prompt.text,
                tag=prompt.tag,
                seed=draw,
                steps=cell.method.steps,
                nfe=account.nfe,
                nfe_backward=account.nfe_backward,
                decodes=account.decodes,
                verified=account.verified,
                missing=account.missing / len(block),
                seconds=seconds,
                judge=None if verdict is None else float(verdict[place]),
                reward=weighted[place].item(),
                scores={name: score[place].item() for name, score in scores.items()},
                image="",
            )
            for place, (prompt, draw) in enumerate(block)
        ]
        return rows, best.images

    def identity(self) -> dict[str, Any]:
        """What the figures depend on; a run folder holds the results of one identity."""
        return {
            "methods": {method.name: repr(method) for method in self.comparison.methods},
            "prompts": [prompt.text for prompt in self.prompts],
            "seeds": self.comparison.seeds,
            "block": self.comparison.block,
            "budget_seconds": self.comparison.budget_seconds,
            "generator": self.model.generator.name,
            "reward_weights": dict(self.model.reward_weights),
            "seed": self.model.seed,
            "adapters": {name: _digest(folder) for name, folder in self._adapters().items()},
        }

    def _adapters(self) -> dict[str, Path]:
        found = {}
        for method in self.comparison.methods:
            if method.start == "trained":
                found[method.name] = self._folder(method)
        return found

    def _folder(self, method: Method) -> Path:
        if method.adapter is None and self.adapter is None:
            raise ConfigError(
                f"method {method.name!r} starts from what was trained, and no fit was found; run "
                "`python -m hypernoise_pl fit` first, or give --adapter"
            )
        folder = Path(method.adapter) if method.adapter is not None else self.adapter
        assert folder is not None
        describe(folder)
        return folder

    def _check(self, method: Method) -> int:
        """Evaluations per noise that a method draws; whatever can be wrong with it is said here."""
        known = {"weighted", "rank", *self.model.rewards, *(["judge"] if self.judge is not None else [])}
        if method.verifier not in known:
            raise ConfigError(f"method {method.name!r}: no verifier is called {method.verifier!r}; there are "
                              f"{', '.join(sorted(known))}")  # fmt: skip
        if method.search.needs_gradient and method.verifier in ("rank", "judge"):
            raise ConfigError(f"method {method.name!r}: {type(method.search).__name__} differentiates its verifier, "
                              f"{method.verifier!r} has no gradient")  # fmt: skip
        try:
            method.search.check(self.model.generator, method.steps)
        except ValueError as error:
            raise ConfigError(f"method {method.name!r}: {error}") from None
        return self._trained_of(method).drawing

    def _trained_of(self, method: Method) -> Trained:
        if method.start == "gaussian":
            return Trained()
        folder = self._folder(method)
        if folder not in self._trained:
            self._trained[folder] = _load(folder, self.model)
        return self._trained[folder]

    def _scorer(self, method: Method, prompts: Sequence[Prompt]) -> Scorer:
        """The verifier a method searches by, in the form a problem takes."""
        model, by_text = self.model, {prompt.text: prompt for prompt in prompts}

        def judged(images: Tensor, texts: list[str]) -> Tensor:
            assert self.judge is not None
            return self.judge(images, [by_text[text] for text in texts]).float()

        if method.verifier == "weighted":
            return lambda images, texts: weighted_sum(model.score(images, texts), model.reward_weights)
        if method.verifier == "rank":
            return lambda images, texts: torch.stack([*model.score(images, texts).values()], 1)
        return judged if method.verifier == "judge" else model.rewards[method.verifier]

    def _price(self, cell: Cell) -> int:
        """For the progress bar: a backward pass costs about two forward ones."""
        return cell.budget * (3 if cell.search.needs_gradient else 1)

    def _affordable(self, method: Method, seconds: float) -> int:
        """The budget that a method's own speed, measured once for the run folder, allows."""
        drawing = self._trained_of(method).drawing
        shortest = method.search.shortest(method.steps, drawing)

        def measured() -> float:
            block = next(self.blocks())
            sized = method.search.within(2 * shortest, method.steps, drawing)
            cell = Cell(method.name, method, sized, sized.budget(method.steps, drawing))
            self.measure(cell, block)  # the first run warms caches up
            rows, _ = self.measure(cell, block)
            return rows[0].seconds / rows[0].nfe

        return max(shortest, int(seconds / self.results.speed(method.name, measured)))


def _load(folder: Path, model: HyperNoiseModule) -> Trained:
    about = describe(folder)
    if about["adapts"] == "generator":
        adapted = AdaptedGenerator(model.generator, LoraOptions(about["rank"], about["alpha"], about["targets"]))
        restore(adapted, model.generator, folder)
        return Trained(network=adapted.view.eval().requires_grad_(False).to(model.device))
    hypernetwork = load_adapter(folder, model.generator).eval().requires_grad_(False).to(model.device)

    def refine(noise: Tensor, conditioning: Conditioning) -> Tensor:
        refined: Tensor = noise + hypernetwork(noise, conditioning)
        return refined

    return Trained(refine=refine)


def _digest(folder: Path) -> str:
    import hashlib

    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()[:16]


def place(shard: str | None, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Which shard of how many: from ``1/4``, else from what torchrun tells its processes, else all.

    Raises:
        ConfigError: if it is not of that form.
    """
    if shard is None:
        return int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    number, _, count = shard.partition("/")
    if not (number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise ConfigError(f"--shard {shard}: write number/count from 0/2 to 1/2")
    return int(number), int(count)


def same(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first difference between two identities, in words."""
    for key, value in json.loads(json.dumps(now)).items():
        old = before.get(key)
        if old == value:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            name = next(name for name in {**old, **value} if old.get(name) != value.get(name))
            return f"{key}.{name} was {old.get(name)}, is {value.get(name)}"
        if isinstance(value, list) and isinstance(old, list):
            return f"{key}: {len(old)} before, {len(value)} now, or others"
        return f"{key} was {old}, is {value}"
    return None
