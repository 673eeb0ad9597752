"""Pictures of base and refined images from the same noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

from hypernoise_pl.report.figures import image_grid
from hypernoise_pl.system.files import atomic_write
from hypernoise_pl.training.loggers import log_picture


class ImageGrid(L.Callback):
    """Draws the first batch of validation and test: ``images/<split>-<step>.png``, also in TensorBoard and W&B.

    Args:
        columns: number of prompts in the picture.
        size: side of each image, in pixels.
    """

    def __init__(self, columns: int = 8, size: int = 128) -> None:
        self.columns, self.size = columns, size
        self.last: Path | None = None

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Draw the first batch."""
        self._draw(trainer, outputs, batch_idx, "validation")

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Draw the first batch."""
        self._draw(trainer, outputs, batch_idx, "test")

    def _draw(self, trainer: L.Trainer, rollouts: Any, batch_idx: int, split: str) -> None:
        if batch_idx or trainer.sanity_checking or not trainer.is_global_zero:
            return
        prompts = rollouts["base"].prompts
        distinct = list(dict.fromkeys(prompt.index for prompt in prompts))
        step = max(1, len(distinct) // self.columns)
        chosen = distinct[::step][: self.columns]  # spread over the batch, to show several tags
        rows = []
        for rollout in rollouts.values():
            order = [prompt.index for prompt in rollout.prompts]
            rows.append(rollout.images[[order.index(index) for index in chosen]])
        captions = [next(p.text for p in prompts if p.index == index) for index in chosen]
        names = [rollout.label for rollout in rollouts.values()]
        picture = image_grid(rows, names, captions, self.size)
        self.last = Path(trainer.default_root_dir) / "images" / f"{split}-{trainer.global_step:06d}.png"
        self.last.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.last) as partial:
            picture.save(partial, "PNG")
        for logger in trainer.loggers:
            log_picture(logger, f"{split}/images", picture, trainer.global_step)
