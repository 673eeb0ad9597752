"""Training of the shapes world's generator, in a few steps of a tiny model."""

import random
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.shapes.caption import combinations
from hypernoise_pl.shapes.training import generator as train_generator
from hypernoise_pl.shapes.training.caption_reader import CaptionReader, reader_loss
from hypernoise_pl.shapes.training.flow_teacher import pictured_combination, solve_flow
from hypernoise_pl.shapes.training.generator import main
from hypernoise_pl.shapes.training.text_to_latent import TextToLatent
from hypernoise_pl.shapes.training.training_batches import is_training_caption

CONFIG = Path(__file__).parents[2] / "experiments" / "shapes_world" / "generator.yaml"


@pytest.fixture
def config():
    """The real recipe, cut down to seconds."""
    small = {
        "model": {
            "text_encoder": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8},
            "transformer": {
                "num_layers": 1,
                "num_attention_heads": 2,
                "attention_head_dim": 8,
                "num_cross_attention_heads": 2,
                "cross_attention_head_dim": 8,
                "cross_attention_dim": 16,
                "caption_channels": 32,
            },
        },
        "text_encoder": {"captions": 8, "loop": {"steps": 3}},
        "teacher": {"captions": 8, "loop": {"steps": 3}},
        "pairs": {"chunks": 2, "chunk_size": 16, "steps": 3},
        "student": {"batch": 8, "loop": {"steps": 3}},
    }
    return OmegaConf.merge(OmegaConf.load(CONFIG), small)


def test_the_command_trains_a_pipeline_that_generates_images(config, tmp_path, monkeypatch):
    OmegaConf.save(config, tmp_path / "small.yaml")
    arguments = ["--config", str(tmp_path / "small.yaml"), "--work", str(tmp_path / "work")]
    main([*arguments, "--output", str(tmp_path / "made")])
    made = SanaSprint(str(tmp_path / "made"), max_sequence_length=20, components="hypernoise_pl.shapes.models")
    noise = torch.randn(2, *made.noise_shape, generator=torch.Generator().manual_seed(0))
    images = made.generate(noise, made.encode(["a red circle", "two stars"]), steps=1)
    assert images.shape == (2, 3, 32, 32) and images.std() > 0

    # a second call finds every stage complete and writes the same weights
    monkeypatch.setattr(train_generator, "teacher_loss", None)
    monkeypatch.setattr(train_generator, "student_loss", None)
    main([*arguments, "--output", str(tmp_path / "again")])
    weights = "transformer/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "made" / weights).read_bytes() == (tmp_path / "again" / weights).read_bytes()


def test_an_image_shows_its_caption_or_differs_in_one_fact():
    rng = random.Random(0)
    for tag in ("single_object", "counting", "position", "color_attr"):
        for caption in combinations(tag, "train")[:20]:
            assert pictured_combination(caption, 0.0, rng) == caption
            other = pictured_combination(caption, 1.0, rng)
            assert other != caption and is_training_caption(other)


def test_the_text_encoder_learns(config):
    torch.manual_seed(0)
    reader = CaptionReader(TextToLatent(config.model))
    optimizer = torch.optim.AdamW(reader.parameters(), 1e-2)
    losses = []
    for step in range(30):
        loss, _ = reader_loss(reader, config.text_encoder, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_guidance_of_1_is_the_conditional_flow(config):
    """Compared with the general formula, uncond + g * (cond - uncond), at g close to 1."""
    torch.manual_seed(0)
    model = TextToLatent(config.model)
    noise = torch.randn(3, 16, 2, 2)
    texts = ["a red circle", "two stars", "a ring"]
    with torch.no_grad():
        plain, general = (solve_flow(model, noise, texts, 4, guidance)[1] for guidance in (1.0, 1.0 + 1e-6))
    torch.testing.assert_close(plain, general, atol=1e-4, rtol=1e-4)
