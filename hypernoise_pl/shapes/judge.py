"""The judge of the shapes world: segmentation, template matching of outlines, and GenEval's rules."""

from __future__ import annotations

import itertools
from functools import cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from hypernoise_pl.metrics.geneval.rules import Detection, verdict
from hypernoise_pl.metrics.judge import Judge, Verdict
from hypernoise_pl.shapes.caption import COLOURS, SHAPES
from hypernoise_pl.shapes.render import render
from hypernoise_pl.shapes.scene import PALETTE
from hypernoise_pl.types import Prompt

SIZE = 64  # pixels a side at which images are judged
FAINT = 0.3  # distance from the background, in RGB, below which a pixel belongs to no object
VISIBLE = 0.4  # least distance of an object's colour from the background, in RGB; true objects have 0.55
JUMP = 0.25  # difference of colour, in RGB, between two objects that touch
NEAR = 0.35  # largest distance, in RGB, of a colour from the palette's that it is called by
SMALLEST = 24  # pixels of an object; the smallest object of the world has 70
PATCH = 24  # pixels a side at which outlines are compared
ALIKE = 0.78  # least overlap (soft intersection over union) with the best template
LEAD = 0.05  # least lead of the best shape's overlap over the second's: what lies between two shapes is neither


class ShapesJudge(Judge):
    """Decides from pixels alone whether an image shows its prompt.

    Args:
        chunk: images judged at once; bounds memory.
    """

    neutral: ClassVar[tuple[str, ...]] = ("chunk",)

    def __init__(self, chunk: int = 64) -> None:
        self.chunk = chunk

    def missing_metadata(self, prompt: Prompt) -> str | None:
        """The metadata that a prompt lacks: clauses with the shapes world's shapes and colours; None if complete."""
        lack = super().missing_metadata(prompt)
        if lack is not None:
            return lack
        for clause in (*prompt.metadata["include"], *prompt.metadata.get("exclude", ())):
            if clause["class"] not in SHAPES:
                return f"has a clause of class {clause['class']!r}; the shapes world knows {', '.join(SHAPES)}"
            if clause.get("color", "red") not in COLOURS:
                return f"has a clause of color {clause['color']!r}; the shapes world knows {', '.join(COLOURS)}"
        return None

    def _verdicts(self, images: Tensor, prompts: list[Prompt]) -> list[Verdict]:
        return [verdict(found, prompt.metadata) for found, prompt in zip(self.detect(images), prompts, strict=True)]

    def _judge(self, images: Tensor, prompts: list[Prompt]) -> Tensor:
        return torch.tensor([each.correct for each in self._verdicts(images, prompts)], device=images.device)

    def detect(self, images: Tensor) -> list[list[Detection]]:
        """Objects in each of the images [B, 3, H, W], largest first; boxes in [0, 1]."""
        return [d for part in images.detach().float().cpu().split(self.chunk) for d in _detect(part)]


