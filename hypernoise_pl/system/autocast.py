"""A context without autocast, for modules that compute in the dtype of their weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Switch autocast off on a device; do nothing on a device without autocast (PyTorch's ``meta``)."""
    if not torch.amp.is_autocast_available(device.type):  # type: ignore[attr-defined]
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
