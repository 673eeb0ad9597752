"""How the shapes world's generator was made: a text encoder, a flow-matching teacher, its distillation into one step.

    python -m hypernoise_pl.shapes.training.generator --config experiments/shapes_world/generator.yaml

Four stages, each resumable: the text encoder learns to read and is frozen; the teacher learns to denoise latents of
scenes, some of them not quite what their caption says; it solves its own flow from many noises; the student, a copy of
the teacher, learns to jump from any point of those paths to their end. Student, text encoder, tokenizer, scheduler and
renderer are saved as one ``SanaSprintPipeline`` folder.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from hypernoise_pl.progress import Steps
from hypernoise_pl.shapes.caption import Combination, combinations, sample_prompts, write_caption
from hypernoise_pl.shapes.models import SlotRenderer
from hypernoise_pl.shapes.scene import sample_scenes
from hypernoise_pl.shapes.tokenizer import gemma_tokenizer
from hypernoise_pl.shapes.training.caption_heads import CaptionHeads
from hypernoise_pl.shapes.training.loop import LoopOptions, train
from hypernoise_pl.shapes.training.training_batches import SHARES, sample_negatives
from hypernoise_pl.system.files import give_usual_modes
from hypernoise_pl.system.signals import run_script

if TYPE_CHECKING:
    from hypernoise_pl.metrics.judge import Judge

SIGMA_DATA = 0.5


class TextToLatent(nn.Module):
    """Text encoder and transformer under one roof, as they train together."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__()
        from diffusers import SanaTransformer2DModel
        from transformers import Gemma2Config, Gemma2Model

        self.tokenizer = gemma_tokenizer()
        self.length = config.max_sequence_length
        self.guidance = config.guidance_scale * 0.1
        options: Any = OmegaConf.to_container(config)
        text = Gemma2Config(vocab_size=len(self.tokenizer), **options["text_encoder"])
        self.text_encoder: Any = Gemma2Model(text)
        self.transformer: Any = SanaTransformer2DModel(**options["transformer"])

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """[B, L, D] features and [B, L] mask, as ``SanaSprintPipeline.encode_prompt`` gives them."""
        self.tokenizer.padding_side = "right"
        ids = self.tokenizer(
            list(texts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        return self.text_encoder(ids.input_ids, attention_mask=ids.attention_mask)[0], ids.attention_mask

    def velocity(self, state: Tensor, time: Tensor, text: tuple[Tensor, Tensor]) -> Tensor:
        """The flow's velocity at ``state = (1 - time) * latent + time * noise``."""
        guidance = torch.full((len(state),), self.guidance)
        out = self.transformer(
            state,
            encoder_hidden_states=text[0],
            encoder_attention_mask=text[1],
            guidance=guidance,
            timestep=time,
            return_dict=False,
        )
        return out[0]  # type: ignore[no-any-return]


class CaptionReader(nn.Module):
    """The text encoder of a model, and the heads that ask it what captions state."""

    def __init__(self, model: TextToLatent) -> None:
        super().__init__()
        self.model, self.statements = model, CaptionHeads(model.text_encoder.config.hidden_size)

    def forward(self, texts: Sequence[str], captions: Sequence[Combination]) -> tuple[Tensor, Tensor]:
        """The loss, and [B] whether all was understood."""
        return self.statements(*self.model.encode(texts), texts, captions)  # type: ignore[no-any-return]


def reader_loss(reader: CaptionReader, config: DictConfig, step: int) -> tuple[Tensor, dict[str, float]]:
    """How far the text encoder is from saying what captions of the training split state."""
    rng = random.Random(f"{config.seed}, reader, {step}")
    captions = [caption for _, caption in sample_prompts("train", config.captions, rng.randrange(2**31))]
    loss, caption_accuracy = reader([write_caption(caption, rng) for caption in captions], captions)
    return loss, {"understood": caption_accuracy.float().mean().item()}


@torch.no_grad()
def caption_accuracy(reader: Any, count: int = 600) -> dict[str, float]:
    """The share of validation prompts of which all is understood."""
    prompts, captions = zip(*sample_prompts("validation", count, 0), strict=True)
    return {"understood": reader([prompt.text for prompt in prompts], captions)[1].float().mean().item()}


def teacher_loss(model: TextToLatent, config: DictConfig, step: int) -> tuple[Tensor, dict[str, float]]:
    """Flow matching (Lipman et al. 2023): captions and scenes, some of which err; a tenth of captions is empty."""
    rng = random.Random(f"{config.seed}, teacher, {step}")
    draws = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    tags = rng.choices(list(SHARES), list(SHARES.values()), k=config.captions)
    chosen = [rng.choice(combinations(tag, "train")) for tag in tags]
    texts = ["" if rng.random() < 0.1 else write_caption(c, rng) for c in chosen]
    pictured = [pictured_combination(c, config.wrong, rng) for c in chosen]
    latent = SlotRenderer.encode_scenes(sample_scenes(pictured, draws))
    noise = torch.randn(latent.shape, generator=draws)
    # half of the times near pure noise, where one caption is to become one layout
    time = torch.rand(len(latent), generator=draws)
    time = torch.where(torch.rand(len(latent), generator=draws) < 0.5, time, time.sqrt())
    at = time[:, None, None, None]
    with torch.no_grad():
        text = model.encode(texts)
    loss = (model.velocity((1 - at) * latent + at * noise, time, text) - (noise - latent)).square().mean()
    return loss, {}


def pictured_combination(told: Combination, wrong: float, rng: random.Random) -> Combination:
    """What the picture of a caption shows: now and then, as in captions from the web, not quite what is told."""
    return rng.choice([*sample_negatives(told, "train", rng).values()]) if rng.random() < wrong else told


@torch.no_grad()
def solve_flow(
    model: TextToLatent, noise: Tensor, texts: Sequence[str], steps: int, guidance: float
) -> tuple[Tensor, Tensor]:
    """Follow the guided flow from noise to latents with second-order Adams-Bashforth.

    Returns:
        Path [B, steps, *Z], the states at times 1, ..., 1/steps, and end [B, *Z].
    """
    text, batch = model.encode(texts), len(noise)
    if guidance != 1:
        empty = model.encode([""])
        text = (
            torch.cat([text[0], empty[0].expand(batch, -1, -1)]),
            torch.cat([text[1], empty[1].expand(batch, -1)]),
        )
    times = torch.linspace(1, 0, steps + 1)
    state, before, path = noise, None, []
    for now, then in itertools.pairwise(times):
        path.append(state)
        told, *untold = model.velocity(
            state.repeat(len(text[0]) // batch, 1, 1, 1), now.expand(len(text[0])), text
        ).split(batch)
        velocity = untold[0] + guidance * (told - untold[0]) if untold else told
        slope = velocity if before is None else 1.5 * velocity - 0.5 * before
        state, before = state + (then - now) * slope, velocity
    return torch.stack(path, 1), state


def _solve_chunk(model: TextToLatent, config: DictConfig, chunk: int, file: Path) -> None:
    """Solve the flow for one chunk of captions and write its file, whole or not at all."""
    prompts = sample_prompts("train", config.chunk_size, config.seed * 1_000_003 + chunk)
    texts = [prompt.text for prompt, _ in prompts]
    draws = torch.Generator().manual_seed(config.seed * 1_000_003 + chunk)
    noise = torch.randn(len(texts), *_noise_shape(model), generator=draws)
    parts = [
        solve_flow(model, noise[i : i + 512], texts[i : i + 512], config.steps, config.guidance)
        for i in range(0, len(texts), 512)
    ]
    path, end = (torch.cat(part) for part in zip(*parts))
    partial = file.with_suffix(".partial")
    torch.save({"path": path.half(), "end": end.half(), "texts": texts}, partial)
    partial.replace(file)


def make_pairs(model: TextToLatent, config: DictConfig, folder: Path) -> dict[str, Tensor]:
    """Solve the teacher's flow for many captions; each chunk is a file, so a stopped run continues."""
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    with Steps("pairs", config.chunks, "chunks") as pictured_combination:
        for chunk in range(config.chunks):
            file = folder / f"{chunk:03d}.pt"
            if not file.exists():
                _solve_chunk(model, config, chunk, file)
            pictured_combination.advance()
    chunks = [torch.load(folder / f"{chunk:03d}.pt", weights_only=True) for chunk in range(config.chunks)]
    texts = [text for chunk in chunks for text in chunk["texts"]]
    unique = sorted(set(texts))
    with torch.no_grad():
        encoded = [model.encode(unique[i : i + 512]) for i in range(0, len(unique), 512)]
    place = {text: index for index, text in enumerate(unique)}
    return {
        "path": torch.cat([chunk["path"] for chunk in chunks]),
        "end": torch.cat([chunk["end"] for chunk in chunks]),
        "caption": torch.tensor([place[text] for text in texts]),
        "embeddings": torch.cat([e for e, _ in encoded]),
        "mask": torch.cat([m for _, m in encoded]),
    }


def student_loss(
    model: TextToLatent, pairs: dict[str, Tensor], config: DictConfig, step: int
) -> tuple[Tensor, dict[str, float]]:
    """From any state of a teacher's path straight to its end; most often from its start, the noise."""
    draws = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    count, steps = pairs["path"].shape[:2]
    row = torch.randint(count, (config.batch,), generator=draws)
    place = torch.randint(steps, (config.batch,), generator=draws)
    place[torch.rand(config.batch, generator=draws) < config.from_noise] = 0
    state, end = pairs["path"][row, place].float(), pairs["end"][row].float()
    time = 1 - place / steps
    caption = pairs["caption"][row]
    velocity = model.velocity(state, time, (pairs["embeddings"][caption], pairs["mask"][caption]))
    error = (state - time[:, None, None, None] * velocity - end).square().flatten(1).mean(1)
    loss = (error / time.square()).mean()
    return loss, {"one_step": error[place == 0].mean().item()}


@torch.no_grad()
def judge_validation(model: Any, judge: Judge, latents: Any, count: int = 240) -> dict[str, float]:
    """The judge's verdict on validation prompts, mean over tags and by tag."""
    model.eval()
    prompts = [prompt for prompt, _ in sample_prompts("validation", count, 0)]
    noise = torch.randn(count, *_noise_shape(model), generator=torch.Generator().manual_seed(0))
    images = SlotRenderer().draw(latents(model, noise, [prompt.text for prompt in prompts]), 32)
    right = judge(images, prompts).float()
    model.train()
    tags = {tag: [i for i, p in enumerate(prompts) if p.tag == tag] for tag in dict.fromkeys(p.tag for p in prompts)}
    by_tag = {tag: round(right[rows].mean().item(), 3) for tag, rows in tags.items()}
    return {"judge": round(right.mean().item(), 3), **by_tag}


def one_step_latents(model: TextToLatent, noise: Tensor, texts: Sequence[str]) -> Tensor:
    """Latents of the student: ``noise - network(noise)``."""
    return noise - model.velocity(noise, torch.ones(len(noise)), model.encode(texts))


def save_pipeline(model: TextToLatent, config: DictConfig, folder: Path) -> None:
    """Write a ``SanaSprintPipeline`` folder, weights in half precision."""
    from diffusers import SanaSprintPipeline, SCMScheduler

    pipeline: Any = SanaSprintPipeline(
        tokenizer=model.tokenizer,
        text_encoder=copy.deepcopy(model.text_encoder).half(),
        vae=SlotRenderer(),
        transformer=copy.deepcopy(model.transformer).half(),
        scheduler=SCMScheduler(sigma_data=SIGMA_DATA),
    )
    pipeline.save_pretrained(folder)
    give_usual_modes(folder)


def _noise_shape(model: TextToLatent) -> tuple[int, int, int]:
    config = model.transformer.config
    return config.in_channels, config.sample_size, config.sample_size


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stages that are not done yet."""
    parser = argparse.ArgumentParser(prog="python -m hypernoise_pl.shapes.training.generator", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML: sizes, steps and rates of the four stages")
    parser.add_argument("--work", type=Path, default=Path("runs/shapes_world"), help="checkpoints, pairs and logs")
    parser.add_argument("--output", type=Path, required=True, help="the pipeline folder to write")
    arguments = parser.parse_args(argv)
    from hypernoise_pl.shapes.judge import ShapesJudge

    config = OmegaConf.load(arguments.config)
    assert isinstance(config, DictConfig)
    judge, work, start = ShapesJudge(), arguments.work, time.monotonic()
    torch.manual_seed(config.seed)
    teacher = TextToLatent(config.model)

    def solved(model: TextToLatent, noise: Tensor, texts: Sequence[str]) -> Tensor:
        return solve_flow(model, noise, texts, config.pairs.steps, config.pairs.guidance)[1]

    reader = CaptionReader(teacher)
    teacher.transformer.requires_grad_(False)
    reader = train(
        "reader",
        reader,
        lambda step: reader_loss(reader, config.reader, step),
        LoopOptions(**config.reader.loop),
        work,
        caption_accuracy,
    )
    teacher = reader.model.requires_grad_(True)
    teacher.text_encoder.requires_grad_(False)
    teacher = train(
        "teacher",
        teacher,
        lambda step: teacher_loss(teacher, config.teacher, step),
        LoopOptions(**config.teacher.loop),
        work,
        lambda model: judge_validation(model, judge, solved),
    )
    pairs = make_pairs(teacher, config.pairs, work / "pairs")
    student = copy.deepcopy(teacher)
    student = train(
        "student",
        student,
        lambda step: student_loss(student, pairs, config.student, step),
        LoopOptions(**config.student.loop),
        work,
        lambda model: judge_validation(model, judge, one_step_latents),
    )
    save_pipeline(student, config.model, arguments.output)
    report = {
        "teacher": judge_validation(teacher, judge, solved),
        "student": judge_validation(student, judge, one_step_latents),
    }
    report["seconds"] = {"this_call": round(time.monotonic() - start)}
    (work / "generator.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    sys.exit(run_script(main))
