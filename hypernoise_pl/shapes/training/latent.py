"""Training of the shapes world's latent verifier: distillation of the rewards' weighted sum.

    python -m hypernoise_pl.shapes.training.latent --config experiments/shapes_world/latent.yaml --output FOLDER

Searches on training prompts are recorded (best-of-N, zero-order, ReNO), and a small transformer learns to predict the
ensemble's score from the latent. ``--measure`` compares search with the verifier and with the ensemble on test prompts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.noise import seed_of
from hypernoise_pl.rewards.ensemble import WeightedSum
from hypernoise_pl.rewards.latent.distilled import DistilledOptions, DistilledVerifier, LatentScorer
from hypernoise_pl.shapes.prompts import ShapesPrompts
from hypernoise_pl.shapes.training.latent_quality import measure
from hypernoise_pl.shapes.training.loop import LoopOptions, train
from hypernoise_pl.shapes.training.quality import load_rewards
from hypernoise_pl.shapes.training.search_traces import SearchTraces, collect_traces
from hypernoise_pl.system.signals import run_script

WEIGHTS = Path(__file__).parents[1] / "weights"


def distillation_loss(
    network: LatentScorer, traces: SearchTraces, config: DictConfig, step: int
) -> tuple[Tensor, dict[str, float]]:
    """Squared error of the score plus the ranking loss of ListNet over one prompt's latents.

    Both use scores in units of their deviation. The softmax weights the best latents, which a search chooses.

    Source: Cao et al. 2007 (ListNet, top-one probabilities) for the ranking loss.
    """
    draws = torch.Generator().manual_seed(seed_of(config.seed, step))
    rows = torch.randint(len(traces.scores), (config.prompts,), generator=draws)
    columns = torch.rand(config.prompts, traces.scores.shape[1], generator=draws).argsort(1)[:, : config.latents]
    latents = traces.latents[rows[:, None], columns]
    conditioning = traces.conditioning.map(lambda tensor: tensor[rows])
    text = network.encode_text(conditioning.embeddings, conditioning.mask).repeat_interleave(columns.shape[1], 0)
    deviation = network.options.deviation
    predicted = network(latents.flatten(0, 1), text).view_as(columns) / deviation
    expected = traces.scores[rows[:, None], columns] / deviation
    regression = (predicted - expected).square().mean()
    target = (expected / config.temperature).softmax(1)
    ranking = (
        F.cross_entropy(predicted / config.temperature, target) + (target * target.clamp(min=1e-30).log()).sum(1).mean()
    )
    figures = {"regression": regression.item(), "ranking": ranking.item()}
    return regression + config.ranking * ranking, figures


def distil(generator: SanaSprint, ensemble: WeightedSum, config: DictConfig, work: Path) -> LatentScorer:
    """Record searches and train the network; both continue a stopped run.

    Args:
        generator: generator of the latents.
        ensemble: ensemble to distil.
        config: ``data``, ``model`` and ``training``.
        work: folder of blocks, checkpoints and logs.
    """
    texts = [prompt.text for prompt in ShapesPrompts(train=config.data.prompts).prompts("train")]
    traces = collect_traces(generator, ensemble, texts, config.data, work / "traces")
    options = DistilledOptions(
        noise_shape=generator.noise_shape,
        embedding_width=traces.conditioning.embeddings.shape[-1],
        weights=ensemble.weights,
        mean=traces.scores.mean().item(),
        deviation=traces.scores.std().item(),
        **config.model,
    )
    torch.manual_seed(config.training.seed)
    network = LatentScorer(options)
    loop = LoopOptions(**config.training.loop)
    return train("latent", network, lambda s: distillation_loss(network, traces, config.training, s), loop, work)


def main(argv: Sequence[str] | None = None) -> None:
    """Distil and save; with ``--measure``, measure the saved verifier."""
    parser = argparse.ArgumentParser(prog="python -m hypernoise_pl.shapes.training.latent", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file: data, sizes, steps and rates")
    parser.add_argument("--work", type=Path, default=Path("runs/shapes_world/latent"), help="folder of checkpoints")
    parser.add_argument("--output", type=Path, required=True, help="folder of the verifier")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the generator and the rewards")
    parser.add_argument("--measure", type=Path, metavar="JSON", help="report file; measures the saved verifier")
    arguments = parser.parse_args(argv)
    config = OmegaConf.load(arguments.config)
    assert isinstance(config, DictConfig)
    start = time.monotonic()
    folder = str(arguments.weights / "generator")
    generator = SanaSprint(folder, max_sequence_length=config.length, components="hypernoise_pl.shapes.models")
    weights = {name: float(weight) for name, weight in config.weights.items()}
    ensemble = WeightedSum(load_rewards(arguments.weights), weights)
    if arguments.measure is None:
        distil(generator, ensemble, config, arguments.work).save(arguments.output)
        print(f"saved to {arguments.output}; {time.monotonic() - start:.0f} s")
        return
    report = measure(generator, ensemble, DistilledVerifier(str(arguments.output)), config.measure)
    report["seconds_of_measurement"] = round(time.monotonic() - start)
    text = json.dumps(report, indent=1) + "\n"
    arguments.measure.write_text(text)
    print(text)


if __name__ == "__main__":
    sys.exit(run_script(main))
