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
    """Each process has its own data and a shard of the generator's network, the LoRA and the optimiser's state.

    ``fsdp.shard`` shards the network. Text encoders, decoder and rewards are complete in every process. Checkpoints
    have the format of a single process, the trained weights as full tensors in one file, and resume with any strategy.
    The number of processes is ``trainer.devices`` times ``trainer.num_nodes``.

    Args:
        process_group_backend: ``nccl`` or ``gloo``; chosen by the device if left out.
    """

    def __init__(self, process_group_backend: str | None = None) -> None:
        super().__init__(
            tensor_parallel_size=1, save_distributed_checkpoint=False, process_group_backend=process_group_backend
        )

    @property
    def lightning_restore_optimizer(self) -> bool:
        """True: Lightning calls ``load_optimizer_state_dict``."""
        return True

    def setup_environment(self) -> None:
        """Start the process group; all processes split the data.

        Raises:
            ValueError: if the run evaluates in inference mode; weights gathered in it cannot be differentiated through.
        """
        assert self.lightning_module is not None
        if self.lightning_module.trainer.test_loop.inference_mode:
            raise ValueError("FsdpStrategy needs trainer.inference_mode: false")
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The full trained weights, in the first process only; all processes must call this together."""
        assert self.lightning_module is not None
        named = self.lightning_module.named_parameters()
        weights = ((name, gather(weight.detach())) for name, weight in named if weight.requires_grad)
        return {name: weight.cpu() for name, weight in weights if self.is_global_zero}

    @torch.no_grad()
    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load this process's shards of saved weights."""
        assert self.lightning_module is not None
        own = dict(self.lightning_module.named_parameters())
        for name, saved in checkpoint["state_dict"].items():
            own[name].copy_(local_shard(saved, own[name]))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The full optimiser state, in the first process only; all processes must call this together."""
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state = plain.state_dict()
        gathered: dict[int, dict[str, Any]] = {}
        for index, entries in state["state"].items():
            tensors = ((key, gather(value) if isinstance(value, Tensor) else value) for key, value in entries.items())
            gathered[index] = {key: _on_cpu(value) for key, value in tensors if self.is_global_zero}
        return {**state, "state": gathered} if self.is_global_zero else {}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this process's shards of saved optimiser state."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            indices = [index for group in saved["param_groups"] for index in group["params"]]
            state = saved["state"]
            shards = {
                index: {key: local_shard(value, weight) for key, value in state[index].items()}
                for index, weight in zip(indices, weights, strict=True)
                if index in state
            }
            optimizer.load_state_dict({**saved, "state": shards})

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint file in every process; loading shards it later."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
