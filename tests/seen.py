"""A callback that keeps which prompts each batch had."""

from typing import ClassVar

import lightning as L


class Seen(L.Callback):
    batches: ClassVar[list[tuple[str, tuple[str, ...]]]] = []  # split and texts, of the newest run of this process

    def setup(self, trainer, pl_module, stage):
        if stage == "fit":
            Seen.batches = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.note("train", batch)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.note("validation", batch)

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.note("test", batch)

    def note(self, split, batch):
        Seen.batches.append((split, tuple(prompt.text for prompt in batch)))


def of(split: str) -> list[tuple[str, ...]]:
    """The batches of a split, in the order in which they were given."""
    return [texts for name, texts in Seen.batches if name == split]
