"""Greedy FID: an oracle verifier that scores an image by the FID of the accepted set with this image added."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from hypernoise_pl.checkpoints.loading import load_tensors
from hypernoise_pl.rewards.base import Verifier
from hypernoise_pl.rewards.features import ImageFeatures
from hypernoise_pl.system.files import write_tensors
from hypernoise_pl.types import check_shape

_ELEMENTS = 2**24  # of matrices held at once: 128 MiB
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class GreedyFID(Verifier):
    """Minus the FID between a reference set and the accepted images together with the candidate.

        FID = |m - m_r|^2 + tr(C + C_r - 2 (C C_r)^(1/2)),  m, C: mean and unbiased covariance of features

    A greedy search passes each chosen image to ``accept``; later candidates are scored with it in the set. Nothing else
    changes the set: a comparison, whose units may run in any order, scores every candidate against the images of
    ``initial``. The score ignores the prompt.

    Args:
        features: image encoder. With an encoder other than Inception's the score is not the FID of the literature.
        reference: folder of images, subfolders included; or a ``.safetensors`` file with their features' ``mean`` [D]
            and ``cov`` [D, D], as ``save_reference`` writes it. At least two images, better more than features. A
            folder is encoded image by image at construction; write a file for a large one.
        initial: folder of initially accepted images; if left out, call ``accept`` before scoring.

    Raises:
        FileNotFoundError: if a folder or file is missing, or a folder has no images.
        ValueError: if there is only one reference image, or a file has other tensors or another encoder's features.

    Source: Ma et al. 2025, the oracle verifier FID; Heusel et al. 2017 for the distance.
    """

    score_range: ClassVar[tuple[float, float]] = (-300.0, 0.0)
    mean: Tensor
    scatter: Tensor
    reference_mean: Tensor
    reference_root: Tensor

    def __init__(self, features: ImageFeatures, reference: str, initial: str | None = None) -> None:
        super().__init__()
        self.features = features
        if Path(reference).suffix == ".safetensors":
            mean, covariance = _read_moments(Path(reference))
        else:
            count, mean, scatter = self._moments(Path(reference))
            if count < 2:
                raise ValueError(f"reference {reference}: a covariance needs at least two images, got one")
            covariance = scatter / (count - 1)
        self.register_buffer("reference_mean", mean, persistent=False)
        self.register_buffer("reference_root", _root(covariance), persistent=False)
        self.accepted = 0
        self.register_buffer("mean", torch.zeros_like(mean), persistent=False)
        self.register_buffer("scatter", torch.zeros_like(covariance), persistent=False)
        if initial is not None:
            self.accepted, self.mean, self.scatter = self._moments(Path(initial))
            check_shape(f"initial {initial}: mean of features", self.mean, mean.shape)

    @torch.no_grad()
    def accept(self, images: Tensor) -> None:
        """Add images [B, 3, H, W] in [0, 1] to the accepted set."""
        moments = (self.accepted, self.mean, self.scatter)
        self.accepted, self.mean, self.scatter = _add_features(*moments, self._encode(images))

    def fid(self) -> float:
        """FID between the accepted set, at least two images, and the reference."""
        if self.accepted < 2:
            raise ValueError(f"greedy FID: fid() needs at least two accepted images, got {self.accepted}")
        root = self.reference_root
        spread = root.mT @ self.scatter @ root / (self.accepted - 1)
        gap = (self.mean - self.reference_mean).square().sum()
        trace = self.scatter.trace() / (self.accepted - 1) + root.square().sum()
        return float(gap + trace - 2 * _trace_of_root(spread))

    def save_reference(self, file: str) -> None:
        """Write mean and covariance of the reference to a ``.safetensors`` file; pass it as ``reference`` later."""
        covariance = self.reference_root @ self.reference_root.mT
        write_tensors(Path(file), {"mean": self.reference_mean, "cov": covariance})

    @torch.no_grad()
    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        if not self.accepted:
            raise ValueError("greedy FID: no image is accepted yet; give a folder as initial, or call accept first")
        features = self._encode(images)
        spread = self.reference_root.mT @ self.scatter @ self.reference_root / self.accepted
        chunk = max(1, _ELEMENTS // max(1, spread.numel()))
        return torch.cat([-self._distance(part, spread) for part in features.split(chunk)])

    def _distance(self, features: Tensor, spread: Tensor) -> Tensor:
        """[M] FID with each of the features [M, D] added, by a rank-one update of mean and covariance.

        With n accepted images and the shift s = x - m, the mean moves by s / (n + 1), and the unbiased covariance is
        scatter / n + s s^T / (n + 1). ``spread`` is root^T (scatter / n) root, with the root of the reference.
        """
        more, shift = self.accepted + 1, features - self.mean
        gap = (self.mean + shift / more - self.reference_mean).square().sum(1)
        trace = self.scatter.trace() / self.accepted + shift.square().sum(1) / more + self.reference_root.square().sum()
        along = shift @ self.reference_root
        return gap + trace - 2 * _trace_of_root(spread + along[:, :, None] * along[:, None] / more)

    def _encode(self, images: Tensor) -> Tensor:
        """[B, D] features in float64."""
        features: Tensor = self.features(images).double()
        check_shape("features", features, (len(images), len(self.reference_mean)))
        return features

    @torch.no_grad()
    def _moments(self, folder: Path) -> tuple[int, Tensor, Tensor]:
        """Count, mean [D] and scatter [D, D] of the features of a folder's images."""
        rows = [self.features(image).double() for image in _read_images(folder)]
        size, first = rows[0].shape[1], rows[0]
        return _add_features(0, first.new_zeros(size), first.new_zeros(size, size), torch.cat(rows))


def _add_features(count: int, mean: Tensor, scatter: Tensor, features: Tensor) -> tuple[int, Tensor, Tensor]:
    """Count, mean and scatter of a set after adding features [B, D]."""
    total, new_mean = count + len(features), features.mean(0)
    shift, centred = new_mean - mean, features - new_mean
    between = torch.outer(shift, shift) * (count * len(features) / total)
    return total, mean + shift * (len(features) / total), scatter + centred.mT @ centred + between


def _root(covariance: Tensor) -> Tensor:
    """[D, R] root with root root^T = covariance [D, D] and R its rank."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] * values[kept].sqrt()


def _trace_of_root(spread: Tensor) -> Tensor:
    """Trace of the square root of root^T C root [..., R, R], whose eigenvalues are the non-zero ones of C C_r."""
    return torch.linalg.eigvalsh(spread).clamp(min=0).sqrt().sum(-1)


def _read_moments(file: Path) -> tuple[Tensor, Tensor]:
    tensors = load_tensors(file, "reference")
    if set(tensors) != {"mean", "cov"}:
        raise ValueError(f"reference {file}: expected the tensors mean and cov, got {', '.join(sorted(tensors))}")
    mean, covariance = tensors["mean"].double(), tensors["cov"].double()
    check_shape(f"reference {file}: cov", covariance, (mean.numel(), mean.numel()))
    return mean, covariance


def _read_images(folder: Path) -> Iterator[Tensor]:
    """The images of a folder and its subfolders, each [1, 3, H, W] in [0, 1]."""
    import numpy as np
    from PIL import Image

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    if not files:
        raise FileNotFoundError(f"{folder}: no such folder, or it has no images ({', '.join(_ENDINGS)})")
    for file in files:
        with Image.open(file) as picture:
            pixels = np.array(picture.convert("RGB"))
        yield torch.from_numpy(pixels).movedim(-1, 0)[None] / 255
