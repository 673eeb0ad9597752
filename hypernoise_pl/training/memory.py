"""Memory of a training step, from the sizes and lifetimes of its tensors; meta tensors suffice."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.lora.view import trainable


class LiveTensors(TorchDispatchMode):
    """Measures the peak bytes of the tensors that are made within its context.

    Args:
        before: earlier tensors, which do not count; an operation may return a view of them.
    """

    def __init__(self, before: list[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in before}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Follow the tensors that an operation returns."""
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def activation_bytes(adapter: Adapter, batch: int, steps: int = 1, half: bool = False) -> int:
    """The peak bytes of forward and backward of a batch, without weights, their gradients and the rewards.

    Args:
        adapter: adapter with its generator; on the meta device nothing is computed.
        batch: number of images.
        steps: network evaluations of the generator per image.
        half: whether the LoRA branches compute in bfloat16, as under autocast; converts their weights.
    """
    generator, weights = adapter.generator, trainable(adapter)
    for weight in weights if half else ():
        weight.data = weight.data.bfloat16()
    conditioning = generator.encode(["a prompt"] * batch)
    device = next(generator.network.parameters()).device
    noise = torch.randn(batch, *generator.noise_shape, device=device)
    before = [tensor for part in (generator, adapter) for tensor in (*part.parameters(), *part.buffers())]
    seeds = [*range(batch)] if steps > 1 else None
    with LiveTensors(
        [*before, noise, *(t for t in tree_leaves(vars(conditioning)) if isinstance(t, torch.Tensor))]
    ) as live:
        residual = adapter.residual(noise, conditioning) if adapter.nfe else None
        refined = noise if residual is None else noise + residual
        images = generator.generate(refined, conditioning, steps, network=adapter.network(), seeds=seeds)
        loss = images.mean() if residual is None else images.mean() + residual.square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
    return int(live.peak) - sum(weight.nbytes for weight in weights)
