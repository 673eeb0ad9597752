"""A data module of several prompt sets that keeps validation and test prompts out of training."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from hypernoise_pl.data.base import PromptDataModule, Split
from hypernoise_pl.data.source import PromptSource, call_all, normalised
from hypernoise_pl.types import Prompt, did_you_mean


class PromptSets(PromptDataModule):
    """Concatenated prompt sets for each split.

    Training leaves out prompts that validation, test or ``never_train`` contain, and repeated prompts; letter case,
    spaces and punctuation are ignored. The numbers of removed prompts are printed before training.

    Args:
        train: name -> training set; null in a file removes a set.
        validation: name -> validation set.
        test: name -> test set; the validation sets if left out.
        never_train: name -> further benchmark whose prompts are kept out of training.
        leave_out: names of training sets to remove, for the command line (``--data.leave_out=[pick_a_pic]``).
        folder: folder at which relative paths start.
        deduplicate: remove training prompts that are repeated or in a benchmark.
        validation_prompts: number of validation prompts, evenly spaced in the sets; None for all.
        test_prompts: number of test prompts, evenly spaced in the sets; None for all.
        check: check every file at construction, before any model is loaded; otherwise on first use.
        batch_size: prompts per process and step.
        eval_batch_size: prompts per process at validation and test.
        seed: seed of the training order.

    Raises:
        FileNotFoundError: if a file is missing.
        SeveralErrors: if several files are missing or invalid.
        ValueError: if a file is invalid, a split has no set, or a name in ``leave_out`` is unknown.
    """

    def __init__(
        self,
        train: dict[str, PromptSource | None],
        validation: dict[str, PromptSource | None],
        test: dict[str, PromptSource | None] | None = None,
        never_train: dict[str, PromptSource | None] | None = None,
        leave_out: Sequence[str] = (),
        folder: str = ".",
        deduplicate: bool = True,
        validation_prompts: int | None = None,
        test_prompts: int | None = None,
        check: bool = True,
        batch_size: int = 64,
        eval_batch_size: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed)
        for name in leave_out:
            if name not in train:
                raise ValueError(f"data.leave_out: no training set is called {name!r}{did_you_mean(name, train)}")
        train = {name: source for name, source in train.items() if name not in leave_out}
        self.sets: dict[Split, dict[str, PromptSource]] = {
            "train": _named(train),
            "validation": _named(validation),
            "test": _named(test or validation),
        }
        for split, sources in self.sets.items():
            if not sources:
                raise ValueError(f"data.{split}: names no prompt set")
        self.never_train = _named(never_train or {})
        self.folder, self.deduplicate = Path(folder), deduplicate
        self.counts: dict[Split, int | None] = {"validation": validation_prompts, "test": test_prompts}
        self.dropped: dict[str, int] = {}
        self._read: dict[Split, list[Prompt]] = {}
        if check:
            every = [source for part in (*self.sets.values(), self.never_train) for source in part.values()]
            call_all(partial(source.check, self.folder) for source in every)

    def prompts(self, split: Split) -> list[Prompt]:
        """Prompts of a split, read on first use and indexed through all its sets."""
        if split not in self._read:
            found = self._all(self.sets[split])
            if split == "train":
                found = self._without_repeats(found) if self.deduplicate else found
            else:
                found = _spread(found, self.counts[split])
            self._read[split] = [replace(prompt, index=index) for index, prompt in enumerate(found)]
        return self._read[split]

    def _all(self, sources: Mapping[str, PromptSource]) -> list[Prompt]:
        read = call_all(partial(source.read, self.folder) for source in sources.values())
        return [prompt for prompts in read for prompt in prompts]

    def _without_repeats(self, found: list[Prompt]) -> list[Prompt]:
        """Distinct training prompts that no benchmark contains.

        Raises:
            ValueError: if none is left.
        """
        # complete benchmarks, not only the prompts that this run evaluates
        parts = (self.sets["validation"], self.sets["test"], self.never_train)
        benchmarks = {normalised(prompt.text) for part in parts for prompt in self._all(part)}
        kept: dict[str, Prompt] = {}
        in_benchmarks = 0
        for prompt in found:
            key = normalised(prompt.text) or prompt.text  # a prompt of punctuation alone normalises to nothing
            if key in benchmarks:
                in_benchmarks += 1
            else:
                kept.setdefault(key, prompt)
        self.dropped = {"benchmarks": in_benchmarks, "repeated": len(found) - in_benchmarks - len(kept)}
        names = ", ".join(dict.fromkeys(name for part in parts for name in part))
        _say(
            f"data: {len(kept)} of {len(found)} training prompts; left out: {in_benchmarks} that are also in {names}, "
            f"{self.dropped['repeated']} repeated"
        )
        if not kept:
            raise ValueError("data.train: every training prompt is also a validation or test prompt")
        return list(kept.values())


def _named(sources: Mapping[str, PromptSource | None]) -> dict[str, PromptSource]:
    return {name: source for name, source in sources.items() if source is not None}


def _spread(prompts: list[Prompt], count: int | None) -> list[Prompt]:
    """``count`` evenly spaced prompts."""
    if count is None or count >= len(prompts):
        return prompts
    return [prompts[place * len(prompts) // count] for place in range(count)]


@rank_zero_only
def _say(text: str) -> None:
    print(text, file=sys.stderr)
