"""Score images in batches, from where an interrupted run had come to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from hypernoise_pl.metrics.benchmark import Benchmark, ScoredImage
from hypernoise_pl.metrics.image_files import ImageFile
from hypernoise_pl.progress import Steps
from hypernoise_pl.score.journal import Journal, key_of
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.score.pictures import Unreadable, read_image
from hypernoise_pl.system.threads import adaptive_threads

READERS = 4  # threads that decode the images of the next batch while one is scored


def device() -> torch.device:
    """The GPU of this process, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def run(
    benchmark: Benchmark,
    images: Sequence[ImageFile],
    journal: Journal,
    batch_size: int,
    share: tuple[int, int] = (0, 1),
) -> tuple[list[ScoredImage], list[LeftOut], bool]:
    """Score the images that have no outcome yet.

    A run that goes on has the batches of one that was not interrupted: another batch rounds sums otherwise.

    Args:
        benchmark: on its device.
        images: all of them.
        journal: of the run folder.
        batch_size: images at once; those of a batch that differ in size are scored one size after the other.
        share: number of this process's share, and shares in all.

    Returns:
        What is known of all images, in their order; images that could not be read; and whether every image of every
        share is among the two.
    """
    own = images[share[0] :: share[1]]
    done = journal.known(own)
    batches = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
    wanted = [batch for batch in batches if any(key_of(image) not in done for image in batch)]
    where = next((parameter.device for parameter in benchmark.parameters()), device())
    with Steps("score", len(own), "images", len(own) - sum(map(len, wanted))) as steps:
        for batch, pixels in adaptive_threads(_readable(wanted, journal, steps)):
            journal.add(batch, benchmark(pixels.to(where), [image.prompt for image in batch]))
            steps.advance(len(batch))
    known = journal.known(images)
    scored, left = [], []
    for image in images:
        found = known.get(key_of(image))
        if isinstance(found, LeftOut):
            left.append(found)
        elif found is not None:
            scored.append(ScoredImage(image, image.prompt, found))
    return scored, left, len(scored) + len(left) == len(images)


def _readable(
    batches: Sequence[Sequence[ImageFile]], journal: Journal, steps: Steps
) -> Iterator[tuple[list[ImageFile], Tensor]]:
    """Images of one size with their pixels [B, 3, H, W]; those that cannot be read are written down as such."""
    images = [image for batch in batches for image in batch]
    with ThreadPoolExecutor(READERS) as pool:
        read = _ahead(pool, images, 2 * max(map(len, batches), default=0))
        for batch in batches:
            good: dict[torch.Size, list[tuple[ImageFile, Tensor]]] = {}
            for image in batch:
                found = next(read)
                if isinstance(found, Unreadable):
                    journal.add([image], [LeftOut(image.name, None, str(found), image.made_by)])
                    steps.advance()
                else:
                    good.setdefault(found.shape, []).append((image, found))
            for own in good.values():
                yield [image for image, _ in own], torch.stack([pixels for _, pixels in own])


def _ahead(pool: ThreadPoolExecutor, images: Sequence[ImageFile], most: int) -> Iterator[Tensor | Unreadable]:
    """What is read of images, in order, at most so many of them ahead."""
    futures = [pool.submit(_read, image) for image in images[:most]]
    for place in range(len(images)):
        found = futures.pop(0).result()
        if place + most < len(images):
            futures.append(pool.submit(_read, images[place + most]))
        yield found


def _read(image: ImageFile) -> Tensor | Unreadable:
    try:
        return read_image(image)
    except Unreadable as error:
        return error
