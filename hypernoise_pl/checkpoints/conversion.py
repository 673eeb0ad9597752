"""Conversion of authors' checkpoints: safe reading, key rules, strict loading."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypernoise_pl.checkpoints.loading import load_tensors
from hypernoise_pl.types import did_you_mean

# sha256 of files as their authors published them; several are also the names under which they are kept elsewhere
PUBLISHED = {
    "HPS_v2.1_compressed.pt": "c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837",
    "HPS_v2_compressed.pt": "07cb0d20626232204ca3a6ec53ff5984e7e53212a8a7b0e0ec2bac1bdaf125a1",
    "ImageReward.pt": "d71dc8d4912bc633c06ab8ef1ef6a81e8199d4369f14b47b29baf1d19de561f6",
    "SiT-XL-2-256.pt": "e645b5cd82d1d645cfd9b7c96041b56b2a0aa61faed90c0869e79be02ab55aca",
    "SiT-XL-2-256x256.pt": "e645b5cd82d1d645cfd9b7c96041b56b2a0aa61faed90c0869e79be02ab55aca",
    "sa_0_4_vit_b_16_linear.pth": "8ad3923d7ecf019df20ecd2ab5542a3075fbba0278d239c0371345f3d7fcbde0",
    "sa_0_4_vit_b_32_linear.pth": "c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f",
    "sa_0_4_vit_l_14_linear.pth": "2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
    "sac+logos+ava1-l14-linearMSE.pth": "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
}
ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class KeyRule:
    r"""A rule that maps tensors of an author's checkpoint to keys of our module.

    Args:
        pattern: regular expression of a complete key.
        targets: new key, in which ``\\1`` is the pattern's first group; several keys split the tensor into equal parts
            along its first axis; no key drops it.
        transpose: transpose the tensor.
    """

    pattern: str
    targets: tuple[str, ...] = ()
    transpose: bool = False


def read_checkpoint(file: Path, what: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint file, on the CPU, without running code from the file.

    The state dict may be nested under ``state_dict``, ``ema`` or ``model``, and its keys may begin with ``module.``. A
    file with a published name and another SHA-256 is a warning: damaged weights lower scores without an error.

    Args:
        file: ``.safetensors`` file, or a file of ``torch.save``.
        what: caller's kind, for messages: ``reward``, ``features`` or ``generator``.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is damaged, holds other objects than tensors and plain values, or no state dict.
    """
    if not file.exists():
        raise FileNotFoundError(f"{what} {file}: no such file")
    if file.is_dir():
        raise ValueError(f"{what} {file}: a folder; give the checkpoint file in it")
    _compare_with_published(file, what)
    state: Any = load_tensors(file, what) if file.suffix == ".safetensors" else _unpickle(file, what)
    for key in ("state_dict", "ema", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{what} {file}: no state dict; a checkpoint must hold keys and tensors only")
    wrapped = all(name.startswith("module.") for name in state)
    return {name.removeprefix("module.") if wrapped else name: tensor for name, tensor in state.items()}


def convert_keys(tensors: Mapping[str, Tensor], rules: Sequence[KeyRule], what: str) -> dict[str, Tensor]:
    """Convert the keys of a checkpoint; the first matching rule applies.

    Raises:
        ValueError: if no rule matches a key, a tensor cannot be split or transposed, or two tensors get one key.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        rule, match = next(((r, m) for r in rules if (m := re.fullmatch(r.pattern, name))), (None, None))
        if rule is None or match is None:
            raise ValueError(f"{what}: unexpected tensor {name!r} in the checkpoint")
        if (rule.transpose and tensor.dim() != 2) or (len(rule.targets) > 1 and len(tensor) % len(rule.targets)):
            raise ValueError(f"{what}: {name} has shape {list(tensor.shape)}, which this architecture cannot have")
        parts = tensor.chunk(len(rule.targets)) if len(rule.targets) > 1 else (tensor,) * len(rule.targets)
        for target, part in zip(rule.targets, parts, strict=True):
            new = match.expand(target)
            if new in converted:
                raise ValueError(f"{what}: {name} is a second tensor for {new}")
            converted[new] = part.mT if rule.transpose else part
    return converted


def load_strict(
    module: nn.Module, tensors: Mapping[str, Tensor], what: str, dtype: torch.dtype | None = torch.float32
) -> None:
    """Load tensors into a module; keys and shapes must match exactly.

    Args:
        module: module, changed in place.
        tensors: key -> tensor.
        what: name of the checkpoint, for messages.
        dtype: dtype of the weights afterwards; None to keep each tensor's own without a copy, for billions of weights.

    Raises:
        ValueError: if a key is missing or unexpected, or a tensor has another shape or is not finite.
    """
    wanted = module.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing:
        raise ValueError(f"{what}: no weights for {missing[0]} ({len(missing)} missing in all)")
    if extra:
        raise ValueError(f"{what}: unexpected key {extra[0]!r}{did_you_mean(extra[0], wanted)}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"{what}: {name} has shape {list(tensor.shape)}, where {list(wanted[name].shape)} is wanted"
            )
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{what}: {name} has weights that are not finite; the file is damaged")
    kept = {name: (tensor if dtype is None else tensor.to(dtype)).contiguous() for name, tensor in tensors.items()}
    module.load_state_dict(kept, assign=True)


def skip_init(cls: Any, *arguments: Any, **options: Any) -> Any:
    """Build a transformers module without drawing its initial weights; ``load_strict`` fills them next."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        return cls(*arguments, **options)


def _compare_with_published(file: Path, what: str) -> None:
    if file.name not in PUBLISHED:
        return
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != PUBLISHED[file.name]:
        warnings.warn(
            f"{what} {file}: not the file that its authors published under this name, or damaged: its sha256 is "
            f"{digest[:12]}..., theirs {PUBLISHED[file.name][:12]}...",
            stacklevel=3,
        )


def _unpickle(file: Path, what: str) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" not in str(error):
            raise ValueError(f"{what} {file}: damaged file: no pickle that torch.save wrote") from error
        raise ValueError(
            f"{what} {file}: refused: it holds more than tensors and plain values, and loading that would run code "
            "from the file; save its state dict as .safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{what} {file}: damaged file: {(str(error) or 'it ends early').splitlines()[0]}") from error
