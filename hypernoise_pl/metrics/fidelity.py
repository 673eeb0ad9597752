"""Distances between two sets of images by their features: FID, KID, CMMD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics.image.kid import poly_kernel, poly_mmd

from hypernoise_pl.metrics.diversity import diversity
from hypernoise_pl.metrics.precision_recall import NEIGHBOURS, precision_and_recall
from hypernoise_pl.types import check_shape

AT_ONCE = 1024  # rows of a kernel in memory


@dataclass(frozen=True)
class Fidelity:
    """Fidelity of a set of images to a reference set; ``of`` measures it.

    Args:
        figures: ``fid``, ``kid``, ``cmmd`` (0 for equal distributions, lower is better), ``precision`` and ``recall``
            (in [0, 1], higher is better) and, if prompts are known, those of ``diversity``. NaN for a missing figure.
        images: number of measured images.
        against: number of reference images.
        caveats: sentences on missing or unreliable figures.
    """

    figures: dict[str, float]
    images: int
    against: int
    caveats: tuple[str, ...] = ()

    @staticmethod
    def of(features: Tensor, against: Tensor, prompts: Sequence[int] | None = None, paired: bool = False) -> Fidelity:
        """Measure.

        Args:
            features: [N, D] features of the images, not normalised, of any floating type.
            against: [M, D] features of the reference images by the same encoder.
            prompts: prompt index of each image, for the diversity; None for no diversity.
            paired: whether the sets are paired by the same noises; see ``kernel_distance``.

        Raises:
            ValueError: if the features differ in width, or one of them is not finite.
        """
        features, against = _checked("features", features), _checked("against", against)
        check_shape("features", features, (None, against.shape[1]))
        few, length = min(len(features), len(against)), against.shape[1]
        figures, caveats = dict.fromkeys(("fid", "kid", "cmmd", "precision", "recall"), nan), []
        if few:
            figures["cmmd"] = clip_discrepancy(against, features)
        else:
            caveats.append("CMMD is left out: one of the sets has no image.")
        if few > 1:
            figures["fid"] = frechet_distance(against, features)
            figures["kid"] = kernel_distance(against, features, paired)
        else:
            caveats.append(f"FID and KID are left out: they need two images of each set, and one set has {few}.")
        if 1 < few <= length:
            caveats.append(
                f"FID is too high: {few} images do not span the {length} features that it is computed on; compare it "
                "with that of as many images only."
            )
        if few > NEIGHBOURS:
            figures["precision"], figures["recall"] = precision_and_recall(against, features)
        else:
            least = f"{NEIGHBOURS + 1} images of each set"
            caveats.append(f"Precision and recall are left out: they need {least}, and one set has {few}.")
        if prompts is not None:
            figures |= diversity(features, prompts)
            if len(set(prompts)) == len(prompts):
                caveats.append("The diversity is left out: no prompt has two images.")
        return Fidelity(figures, len(features), len(against), tuple(caveats))


def fidelity(features: Tensor, against: Tensor, prompts: Sequence[int] | None = None) -> dict[str, float]:
    """The figures of ``Fidelity.of``, which takes the same arguments."""
    return Fidelity.of(features, against, prompts).figures


def frechet_distance(real: Tensor, other: Tensor) -> float:
    """FID: the squared Wasserstein-2 distance of Gaussians with the features' means m and covariances C.

        FID = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

    For C_1 = A^T A and C_2 = B^T B the trace of the root is the sum of the singular values of A B^T. This form is also
    exact with fewer images than features, where the eigenvalues that torchmetrics uses are not real.

    Args:
        real: [M, D] features, at least two.
        other: [N, D] features, at least two.

    Returns:
        At least 0, with an upward bias of about the number of features over the number of images.

    Source: Heusel et al. 2017, with the given features instead of Inception's.
    """
    check_shape("other", other, (None, real.shape[1]))
    (mean, root), (own_mean, own_root) = _mean_and_root(real), _mean_and_root(other)
    apart = (mean - own_mean).square().sum()
    shared = torch.linalg.svdvals(root @ own_root.T).sum()
    return max(0.0, float(apart + root.square().sum() + own_root.square().sum() - 2 * shared))


def kernel_distance(real: Tensor, other: Tensor, paired: bool = False) -> float:
    """KID: the unbiased squared maximum mean discrepancy under a cubic kernel; about 0 for equal distributions.

    Args:
        real: [M, D] features, at least two.
        other: [N, D] features, at least two.
        paired: whether the sets are paired, as images of two methods from the same noises; the estimate then leaves out
            the pairs, whose correlation would bias it.

    Raises:
        ValueError: if the features differ in width, or paired sets in size.

    Source: Binkowski et al. 2018, with the given features instead of Inception's; for pairs, the U-statistic of Gretton
    et al. 2012, lemma 6.
    """
    check_shape("other", other, (len(real) if paired else None, real.shape[1]))
    if paired:
        between = poly_kernel(real.double(), other.double())
        count = len(real)
        apart = (between.sum() - between.trace()) / (count * (count - 1))
        return float(poly_mmd(real.double(), other.double()) + 2 * (between.mean() - apart))
    # torchmetrics' estimate needs sets of equal size
    size = min(len(real), len(other))
    draws = torch.Generator().manual_seed(0)
    real, other = (x[torch.randperm(len(x), generator=draws)[:size].to(x.device)] for x in (real, other))
    return float(poly_mmd(real.double(), other.double()))


def clip_discrepancy(real: Tensor, other: Tensor, sigma: float = 10.0, scale: float = 1000.0) -> float:
    """CMMD: the squared maximum mean discrepancy of normalised features under a Gaussian kernel (V-statistic).

    The paper uses features of CLIP ViT-L/14 at 336 pixels.

    Args:
        real: [M, D] features, at least one.
        other: [N, D] features, at least one.
        sigma: width of the kernel.
        scale: factor of the figure.

    Returns:
        At least 0; 0 for equal sets.

    Source: Jayasumana et al. 2024 (Rethinking FID, arXiv 2401.09603), section 5, and its published code.
    """
    check_shape("other", other, (None, real.shape[1]))
    real, other = normalize(real.double(), dim=1), normalize(other.double(), dim=1)

    def kernel(one: Tensor, two: Tensor) -> Tensor:
        # expm1 subtracts 1 from each value; it cancels in the difference, and small values keep their digits
        rows = [torch.expm1((part @ two.T - 1) / sigma**2).sum() for part in one.split(AT_ONCE)]
        return torch.stack(rows).sum() / (len(one) * len(two))

    return max(0.0, scale * float(kernel(real, real) + kernel(other, other) - 2 * kernel(real, other)))


def _checked(name: str, features: Tensor) -> Tensor:
    check_shape(name, features, (None, None))
    bad = (~features.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"{name}: those of image {bad[0]} are not finite ({len(bad)} of {len(features)} images)")
    return features.detach().double()


def _mean_and_root(features: Tensor) -> tuple[Tensor, Tensor]:
    """[D] mean and [R, D] root with root^T root = covariance; R is at most the number of images or D."""
    features = features.double()
    mean = features.mean(0)
    return mean, torch.linalg.qr((features - mean) / (len(features) - 1) ** 0.5, mode="r").R