def _detect(images: Tensor) -> list[list[Detection]]:
    if images.shape[-1] != SIZE:
        images = F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
    cover, colour, background = _foreground(images)
    labels = _components(cover > 0.5, colour)
    owner, counts = torch.unique(labels[labels > 0], return_counts=True)
    owner = owner[counts >= SMALLEST]
    found: list[list[tuple[int, Detection]]] = [[] for _ in images]
    if len(owner) == 0:
        return [[] for _ in images]
    image = ((owner - 1) // (SIZE * SIZE)).long()
    masks = labels[image] == owner[:, None, None]
    boxes = _boxes(masks)
    overlap = _overlap(_patches(masks, cover[image], boxes))
    (best, second), shape = overlap.topk(2).values.unbind(1), overlap.argmax(1)
    mean = (colour[image] * masks[:, None]).flatten(2).sum(2) / masks.flatten(1).sum(1)[:, None]
    off, paint = torch.cdist(mean, PALETTE).min(1)
    clear = (mean - background[image]).norm(dim=1) >= VISIBLE
    for row in (clear & (best >= ALIKE) & (best - second >= LEAD)).nonzero().flatten().tolist():
        left, top, right, bottom = (boxes[row] / SIZE).tolist()
        name = list(COLOURS)[int(paint[row])] if off[row] <= NEAR else None
        detection = Detection(SHAPES[int(shape[row])], (left, top, right, bottom), name)
        found[int(image[row])].append((int(masks[row].sum()), detection))
    return [[d for _, d in sorted(objects, key=lambda item: -item[0])] for objects in found]


def _foreground(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cover [B, H, W] in [0, 1], the colour [B, 3, H, W] of what covers each pixel, and the background's [B, 3].

    An edge pixel is a blend of object and background; what covers it is told by the clearest pixel beside it.
    """
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], -1)
    background = border.median(-1).values
    away = images - background[..., None, None]
    distance = _square(away).sqrt()
    clearest = F.max_pool2d(distance[:, None], 5, 1, 2)[:, 0]
    cover = torch.where(clearest > FAINT, distance / clearest.clamp(min=1e-6), 0.0)
    return cover, (images + away * (1 / cover[:, None].clamp(min=0.3) - 1)).clamp(0, 1), background


def _components(mask: Tensor, colour: Tensor) -> Tensor:
    """[B, H, W] one number for each connected object of one colour, unique over the batch; 0 is background."""
    labels = torch.arange(1, mask.numel() + 1).view_as(mask) * mask
    right, down = _links(mask, colour, 2), _links(mask, colour, 1)
    while True:
        before = labels
        for _ in range(4):  # the largest number floods its object
            labels = labels.clone()
            labels[..., 1:] = torch.where(right, torch.maximum(labels[..., 1:], labels[..., :-1]), labels[..., 1:])
            labels[..., :-1] = torch.where(right, torch.maximum(labels[..., 1:], labels[..., :-1]), labels[..., :-1])
            labels[:, 1:] = torch.where(down, torch.maximum(labels[:, 1:], labels[:, :-1]), labels[:, 1:])
            labels[:, :-1] = torch.where(down, torch.maximum(labels[:, 1:], labels[:, :-1]), labels[:, :-1])
        # and every pixel takes over what the pixel its number came from has by now
        flat = torch.cat([labels.new_zeros(1), labels.flatten()])
        labels = flat[labels]
        if torch.equal(labels, before):
            return labels


def _links(mask: Tensor, colour: Tensor, axis: int) -> Tensor:
    """Whether a pixel of [B, H, W] and the next along an axis belong to one object.

    Where two objects touch, the soft edge spreads the change of colour over two steps, so both spans are looked at.
    """
    size = mask.shape[axis]

    def alike(step: int) -> tuple[Tensor, Tensor]:
        both = mask.narrow(axis, 0, size - step) & mask.narrow(axis, step, size - step)
        change = colour.narrow(axis + 1, step, size - step) - colour.narrow(axis + 1, 0, size - step)
        return both, _square(change) < JUMP**2

    both, near = alike(1)
    links = both & near
    both, near = alike(2)
    for start in (0, 1):  # a change over two steps cuts either of them
        links.narrow(axis, start, size - 2).logical_and_(near | ~both)
    return links


def _square(colour: Tensor) -> Tensor:
    """[B, H, W] squared length of [B, 3, H, W]; ``norm`` over a dimension that is not the last is ten times slower."""
    red, green, blue = colour.unbind(1)
    return red * red + green * green + blue * blue


def _boxes(masks: Tensor) -> Tensor:
    """[K, 4] left, top, right, bottom in pixels."""
    columns, rows = masks.any(1), masks.any(2)
    size = masks.shape[-1]
    left, top = columns.int().argmax(1), rows.int().argmax(1)
    right, bottom = size - columns.flip(1).int().argmax(1), size - rows.flip(1).int().argmax(1)
    return torch.stack([left, top, right, bottom], 1).float()


def _patches(masks: Tensor, cover: Tensor, boxes: Tensor) -> Tensor:
    """[K, PATCH, PATCH] the cover inside each object's box, made square about the box's centre and resized."""
    near = F.max_pool2d(masks[:, None].float(), 3, 1, 1)  # the soft edge lies just outside the mask
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(1).values / 2 + 1
    line = torch.linspace(-1, 1, PATCH)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    at = (centre[:, None, None] + grid * half[:, None, None, None]) / masks.shape[-1] * 2 - 1
    return F.grid_sample(cover[:, None] * near, at, align_corners=False)[:, 0]


@cache
def _templates() -> Tensor:
    """[6, T, PATCH, PATCH] the shapes' own patches, at several sizes and places between pixels."""
    patches = []
    count = len(SHAPES)
    for radius, size in itertools.product((0.25, 0.28, 0.32, 0.38), (32, 64)):
        for shift in itertools.product((0.0, 0.016, 0.031), repeat=2):
            images = render(
                opacity=torch.ones(count, 1),
                shape=torch.eye(count)[:, None],
                rgb=torch.ones(count, 1, 3),
                centre=torch.tensor(shift).expand(count, 1, 2),
                radius=torch.full((count, 1), radius),
                background=torch.zeros(count, 3, 2, 2),
                size=size,
            )
            images = F.interpolate(images, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
            cover, _, _ = _foreground(images)
            masks = cover > 0.5
            patches.append(_patches(masks, cover, _boxes(masks)))
    return torch.stack(patches, 1)


def _overlap(patches: Tensor) -> Tensor:
    """[K, 6] soft intersection over union with the best template of each shape."""
    templates = _templates().flatten(0, 1).flatten(1)
    flat = patches.flatten(1)
    both = torch.cdist(flat, templates, p=1)  # |a - b| sums to union minus intersection
    total = flat.sum(1)[:, None] + templates.sum(1)
    return ((total - both) / (total + both)).view(len(flat), len(SHAPES), -1).max(2).values
