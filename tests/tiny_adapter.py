"""An adapter of the shapes world's generator that no training has made."""

from pathlib import Path

from hypernoise_pl.adapters.files import save_adapter
from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions
from tests.tiny import randomise


def save_shapes_adapter(folder: Path, rank: int = 2) -> Path:
    weights = str(PACKAGE / "shapes" / "weights" / "generator")
    generator = SanaSprint(weights, components="hypernoise_pl.shapes.models", max_sequence_length=20)
    hypernetwork = NoiseHypernetwork(generator, LoraOptions(rank, 2.0 * rank))
    randomise(hypernetwork)
    return save_adapter(hypernetwork, folder)
