"""HPSv3: a Qwen2-VL that reads an image and its prompt, with an MLP head on its reward token."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.checkpoints.conversion import convert_keys, load_strict, read_checkpoint, skip_init
from hypernoise_pl.checkpoints.loading import find_file, load_pretrained
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.frozen_network import Precision, freeze
from hypernoise_pl.rewards.hpsv3_prompt import CONVERSATION, IMAGE_TOKEN, REWARD_TOKEN
from hypernoise_pl.rewards.key_maps import HPSV3
from hypernoise_pl.rewards.preprocess import preprocess
from hypernoise_pl.rewards.qwen2_vl import block_size, patches
from hypernoise_pl.system.dtypes import at_least_float32

_TOKENS = 256  # approximate image tokens: the authors resize to 256 * 28 * 28 pixels, and a token covers 28 * 28
_EMBEDDING = "network.language_model.embed_tokens.weight"


class HPSv3Scorer(nn.Module):
    """The network: Qwen2-VL without its language-model head, and an MLP on the state of one token.

    Args:
        config: transformers' ``Qwen2VLConfig``.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        from transformers import Qwen2VLModel

        self.network = Qwen2VLModel(config)
        width = config.text_config.hidden_size
        self.head = nn.Sequential(nn.Linear(width, 1024), nn.ReLU(), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, ids: Tensor, reward_mask: Tensor, pixels: Tensor, grid: Tensor) -> Tensor:
        """[B, 2] mean of the preference and the raw output for its spread.

        Args:
            ids: [B, L] tokens, padded on the right; attention is causal, so that no mask is needed.
            reward_mask: [B, L] true at the reward token of each row.
            pixels: [P, D] patches of all images.
            grid: [B, 3] frames, rows and columns of each image's patches.
        """
        # one-dimensional positions for image tokens too, as in the authors' training, not Qwen2-VL's three axes
        positions = torch.arange(ids.shape[1], device=ids.device).expand(3, *ids.shape)
        states = self.network(
            input_ids=ids, position_ids=positions, pixel_values=pixels, image_grid_thw=grid, use_cache=False
        ).last_hidden_state
        return self.head(at_least_float32(states[reward_mask]))  # type: ignore[no-any-return]


