"""Autocast off, for modules that compute in the type of their own weights."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Switch autocast off on a device; a device that has no autocast (PyTorch's ``meta``) has nothing to switch off."""
    if not torch.amp.is_autocast_available(device.type):  # type: ignore[attr-defined]
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
