"""DiT and SiT: class-conditional transformers, whose prompt is the name or the number of a class."""

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
from hypernoise_pl.generators.schedules.flow import UniformEulerFlow
from hypernoise_pl.types import Conditioning, did_you_mean

# parameter names of DiT's and SiT's authors -> diffusers'; diffusers repeats the embedders in every block
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
    """The part that DiT and SiT share; their image size is that of their network."""

    pipelines = ("DiTPipeline",)
    scheduler_override: ClassVar[tuple[str, dict[str, Any]] | None] = ("DDIMScheduler", {"clip_sample": False})
    last_layer = "proj_out_2"
    shared_blocks = ("transformer_blocks.0",)  # the last layer reads its embedding of time and class

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.network.config.num_embeds_ada_norm)

    @property
    def _compression(self) -> int:
        return int(2 ** (len(self.pipeline.vae.config.block_out_channels) - 1))

    def _encode(self, prompts: list[str]) -> Conditioning:
        """Class numbers [B, 1, 1] in the place of text features."""
        numbers = [self._number(prompt.strip()) for prompt in prompts]
        return self.conditioning_of([torch.tensor(numbers, device=self._device)])

    def conditioning_of(self, encoded: Any) -> Conditioning:
        """Conditioning from class numbers [B]; the pipeline has no ``encode_prompt``, and gives them to its network."""
        return Conditioning(encoded[0][:, None, None])

    def _number(self, prompt: str) -> int:
        labels: dict[str, int] = {name.lower(): number for name, number in self.pipeline.labels.items()}
        if prompt.lower() in labels:
            return labels[prompt.lower()]
        if prompt.isdecimal() and int(prompt) < self.classes:
            return int(prompt)
        raise ValueError(
            f"no class is called {prompt!r}{did_you_mean(prompt.lower(), labels)}; a prompt is one of the "
            f"{len(labels)} class names of the folder's model_index.json or a number from 0 to {self.classes - 1}"
        )

    def _null_conditioning(self) -> Conditioning:
        return Conditioning(torch.full((1, 1, 1), self.classes))  # the null class has the number after the last

    def _forward_network(
        self, network: nn.Module, state: Tensor, conditioning: Conditioning, timestep: float
    ) -> Tensor:
        output: Tensor = network(
            state.to(self.network.dtype),
            timestep=torch.full((len(state),), timestep, device=state.device),
            class_labels=conditioning.embeddings[:, 0, 0],
            return_dict=False,
        )[0]
        return output[:, : self.noise_shape[0]]  # the second half is the learned variance


class DiT(ClassConditional):
    """A DiT pipeline (diffusers ``DiTPipeline``), at the image size of its network.

    Args:
        model: folder or hub id (``facebook/DiT-XL-2-256``).
        guidance_scale: scale of classifier-free guidance, which doubles the batch of an evaluation; values <= 1 disable
            it.
        spacing: spacing of timesteps: ``trailing`` starts at the noisiest, for few steps; ``leading``, the published
            model's, starts at 1000 - 1000 / steps, for many. None for the folder's own.
        dtype: dtype of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: git revision of a hub id.
        local_only: True never contacts the hub.
        decoding: decoder options.

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
    """A SiT: DiT's network, trained to predict the velocity of flow matching, and sampled by Euler's method.

    N steps here are N + 1 time points of the authors' sampler.

    Args:
        weights: file with the authors' checkpoint, in their own layout; or a folder or hub id with
            ``SiT-XL-2-256.pt``.
        model: folder or hub id of a DiT pipeline of the same size, for its architecture, decoder and class names; its
            network's weights are not loaded.
        guidance_scale: scale of classifier-free guidance, which changes the first three latent channels (the authors'
            convention) and doubles the batch of an evaluation; values <= 1 disable it.
        dtype: dtype of the frozen weights: ``float32``, ``bfloat16`` or ``float16``.
        revision: git revision of a hub id.
        local_only: True never contacts the hub.
        decoding: decoder options.

    Raises:
        ValueError: if the file's weights do not fit the architecture.

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
        self.replaced_components = {"transformer": network}
        super().__init__(model, dtype=dtype, revision=revision, local_only=local_only, decoding=decoding)
        self.name = f"{weights} ({self.name})"
        self.classifier_free_guidance = guidance_scale
        self.schedule = UniformEulerFlow(reversed_time=True)


def _sit(file: Path, model: str, dtype: str, **source: Any) -> Any:
    """A diffusers DiT with the weights of SiT's authors, and with their embedding of time.

    Args:
        file: checkpoint of the authors.
        model: folder or hub id of the DiT pipeline whose architecture it has.
        dtype: dtype of the weights.
        source: arguments of ``load_config``: ``revision``, ``local_files_only``.
    """
    from diffusers import DiTTransformer2DModel

    tensors = read_checkpoint(file, "generator")
    config = load_with(
        lambda: DiTTransformer2DModel.load_config(model, subfolder="transformer", **source), model, "generator"
    )
    outputs = len(tensors.get("final_layer.linear.bias", ())) // config["patch_size"] ** 2  # some have no variance
    changes = {"norm_eps": 1e-6, "out_channels": outputs or config["out_channels"]}
    network: Any = skip_init(DiTTransformer2DModel.from_config, {**config, **changes})
    for name in [name for name in tensors if name.startswith(("t_embedder.", "y_embedder."))]:
        tensor = tensors.pop(name)
        tensors |= {f"blocks.{block}.{name}": tensor for block in range(config["num_layers"])}
    load_strict(network, convert_keys(tensors, AUTHORS, f"generator {file}"), f"generator {file}")
    for block in network.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0  # diffusers' default frequencies differ a little
    return network.to(precision(dtype).get("torch_dtype", torch.float32)).eval()
