"""Checkpoints that take the place of an older one only once they are whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from hypernoise_pl.run_folder import whole


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's own writes beside the system's temporary files and copies; a full disk then leaves half a file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint to a local path.

        Raises:
            OSError: naming the file, if it cannot be written; what stood there is left as it was.
        """
        file, buffer = Path(path), io.BytesIO()
        torch.save(checkpoint, buffer)
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file) as partial:
            partial.write_bytes(buffer.getbuffer())
