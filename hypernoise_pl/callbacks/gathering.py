"""What every process of a run has found, in all of them."""

from __future__ import annotations

from typing import Any, TypeVar

import torch.distributed as dist

Found = TypeVar("Found")


def from_all_processes(found: Found) -> list[Found]:
    """What each process gives, by rank; every process has to call it."""
    if not (dist.is_available() and dist.is_initialized()):
        return [found]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, found)
    return parts
