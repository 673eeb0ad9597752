"""Training of the shapes world's generator: a text encoder, a flow-matching teacher, and its one-step student.

    python -m hypernoise_pl.shapes.training.generator --config experiments/shapes_world/generator.yaml

Four resumable stages. The text encoder learns the facts of captions and is frozen. The teacher learns to denoise
latents of scenes, some of which differ from their caption in one fact. The teacher's flow is solved from many noises.
The student, a copy of the teacher, learns to jump from any state of those paths to the end. Student, text encoder,
tokenizer, scheduler and renderer are saved as one ``SanaSprintPipeline`` folder.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from hypernoise_pl.shapes.caption import sample_prompts
from hypernoise_pl.shapes.models import SlotRenderer
from hypernoise_pl.shapes.training.caption_reader import CaptionReader, caption_accuracy, reader_loss
from hypernoise_pl.shapes.training.flow_student import make_pairs, one_step_latents, student_loss
from hypernoise_pl.shapes.training.flow_teacher import solve_flow, teacher_loss
from hypernoise_pl.shapes.training.loop import LoopOptions, train
from hypernoise_pl.shapes.training.text_to_latent import TextToLatent
from hypernoise_pl.system.files import set_default_modes
from hypernoise_pl.system.signals import run_script

if TYPE_CHECKING:
    from hypernoise_pl.metrics.judge import Judge

SIGMA_DATA = 0.5


@torch.no_grad()
def judge_validation(model: Any, judge: Judge, latents: Any, count: int = 240) -> dict[str, float]:
    """Share of correct images of validation prompts: ``judge``, the mean over images, and each tag's share.

    Args:
        model: model; in training mode afterwards.
        judge: judge of the images.
        latents: function from model, noise and texts to latents.
        count: validation prompts.
    """
    model.eval()
    prompts = [prompt for prompt, _ in sample_prompts("validation", count, 0)]
    noise = torch.randn(count, *model.noise_shape, generator=torch.Generator().manual_seed(0))
    images = SlotRenderer().draw(latents(model, noise, [prompt.text for prompt in prompts]), 32)
    correct = judge(images, prompts).float()
    model.train()
    tags = {tag: [i for i, p in enumerate(prompts) if p.tag == tag] for tag in dict.fromkeys(p.tag for p in prompts)}
    by_tag = {tag: round(correct[rows].mean().item(), 3) for tag, rows in tags.items()}
    return {"judge": round(correct.mean().item(), 3), **by_tag}


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
    set_default_modes(folder)


def train_text_encoder(model: TextToLatent, config: DictConfig, work: Path) -> TextToLatent:
    """Train the text encoder on captions and freeze it; the transformer stays as it is."""
    reader = CaptionReader(model)
    model.transformer.requires_grad_(False)
    loop = LoopOptions(**config.loop)
    reader = train("text_encoder", reader, lambda step: reader_loss(reader, config, step), loop, work, caption_accuracy)
    model = reader.model.requires_grad_(True)
    model.text_encoder.requires_grad_(False)
    return model


def train_generator(config: DictConfig, work: Path) -> tuple[TextToLatent, dict[str, Any]]:
    """Run the stages that are not complete.

    Args:
        config: ``model``, ``text_encoder``, ``teacher``, ``pairs``, ``student`` and ``seed``.
        work: folder of checkpoints, pairs and logs.

    Returns:
        The student; the judged quality of teacher and student.
    """
    from hypernoise_pl.shapes.judge import ShapesJudge

    judge = ShapesJudge()

    def solved_latents(model: TextToLatent, noise: Tensor, texts: Sequence[str]) -> Tensor:
        return solve_flow(model, noise, texts, config.pairs.steps, config.pairs.guidance)[1]

    torch.manual_seed(config.seed)
    teacher = train_text_encoder(TextToLatent(config.model), config.text_encoder, work)
    teacher = train(
        "teacher",
        teacher,
        lambda step: teacher_loss(teacher, config.teacher, step),
        LoopOptions(**config.teacher.loop),
        work,
        lambda model: judge_validation(model, judge, solved_latents),
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
    report: dict[str, Any] = {
        "teacher": judge_validation(teacher, judge, solved_latents),
        "student": judge_validation(student, judge, one_step_latents),
    }
    return student, report


def main(argv: Sequence[str] | None = None) -> None:
    """Train, save and report."""
    parser = argparse.ArgumentParser(prog="python -m hypernoise_pl.shapes.training.generator", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file: sizes, steps and rates of the stages")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/shapes_world"), help="folder of checkpoints, pairs and logs"
    )
    parser.add_argument("--output", type=Path, required=True, help="pipeline folder to write")
    arguments = parser.parse_args(argv)
    config = OmegaConf.load(arguments.config)
    assert isinstance(config, DictConfig)
    start = time.monotonic()
    student, report = train_generator(config, arguments.work)
    save_pipeline(student, config.model, arguments.output)
    report["seconds"] = {"this_call": round(time.monotonic() - start)}
    (arguments.work / "generator.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    sys.exit(run_script(main))
