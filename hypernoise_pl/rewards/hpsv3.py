"""HPSv3: a Qwen2-VL that is shown an image and its prompt, and a small head on the token that asks for a rating."""

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

_TOKENS = 256  # image tokens, about: the authors ask for 256 * 28 * 28 pixels, and a token stands for 28 * 28
_WORDS = "network.language_model.embed_tokens.weight"


class HPSv3Scorer(nn.Module):
    """The network: Qwen2-VL without the layer that predicts words, and an MLP on one token's state.

    Args:
        config: transformers' ``Qwen2VLConfig``.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        from transformers import Qwen2VLModel

        self.network = Qwen2VLModel(config)
        width = config.text_config.hidden_size
        self.head = nn.Sequential(nn.Linear(width, 1024), nn.ReLU(), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, ids: Tensor, asked: Tensor, pixels: Tensor, grid: Tensor) -> Tensor:
        """[B, 2] mean and spread of the preference (the spread as its head gives it).

        Args:
            ids: [B, L] tokens, padded on the right. What follows a token it cannot see, so that no mask is needed.
            asked: [B, L] true at the one token of each row that asks for the rating.
            pixels: [P, D] patches of all images.
            grid: [B, 3] frames, rows and columns of each image's patches.
        """
        # plain positions for image tokens too, not Qwen2-VL's own in three axes: the authors trained and score so
        places = torch.arange(ids.shape[1], device=ids.device).expand(3, *ids.shape)
        states = self.network(
            input_ids=ids, position_ids=places, pixel_values=pixels, image_grid_thw=grid, use_cache=False
        ).last_hidden_state
        return self.head(at_least_float32(states[asked]))  # type: ignore[no-any-return]


class CoarseRotary(nn.Module):
    """The vision tower's rotary angles in bfloat16, as HPSv3 was trained.

    Args:
        frequencies: [F] in radians a patch.
    """

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        self.frequencies = nn.Buffer(frequencies, persistent=False)

    def forward(self, _: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [P, 4 F] of patches at rows and columns [P, 2]."""
        angles = position_ids[..., None].bfloat16() * self.frequencies.bfloat16()
        angles = angles.flatten(1).repeat(1, 2)
        return angles.cos().float(), angles.sin().float()


class HPSv3(Reward):
    """A Qwen2-VL of 8 billion weights, trained on which of two images people prefer.

        score = mean of the preference, unbounded; the authors' benchmark has -0.2 for SD 2 and 10.6 for Kolors

    Images become about 256 tokens (448 x 448 pixels if square), whatever their size. Memory, estimated from the
    architecture in bfloat16: 15.5 GB for the weights, and to differentiate, for each image 6 GB of activations, or
    0.3 GB and one layer's with ``checkpoint``. Written after the authors' package and held against it on tiny random
    weights; no score of the published weights could be checked. Read the licences of HPSv3 and of Qwen2-VL before you
    pass weights on.

    Args:
        model: folder or hub id with the authors' ``HPSv3.safetensors``, or that file.
        base: folder or hub id of the Qwen2-VL it was made from: its ``config.json`` and its tokenizer are read, its
            weights are not.
        dtype: precision of the network; its head and the score are in float32 always. The authors run, and publish, it
            in bfloat16.
        checkpoint: recompute the network's activations in backward, to save memory.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: if a file is damaged, its weights are not those of the architecture, or the tokenizer is another
            model's. When it scores: if a prompt has a token in it that is the model's own (``<|Reward|>``,
            ``<|image_pad|>``), or an image is more than 200 times as long as it is wide.

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
        if _WORDS in weights:
            config.text_config.vocab_size = len(weights[_WORDS])
        self.scorer = skip_init(HPSv3Scorer, config)
        load_strict(self.scorer, weights, f"reward {file}", dtype=None)
        self.scorer.eval().requires_grad_(False)
        self.scorer.head.float()
        _coarsen(freeze(self.scorer.network, dtype, checkpoint))
        self.tokenizer = load_pretrained(AutoTokenizer, base, "reward", padding_side="right")
        self.tokenizer.add_tokens([REWARD_TOKEN], special_tokens=True)
        if len(self.tokenizer) != config.text_config.vocab_size:
            raise ValueError(
                f"reward {file}: has {config.text_config.vocab_size} tokens, but {base}'s tokenizer has "
                f"{len(self.tokenizer)} with {REWARD_TOKEN}; give as base what it was made from"
            )
        self.vision = config.vision_config

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        patch, merge = self.vision.patch_size, self.vision.spatial_merge_size
        block = patch * merge
        size = block_size(images.shape[-2], images.shape[-1], block, _TOKENS * block**2)
        pixels = patches(preprocess(images, size), patch, merge, self.vision.temporal_patch_size)
        ids, asked = self._read(prompts, size[0] * size[1] // block**2)
        ids, asked = ids.to(images.device), asked.to(images.device)
        grid = torch.tensor([[1, size[0] // patch, size[1] // patch]], device=images.device)
        rated: Tensor = self.scorer(ids, asked, pixels, grid.expand(len(images), -1))
        return rated[:, 0]

    def _read(self, prompts: list[str], image_tokens: int) -> tuple[Tensor, Tensor]:
        """[B, L] tokens of the conversations, and where each asks for the rating."""
        asking = CONVERSATION.replace("{image}", IMAGE_TOKEN * image_tokens)
        texts = [asking.replace("{prompt}", prompt) for prompt in prompts]
        ids: Tensor = self.tokenizer(texts, padding=True, return_tensors="pt").input_ids
        reward, image = self.tokenizer.convert_tokens_to_ids([REWARD_TOKEN, IMAGE_TOKEN])
        asked = ids == reward
        for row, prompt in enumerate(prompts):
            if asked[row].sum() != 1 or (ids[row] == image).sum() != image_tokens:
                raise ValueError(f"HPSv3: prompt {prompt!r} has {REWARD_TOKEN} or {IMAGE_TOKEN} in it; take it out")
        return ids, asked


def _config(base: str) -> Any:
    from transformers import AutoConfig

    find_file(base, "config.json", "reward")  # without one, transformers may take its own default
    config = load_pretrained(AutoConfig, base, "reward")
    if config.model_type != "qwen2_vl":
        raise ValueError(f"reward {base}: is a {config.model_type}; HPSv3 was made from a qwen2_vl")
    return config


def _coarsen(network: Any) -> None:
    """Round rotary frequencies to bfloat16: the authors cast the whole network to it, in training and in scoring."""
    text = network.language_model.rotary_emb
    text.inv_freq = text.inv_freq.bfloat16().float()
    network.visual.rotary_pos_emb = CoarseRotary(network.visual.rotary_pos_emb.inv_freq)
