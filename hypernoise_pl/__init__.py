"""Noise hypernetworks: test-time compute of text-to-image models, amortised."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hypernoise_pl.api import Run as Run
    from hypernoise_pl.api import build_run as build_run
    from hypernoise_pl.api import load_run as load_run
    from hypernoise_pl.api import score_images as score_images
    from hypernoise_pl.attachment.attach import attach as attach
    from hypernoise_pl.attachment.attach import detach as detach

# public name -> module; imported when it is first asked for
_PUBLIC = dict.fromkeys(("Run", "build_run", "load_run", "score_images"), "api") | dict.fromkeys(
    ("attach", "detach"), "attachment.attach"
)


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for."""
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(f"hypernoise_pl.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'hypernoise_pl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*_PUBLIC, "__version__"]
