"""What an adapter changes of a generator, whichever of the two kinds it is: refined noise, or another network."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from hypernoise_pl.adapters.files import WEIGHTS, describe, load_adapter, restore
from hypernoise_pl.finetune import AdaptedGenerator
from hypernoise_pl.hypernetwork import LoraOptions
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.search.problem import Refine
from hypernoise_pl.types import Conditioning


@dataclass
class Trained:
    """What an adapter changes: noises are refined, or another view of the network generates."""

    refine: Refine | None = None
    network: nn.Module | None = None

    @property
    def drawing(self) -> int:
        """Evaluations per noise drawn."""
        return int(self.refine is not None)


def load_trained(folder: Path, model: HyperNoiseModule) -> Trained:
    """What an adapter folder holds, over a module's generator and on its device; nothing of it trains any more.

    Raises:
        FileNotFoundError: if the folder or one of its files is missing.
        ValueError: if a file is damaged, or the adapter was trained with another generator.
    """
    about = describe(folder)
    if about["adapts"] == "generator":
        adapted = AdaptedGenerator(model.generator, LoraOptions(about["rank"], about["alpha"], about["targets"]))
        restore(adapted, model.generator, folder)
        return Trained(network=adapted.view.eval().requires_grad_(False).to(model.device))
    hypernetwork = load_adapter(folder, model.generator).eval().requires_grad_(False).to(model.device)

    def refine(noise: Tensor, conditioning: Conditioning) -> Tensor:
        refined: Tensor = noise + hypernetwork(noise, conditioning)
        return refined

    return Trained(refine=refine)


def digest(folder: Path) -> str:
    """Tells one adapter folder's contents from another's: its weights, and how they are used."""
    about = {key: value for key, value in describe(folder).items() if key not in ("generator", "penalty")}
    return hashlib.sha256((folder / WEIGHTS).read_bytes() + json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
