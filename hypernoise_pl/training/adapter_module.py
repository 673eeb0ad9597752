"""The parts of every training of an adapter: frozen generator and rewards, optimiser, sharding, precision."""

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
    """Trains an adapter; everything else is frozen, in eval mode, and never in a checkpoint.

    Args:
        generator: frozen text-to-image model.
        ensemble: frozen rewards with their weights.
        adapter: what trains.
        objective: loss of a rollout.
        noise: source of training noise.
        seed: seed of the noises at validation and test.
        optimizer: class and arguments of the optimiser; it is given the LoRA weights alone.
        lr_scheduler: class and arguments of a schedule, stepped with the optimiser; None for a constant rate.
        max_bad_steps: steps in a row with a loss or gradient that is not finite, each skipped and counted, after
            which the run stops.
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
        self.eval()  # and so it stays: see ``train``

    def train_noise(self, prompts: Sequence[Prompt]) -> Tensor:
        """[B, *Z] the noises of this training step."""
        indices = [prompt.index for prompt in prompts]
        return self._placed(self.noise(self.generator.noise_shape, self.global_step, indices))

    def eval_noise(self, prompts: Sequence[Prompt], draws: int) -> Tensor:
        """[B * draws, *Z] the noises of evaluation, functions of the prompt's index, the draw and the seed."""
        seeds = [seed_of(self.seed, prompt.index, draw) for prompt in prompts for draw in range(draws)]
        return self._placed(gaussian(self.generator.noise_shape, seeds))

    def check_gradients(self, rollout: Rollout) -> None:
        """Check once, on the first batch and before any step, that every counted reward gives a gradient.

        Raises:
            RewardError: naming a reward that gives none.
        """
        if not self._gradients_checked and rollout.images.requires_grad:
            self._gradients_checked = True
            self.ensemble.check_gradients(rollout.scores, rollout.images)

    def train(self, mode: bool = True) -> AdapterModule:
        """Stay in eval mode: frozen networks must not drop out, and the LoRA has nothing that differs."""
        return super().train(False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Prompts are text; nothing to move."""
        return batch

    def setup(self, stage: str) -> None:
        """Check the Trainer's precision.

        Raises:
            ValueError: if it converts weights, or is float16 for a generator that overflows in it.
        """
        check_trainer(self.trainer)
        if stage == "fit":  # a module may be fitted again; a checkpoint's own counts come later
            self.bad_steps = self._bad_in_a_row = 0
            self.bad_rewards.clear()
        if self.trainer.precision == "16-mixed" and not self.generator.float16:
            name = type(self.generator).__name__
            raise ValueError(f"trainer.precision 16-mixed: a {name} is not right in float16; use bf16-mixed")

    def configure_model(self) -> None:
        """Shard the network over processes where the strategy has a device mesh; do nothing elsewhere."""
        if self.device_mesh is not None:
            assert_tied(self.generator.network, self.adapter.view)
            mesh = self.device_mesh["data_parallel"]
            shard(self.generator.network, self.adapter.view, mesh, self.generator.shared_blocks)

    def on_fit_start(self) -> None:
        """Check that a reward counts, and that nothing has copied or replaced frozen weights since the start.

        Raises:
            ValueError: if every reward's weight is 0.
        """
        super().on_fit_start()
        if not self.ensemble.counted:
            raise ValueError("reward_weights: all are 0, and nothing would train; give one of the rewards a weight")
        assert_tied(self.generator.network, self.adapter.view)
        self._gradients_checked = False

    def configure_optimizers(self) -> Any:
        """The configured optimiser on the LoRA weights, its schedule stepped with it.

        Raises:
            ValueError: if the precision does not train right (see ``precision.check_precision``), or the schedule waits
                for a figure.
        """
        check_precision(self.trainer, self.trainable().values(), self.frozen_parts())
        optimizer = self._make_optimizer(self.trainable().values())
        if self._make_schedule is None:
            return optimizer
        schedule = self._make_schedule(optimizer)
        if isinstance(schedule, ReduceLROnPlateau):
            raise ValueError(
                "model.lr_scheduler ReduceLROnPlateau: the rate is a function of the step here, and no figure changes "
                "it; use WarmupCosine or another of torch.optim.lr_scheduler"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def frozen_parts(self) -> dict[str, Sequence[nn.Module]]:
        """Option that sets a precision -> frozen modules that gradients flow through: network, decoder, rewards."""
        encoders = {id(module) for encoder in self.generator.text_encoders().values() for module in encoder.modules()}
        own = [part for part in self.generator.children() if id(part) not in encoders]
        rewards = {f"model.rewards.{name}.dtype": [self.ensemble.members[name]] for name in self.ensemble.counted}
        return {"model.generator.dtype": own, **rewards}

    def adapter_settings(self) -> dict[str, Any]:
        """Name -> value of what gives the trained weights their meaning; a resumed run must have the same."""
        return self.adapter.settings() | {"generator's fingerprint": fingerprint(self.generator.network)}

    @torch.enable_grad()
    def finite_parts(self, prompts: Sequence[Prompt]) -> dict[str, bool]:
        """``reward 'x'`` of each counted reward, and ``the penalty`` -> whether it and its gradient are finite."""
        fine = {}
        for name in [*self.ensemble.counted, None]:
            rollout = self(prompts, self.train_noise(prompts))
            part = (rollout.scores[name] if name else self.objective.penalty(rollout)).sum()
            weights = [*self.trainable().values()] if part.requires_grad else []
            tensors = [part, *gradients(part, weights)] if weights else [part]
            fine[f"reward {name!r}" if name else "the penalty"] = all(
                bool(tensor.isfinite().all()) for tensor in tensors if tensor is not None
            )
        return fine

    def _placed(self, noise: Tensor) -> Tensor:
        """Noise on the module's device, in float64 where the module is, and in float32 otherwise."""
        return noise.to(self.device, torch.promote_types(noise.dtype, self.dtype))  # type: ignore[arg-type]
