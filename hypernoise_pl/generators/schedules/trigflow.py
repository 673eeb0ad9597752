"""Schedule of TrigFlow consistency models (SANA-Sprint).

A state is ``x = cos(a) * x0 + sin(a) * noise`` with TrigFlow's time a in [0, pi / 2]. Time t is SCM's time
``sin(a) / (cos(a) + sin(a))``, which is also the network's timestep. With F the network's output for ``x * norm``:

==================  ==================================================  ==============================================
part                equation, norm = sqrt(t ** 2 + (1 - t) ** 2)        source
==================  ==================================================  ==============================================
velocity v          (1 - 2 * t) * x                                     Chen et al. 2025 (SANA-Sprint, arXiv
                    + (1 - 2 * t + 2 * t ** 2) / norm * F               2503.09641), section 3.1
x0                  cos(a) * x - sin(a) * v                             Lu and Song 2024 (sCM, arXiv 2410.11081),
                                                                        section 3
step to next_t      alpha_next * x0 + sigma_next * fresh                Song et al. 2023 (arXiv 2303.01469),
                                                                        Algorithm 1
==================  ==================================================  ==============================================
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypernoise_pl.generators.schedules.base import Schedule

FIRST_ANGLE = 1.57080  # diffusers' rounding of pi / 2, the pipeline's default ``max_timesteps``
MIDDLE_ANGLE = 1.3  # the pipeline's default ``intermediate_timesteps``, for two steps


class TrigFlow(Schedule):
    """A consistency model of TrigFlow: every step predicts clean latents and adds fresh noise."""

    def time_grid(self, steps: int) -> list[float]:
        """The pipeline's own times, as SCM's."""
        angles = torch.linspace(FIRST_ANGLE, 0, steps + 1).tolist()
        if steps == 2:
            angles[1] = MIDDLE_ANGLE
        return [math.sin(angle) / (math.cos(angle) + math.sin(angle)) for angle in angles]

    def alpha_sigma(self, t: float) -> tuple[float, float]:
        """Cosine and sine of TrigFlow's time."""
        angle = math.atan2(t, 1 - t)
        return math.cos(angle), math.sin(angle)

    def scale_model_input(self, state: Tensor, t: float) -> Tensor:
        """The state scaled to the variance of flow matching at t; noise alone stays as it is."""
        return state * math.hypot(t, 1 - t)

    def predict_x0(self, state: Tensor, output: Tensor, t: float) -> Tensor:
        """Clean latents [B, *Z]: cos(a) * x - sin(a) * v, with v from the state and the network's output."""
        (alpha_t, sigma_t), norm = self.alpha_sigma(t), math.hypot(t, 1 - t)
        velocity = (1 - 2 * t) * state + (1 - 2 * t + 2 * t * t) / norm * output
        return alpha_t * state - sigma_t * velocity

    def noise_retention(self, t: float, next_t: float) -> float:
        """0: all noise is fresh."""
        return 0.0
