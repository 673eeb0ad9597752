"""DiT and SiT: class-conditional transformers; a prompt is the name or the number of a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hypernoise_pl.checkpoints.conversion import KeyRule, convert_keys, load_strict, read_checkpoint, skip_init
from hypernoise_pl.checkpoints.loading import find_file, load_with
from hypernoise_pl.generators.loading import DecoderOptions, precision
from hypernoise_pl.generators.pipeline import PipelineGenerator
from hypernoise_pl.generators.schedules.diffusion import Diffusion
from hypernoise_pl.generators.schedules.flow import EvenFlow
from hypernoise_pl.types import Conditioning, nearest

# the names of DiT's and SiT's authors; tensors that diffusers repeats in every block are repeated before
_BLOCK, _EMBEDDING = r"transformer_blocks.\1", r"transformer_blocks.\1.norm1.emb"
AUTHORS = (
    KeyRule(r"pos_embed"),  # sines and cosines, which diffusers computes
    KeyRule(r"x_embedder\.proj\.(weight|bias)", (r"pos_embed.proj.\1",)),
    KeyRule(r"blocks\.(\d+)\.t_embedder\.mlp\.0\.(weight|bias)", (rf"{_EMBEDDING}.timestep_embedder.linear_1.\2",)),
    KeyRule(r"blocks\.(\d+)\.t_embedder\.mlp\.2\.(weight|bias)", (rf"{_EMBEDDING}.timestep_embedder.linear_2.\2",)),
    KeyRule(r"blocks\.(\d+)\.y_embedder\.(.+)", (rf"{_EMBEDDING}.class_embedder.\2",)),
    KeyRule(r"blocks\.(\d+)\.adaLN_modulation\.1\.(.+)", (rf"{_BLOCK}.norm1.linear.\2",)),
    KeyRule(r"blocks\.(\d+)\.attn\.qkv\.(.+)", tuple(rf"{_BLOCK}.attn1.to_{part}.\2" for part in "qkv")),
    KeyRule(r"blocks\.(\d+)\.attn\.proj\.(.+)", (rf"{_BLOCK}.attn1.to_out.0.\2",)),
    KeyRule(r"blocks\.(\d+)\.mlp\.fc1\.(.+)", (rf"{_BLOCK}.ff.net.0.proj.\2",)),
    KeyRule(r"blocks\.(\d+)\.mlp\.fc2\.(.+)", (rf"{_BLOCK}.ff.net.2.\2",)),
    KeyRule(r"final_layer\.adaLN_modulation\.1\.(.+)", (r"proj_out_1.\1",)),
    KeyRule(r"final_layer\.linear\.(.+)", (r"proj_out_2.\1",)),
)


class ClassConditional(PipelineGenerator):
    """What DiT and SiT share; their size is their network's, they take no other."""

    pipelines = ("DiTPipeline",)
    stand_in: ClassVar[tuple[str, dict[str, Any]] | None] = ("DDIMScheduler", {"clip_sample": False})
    last_layer = "proj_out_2"
    shared_blocks = ("transformer_blocks.0",)  # whose embedding of time and class the last layer reads

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.network.config.num_embeds_ada_norm)

    @property
    def _compression(self) -> int:
        return int(2 ** (len(self.pipeline.vae.config.block_out_channels) - 1))

    def _encode(self, prompts: list[str]) -> Conditioning:
        """[B, 1, 1] class numbers stand where other families have text features."""
        numbers = [self._number(prompt.strip()) for prompt in prompts]
        return self.conditioning_of([torch.tensor(numbers, device=self._device)])

    def conditioning_of(self, encoded: Any) -> Conditioning:
        """Of class numbers [B]: the pipeline has no ``encode_prompt``, its network is given them."""
        return Conditioning(encoded[0][:, None, None])

    def _number(self, prompt: str) -> int:
        labels: dict[str, int] = {name.lower(): number for name, number in self.pipeline.labels.items()}
        if prompt.lower() in labels:
            return labels[prompt.lower()]
        if prompt.isdecimal() and int(prompt) < self.classes:
            return int(prompt)
        raise ValueError(
            f"no class is called {prompt!r}{nearest(prompt.lower(), labels)}; a prompt is one of the {len(labels)} "
            f"class names of the folder's model_index.json or a number from 0 to {self.classes - 1}"
        )

    def _nothing(self) -> Conditioning:
        return Conditioning(torch.full((1, 1, 1), self.classes))  # the class after the last stands for none

    def _evaluate(self, network: nn.Module, state: Tensor, conditioning: Conditioning, time: float) -> Tensor:
        output: Tensor = network(
            state.to(self.network.dtype),
            timestep=torch.full((len(state),), time, device=state.device),
            class_labels=conditioning.embeddings[:, 0, 0],
            return_dict=False,
        )[0]
        return output[:, : self.noise_shape[0]]  # the second half is the learned variance


