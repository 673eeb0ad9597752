"""Scores images in batches; a continued run scores the remaining images only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from hypernoise_pl.metrics.benchmark import Benchmark, ScoredImage
from hypernoise_pl.metrics.image_files import ImageFile
from hypernoise_pl.progress import Steps
from hypernoise_pl.score.image_reader import Unreadable, read_image
from hypernoise_pl.score.journal import Journal, image_key
from hypernoise_pl.score.left_out import LeftOut
from hypernoise_pl.system.threads import adaptive_threads

READER_THREADS = 4  # decode the images of the next batch meanwhile


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
    shard: tuple[int, int] = (0, 1),
) -> tuple[list[ScoredImage], list[LeftOut], bool]:
    """Score the images that have no outcome yet.

    A continued run has the same batches as an uninterrupted one, because the batch affects the rounding of sums.

    Args:
        benchmark: benchmark, on its device.
        images: images of all shards.
        journal: journal of the run folder.
        batch_size: images per batch; images of different sizes in a batch are scored separately.
        shard: index of this process's shard, and the number of shards.

    Returns:
        Scored images of all shards, in order; images that cannot be read; and whether these two lists are complete.
    """
    own = images[shard[0] :: shard[1]]
    done = journal.read_outcomes(own)
    batches = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
    pending = [batch for batch in batches if any(image_key(image) not in done for image in batch)]
    target = next((parameter.device for parameter in benchmark.parameters()), device())
    with Steps("score", len(own), "images", len(own) - sum(map(len, pending))) as steps:
        for batch, pixels in adaptive_threads(_readable(pending, journal, steps)):
            journal.add(batch, benchmark(pixels.to(target), [image.prompt for image in batch]))
            steps.advance(len(batch))
    outcomes = journal.read_outcomes(images)
    scored, left_out = [], []
    for image in images:
        outcome = outcomes.get(image_key(image))
        if isinstance(outcome, LeftOut):
            left_out.append(outcome)
        elif outcome is not None:
            scored.append(ScoredImage(image, image.prompt, outcome))
    return scored, left_out, len(scored) + len(left_out) == len(images)


def _readable(
    batches: Sequence[Sequence[ImageFile]], journal: Journal, steps: Steps
) -> Iterator[tuple[list[ImageFile], Tensor]]:
    """Yield images of one size with their pixels [B, 3, H, W]; unreadable images go to the journal."""
    images = [image for batch in batches for image in batch]
    with ThreadPoolExecutor(READER_THREADS) as pool:
        reads = _read_ahead(pool, images, 2 * max(map(len, batches), default=0))
        for batch in batches:
            by_size: dict[torch.Size, list[tuple[ImageFile, Tensor]]] = {}
            for image in batch:
                result = next(reads)
                if isinstance(result, Unreadable):
                    journal.add([image], [LeftOut(image.name, None, str(result), image.made_by)])
                    steps.advance()
                else:
                    by_size.setdefault(result.shape, []).append((image, result))
            for group in by_size.values():
                yield [image for image, _ in group], torch.stack([pixels for _, pixels in group])


def _read_ahead(pool: ThreadPoolExecutor, images: Sequence[ImageFile], count: int) -> Iterator[Tensor | Unreadable]:
    """Yield the images' pixels in order, and read at most ``count`` images ahead."""
    futures = [pool.submit(_read, image) for image in images[:count]]
    for index in range(len(images)):
        result = futures.pop(0).result()
        if index + count < len(images):
            futures.append(pool.submit(_read, images[index + count]))
        yield result


def _read(image: ImageFile) -> Tensor | Unreadable:
    try:
        return read_image(image)
    except Unreadable as error:
        return error
