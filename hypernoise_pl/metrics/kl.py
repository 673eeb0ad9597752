"""KL divergence of refined noise from Gaussian noise, including the two terms that the L2 penalty omits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Residual = Callable[[Tensor], Tensor]


def measured_kl(
    residual: Residual, noise: Tensor, probes: int = 4, order: int = 12, seed: int = 0
) -> dict[str, Tensor]:
    """Estimate what the L2 term leaves out: KL = E[1/2 |f|^2 + tr J - log|det(I + J)|], J the Jacobian of f.

    The trace is Hutchinson's, with random signs, and unbiased. log|det(I + J)| = 1/2 tr log A, A = (I + J)^T (I + J),
    is Hutchinson's with each v^T log(A) v by ``order`` Lanczos steps (Gauss quadrature): exact from d steps on, and
    before that off by what falls as exp(-4 order / condition of (I + J)). Unlike the power series of log(1 + J), it
    does not ask for a Lipschitz constant below 1, which trained hypernetworks do not have. Both terms share their
    probes, so that much of the probes' noise cancels in ``kl``. From d probes on, everything is exact instead.

    Args:
        residual: f, from [B, *Z] to [B, *Z], each image on its own.
        noise: [B, *Z].
        probes: random directions an image; d or more for the exact figures, by d products with J.
        order: Lanczos steps a probe, each one product with J and one with its transpose.
        seed: seed of the directions.

    Returns:
        ``half_square``, ``trace``, ``log_det`` and ``kl``, each [B], in nats.

    Source: Ubaru, Chen and Saad 2017, Fast estimation of tr(f(A)) via stochastic Lanczos quadrature.
    """
    jacobian = _Jacobian(residual, noise)
    half_square = 0.5 * jacobian.value.flatten(1).square().sum(1)
    exact = probes >= noise[0].numel()
    trace, log_det = _exact_terms(jacobian, noise) if exact else _probed_terms(jacobian, noise, probes, order, seed)
    return {"half_square": half_square, "trace": trace, "log_det": log_det, "kl": half_square + trace - log_det}


def lipschitz(residual: Residual, noise: Tensor, iterations: int = 8, seed: int = 0) -> Tensor:
    """[B] the norm of f's Jacobian at each noise, by power iteration on J^T J; from below, never above the true norm.

    Args:
        residual: f, from [B, *Z] to [B, *Z], each image on its own.
        noise: [B, *Z].
        iterations: each one product with J and one with its transpose.
        seed: seed of the first direction.
    """
    jacobian = _Jacobian(residual, noise)
    vector = _unit(torch.randn(noise.shape, generator=torch.Generator().manual_seed(seed)).to(noise))
    for _ in range(iterations):
        image = _unit(jacobian.times(vector))
        vector = jacobian.transposed_times(image)
        found = vector.flatten(1).norm(dim=1)
        vector = _unit(vector)
    return found


class _Jacobian:
    """Products with the Jacobian of f at some noise, each image's with its own vector [B, *Z]."""

    def __init__(self, residual: Residual, noise: Tensor) -> None:
        self._residual = residual
        with torch.inference_mode(False), torch.enable_grad():
            self._x = noise.detach().clone().requires_grad_()
            self._fx = residual(self._x)
        self.value = self._fx.detach()

    def times(self, vector: Tensor) -> Tensor:
        # only the plain attention kernel has a forward derivative
        with torch.inference_mode(False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            return torch.func.jvp(self._residual, (self._x.detach(),), (vector.clone(),))[1]

    def transposed_times(self, vector: Tensor) -> Tensor:
        with torch.inference_mode(False):
            return torch.autograd.grad(self._fx, self._x, vector.clone(), retain_graph=True)[0]


def _exact_terms(jacobian: _Jacobian, noise: Tensor) -> tuple[Tensor, Tensor]:
    """[B] tr J and log|det(I + J)|, J written out column by column."""
    d = noise[0].numel()
    units = torch.eye(d).view(d, *noise.shape[1:]).to(noise)
    matrix = torch.stack([jacobian.times(unit.expand_as(noise)).flatten(1) for unit in units], 2)  # [B, d, d]
    log_det = torch.linalg.slogdet(torch.eye(d).to(matrix) + matrix).logabsdet
    return matrix.diagonal(dim1=1, dim2=2).sum(1), log_det


def _probed_terms(jacobian: _Jacobian, noise: Tensor, probes: int, order: int, seed: int) -> tuple[Tensor, Tensor]:
    """[B] the same, estimated."""
    draws, d = torch.Generator().manual_seed(seed), noise[0].numel()
    trace, log_det = noise.new_zeros(len(noise)), noise.new_zeros(len(noise))
    for _ in range(probes):
        probe = (torch.randint(0, 2, noise.shape, generator=draws) * 2 - 1).to(noise)
        trace += _dot(probe, jacobian.times(probe)) / probes
        log_det += 0.5 * d * _log_form(jacobian, probe / d**0.5, min(order, d)) / probes
    return trace, log_det


def _log_form(jacobian: _Jacobian, unit: Tensor, order: int) -> Tensor:
    """[B] u^T log(A) u for unit vectors u [B, *Z] and A = (I + J)^T (I + J), by Lanczos' method."""
    basis, diagonal, beside = [unit], [], []
    for step in range(order):
        vector = basis[-1] + jacobian.times(basis[-1])
        vector = vector + jacobian.transposed_times(vector)
        diagonal.append(_dot(basis[-1], vector))
        for older in basis * 2:  # twice, against rounding
            vector = vector - _scale(older, _dot(older, vector))
        if step < order - 1:
            beside.append(vector.flatten(1).norm(dim=1))
            basis.append(_unit(vector))
    matrix = torch.diag_embed(torch.stack(diagonal, 1).double())
    if beside:
        off = torch.diag_embed(torch.stack(beside, 1).double(), 1)
        matrix = matrix + off + off.mT
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors[:, 0].square() * values.clamp(min=1e-30).log()).sum(1).to(unit)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).flatten(1).sum(1)


def _scale(vector: Tensor, factor: Tensor) -> Tensor:
    return vector * factor.view(-1, *[1] * (vector.dim() - 1))


def _unit(vector: Tensor) -> Tensor:
    return _scale(vector, 1 / vector.flatten(1).norm(dim=1).clamp(min=1e-30))
