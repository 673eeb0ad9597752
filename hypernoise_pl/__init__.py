"""Noise hypernetworks: test-time compute of text-to-image models, amortised."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hypernoise_pl.attachment import attach as attach
    from hypernoise_pl.attachment import detach as detach


def __getattr__(name: str) -> Any:
    """``attach`` and ``detach``, imported when they are first asked for."""
    if name in ("attach", "detach"):
        from importlib import import_module

        return getattr(import_module("hypernoise_pl.attachment"), name)
    raise AttributeError(f"module 'hypernoise_pl' has no attribute {name!r}")