class DiT(ClassConditional):
    """A DiT pipeline (diffusers ``DiTPipeline``).

    Its size is its network's: it takes no other.

    Args:
        model: folder or hub id (``facebook/DiT-XL-2-256``).
        guidance_scale: of classifier-free guidance, which doubles the batch of an evaluation; up to 1 there is none.
        spacing: of timesteps: ``trailing`` starts at the noisiest, as few steps need; ``leading``, the published
            model's, starts at 1000 - 1000 / steps, and is for many. None for the folder's own.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Source: Peebles and Xie 2023 (DiT, arXiv 2212.09748).
    """

    def __init__(
        self,
        model: str,
        guidance_scale: float = 4.0,
        spacing: str | None = None,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        super().__init__(model, dtype=dtype, revision=revision, local_only=local_only, decoding=decoding)
        self.classifier_free_guidance = guidance_scale
        if spacing is not None:
            scheduler = self.pipeline.scheduler
            self.pipeline.scheduler = type(scheduler).from_config(scheduler.config, timestep_spacing=spacing)
        self.schedule = Diffusion(self.pipeline.scheduler)


class SiT(ClassConditional):
    """A SiT: DiT's network, trained to predict the velocity of flow matching, and walked by Euler's steps.

    Args:
        weights: file with the authors' checkpoint, in their own layout; or a folder or hub id with
            ``SiT-XL-2-256.pt``.
        model: folder or hub id of a DiT pipeline of the same size, for its architecture, decoder and class names; its
            network's weights are not loaded. N of our steps are N + 1 points of time in the authors' sampler.
        guidance_scale: of classifier-free guidance on the first three channels of latents, as the authors have it; it
            doubles the batch of an evaluation; up to 1 there is none.
        dtype: of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: of a hub id.
        local_only: never ask the hub.
        decoding: how latents become images.

    Raises:
        ValueError: if the file has other weights than the architecture.

    Source: Ma et al. 2024 (SiT, arXiv 2401.08740), linear path, velocity prediction.
    """

    guided_channels = 3

    def __init__(
        self,
        weights: str = "nyu-visionx/SiT-collections",
        model: str = "facebook/DiT-XL-2-256",
        guidance_scale: float = 4.0,
        dtype: str = "float32",
        revision: str | None = None,
        local_only: bool = False,
        decoding: DecoderOptions = DecoderOptions(),
    ) -> None:
        file = Path(weights)
        if not file.is_file():
            file = find_file(weights, "SiT-XL-2-256.pt", "generator", local_only=local_only)
        network = _sit(file, model, dtype, revision=revision, local_files_only=local_only)
        super().__init__(
            model,
            dtype=dtype,
            revision=revision,
            local_only=local_only,
            decoding=decoding,
            _parts={"transformer": network},
        )
        self.name = f"{weights} ({self.name})"
        self.classifier_free_guidance = guidance_scale
        self.schedule = EvenFlow()
        self.schedule.towards_clean = True


def _sit(file: Path, model: str, dtype: str, **asked: Any) -> Any:
    """A DiT of diffusers with the weights of SiT's authors, and with their embedding of time."""
    from diffusers import DiTTransformer2DModel

    tensors = read_checkpoint(file, "generator")
    config = load_with(
        lambda: DiTTransformer2DModel.load_config(model, subfolder="transformer", **asked), model, "generator"
    )
    outputs = len(tensors.get("final_layer.linear.bias", ())) // config["patch_size"] ** 2  # some have no variance
    changes = {"norm_eps": 1e-6, "out_channels": outputs or config["out_channels"]}
    network: Any = skip_init(DiTTransformer2DModel.from_config, {**config, **changes})
    for name in [name for name in tensors if name.startswith(("t_embedder.", "y_embedder."))]:
        tensor = tensors.pop(name)
        tensors |= {f"blocks.{block}.{name}": tensor for block in range(config["num_layers"])}
    load_strict(network, convert_keys(tensors, AUTHORS, f"generator {file}"), f"generator {file}")
    for block in network.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0  # diffusers' frequencies are a little other ones
    return network.to(precision(dtype).get("torch_dtype", torch.float32)).eval()