class BFloat16Rotary(nn.Module):
    """Rotary position embedding of the vision tower with angles in bfloat16, as in HPSv3's training.

    Args:
        frequencies: [F] radians per patch.
    """

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.frequencies = nn.Buffer(frequencies, persistent=False)

    def forward(self, _: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [P, 4 F] for patches at rows and columns [P, 2]."""
        angles = position_ids[..., None].bfloat16() * self.frequencies.bfloat16()
        angles = angles.flatten(1).repeat(1, 2)
        return angles.cos().float(), angles.sin().float()


class HPSv3(Reward):
    """Preference score of a Qwen2-VL with 8 billion weights, trained on human choices between two images.

        score = mean of the preference, unbounded; the authors' benchmark has -0.2 for SD 2 and 10.6 for Kolors

    An image of any size becomes about 256 tokens (448 x 448 pixels if square). Memory, estimated from the architecture
    in bfloat16: 15.5 GB for the weights; for gradients, 6 GB of activations per image, or with ``checkpoint`` 0.3 GB
    per image and the activations of one layer. The implementation follows the authors' package and equals it on tiny
    random weights; it was not checked on the published weights. Read the licences of HPSv3 and Qwen2-VL before you
    redistribute weights.

    Args:
        model: folder or hub id with the authors' ``HPSv3.safetensors``, or that file.
        base: folder or hub id of the Qwen2-VL that HPSv3 was trained from; only ``config.json`` and the tokenizer are
            read.
        dtype: precision of the network; the head and the score are always in float32. The authors use bfloat16.
        checkpoint: recompute the network's activations in the backward pass, to save memory.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if a file is damaged, its weights do not match the architecture, or the tokenizer belongs to another
            model. While scoring: if a prompt contains a special token (``<|Reward|>``, ``<|image_pad|>``), or one side
            of an image is more than 200 times the other.

    Source: Ma et al. 2025 (HPSv3, arXiv 2508.03789).
    """

    score_range: ClassVar[tuple[float, float]] = (-5.0, 15.0)

    def __init__(
        self,
        model: str = "MizzenAI/HPSv3",
        base: str = "Qwen/Qwen2-VL-7B-Instruct",
        dtype: Precision = "bfloat16",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        from transformers import AutoTokenizer

        file = Path(model) if Path(model).is_file() else find_file(model, "HPSv3.safetensors", "reward")
        weights = convert_keys(read_checkpoint(file, "reward"), HPSV3, f"reward {file}")
        config = _config(base)
        if _EMBEDDING in weights:
            config.text_config.vocab_size = len(weights[_EMBEDDING])
        self.scorer = skip_init(HPSv3Scorer, config)
        load_strict(self.scorer, weights, f"reward {file}", dtype=None)
        self.scorer.eval().requires_grad_(False)
        self.scorer.head.float()
        _round_rotary(freeze(self.scorer.network, dtype, checkpoint))
        self.tokenizer = load_pretrained(AutoTokenizer, base, "reward", padding_side="right")
        self.tokenizer.add_tokens([REWARD_TOKEN], special_tokens=True)
        if len(self.tokenizer) != config.text_config.vocab_size:
            raise ValueError(
                f"reward {file}: has {config.text_config.vocab_size} tokens, but the tokenizer of {base} has "
                f"{len(self.tokenizer)} with {REWARD_TOKEN}; set base to the model that HPSv3 was trained from"
            )
        self.vision = config.vision_config

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        patch, merge = self.vision.patch_size, self.vision.spatial_merge_size
        block = patch * merge
        size = block_size(images.shape[-2], images.shape[-1], block, _TOKENS * block**2)
        pixels = patches(preprocess(images, size), patch, merge, self.vision.temporal_patch_size)
        ids, reward_mask = self._tokenize(prompts, size[0] * size[1] // block**2)
        ids, reward_mask = ids.to(images.device), reward_mask.to(images.device)
        grid = torch.tensor([[1, size[0] // patch, size[1] // patch]], device=images.device)
        preference: Tensor = self.scorer(ids, reward_mask, pixels, grid.expand(len(images), -1))
        return preference[:, 0]

    def _tokenize(self, prompts: list[str], image_tokens: int) -> tuple[Tensor, Tensor]:
        """[B, L] tokens of the conversations, and a mask of their reward tokens."""
        conversation = CONVERSATION.replace("{image}", IMAGE_TOKEN * image_tokens)
        texts = [conversation.replace("{prompt}", prompt) for prompt in prompts]
        ids: Tensor = self.tokenizer(texts, padding=True, return_tensors="pt").input_ids
        reward, image = self.tokenizer.convert_tokens_to_ids([REWARD_TOKEN, IMAGE_TOKEN])
        reward_mask = ids == reward
        for row, prompt in enumerate(prompts):
            if reward_mask[row].sum() != 1 or (ids[row] == image).sum() != image_tokens:
                raise ValueError(f"HPSv3: prompt {prompt!r} contains {REWARD_TOKEN} or {IMAGE_TOKEN}; remove it")
        return ids, reward_mask


def _config(base: str) -> Any:
    from transformers import AutoConfig

    find_file(base, "config.json", "reward")  # without the file, transformers may use a default config
    config = load_pretrained(AutoConfig, base, "reward")
    if config.model_type != "qwen2_vl":
        raise ValueError(f"reward {base}: is a {config.model_type}; HPSv3 needs a qwen2_vl")
    return config


def _round_rotary(network: Any) -> None:
    """Round the rotary frequencies to bfloat16: the authors train and score with the whole network in bfloat16."""
    text = network.language_model.rotary_emb
    text.inv_freq = text.inv_freq.bfloat16().float()
    network.visual.rotary_pos_emb = BFloat16Rotary(network.visual.rotary_pos_emb.inv_freq)
