"""How the shapes world's rewards were made.

    python -m hypernoise_pl.shapes.train_rewards --config experiments/shapes_world/rewards.yaml --output FOLDER

Three models, each a resumable stage. All see scenes on the way from right to wrong (``flaws.towards``), with degraded
pixels, and are taught how far along a scene is, so that what they say changes smoothly with the picture.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from hypernoise_pl.rewards.image_reward import BlipScorer
from hypernoise_pl.rewards.preprocess import preprocess
from hypernoise_pl.shapes.caption import COLOURS, SHAPES, Combination, Split, plural, sample_prompts, say
from hypernoise_pl.shapes.facts import agree
from hypernoise_pl.shapes.flaws import Slots, hard_negatives, towards
from hypernoise_pl.shapes.scene import PALETTE, Scenes, sample_scenes
from hypernoise_pl.shapes.tokenizer import bert_tokenizer, clip_tokenizer
from hypernoise_pl.shapes.train_loop import LoopOptions, train


@dataclass
class Lesson:
    """A batch to learn from.

    Args:
        images: [B, 3, 32, 32] degraded pictures of the scenes, moved towards what is wrong.
        amount: [B] how far: 0 shows ``right``, 1 shows ``wrong``.
        kinds: what was moved.
        right: the captions the scenes were drawn for.
        wrong: captions one fact away; the scene moves towards it if the kind is a kind of caption.
        scenes: as drawn.
        slots: as moved.
    """

    images: Tensor
    amount: Tensor
    kinds: list[str]
    right: list[Combination]
    wrong: list[Combination]
    scenes: Scenes
    slots: Slots


def lesson(count: int, flawed: float, seed: int, split: Split = "train", degrade: bool = True) -> Lesson:
    """Draw a batch, a share of it moved from right to wrong."""
    rng = random.Random(seed)
    draws = torch.Generator().manual_seed(seed)
    right = [c for _, c in sample_prompts(split, count, rng.randrange(2**31))]
    wrong, kinds = [], []
    for combination in right:
        negatives = hard_negatives(combination, rng)
        # the facts that are hard to learn (bindings, sides, counts) come more often
        hard = [kind for kind in negatives if kind in ("binding", "side", "count")]
        kind = rng.choice(hard) if hard and rng.random() < 0.5 else rng.choice(list(negatives))
        wrong.append(negatives[kind])
        undirected = rng.choice(["fade", "overlap"])
        kinds.append("none" if rng.random() > flawed else kind if rng.random() < 0.7 else undirected)
    scenes = sample_scenes(right, draws)
    amount = torch.rand(count, generator=draws)
    amount[[kind == "none" for kind in kinds]] = 0
    slots = towards(scenes, right, wrong, kinds, amount, draws)
    images = slots.render()
    return Lesson(_degrade(images, draws) if degrade else images, amount, kinds, right, wrong, scenes, slots)


def _degrade(images: Tensor, draws: torch.Generator) -> Tensor:
    """Blur, noise, contrast, brightness and tint, each a little and not on every picture."""

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(len(images), *size, generator=draws)

    soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = images.lerp(soft, uniform(-0.5, 0.5, 1, 1, 1).clamp(min=0))
    images = images * uniform(0.9, 1.1, 1, 1, 1) * uniform(0.95, 1.05, 3, 1, 1) + uniform(-0.03, 0.03, 1, 1, 1)
    sigma = uniform(-0.04, 0.05, 1, 1, 1).clamp(min=0)
    return (images + sigma * torch.randn(images.shape, generator=draws)).clamp(0, 1)


def truth(lesson: Lesson) -> tuple[Tensor, Tensor]:
    """[B] how true the right and the wrong caption are of the pictures as they were moved."""
    directed = torch.tensor([kind not in ("none", "fade", "overlap") for kind in lesson.kinds])
    return 1 - lesson.amount, torch.where(directed, lesson.amount, torch.zeros_like(lesson.amount))


# --- ImageReward ------------------------------------------------------------------------------------------------


class Student(nn.Module):
    """The scorer and, for the time of training, heads that name what it sees: dense lessons for sparse facts."""

    def __init__(self, config: DictConfig, length: int) -> None:
        super().__init__()
        self.tokenizer, self.length = bert_tokenizer(), length
        options: Any = OmegaConf.to_container(config, resolve=True)
        special = {"bos_token_id": None, "eos_token_id": None, "sep_token_id": self.tokenizer.sep_token_id}
        text = {**options["text"], **special, "vocab_size": len(self.tokenizer)}
        self.options = {"vision": options["vision"], "text": text, "head": options["head"], "length": length}
        self.scorer = BlipScorer(options["vision"], text, options["head"])
        self.patches = nn.Linear(options["vision"]["hidden_size"], len(SHAPES) + 1 + len(COLOURS) + 1)
        self.nouns = nn.Linear(text["hidden_size"], 2 + len(COLOURS) + 5)
        ids = self.tokenizer.convert_tokens_to_ids([*SHAPES, *(plural(shape) for shape in SHAPES)])
        shape_of = torch.full((len(self.tokenizer),), -1)
        shape_of[ids] = torch.arange(len(SHAPES)).repeat(2)
        self.register_buffer("shape_of", shape_of, persistent=False)

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask [B, L]."""
        found = self.tokenizer(
            list(texts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        return found.input_ids, found.attention_mask


def image_reward_loss(model: Student, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Regress how true a caption is, from -1 to 1: bounded, and flat once all is right."""
    batch = lesson(config.batch, 0.6, seed * 1_000_003 + step)
    rng = random.Random(step)
    tokens = model.scorer.look(preprocess(batch.images, 32))
    other = batch.right[1:] + batch.right[:1]
    captions = [*batch.right, *batch.wrong, *other]
    ids, mask = model.tokens([say(c, rng) for c in captions])
    clean = torch.tensor([kind == "none" for kind in batch.kinds])
    right, wrong = truth(batch)
    elsewhere = agree(batch.scenes, other).diag().float()
    known = torch.cat([torch.ones(2 * config.batch, dtype=torch.bool), clean | (elsewhere == 0)])
    states = model.scorer.text(
        ids,
        attention_mask=mask,
        encoder_hidden_states=tokens.repeat(3, 1, 1),
        encoder_attention_mask=torch.ones(len(ids), tokens.shape[1]),
    ).last_hidden_state
    said = model.scorer.head(states[:, 0]).squeeze(-1)
    target = 2 * torch.cat([right, wrong, elsewhere]) - 1
    fit = (said - target).square()[known].mean()
    patch_loss = _patch_loss(model.patches(tokens[:, 1:]), batch.slots)
    noun_loss = _noun_loss(model, states, ids, batch.scenes, clean)
    count = config.batch
    ranked = (said[:count] > said[count : 2 * count])[right > wrong + 0.5].float().mean()
    figures = {"fit": fit.item(), "patch": patch_loss.item(), "noun": noun_loss.item(), "ranked": ranked.item()}
    return 4 * fit + config.facts * (patch_loss + noun_loss), figures


def _patch_loss(said: Tensor, slots: Slots) -> Tensor:
    """Which shape and which colour covers each patch; the last class of each is the background."""
    side = round(said.shape[1] ** 0.5)
    half = 1.0 / side
    line = torch.linspace(-1 + half, 1 - half, side)
    grid = torch.stack([line.repeat(side), -line.repeat_interleave(side)], -1)  # [T, 2], top row first
    near = (grid[None, :, None] - slots.centre[:, None]).norm(dim=-1) < 0.8 * slots.radius[:, None]
    near &= slots.opacity[:, None] > 0.5
    top = (near.int() * torch.arange(1, 5)).amax(-1)  # later slots are painted over earlier ones
    covered, slot = top > 0, (top - 1).clamp(min=0)
    rows = torch.arange(len(slot))[:, None]
    colour = torch.cdist(slots.rgb, PALETTE).argmin(-1)[rows, slot]
    shape = slots.shape.argmax(-1)[rows, slot]
    shapes, colours = said.split((len(SHAPES) + 1, len(COLOURS) + 1), -1)
    shape_loss = F.cross_entropy(shapes.flatten(0, 1), torch.where(covered, shape, len(SHAPES)).flatten())
    return shape_loss + F.cross_entropy(
        colours.flatten(0, 1), torch.where(covered, colour, len(COLOURS)).flatten()
    )


def _noun_loss(model: Student, states: Tensor, ids: Tensor, scenes: Scenes, clean: Tensor) -> Tensor:
    """For every noun of a caption: how many of that shape there are, where and of what colour."""
    named = model.shape_of[ids]  # [3B, L], -1 where the word is no shape
    rows, columns = (named >= 0).nonzero(as_tuple=True)
    scene = rows % len(scenes)
    keep = clean[scene]
    rows, columns, scene = rows[keep], columns[keep], scene[keep]
    said = model.nouns(states[rows, columns])
    same = scenes.present[scene] & (scenes.shape[scene] == named[rows, columns][:, None])  # [K, 4]
    count = same.sum(1)
    share = same / count.clamp(min=1)[:, None]
    centre = (share[..., None] * scenes.centre[scene]).sum(1)
    colour = F.one_hot(torch.cdist(scenes.rgb[scene], PALETTE).argmin(-1), len(COLOURS)).float()
    mixed = (share[..., None] * colour).sum(1)
    place, paint, number = said.split((2, len(COLOURS), 5), -1)
    here = count > 0
    loss = F.cross_entropy(number, count) + 2 * F.mse_loss(place[here], centre[here])
    return loss + F.cross_entropy(paint[here], mixed[here])


# --- the two CLIP models ----------------------------------------------------------------------------------------


def clip_model(config: DictConfig, length: int) -> Any:
    """A transformers ``CLIPModel`` in miniature, with its tokenizer beside it."""
    from transformers import CLIPConfig, CLIPModel

    tokenizer = clip_tokenizer()
    options: Any = OmegaConf.to_container(config, resolve=True)
    text = {
        **options["text"],
        "vocab_size": len(tokenizer),
        "max_position_embeddings": length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    model = CLIPModel(
        CLIPConfig(text_config=text, vision_config=options["vision"], projection_dim=options["projection"])
    )
    return model, tokenizer


class Towers(nn.Module):
    """A CLIP model and its tokenizer."""

    def __init__(self, config: DictConfig, length: int) -> None:
        super().__init__()
        self.clip, self.tokenizer = clip_model(config, length)
        self.length = length

    def images(self, images: Tensor) -> Tensor:
        """[B, D] unit features."""
        pooled = self.clip.vision_model(pixel_values=preprocess(images, 32)).pooler_output
        return F.normalize(self.clip.visual_projection(pooled), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """[B, D] unit features."""
        tokens = self.tokenizer(
            list(texts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        return F.normalize(self.clip.text_projection(self.clip.text_model(**tokens).pooler_output), dim=-1)


def clip_loss(model: Towers, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Contrastive, with one hard negative an image and without the negatives that are true by accident."""
    batch = lesson(config.batch, 0.4, seed * 1_000_003 + step)
    rng = random.Random(step)
    captions = [*batch.right, *batch.wrong]
    scale = model.clip.logit_scale.exp().clamp(max=30)
    similar = scale * model.images(batch.images) @ model.texts([say(c, rng) for c in captions]).T  # [B, 2B]
    count = config.batch
    own = torch.eye(count, dtype=torch.bool)
    accident = agree(batch.scenes, captions)
    accident[:, :count] &= ~own
    masked = similar.masked_fill(accident, -1e4)
    label = torch.arange(count)
    good = batch.amount < 0.3
    by_image = F.cross_entropy(masked[good], label[good])
    by_text = F.cross_entropy(masked[good][:, :count].T[good], torch.arange(int(good.sum())))
    right, wrong = truth(batch)
    margin = similar.diagonal() - similar[:, count:].diagonal()
    graded = F.binary_cross_entropy_with_logits(margin, 0.5 + 0.5 * (right - wrong))
    ranked = (margin > 0)[right > wrong + 0.5].float().mean().item()
    return by_image + 0.5 * by_text + 2 * graded, {"graded": graded.item(), "ranked": ranked}


def pick_loss(model: Towers, config: DictConfig, seed: int, step: int) -> tuple[Tensor, dict[str, float]]:
    """Preference between two pictures of one prompt, the less flawed one wins (Bradley-Terry, as PickScore)."""
    batch = lesson(config.batch, 1.0, seed * 1_000_003 + step)
    rng, draws = random.Random(step), torch.Generator().manual_seed(step)
    other = batch.amount * torch.rand(len(batch.amount), generator=draws)
    cleaner = towards(batch.scenes, batch.right, batch.wrong, batch.kinds, other, draws).render()
    pair = torch.cat([_degrade(cleaner, draws), batch.images])
    said = model.texts([say(c, rng) for c in batch.right])
    scale = model.clip.logit_scale.exp().clamp(max=30)
    first, second = (scale * (model.images(pair) * said.repeat(2, 1)).sum(-1)).chunk(2)
    sure = torch.sigmoid(8 * (batch.amount - other))
    loss = F.binary_cross_entropy_with_logits(first - second, sure)
    apart = batch.amount - other > 0.5
    return loss, {"preferred": (first > second)[apart].float().mean().item()}


# --- measuring and saving ---------------------------------------------------------------------------------------


def pairs_by_kind(split: Split, each: int, seed: int) -> dict[str, tuple[Tensor, list[str], list[str]]]:
    """Held-out hard negatives: kind -> clean pictures, their true captions, captions with that one fact changed."""
    rng, found = random.Random(seed), {}
    for kind in ("shape", "colour", "binding", "side", "count"):
        drawn = [c for _, c in sample_prompts(split, each * 10, seed)]
        both = [(c, n) for c in drawn if (n := hard_negatives(c, rng).get(kind))][:each]
        scenes = sample_scenes([c for c, _ in both], torch.Generator().manual_seed(seed))
        images = Slots.of(scenes).render()
        found[kind] = (images, [say(c, rng) for c, _ in both], [say(n, rng) for _, n in both])
    return found


def measure(folder: Path, weights: dict[str, float], each: int = 1000) -> dict[str, Any]:
    """Share of held-out pairs in which the true caption scores higher, by model and for the weighted sum."""
    from hypernoise_pl.rewards.clip import CLIPScore, PickScore
    from hypernoise_pl.rewards.image_reward import ImageReward

    rewards = {
        "clip": CLIPScore(str(folder / "clip")),
        "pick": PickScore(str(folder / "pick")),
        "image_reward": ImageReward(str(folder / "image_reward")),
    }
    report: dict[str, Any] = {}
    with torch.no_grad():
        for kind, (images, true, false) in pairs_by_kind("test", each, 1).items():
            margins = {name: r(images, true) - r(images, false) for name, r in rewards.items()}
            margins["ensemble"] = sum((weights[name] * m for name, m in margins.items()), torch.zeros(len(true)))
            report[kind] = {name: round((m > 0).float().mean().item(), 3) for name, m in margins.items()}
            report[kind]["n"] = len(true)
        flawed = lesson(each, 1.0, 2, "test", degrade=False)
        clean = Slots.of(flawed.scenes).render()
        texts = [say(c, random.Random(0)) for c in flawed.right]
        far = flawed.amount > 0.5
        for name, reward in rewards.items():
            good, bad = reward(clean, texts), reward(flawed.images, texts)
            report[name] = {
                "clean": [round(good.mean().item(), 3), round(good.std().item(), 3)],
                "flawed": [round(bad[far].mean().item(), 3), round(bad[far].std().item(), 3)],
                "clean_over_flawed": round((good > bad)[far].float().mean().item(), 3),
            }
    return report


def save_clip(model: Towers, folder: Path) -> None:
    """A ``CLIPModel`` folder in half precision, the scale bounded as it was in training."""
    with torch.no_grad():
        model.clip.logit_scale.clamp_(max=torch.tensor(30.0).log())
    model.clip.half().save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


def save_image_reward(model: Student, folder: Path) -> None:
    """The scorer in half precision; its raw output is already near mean 0 and deviation 1 over right and wrong."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in model.scorer.state_dict().items()}, folder / "model.safetensors")
    config = {**model.options, "mean": 0.0, "std": 1.0}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    model.tokenizer.save_pretrained(folder)


STAGES = ("image_reward", "clip", "pick")


def main(argv: Sequence[str] | None = None) -> None:
    """Train the models that are not trained yet, save them and measure them."""
    parser = argparse.ArgumentParser(prog="python -m hypernoise_pl.shapes.train_rewards", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML: sizes, steps and rates of the three models")
    parser.add_argument("--work", type=Path, default=Path("runs/shapes_world"), help="checkpoints and logs")
    parser.add_argument("--output", type=Path, required=True, help="where the folders clip, pick, image_reward go")
    parser.add_argument("--only", choices=STAGES, help="one model, without measuring the ensemble")
    arguments = parser.parse_args(argv)
    config = OmegaConf.load(arguments.config)
    assert isinstance(config, DictConfig)
    start = time.monotonic()
    losses = {"image_reward": image_reward_loss, "clip": clip_loss, "pick": pick_loss}
    for name in STAGES if arguments.only is None else (arguments.only,):
        torch.manual_seed(config.seed)
        part, loss = config[name], losses[name]
        model: Any = (Student if name == "image_reward" else Towers)(part, config.length)
        trained = train(
            name,
            model,
            lambda step: loss(model, part, config.seed, step),  # noqa: B023 - called before the next round
            LoopOptions(**part.loop),
            arguments.work,
        )
        (save_image_reward if name == "image_reward" else save_clip)(trained, arguments.output / name)
    if arguments.only is None:
        report = measure(arguments.output, {"clip": 0.1, "pick": 0.1, "image_reward": 1.0})
        report["seconds_this_call"] = round(time.monotonic() - start)
        (arguments.work / "rewards.json").write_text(json.dumps(report, indent=1) + "\n")
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
