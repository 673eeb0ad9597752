"""Text encoders of a generator: their device, and offloading them to the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


class TextEncoderOffloading(nn.Module):
    """A generator's text encoders, which may stay on the CPU while the generator is on another device.

    A text encoder is a child module whose name begins with ``text_encoder``. An offloaded one stays an attribute and is
    no child module any more, so ``to``, ``parameters`` and ``state_dict`` pass it over.

    Attributes:
        network: module whose device is the default for encoding.
    """

    network: nn.Module
    _offloaded: dict[str, nn.Module] | None = None
    _encoding_device: torch.device | None = None

    def text_encoders(self) -> dict[str, nn.Module]:
        """Name -> text encoder; the names are ``text_encoder``, ``text_encoder_2`` and so on."""
        children = {name: module for name, module in self.named_children() if name.startswith("text_encoder")}
        return children | (self._offloaded or {})

    def offload_text_encoders(self) -> None:
        """Move the text encoders to the CPU for good; ``encode`` moves them to its device for the call."""
        self._offloaded = self.text_encoders()
        for name, encoder in self._offloaded.items():
            self._modules.pop(name, None)
            self.__dict__[name] = encoder.to("cpu")

    @contextlib.contextmanager
    def text_encoders_on(self, device: torch.device | None = None) -> Iterator[None]:
        """Keep offloaded text encoders on a device for one or many calls of ``encode``.

        Args:
            device: device of the text encoders and of encoded prompts; the network's if left out.
        """
        offloaded, outer_device = [*(self._offloaded or {}).values()], self._encoding_device
        self._encoding_device = outer_device if device is None else device
        target = self._device if offloaded else None
        moved = [encoder for encoder in offloaded if device_of(encoder) != target]
        for encoder in moved:
            encoder.to(target)
        try:
            yield
        finally:
            self._encoding_device = outer_device
            for encoder in moved:
                encoder.to("cpu")

    @property
    def _device(self) -> torch.device:
        """Device on which prompts are encoded: that of ``text_encoders_on``, else the network's."""
        return self._encoding_device or device_of(self.network)


def device_of(module: nn.Module) -> torch.device:
    """Device of a module's weights; the CPU if it has none."""
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))
