"""Rewards over a set of prompts with categories: DrawBench, PartiPrompts, HPSv2's prompts, or one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from hypernoise_pl.data.hub import HubDataset
from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.metrics.benchmark import Benchmark, Outcome
from hypernoise_pl.rewards.base import Verifier
from hypernoise_pl.types import Prompt, did_you_mean


class RewardSet(Benchmark):
    """Mean scores of verifiers by category.

    Args:
        verifiers: name -> verifier.
        main: name of the verifier whose score is the benchmark's score; None for the first.
        column: column of the prompts in a table, or their key in an object; None for ``prompt``, ``caption`` or
            ``text``, in any letter case, singular or plural.
        tag: column or key of the categories; None for ``tag`` or ``category``, if there is one. PartiPrompts has
            ``Category`` and ``Challenge``.
        split: split of a data set of the hub.
        title: name of the set, as tables have it.

    Raises:
        ValueError: if there is no verifier, the main one is not among them, or a name cannot be one.
    """

    neutral: ClassVar[tuple[str, ...]] = ("title",)

    def __init__(
        self,
        verifiers: dict[str, Verifier],
        main: str | None = None,
        column: str | None = None,
        tag: str | None = None,
        split: str = "train",
        title: str = "Reward set",
    ) -> None:
        super().__init__()
        self.title = title
        if not verifiers:
            raise ValueError("RewardSet: needs a verifier")
        for name in verifiers:
            if not name or "." in name or hasattr(nn.ModuleDict(), name):
                raise ValueError(f"RewardSet: a verifier cannot be called {name!r}; name it otherwise")
        self.main = next(iter(verifiers)) if main is None else main
        if self.main not in verifiers:
            raise ValueError(
                f"RewardSet: main is {main!r}{did_you_mean(self.main, verifiers)}; there is {', '.join(verifiers)}"
            )
        self.verifiers = nn.ModuleDict(verifiers).eval().requires_grad_(False)

    def missing(self) -> str | None:
        """The verifiers' first missing requirement, in words; None if there is none."""
        return next((lack for verifier in self._verifiers().values() if (lack := verifier.missing())), None)

    def judged_by(self) -> str:
        """Names of the verifiers and their models."""
        return ", ".join(f"{name}: {_named(verifier)}" for name, verifier in self._verifiers().items())

    @classmethod
    def read(cls, file: Path, **options: Any) -> list[Prompt]:
        """The prompts of a file of any kind that we read, of a folder of them, or of a data set of the hub.

        Args:
            file: DrawBench's ``.csv``, PartiPrompts' ``.tsv``, or another file; a folder of ``.json`` lists, each a
                category of its own name, as HPSv2's ``anime``, ``concept-art``, ``paintings`` and ``photo``; or
                ``owner/name`` of a data set.
            **options: the benchmark's own, of which ``column``, ``tag`` and ``split`` are looked at.

        Raises:
            FileNotFoundError: if there is nothing of that name.
            ValueError: if a file is bad, or a folder has no ``.json``.
        """
        column, tag = options.get("column"), options.get("tag")
        if file.is_dir():
            return _of_folder(file, column, tag)
        if file.exists() or file.suffix or file.is_absolute() or len(file.parts) != 2:
            return read_prompts(file, column, tag)
        return HubDataset(file.as_posix(), column, options.get("split") or "train", tag=tag).read(Path())

    def _outcomes(self, images: Tensor, prompts: list[Prompt]) -> list[Outcome]:
        texts = [prompt.text for prompt in prompts]
        scores = {name: verifier(images, texts).tolist() for name, verifier in self._verifiers().items()}
        return [self._outcome({name: own[row] for name, own in scores.items()}) for row in range(len(prompts))]

    def _outcome(self, scores: dict[str, float]) -> Outcome:
        there = {name: score for name, score in scores.items() if score == score}
        absent = ", ".join(name for name in scores if name not in there)
        return Outcome(scores[self.main], f"no score of {absent}" if absent else "", there)

    def _verifiers(self) -> dict[str, Verifier]:
        return {name: verifier for name, verifier in self.verifiers.items() if isinstance(verifier, Verifier)}


def _of_folder(folder: Path, column: str | None, tag: str | None) -> list[Prompt]:
    lists = sorted(folder.glob("*.json"))
    if not lists:
        raise ValueError(f"prompt folder {folder}: no *.json in it; give a folder of lists, or a file of prompts")
    found = [(prompt, file.stem) for file in lists for prompt in read_prompts(file, column, tag)]
    return [replace(prompt, tag=prompt.tag or name, index=index) for index, (prompt, name) in enumerate(found)]


def _named(verifier: Verifier) -> str:
    return f"{type(verifier).__name__} {verifier.arguments.get('model', '')}".strip()
