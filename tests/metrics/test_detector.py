"""GenEval's detector around its network: pixels as OpenCV resizes them, objects as a second reading finds them."""

import cv2
import numpy as np
import pytest
import torch

from hypernoise_pl.metrics.geneval.classes import class_names
from hypernoise_pl.metrics.geneval.detector import Mask2FormerDetector, preprocess
from hypernoise_pl.types import to_uint8


def pictures(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Blots of many sizes, and grain."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 7, generator=draws)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (smooth * 0.8 + 0.2 * torch.rand(count, 3, height, width, generator=draws)).clamp(0, 1)


@pytest.mark.parametrize(
    ("height", "width", "inner"),
    [
        (512, 512, (800, 800)),
        (1024, 1024, (800, 800)),
        (517, 333, (1242, 800)),
        (801, 2001, (534, 1333)),
        (64, 1000, (85, 1333)),
        (3, 5, (800, 1333)),
        (800, 1066, (800, 1066)),
    ],
)
def test_pixels_are_those_of_opencv_padded_to_multiples_of_32(height, width, inner):
    images = pictures(1, height, width)
    found, found_inner = preprocess(images)
    assert found_inner == inner and found.shape[-2:] == tuple(-(-side // 32) * 32 for side in inner)
    wanted = cv2.resize(to_uint8(images)[0].numpy(), inner[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float64)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    levels = found[0].movedim(0, -1).double().numpy() * std + mean
    assert np.abs(levels[: inner[0], : inner[1]] - wanted).max() < 1e-3
    outside = np.concatenate([levels[inner[0] :].ravel(), levels[:, inner[1] :].ravel()])
    assert np.allclose(outside, 128, atol=1e-4)


def enlarged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear between pixels' centres, the outermost ones kept beyond."""
    for axis, size in enumerate((height, width)):
        old = image.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        high, share = np.minimum(low + 1, old - 1), at - low
        share = share[:, None] if axis == 0 else share[None]
        image = image.take(low, axis) * (1 - share) + image.take(high, axis) * share
    return image


def read_slowly(classes: np.ndarray, masks: np.ndarray, padded, inner, size) -> list[tuple]:
    """Class, box, confidence and mask of the hundred likeliest pairs, pair by pair."""
    pairs = []
    for query, logits in enumerate(classes):
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        pairs += [(share, query, label) for label, share in enumerate(shares[:-1])]
    found = []
    for share, query, label in sorted(pairs, reverse=True)[:100]:
        mask = enlarged(enlarged(masks[query], *padded)[: inner[0], : inner[1]], *size)
        inside = [(y, x) for y in range(size[0]) for x in range(size[1]) if mask[y, x] > 0]
        sure = sum(1 / (1 + np.exp(-mask[place])) for place in inside) / (len(inside) + 1e-6)
        rows, columns = [y for y, _ in inside] or [-1], [x for _, x in inside] or [-1]
        found.append((class_names()[label], share * sure, (min(columns), min(rows), max(columns), max(rows)), mask > 0))
    return found


@pytest.mark.parametrize(("height", "width"), [(60, 60), (53, 40), (33, 100)])
@pytest.mark.usefixtures("small")
def test_objects_are_those_of_a_second_reading(height, width, detector_folder):
    detector = Mask2FormerDetector(str(detector_folder), threshold=0.0, chunk=1)
    images = pictures(2, height, width)
    pixels, inner = preprocess(images)
    everything = detector(images)
    for row in range(2):
        with torch.no_grad():
            classes, masks = detector.network(pixels[row : row + 1])
        arrays = classes[0].double().numpy(), masks[0].double().numpy()
        wanted = read_slowly(*arrays, pixels.shape[-2:], inner, (height, width))
        wanted = [each for each in wanted if each[1] > 0]
        assert len(everything[row]) == len(wanted) > 50
        for found, (name, score, (left, top, right, bottom), mask) in zip(everything[row], wanted, strict=True):
            assert found.detection.name == name and found.detection.score == pytest.approx(score, rel=1e-4)
            assert found.detection.box == (left, top, right + 1, bottom + 1)
            assert (found.mask.numpy() == mask).all()


def test_boxes_end_where_masks_do_and_what_lies_in_the_padding_is_none(detector):
    """Discs of many sizes and places, one of them in the padding alone; two queries are sure of two classes each."""
    draws = torch.Generator().manual_seed(3)
    padded, inner, size = (96, 128), (75, 100), (57, 76)
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    centres = torch.rand(9, 2, 1, 1, generator=draws) * torch.tensor([24.0, 32.0])[:, None, None]
    centres[0] = torch.tensor([22.0, 29.0])[:, None, None]
    radii = 2 + 5 * torch.rand(9, 1, 1, generator=draws)
    radii[0] = 1.5
    masks = 0.3 * (radii**2 - (y - centres[:, 0]) ** 2 - (x - centres[:, 1]) ** 2)
    classes = torch.randn(9, 81, generator=draws)
    classes[torch.arange(9), torch.randperm(80, generator=draws)[:9]] += 9
    classes[[3, 5], [70, 71]] = classes[[3, 5]].max(1).values
    found = detector._objects(classes, masks, torch.Size(padded), inner, torch.Size(size))
    read = read_slowly(classes.double().numpy(), masks.double().numpy(), padded, inner, size)
    wanted = sorted((each for each in read if each[1] > 0.3), key=lambda each: (each[0], each[2]))
    found.sort(key=lambda each: (each.detection.name, each.detection.box))
    assert len(found) == len(wanted) == 7 and class_names()[classes[0].argmax()] not in {each[0] for each in wanted}
    assert len({each.detection.box for each in found}) == 6
    for one, (name, score, (left, top, right, bottom), mask) in zip(found, wanted, strict=True):
        assert (one.detection.name, one.detection.box) == (name, (left, top, right + 1, bottom + 1))
        assert one.detection.score == pytest.approx(score, rel=1e-4) and (one.mask.numpy() == mask).all()


@pytest.mark.usefixtures("small")
def test_those_above_the_threshold_are_found_whatever_the_chunk(detector_folder):
    images = pictures(5, 50, 70)
    every = Mask2FormerDetector(str(detector_folder), threshold=0.0)(images)
    one, two = (Mask2FormerDetector(str(detector_folder), chunk=chunk)(images) for chunk in (1, 2))
    for all_found, found, other in zip(every, one, two, strict=True):
        sure = [each.detection for each in all_found if each.detection.score > 0.3]
        assert [each.name for each in sure] == [each.detection.name for each in found]
        assert [each.box for each in sure] == [each.detection.box for each in found]
        assert [each.detection.box for each in other] == [each.detection.box for each in found]
        scores = ([each.detection.score for each in own] for own in (found, other))
        assert next(scores) == pytest.approx(next(scores), abs=1e-4)
    assert 5 < sum(len(found) for found in one) < sum(len(found) for found in every)
    assert Mask2FormerDetector.neutral == ("chunk",)


@pytest.mark.usefixtures("small")
def test_half_precision_finds_the_same_surest_object(detector, detector_folder):
    images = pictures(3, 60, 60)
    half = Mask2FormerDetector(str(detector_folder), dtype="bfloat16")(images)
    for found, other in zip(detector(images), half, strict=True):
        surest = max(found, key=lambda each: each.detection.score).detection
        near = [each.detection for each in other if each.detection.name == surest.name]
        assert max(each.score for each in near) == pytest.approx(surest.score, abs=0.15)


def test_no_images_have_no_objects_and_bytes_are_refused(detector, detector_folder):
    assert detector(torch.zeros(0, 3, 8, 8)) == []
    with pytest.raises(ValueError, match="divide bytes by 255"):
        detector(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"threshold must be in 0 to 1 and chunk 1 or more, got 1\.5 and 4"):
        Mask2FormerDetector(str(detector_folder), threshold=1.5)
