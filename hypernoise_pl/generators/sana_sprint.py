"""SANA-Sprint: a TrigFlow consistency model; one step is ``noise - network(noise)``."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.base import Schedule
from hypernoise_pl.types import Conditioning

FIRST_TIMESTEP = 1.57080  # diffusers' rounding of pi / 2, the pipeline's default ``max_timesteps``
MIDDLE_TIMESTEP = 1.3  # the pipeline's default for two steps


class TrigFlow(Schedule):
    """A consistency model whose state at TrigFlow's time t is ``cos t clean + sin t noise``.

    Its level is SCM's time ``sin t / (cos t + sin t)``, which is what the network is told too.

    Source: Lu and Song 2024 (sCM, arXiv 2410.11081), section 3; Chen et al. 2025 (arXiv 2503.09641), section 3.1.
    """

    def levels(self, steps: int) -> list[float]:
        """The pipeline's own times, as SCM times."""
        times = torch.linspace(FIRST_TIMESTEP, 0, steps + 1).tolist()
        if steps == 2:
            times[1] = MIDDLE_TIMESTEP
        return [math.sin(time) / (math.cos(time) + math.sin(time)) for time in times]

    def coefficients(self, level: float) -> tuple[float, float]:
        """Cosine and sine."""
        time = math.atan2(level, 1 - level)
        return math.cos(time), math.sin(time)

    def scaled(self, state: Tensor, level: float) -> Tensor:
        """Of the variance that a flow matching network knows; noise alone as it is."""
        return state * math.hypot(level, 1 - level)

    def clean(self, state: Tensor, output: Tensor, level: float) -> Tensor:
        """By TrigFlow's velocity, which the output and the input make together."""
        (alpha, beta), norm = self.coefficients(level), math.hypot(level, 1 - level)
        velocity = (1 - 2 * level) * state + (1 - 2 * level + 2 * level * level) / norm * output
        return alpha * state - beta * velocity

    def kept(self, level: float, lower: float) -> float:
        """All noise is fresh."""
        return 0.0


class SanaSprint(PipelineGenerator):
    """A SANA-Sprint pipeline (diffusers ``SanaSprintPipeline``).

    Args:
        model: folder or hub id (``Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers``).
        guidance_scale: what the network is told of guidance; 4.5 is the model's default.
        max_sequence_length: text tokens, the first included; a longer prompt is cut, with a warning.
        instruction: prepended to every prompt before encoding (the pipeline's ``complex_human_instruction``, which has
            a default there); Noise Hypernetworks has none.
        components: Python module to import first, where the folder names classes that are not diffusers' own.
        loading: what every generator takes: ``height``, ``width`` (multiples of 32), ``dtype``, ``revision``,
            ``local_only``, ``decoding``.

    Source: Chen et al. 2025 (SANA-Sprint, arXiv 2503.09641); diffusers' pipeline for the constants.
    """

    pipelines = ("SanaSprintPipeline",)
    # text encoder and autoencoder overflow (diffusers' page of the pipeline has both in bfloat16), and under autocast
    # the linear attention divides by a number that is 0 in float16
    float16 = False
    options_seen: ClassVar[dict[str, str | None]] = {
        "guidance_scale": "guidance_scale",
        "instruction": "complex_human_instruction",
        "max_sequence_length": None,  # padding is masked
    }

    def __init__(
        self,
        model: str,
        guidance_scale: float = 4.5,
        max_sequence_length: int = 300,
        instruction: list[str] | None = None,
        components: str | None = None,
        **loading: Any,
    ) -> None:
        if components is not None:
            importlib.import_module(components)
        super().__init__(model, **loading)
        self.guidance_scale, self.max_sequence_length = guidance_scale, max_sequence_length
        self.instruction = instruction
        self.schedule = TrigFlow()

    @classmethod
    def pipeline_call(cls, steps: int) -> dict[str, Any]:
        """Arguments of the pipeline's call; its default of a middle timestep is for two steps, others need None."""
        return super().pipeline_call(steps) | ({} if steps == 2 else {"intermediate_timesteps": None})

    @classmethod
    def check_call(cls, arguments: Mapping[str, Any]) -> None:
        """Raise ``ValueError`` for a middle timestep, which the pipeline has by default, at other than two steps."""
        steps, middle = arguments["num_inference_steps"], arguments["intermediate_timesteps"]
        if middle is not None and steps != 2:
            raise ValueError(
                f"SanaSprintPipeline: intermediate_timesteps={middle} is for num_inference_steps=2, this call has "
                f"{steps}; pass intermediate_timesteps=None"
            )

    def _encode(self, prompts: list[str]) -> Conditioning:
        self.truncation.check(self.pipeline.tokenizer, prompts, self.max_sequence_length)
        encoded = self.pipeline.encode_prompt(
            prompts,
            device=self._device,
            max_sequence_length=self.max_sequence_length,
            complex_human_instruction=self.instruction,
        )
        return self.conditioning_of(encoded)

    def conditioning_of(self, encoded: Sequence[Any]) -> Conditioning:
        """Text features and which of them count."""
        return Conditioning(encoded[0], encoded[1])

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        batch = len(state)
        dtype = self.network.dtype
        guidance = self.guidance_scale * self.network.config.guidance_embeds_scale
        output: Tensor = network(
            state.to(dtype),
            encoder_hidden_states=conditioning.embeddings.to(dtype),
            encoder_attention_mask=conditioning.mask,
            guidance=torch.full((batch,), guidance, device=state.device, dtype=conditioning.embeddings.dtype),
            timestep=torch.full((batch,), time, device=state.device),
            return_dict=False,
        )[0]
        return output
