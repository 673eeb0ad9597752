"""The greedy FID oracle: which image brings the set of images chosen so far nearest to a reference set."""

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
    """Minus the FID, against a reference set, of the images accepted so far and the candidate together.

        FID = |m - m_r|^2 + tr(C + C_r - 2 (C C_r)^(1/2)),  m, C: mean and unbiased covariance of features

    In a greedy search the caller gives what it chose to ``accept``, and the next candidates are scored on top of it.
    Nothing is accepted otherwise: a comparison, whose units may run in any order, scores every candidate by its own
    influence on the images of ``initial``. Prompts are not read.

    Args:
        features: what encodes the images. With an encoder other than Inception's it is not the FID of the literature.
        reference: folder of images (searched with its subfolders), or a ``.safetensors`` file of their features'
            ``mean`` [D] and ``cov`` [D, D], which ``save_reference`` writes. Two images at least, and better more than
            there are features. A folder is encoded here, one image at a time; make a file of a large one.
        initial: folder of images accepted from the start; without it the first images must be accepted by hand.

    Raises:
        FileNotFoundError: if a folder or file is missing, or a folder has no images.
        ValueError: if there is only one reference image, or a file has other tensors than these, or of other features.

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
                raise ValueError(f"reference {reference}: a covariance needs two images at least, there is one")
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
        """Take images [B, 3, H, W] in [0, 1] into the set that the next candidates are scored on top of."""
        found = (self.accepted, self.mean, self.scatter)
        self.accepted, self.mean, self.scatter = _joined(*found, self._seen(images))

    def fid(self) -> float:
        """FID of what was accepted, two images at least, against the reference."""
        if self.accepted < 2:
            raise ValueError(f"greedy FID: two accepted images at least have an FID, there are {self.accepted}")
        root = self.reference_root
        spread = root.mT @ self.scatter @ root / (self.accepted - 1)
        gap = (self.mean - self.reference_mean).square().sum()
        trace = self.scatter.trace() / (self.accepted - 1) + root.square().sum()
        return float(gap + trace - 2 * _trace_of_root(spread))

    def save_reference(self, file: str) -> None:
        """Write mean and covariance of the reference to a ``.safetensors`` file, for ``reference`` to name."""
        covariance = self.reference_root @ self.reference_root.mT
        write_tensors(Path(file), {"mean": self.reference_mean, "cov": covariance})

    @torch.no_grad()
    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        if not self.accepted:
            raise ValueError("greedy FID: no image was accepted yet; give a folder as initial, or call accept first")
        seen = self._seen(images)
        spread = self.reference_root.mT @ self.scatter @ self.reference_root / self.accepted
        at_once = max(1, _ELEMENTS // max(1, spread.numel()))
        return torch.cat([-self._distance(part, spread) for part in seen.split(at_once)])

    def _distance(self, seen: Tensor, spread: Tensor) -> Tensor:
        """[M] FID with each of the features [M, D] taken in: mean and covariance change by one rank.

        With n images before and the shift s = x - m, the mean moves by s / (n + 1), and the unbiased covariance becomes
        scatter / n + s s^T / (n + 1). What C has in the span of the reference is given for n as ``spread``.
        """
        more, shift = self.accepted + 1, seen - self.mean
        gap = (self.mean + shift / more - self.reference_mean).square().sum(1)
        trace = self.scatter.trace() / self.accepted + shift.square().sum(1) / more + self.reference_root.square().sum()
        along = shift @ self.reference_root
        return gap + trace - 2 * _trace_of_root(spread + along[:, :, None] * along[:, None] / more)

    def _seen(self, images: Tensor) -> Tensor:
        """[B, D] features in float64."""
        found: Tensor = self.features(images).double()
        check_shape("features", found, (len(images), len(self.reference_mean)))
        return found

    @torch.no_grad()
    def _moments(self, folder: Path) -> tuple[int, Tensor, Tensor]:
        """Count, mean [D] and scatter [D, D] of the features of a folder's images."""
        seen = [self.features(picture).double() for picture in _pictures(folder)]
        size, like = seen[0].shape[1], seen[0]
        return _joined(0, like.new_zeros(size), like.new_zeros(size, size), torch.cat(seen))


def _joined(count: int, mean: Tensor, scatter: Tensor, seen: Tensor) -> tuple[int, Tensor, Tensor]:
    """Count, mean and scatter of a set with more features [B, D] taken in."""
    total, own = count + len(seen), seen.mean(0)
    shift, centred = own - mean, seen - own
    between = torch.outer(shift, shift) * (count * len(seen) / total)
    return total, mean + shift * (len(seen) / total), scatter + centred.mT @ centred + between


def _root(covariance: Tensor) -> Tensor:
    """[D, R] with root root^T = covariance [D, D]; as few columns as its rank."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return vectors[:, kept] * values[kept].sqrt()


def _trace_of_root(spread: Tensor) -> Tensor:
    """Trace of the square root of root^T C root [..., R, R], which has the non-zero eigenvalues of C C_r."""
    return torch.linalg.eigvalsh(spread).clamp(min=0).sqrt().sum(-1)


def _read_moments(file: Path) -> tuple[Tensor, Tensor]:
    tensors = load_tensors(file, "reference")
    if set(tensors) != {"mean", "cov"}:
        raise ValueError(f"reference {file}: wanted the tensors mean and cov, found {', '.join(sorted(tensors))}")
    mean, covariance = tensors["mean"].double(), tensors["cov"].double()
    check_shape(f"reference {file}: cov", covariance, (mean.numel(), mean.numel()))
    return mean, covariance


def _pictures(folder: Path) -> Iterator[Tensor]:
    """The images of a folder and its subfolders, [1, 3, H, W] in [0, 1] each."""
    import numpy as np
    from PIL import Image

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    if not files:
        raise FileNotFoundError(f"{folder}: no such folder, or no images ({', '.join(_ENDINGS)}) in it")
    for file in files:
        with Image.open(file) as picture:
            pixels = np.array(picture.convert("RGB"))
        yield torch.from_numpy(pixels).movedim(-1, 0)[None] / 255
