"""Sharded training: Lightning's strategy for FSDP2, with the checkpoints of a single process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim import Optimizer

from hypernoise_pl.distributed.fsdp import gather, local_shard


class FsdpStrategy(ModelParallelStrategy):
    """Every process has its own data and a share of the generator's network, of the LoRA and of the optimiser's state.

    How the network is spread is ``parallelize.shard``. Text encoders, decoder and rewards are whole in every process.
    Checkpoints are those of a single process, which reads them, and the other way round: only what trains, as plain
    tensors in one file. Processes follow from ``trainer.devices`` and ``trainer.num_nodes``.

    Args:
        process_group_backend: ``nccl`` or ``gloo``; by the device if left out.
    """

    def __init__(self, process_group_backend: str | None = None) -> None:
        super().__init__(
            tensor_parallel_size=1, save_distributed_checkpoint=False, process_group_backend=process_group_backend
        )

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Yes: by ``load_optimizer_state_dict``."""
        return True

    def setup_environment(self) -> None:
        """Start the processes; all of them split the data.

        Raises:
            ValueError: if the run would test in inference mode, through whose weights nothing can be differentiated.
        """
        assert self.lightning_module is not None
        if self.lightning_module.trainer.test_loop.inference_mode:
            raise ValueError("the sharded strategy needs trainer.inference_mode: false")
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The weights that train, whole; all processes must ask together, and the first is answered."""
        assert self.lightning_module is not None
        named = self.lightning_module.named_parameters()
        found = ((name, gather(weight.detach())) for name, weight in named if weight.requires_grad)
        return {name: weight.cpu() for name, weight in found if self.is_global_zero}

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this process's shares of saved weights."""
        assert self.lightning_module is not None
        own = dict(self.lightning_module.named_parameters())
        for name, saved in checkpoint["state_dict"].items():
            own[name].copy_(local_shard(saved, own[name]))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Its state, whole; all processes must ask together, and the first is answered."""
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        found = plain.state_dict()
        gathered: dict[int, dict[str, Any]] = {}
        for place, entries in found["state"].items():
            tensors = ((key, gather(value) if isinstance(value, Tensor) else value) for key, value in entries.items())
            gathered[place] = {key: _on_cpu(value) for key, value in tensors if self.is_global_zero}
        return {**found, "state": gathered} if self.is_global_zero else {}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's shares of saved state."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            places = [place for group in saved["param_groups"] for place in group["params"]]
            state = saved["state"]
            shares = {
                place: {key: local_shard(value, weight) for key, value in state[place].items()}
                for place, weight in zip(places, weights, strict=True)
                if place in state
            }
            optimizer.load_state_dict({**saved, "state": shares})

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a file in every process; each takes its shares later."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
