"""Adapters, verifiers and costs of a comparison's methods, and the checks before a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from hypernoise_pl.adapters.files import load_adapter
from hypernoise_pl.compare.config import Comparison, Method
from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.report.rows import ENSEMBLES, JUDGE, RANKED, WEIGHTED
from hypernoise_pl.rewards.base import Reward, Verifier
from hypernoise_pl.rewards.ensemble import RankMean
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.search.scoring import AnyScorer, ByRow
from hypernoise_pl.types import Prompt, did_you_mean


@dataclass
class MethodParts:
    """The adapters and verifiers of a comparison's methods; each adapter is loaded once.

    Args:
        comparison: methods and their verifiers.
        model: generator and rewards, on their device.
        judge: judge of the images; None without one.
        adapter: default adapter folder of the methods; None without one.
    """

    comparison: Comparison
    model: HyperNoiseModule
    judge: Judge | None
    adapter: Path | None
    _adapters: dict[Path, Adapter] = field(default_factory=dict, init=False)

    def missing(self, method: Method) -> str | None:
        """A message that names the first missing part of a method; None if all parts are there."""
        verifier = self.comparison.verifiers.get(method.verifier)
        verifier_missing = verifier.missing() if isinstance(verifier, Verifier) else None
        judge_missing = "there is no judge to search by" if method.verifier == JUDGE and self.judge is None else None
        return method.search.missing() or verifier_missing or judge_missing

    def check(self, method: Method) -> None:
        """Check a method's verifier and search against the generator, and load its adapter.

        Raises:
            ConfigError: if a part does not fit; the message names the method and the part.
        """
        known = [*ENSEMBLES, *self.model.ensemble.members, *self.comparison.verifiers, *([JUDGE] if self.judge else [])]
        name, label = method.verifier, f"method {method.name!r}"
        if name not in known:
            raise ConfigError(
                f"{label}: no verifier is called {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
            )
        if name == RANKED and not self.model.ensemble.counted:
            raise ConfigError(f"{label}: every reward has weight 0 and {name!r} has no member; give a reward a weight")
        verifier = self.verifiers.get(name)
        if method.search.needs_gradient and not isinstance(verifier, (Reward, LatentVerifier)):
            raise ConfigError(
                f"{label}: {type(method.search).__name__} needs a gradient, but {name!r} has none; choose a reward"
            )
        try:
            method.search.check(self.model.generator, method.steps)
            if isinstance(verifier, LatentVerifier):
                verifier.check(self.model.generator)
        except ValueError as error:
            raise ConfigError(f"{label}: {error}") from None
        self.adapter_of(method)

    def check_names(self) -> None:
        """Raise ``ConfigError`` if a verifier has the name of a reward, an ensemble or the judge."""
        names = [*ENSEMBLES, JUDGE, *self.model.ensemble.members, *self.comparison.verifiers]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"compare.verifiers: the name {name!r} is already taken; choose another")

    @property
    def verifiers(self) -> dict[str, Any]:
        """The verifiers that a method may search by, except the judge; name -> verifier."""
        ensemble = self.model.ensemble
        ranked = {RANKED: RankMean(ensemble)} if ensemble.counted else {}
        return {WEIGHTED: ensemble, **ranked, **ensemble.members, **self.comparison.verifiers}

    def scorer(self, method: Method, prompts: Sequence[Prompt]) -> AnyScorer:
        """The scorer of a method's search, for these prompts."""

        def judge_scores(images: Tensor, rows: list[int]) -> Tensor:
            assert self.judge is not None
            return self.judge(images, [prompts[row] for row in rows]).float()

        return ByRow(judge_scores) if method.verifier == JUDGE else self.verifiers[method.verifier]

    def costs(self, method: Method) -> tuple[int, int, int]:
        """The network evaluations of a method per generated image, per drawn noise and per scored sample."""
        verifier, adapter = self.comparison.verifiers.get(method.verifier), self.adapter_of(method)
        per_score = verifier.nfe if isinstance(verifier, LatentVerifier) else 0
        return method.steps, 0 if adapter is None else adapter.nfe, per_score

    def adapter_of(self, method: Method) -> Adapter | None:
        """The adapter of a method, on the model's device; None for a method that starts from Gaussian noise."""
        if method.start == "gaussian":
            return None
        folder = self.folder_of(method)
        if folder not in self._adapters:
            adapter = load_adapter(folder, self.model.generator).eval().requires_grad_(False)
            self._adapters[folder] = adapter.to(self.model.device)
        return self._adapters[folder]

    def folder_of(self, method: Method) -> Path:
        """The folder of a method's adapter.

        Raises:
            ConfigError: if there is none.
        """
        if method.adapter is not None:
            return Path(method.adapter)
        if self.adapter is None:
            raise ConfigError(
                f"method {method.name!r} needs an adapter, and no fit was found; run "
                "`python -m hypernoise_pl fit` first, or give --adapter"
            )
        return self.adapter
