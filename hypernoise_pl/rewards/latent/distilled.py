"""A latent verifier distilled from rewards on images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.checkpoints.loading import load_tensors
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.rewards.latent.base import LatentVerifier
from hypernoise_pl.system.files import write_tensors
from hypernoise_pl.types import Conditioning

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class DistilledOptions:
    """Architecture of a distilled verifier and the score that it predicts; the contents of its ``config.json``.

    Args:
        noise_shape: shape [C, H, W] of the generator's latents.
        embedding_width: width D of the generator's text embeddings.
        weights: reward name -> weight in the ensemble whose score it predicts; a record only.
        patch: side of a patch in latent pixels; one patch is one token.
        width: features of a token.
        heads: attention heads; a divisor of the width.
        feedforward: width of the hidden layer in a block's MLP.
        layers: blocks that process the latent tokens.
        reading_layers: blocks that process the text.
        queries: learnt query tokens that summarise a text.
        dropout: dropout rate in training.
        mean: mean of the ensemble's score.
        deviation: standard deviation of the ensemble's score; the network's output is (score - mean) / deviation.

    Raises:
        ValueError: if the patches do not tile the latents, or the heads do not divide the width.
    """

    noise_shape: Sequence[int]
    embedding_width: int
    weights: Mapping[str, float] = field(default_factory=dict)
    patch: int = 1
    width: int = 128
    heads: int = 4
    feedforward: int = 256
    layers: int = 3
    reading_layers: int = 1
    queries: int = 8
    dropout: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        if len(self.noise_shape) != 3:
            raise ValueError(f"noise_shape must be [C, H, W], got {list(self.noise_shape)}")
        if any(side % self.patch for side in self.noise_shape[1:]):
            raise ValueError(f"patches of {self.patch} do not tile latents of {list(self.noise_shape)}")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")


class LatentScorer(nn.Module):
    """A transformer on a latent's patches, with cross-attention to a summary of the text.

    The text is encoded once per prompt: learnt queries attend to its tokens, and every latent of the prompt attends to
    the queries.

    Args:
        options: architecture.
    """

    def __init__(self, options: DistilledOptions) -> None:
        super().__init__()
        self.options = options
        channels, height, width = options.noise_shape
        tokens = height // options.patch * (width // options.patch)
        self.patches = nn.Conv2d(channels, options.width, options.patch, options.patch)
        self.places = nn.Parameter(torch.randn(tokens, options.width) * 0.5)
        self.words = nn.Sequential(
            nn.LayerNorm(options.embedding_width),
            nn.Linear(options.embedding_width, options.width),
            nn.Dropout(options.dropout),
        )
        self.queries = nn.Parameter(torch.randn(options.queries, options.width) * 0.5)
        self.reader = _decoder(options, options.reading_layers)
        self.blocks = _decoder(options, options.layers)
        self.head = nn.Linear(options.width, 1)

    def encode_text(self, embeddings: Tensor, mask: Tensor | None) -> Tensor:
        """[P, Q, width] text summaries, from embeddings [P, L, D] and mask [P, L] with 0 for padding."""
        hidden = None if mask is None else mask == 0
        queries = self.queries.expand(len(embeddings), -1, -1)
        return self.reader(queries, self.words(embeddings.to(self.queries)), memory_key_padding_mask=hidden)

    def forward(self, latents: Tensor, text: Tensor) -> Tensor:
        """[M] scores on the ensemble's scale, from latents [M, C, H, W] and text summaries [M, Q, width]."""
        tokens = self.patches(latents.to(self.queries)).flatten(2).transpose(1, 2) + self.places
        out = self.head(self.blocks(tokens, text).mean(1))[:, 0]
        return self.options.mean + self.options.deviation * out

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, weights in half precision."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(asdict(self.options), indent=2) + "\n")
        write_tensors(folder / WEIGHTS, {name: tensor.half() for name, tensor in self.state_dict().items()})


def _decoder(options: DistilledOptions, layers: int) -> nn.TransformerDecoder:
    layer = nn.TransformerDecoderLayer(
        options.width, options.heads, options.feedforward, options.dropout, "gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerDecoder(layer, layers, nn.LayerNorm(options.width))


class DistilledVerifier(LatentVerifier):
    """Predicted score of a weighted ensemble, from the latent and the generator's text embeddings; differentiable.

    It works only with the generator of its training. ``hypernoise_pl.shapes.training.latent`` trains one.

    Args:
        model: folder with ``config.json`` (``DistilledOptions``) and ``model.safetensors``.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or the two do not match.

    Source: after VHS (Bucciarelli et al. 2026, arXiv 2603.22492), which reads hidden states of the generator's network
    and answers with a language model; this verifier reads the clean latent and is distilled from rewards.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self.network = load_scorer(Path(model)).eval().requires_grad_(False)

    def check(self, generator: Generator) -> None:
        """Check that the generator's latents have the shape of the training latents.

        Raises:
            ValueError: if they have another shape.
        """
        self._check_equal("latents of", [*self.network.options.noise_shape], [*generator.noise_shape], generator)

    def _score(
        self,
        generator: Generator,
        latents: Tensor,
        conditioning: Conditioning,
        prompts: list[str],
        network: nn.Module | None,
    ) -> Tensor:
        width = conditioning.embeddings.shape[-1]
        self._check_equal("text features of width", self.network.options.embedding_width, width, generator)
        unique = {prompt: index for index, prompt in enumerate(dict.fromkeys(prompts))}
        first = [prompts.index(prompt) for prompt in unique]
        mask = None if conditioning.mask is None else conditioning.mask[first]
        text = self.network.encode_text(conditioning.embeddings[first], mask)
        return self.network(latents, text[[unique[prompt] for prompt in prompts]])

    def _check_equal(self, what: str, expected: Any, given: Any, generator: Generator) -> None:
        if given != expected:
            raise ValueError(
                f"this verifier reads {what} {expected}, but generator {generator.name} has {given}; use a verifier "
                "distilled from that generator"
            )


def load_scorer(folder: Path) -> LatentScorer:
    """Load the network that ``LatentScorer.save`` wrote, in float32.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or the two do not match.
    """
    file = folder / CONFIG
    if folder.is_file():
        raise NotADirectoryError(f"verifier {folder}: a file; give its folder")
    if not file.is_file():
        raise FileNotFoundError(f"verifier {file}: no such file")
    network = LatentScorer(_read_options(file))
    tensors = load_tensors(folder / WEIGHTS, "verifier")
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"verifier {folder}: the weights do not match {CONFIG}: {str(error).splitlines()[1].strip()}"
        ) from error
    return network


def _read_options(file: Path) -> DistilledOptions:
    known = {f.name for f in fields(DistilledOptions)}
    try:
        options: dict[str, Any] = json.loads(file.read_text())
        unknown = sorted(options.keys() - known)
        if unknown:
            raise ValueError(f"unknown option {unknown[0]!r}")
        return DistilledOptions(**options)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"verifier {file}: not a verifier's config: {error}") from error
