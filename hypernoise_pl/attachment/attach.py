"""``attach`` and ``detach``: refined noise in a user's own diffusers pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypernoise_pl.attachment.attachment import Attachment
from hypernoise_pl.attachment.pipeline_subclass import ATTACHMENT_KEY


def attach(pipe: Any, adapter: str | Path, name: str = "default", weight: float = 1.0, **options: Any) -> Attachment:
    """Let a diffusers pipeline refine the noise of its calls; their arguments and results stay as they are.

    The refined noise is ``x0 + scale * sum over adapters of weight * f(x0, c)``, with the prompt features that the
    pipeline itself computes. Each adapter costs one more network evaluation an image.

    Args:
        pipe: pipeline of one of the classes in ``generators.loading.BACKENDS``.
        adapter: folder or hub id of an adapter; the reference implementation's format is accepted too.
        name: name of this adapter among several on the same pipeline; one of the same name is replaced.
        weight: weight of this adapter; 0 leaves it out at no cost.
        options: options of the generator class, in the place of those that the adapter was trained with and remembers
            (``guidance_scale``, ``sampler``, ``timesteps``), except its image size.

    Returns:
        The pipeline's attachment, with ``scale``, ``weights`` and ``detach``.

    Raises:
        FileNotFoundError: if there is no such adapter, or a file of it is missing.
        NotADirectoryError: if the adapter is a file.
        ValueError: if the pipeline's class or scheduler is not supported, its weights are not in memory, an option has
            no such name, or the adapter is of another generator.

    Example::

        pipe = SanaSprintPipeline.from_pretrained("Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers")
        attach(pipe, "runs/fit/TIME/adapter")
        call = {"num_inference_steps": 1, "intermediate_timesteps": None, "complex_human_instruction": None}
        image = pipe("a red circle", **call, generator=torch.manual_seed(0)).images[0]
    """
    existing: Attachment | None = getattr(pipe, "__dict__", {}).get(ATTACHMENT_KEY)
    attachment = Attachment(pipe, options) if existing is None else existing
    if existing is not None and options and options != existing.options:
        raise ValueError(f"attach: the pipeline is attached with options {existing.options}; detach it first")
    try:
        attachment.add(name, adapter, weight)
    except BaseException:
        if existing is None:
            attachment.detach()
        raise
    return attachment


def detach(pipe: Any) -> None:
    """Restore a pipeline to its state before ``attach``, bit for bit; do nothing if it is not attached."""
    attachment: Attachment | None = pipe.__dict__.get(ATTACHMENT_KEY)
    if attachment is not None:
        attachment.detach()
