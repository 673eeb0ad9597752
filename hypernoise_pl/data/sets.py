"""Several prompt sets as one: train on some, validate and test on others, and never train on what is tested."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from hypernoise_pl.data.base import PromptDataModule, Split
from hypernoise_pl.data.source import PromptSource, call_all, normalised
from hypernoise_pl.types import Prompt, nearest


class PromptSets(PromptDataModule):
    """Prompt sets put one after the other, for each split by name.

    A training prompt that is also a validation or test prompt, or one of ``never_train``, is left out, whatever its
    case, spaces and punctuation; so is one that has come before. How many were is said when training begins.

    Args:
        train: name -> set to train on; null in the place of a set, in a file, leaves it out.
        validation: name -> set to validate on.
        test: name -> set to test on; the validation sets if left out.
        never_train: name -> benchmark of which nothing may be trained on, though it is not run here.
        leave_out: names of training sets that are not to be used, for the command line
            (``--data.leave_out=[pick_a_pic]``).
        folder: what paths that are not absolute start from.
        deduplicate: leave such prompts out; without it every prompt stays.
        validation_prompts: how many to validate on, evenly spaced in the sets; None for all.
        test_prompts: how many to test on, likewise.
        check: look at every file at once, so that a bad one is told of before any model is loaded; without it, when it
            is needed (``predict`` needs none).
        batch_size: prompts per process and step.
        eval_batch_size: prompts per process at validation and test.
        seed: of the training order.

    Raises:
        FileNotFoundError: if a file is missing.
        SeveralErrors: if more than one is missing or bad.
        ValueError: if a file is bad, a split has no set, or a set to leave out is not there.
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
                raise ValueError(f"data.leave_out: no training set is called {name!r}{nearest(name, train)}")
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
        """The prompts of a split, read when they are first asked for; their indices count through its sets."""
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
        """The training prompts that no benchmark has and that have not come before.

        Raises:
            ValueError: if none is left.
        """
        # the whole of a benchmark, not only the part of it that this run takes
        parts = (self.sets["validation"], self.sets["test"], self.never_train)
        benchmarks = {normalised(prompt.text) for part in parts for prompt in self._all(part)}
        kept: dict[str, Prompt] = {}
        in_benchmarks = 0
        for prompt in found:
            key = normalised(prompt.text) or prompt.text  # a prompt of signs alone is itself
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
            raise ValueError("data.train: every training prompt is a validation or test prompt too")
        return list(kept.values())


def _named(sources: Mapping[str, PromptSource | None]) -> dict[str, PromptSource]:
    return {name: source for name, source in sources.items() if source is not None}


def _spread(prompts: list[Prompt], count: int | None) -> list[Prompt]:
    """So many prompts, evenly spaced."""
    if count is None or count >= len(prompts):
        return prompts
    return [prompts[place * len(prompts) // count] for place in range(count)]


@rank_zero_only
def _say(text: str) -> None:
    print(text, file=sys.stderr)
