"""The base module of adapter training: frozen generator and rewards, optimiser, sharding, precision checks."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from hypernoise_pl.adapters.description import fingerprint
from hypernoise_pl.distributed.fsdp import gradients, shard
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.lora.view import assert_tied
from hypernoise_pl.noise import NoiseSource, gaussian, seed_of
from hypernoise_pl.objective import Objective
from hypernoise_pl.rewards.ensemble import WeightedSum
from hypernoise_pl.training.precision import check_precision, check_trainer
from hypernoise_pl.training.resumable_module import ResumableModule
from hypernoise_pl.types import Prompt, Rollout


class AdapterModule(ResumableModule, ABC):
    """Trains an adapter; all other networks are frozen, in eval mode, and left out of checkpoints.

    Args:
        generator: frozen text-to-image model.
        ensemble: frozen rewards with their weights.
        adapter: adapter that is trained.
        objective: training loss.
        noise: source of training noise.
        seed: seed of the validation and test noises.
        optimizer: class and arguments of the optimiser; it gets only the LoRA weights.
        lr_scheduler: class and arguments of a schedule, stepped with the optimiser; None for a constant rate.
        max_bad_steps: largest number of consecutive steps with a non-finite loss or gradient; such steps are skipped
            and counted, and one more stops the run.
    """

    def __init__(
        self,
        generator: Generator,
        ensemble: WeightedSum,
        adapter: Adapter,
        objective: Objective,
        noise: NoiseSource,
        seed: int = 0,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        max_bad_steps: int = 10,
    ) -> None:
        super().__init__(max_bad_steps)
        self.generator, self.ensemble, self.adapter = generator, ensemble, adapter
        self.objective, self.noise, self.seed = objective, noise, seed
        self._make_optimizer, self._make_schedule = optimizer, lr_scheduler
        self._gradients_checked = False
        self.eval()  # ``train`` keeps it so

    def train_noise(self, prompts: Sequence[Prompt]) -> Tensor:
        """The noises [B, *Z] of this training step."""
        indices = [prompt.index for prompt in prompts]
        return self._to_device(self.noise(self.generator.noise_shape, self.global_step, indices))

    def eval_noise(self, prompts: Sequence[Prompt], draws: int) -> Tensor:
        """The evaluation noises [B * draws, *Z]; they depend only on the prompt index, the draw number and the seed."""
        seeds = [seed_of(self.seed, prompt.index, draw) for prompt in prompts for draw in range(draws)]
        return self._to_device(gaussian(self.generator.noise_shape, seeds))

    def check_gradients(self, rollout: Rollout) -> None:
        """Check, on the first batch only, that every reward with a weight gives a gradient.

        Raises:
            RewardError: if a reward gives no gradient; the message names it.
        """
        if not self._gradients_checked and rollout.images.requires_grad:
            self._gradients_checked = True
            self.ensemble.check_gradients(rollout.scores, rollout.images)

    def train(self, mode: bool = True) -> AdapterModule:
        """Keep eval mode: frozen networks must not apply dropout, and the LoRA behaves the same in both modes."""
        return super().train(False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Return the batch unchanged; prompts are text."""
        return batch

    def setup(self, stage: str) -> None:
        """Check the Trainer's precision.

        Raises:
            ValueError: if the precision converts weights, or is float16 and the generator overflows in float16.
        """
        check_trainer(self.trainer)
        if stage == "fit":  # a module may be fitted again; a checkpoint restores its counts later
            self.bad_steps = self._bad_in_a_row = 0
            self.bad_rewards.clear()
        if self.trainer.precision == "16-mixed" and not self.generator.float16:
            name = type(self.generator).__name__
            raise ValueError(f"trainer.precision 16-mixed: {name} overflows in float16; use bf16-mixed")

    def configure_model(self) -> None:
        """Shard the network over processes if the strategy has a device mesh."""
        if self.device_mesh is not None:
            assert_tied(self.generator.network, self.adapter.view)
            mesh = self.device_mesh["data_parallel"]
            shard(self.generator.network, self.adapter.view, mesh, self.generator.shared_blocks)

    def on_fit_start(self) -> None:
        """Check that a reward has a weight and that generator and adapter still share the frozen weights.

        Raises:
            ValueError: if all reward weights are 0.
        """
        super().on_fit_start()
        if not self.ensemble.counted:
            raise ValueError(
                "reward_weights: all are 0, so there is nothing to train on; give one of the rewards a weight"
            )
        assert_tied(self.generator.network, self.adapter.view)
        self._gradients_checked = False

    def configure_optimizers(self) -> Any:
        """Build the optimiser of the LoRA weights and its schedule, which steps with it.

        Raises:
            ValueError: if the precision cannot train these weights (see ``precision.check_precision``), or the schedule
                needs a metric.
        """
        check_precision(self.trainer, self.trainable().values(), self.frozen_parts())
        optimizer = self._make_optimizer(self.trainable().values())
        if self._make_schedule is None:
            return optimizer
        schedule = self._make_schedule(optimizer)
        if isinstance(schedule, ReduceLROnPlateau):
            raise ValueError(
                "model.lr_scheduler ReduceLROnPlateau: schedules that follow a metric are not supported; "
                "use WarmupCosine or another schedule that depends only on the step"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def frozen_parts(self) -> dict[str, Sequence[nn.Module]]:
        """Map each dtype option to the frozen modules that gradients pass through: network, decoder, rewards."""
        encoders = {id(module) for encoder in self.generator.text_encoders().values() for module in encoder.modules()}
        own = [part for part in self.generator.children() if id(part) not in encoders]
        rewards = {f"model.rewards.{name}.dtype": [self.ensemble.members[name]] for name in self.ensemble.counted}
        return {"model.generator.dtype": own, **rewards}

    def adapter_settings(self) -> dict[str, Any]:
        """The settings that the trained weights depend on, name -> value; a resumed run must have the same."""
        return self.adapter.settings() | {"generator's fingerprint": fingerprint(self.generator.network)}

    @torch.enable_grad()
    def finite_parts(self, prompts: Sequence[Prompt]) -> dict[str, bool]:
        """Map ``reward 'x'`` of each weighted reward, and ``the penalty``, to whether value and gradient are finite."""
        finite = {}
        for name in [*self.ensemble.counted, None]:
            rollout = self(prompts, self.train_noise(prompts))
            part = (rollout.scores[name] if name else self.objective.penalty(rollout)).sum()
            weights = [*self.trainable().values()] if part.requires_grad else []
            tensors = [part, *gradients(part, weights)] if weights else [part]
            finite[f"reward {name!r}" if name else "the penalty"] = all(
                bool(tensor.isfinite().all()) for tensor in tensors if tensor is not None
            )
        return finite

    def _to_device(self, noise: Tensor) -> Tensor:
        """Move noise to the module's device, in float64 if the module is in float64, else in float32."""
        return noise.to(self.device, torch.promote_types(noise.dtype, self.dtype))  # type: ignore[arg-type]
