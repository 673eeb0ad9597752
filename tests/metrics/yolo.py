"""YOLOv3-tiny out of Darknet's two files: a small real detector of COCO's classes, for a test on photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernoise_pl.metrics.geneval.detector import DetectedObject, Detector
from hypernoise_pl.metrics.geneval.rules import Detection


def sections(file: Path) -> list[tuple[str, dict[str, str]]]:
    """A Darknet .cfg: names of sections with their options."""
    found: list[tuple[str, dict[str, str]]] = []
    for line in (line.split("#")[0].strip() for line in file.read_text().splitlines()):
        if line.startswith("["):
            found.append((line.strip("[]"), {}))
        elif line:
            key, _, value = line.partition("=")
            found[-1][1][key.strip()] = value.strip()
    return found


class YoloV3Tiny(Detector):
    """Boxes without masks.

    Args:
        folder: with yolov3-tiny.cfg and yolov3-tiny.weights.
        side: pixels a side of what the network sees, a multiple of 32; the image fills its longer side.
        threshold: least confidence.
        overlap: intersection over union above which the less confident of two boxes of a class is dropped.

    Source: Redmon and Farhadi 2018 (YOLOv3).
    """

    def __init__(self, folder: Path, side: int = 288, threshold: float = 0.1, overlap: float = 0.45) -> None:
        super().__init__()
        self.side, self.threshold, self.overlap = side, threshold, overlap
        (_, _), *self.layers = sections(folder / "yolov3-tiny.cfg")
        self.convolutions = nn.ModuleDict()
        widths = [3]
        for place, (kind, options) in enumerate(self.layers):
            widths.append(self._width(place, kind, options, widths))
        weights = np.fromfile(folder / "yolov3-tiny.weights", np.float32, offset=20)
        self.used, self.stored = self._fill(torch.from_numpy(weights)), len(weights)
        self.eval().requires_grad_(False)

    def display_name(self) -> str:
        return f"YOLOv3-tiny at {self.side} pixels"

    def _width(self, place: int, kind: str, options: dict[str, str], widths: list[int]) -> int:
        if kind == "route":
            return sum(widths[at + 1] for at in self._sources(place, options))
        if kind != "convolutional":
            return widths[-1]
        size, stride, normed = int(options["size"]), int(options["stride"]), options.get("batch_normalize") == "1"
        layer = nn.Conv2d(widths[-1], int(options["filters"]), size, stride, size // 2, bias=not normed)
        norm = nn.BatchNorm2d(layer.out_channels) if normed else nn.Identity()
        self.convolutions[str(place)] = nn.Sequential(layer, norm)
        return layer.out_channels

    def _sources(self, place: int, options: dict[str, str]) -> list[int]:
        return [at if at >= 0 else place + at for at in map(int, options["layers"].split(","))]

    @torch.no_grad()
    def _fill(self, weights: Tensor) -> int:
        used = 0
        for layer, norm in self.convolutions.values():
            first = (
                [norm.bias, norm.weight, norm.running_mean, norm.running_var] if layer.bias is None else [layer.bias]
            )
            for tensor in (*first, layer.weight):
                tensor.copy_(weights[used : used + tensor.numel()].view_as(tensor))
                used += tensor.numel()
        return used

    def _detect(self, images: Tensor) -> list[list[DetectedObject]]:
        height, width = images.shape[-2:]
        scale = self.side / max(height, width)
        inner = round(height * scale), round(width * scale)
        top, left = (self.side - inner[0]) // 2, (self.side - inner[1]) // 2
        pixels = torch.full((len(images), 3, self.side, self.side), 0.5)
        resized = F.interpolate(images, inner, mode="bilinear", antialias=True).clamp(0, 1)
        pixels[..., top : top + inner[0], left : left + inner[1]] = resized
        boxes, scores = self._look(pixels)
        boxes = (boxes - boxes.new_tensor([left, top, left, top])) / scale
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
        return [self._objects(*each) for each in zip(boxes, scores, strict=True)]

    def _look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [B, K, 4] and confidences of classes [B, K, 80]."""
        states: list[Tensor] = []
        found = []
        state = pixels
        for place, (kind, options) in enumerate(self.layers):
            if kind == "convolutional":
                state = self.convolutions[str(place)](state)
                state = F.leaky_relu(state, 0.1) if options["activation"] == "leaky" else state
            elif kind == "maxpool":
                stride = int(options["stride"])  # of 1: one more column and row keep the size
                state = F.max_pool2d(F.pad(state, (0, 1, 0, 1), value=-torch.inf) if stride == 1 else state, 2, stride)
            elif kind == "upsample":
                state = F.interpolate(state, scale_factor=int(options["stride"]))
            elif kind == "route":
                state = torch.cat([states[at] for at in self._sources(place, options)], 1)
            else:
                found.append(self._decoded(state, options))
            states.append(state)
        boxes, scores = zip(*found, strict=True)
        return torch.cat(boxes, 1), torch.cat(scores, 1)

    def _decoded(self, state: Tensor, options: dict[str, str]) -> tuple[Tensor, Tensor]:
        anchors = torch.tensor([float(value) for value in options["anchors"].split(",")]).view(-1, 2)
        anchors = anchors[[int(place) for place in options["mask"].split(",")]]
        rows, columns = state.shape[-2:]
        told = state.view(len(state), len(anchors), -1, rows, columns).permute(0, 1, 3, 4, 2)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres = (told[..., :2].sigmoid() + torch.stack([x, y], -1)) * (self.side / columns)
        halves = told[..., 2:4].exp() * anchors[:, None, None] / 2
        boxes = torch.cat([centres - halves, centres + halves], -1).flatten(1, 3)
        return boxes, (told[..., 4:5].sigmoid() * told[..., 5:].sigmoid()).flatten(1, 3)

    def _objects(self, boxes: Tensor, scores: Tensor) -> list[DetectedObject]:
        found: list[DetectedObject] = []
        for label, name in enumerate(self.classes):
            kept: list[Tensor] = []
            for place in scores[:, label].argsort(descending=True).tolist():
                if scores[place, label] < self.threshold:
                    break
                if all(_overlap(boxes[place], other) <= self.overlap for other in kept):
                    kept.append(boxes[place])
                    left, top, right, bottom = boxes[place].tolist()
                    found.append(
                        DetectedObject(Detection(name, (left, top, right, bottom), None, scores[place, label].item()))
                    )
        return found


def _overlap(one: Tensor, other: Tensor) -> float:
    shared = (torch.minimum(one[2:], other[2:]) - torch.maximum(one[:2], other[:2])).clamp(min=0).prod()
    return float(shared / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared))
