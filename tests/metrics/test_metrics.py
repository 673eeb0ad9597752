"""The metrics on hand-made figures, and that uneven shards in two real processes give what one process gives."""

import itertools
import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from hypernoise_pl.data.geneval import TAGS
from hypernoise_pl.metrics.diversity import PairwiseDistance
from hypernoise_pl.metrics.fidelity import kernel_distance
from hypernoise_pl.metrics.geneval.metric import GenEval
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.types import Prompt


def verdicts(count: int) -> tuple[Tensor, list[str]]:
    draws = torch.Generator().manual_seed(0)
    return torch.rand(count, generator=draws) < 0.4, [TAGS[i] for i in torch.randint(6, (count,), generator=draws)]


def test_geneval_is_the_mean_over_tags_not_over_images():
    metric = GenEval()
    metric.update(torch.tensor([True, True, True, False]), ["colors"] * 4)
    metric.update(torch.tensor([False]), ["position"])
    found = {name: value.item() for name, value in metric.compute().items()}
    assert found == {"mean": 0.375, "colors": 0.75, "position": 0.0}


def test_geneval_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"no tag 'colour' in GenEval \(did you mean 'colors'\?\)"):
        GenEval().update(torch.tensor([True]), ["colour"])
    with pytest.raises(ValueError, match="correct must have shape"):
        GenEval().update(torch.tensor([True, False]), ["colors"])


def test_distance_is_taken_within_a_prompt_only():
    images = torch.tensor([0.0, 1.0, 0.5, 0.5, 0.2])[:, None, None, None].expand(5, 3, 8, 8)
    metric = PairwiseDistance()
    metric.update(images, [7, 9, 7, 9, 4])  # 0 against 0.5, 1 against 0.5; prompt 4 has a single image
    assert metric.compute().item() == pytest.approx(0.5)
    metric.update(images[:2], [3, 3])
    assert metric.compute().item() == pytest.approx(2 / 3)


def _one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    part = slice(0, 37) if rank == 0 else slice(37, None)
    correct, tags = verdicts(50)
    geneval, distance = GenEval(), PairwiseDistance()
    geneval.update(correct[part], tags[part])
    images = torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    prompts = [0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2]
    few = slice(0, 9) if rank == 0 else slice(9, None)
    distance.update(images[few], prompts[few])
    torch.save((geneval.compute(), distance.compute()), f"{folder}/{rank}.pt")
    whole = GenEval(), PairwiseDistance()
    whole[0].sync_on_compute = whole[1].sync_on_compute = False
    whole[0].update(correct, tags)
    whole[1].update(images, prompts)
    torch.save((whole[0].compute(), whole[1].compute()), f"{folder}/whole.{rank}.pt")
    torch.distributed.destroy_process_group()


def test_uneven_shards_in_two_processes_equal_one(tmp_path: Path):
    mp.spawn(_one_rank, (str(tmp_path),), nprocs=2)
    for rank in (0, 1):
        parts, whole = torch.load(tmp_path / f"{rank}.pt"), torch.load(tmp_path / f"whole.{rank}.pt")
        torch.testing.assert_close(parts, whole)


class Bright(Judge):
    def _judge(self, images: Tensor, prompts: list[Prompt]) -> Tensor:
        return images.flatten(1).mean(1) > 0.5


def test_a_judge_checks_what_it_is_given():
    prompt = Prompt("a star", "single_object", {"include": [{"class": "star", "count": 1}]})
    assert Bright()(torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 4, 4), [prompt] * 2).tolist() == [0, 1]
    with pytest.raises(ValueError, match="images must have shape"):
        Bright()(torch.zeros(2, 3, 4, 4), [prompt])
    with pytest.raises(ValueError, match="'a ring', has no 'include'") as error:
        Bright()(torch.zeros(1, 3, 4, 4), [Prompt("a ring")])
    assert "\n" not in str(error.value)


def test_distance_of_paired_sets_is_zero_for_equal_images_and_is_not_pulled_below_by_like_ones():
    """The U-statistic written out, and its mean over many draws of two equal, correlated laws."""
    draws = torch.Generator().manual_seed(0)
    found, unpaired = [], []
    for _ in range(200):
        real = torch.randn(12, 4, generator=draws)
        other = 0.9 * real + (1 - 0.9**2) ** 0.5 * torch.randn(12, 4, generator=draws)  # N(0, I) too
        found.append(kernel_distance(real, other, paired=True))
        unpaired.append(kernel_distance(real, other))
    assert kernel_distance(real, real, paired=True) == pytest.approx(0, abs=1e-12)

    def kernel(x, y):
        return ((x.double() @ y.double()) / 4 + 1) ** 3

    pairs = [
        kernel(real[i], real[j]) + kernel(other[i], other[j]) - 2 * kernel(real[i], other[j])
        for i, j in itertools.permutations(range(12), 2)
    ]
    assert found[-1] == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-6, abs=1e-9)
    error = torch.tensor(found).std().item() / len(found) ** 0.5
    assert abs(sum(found) / len(found)) < 4 * error < abs(sum(unpaired) / len(unpaired))


def test_verdicts_that_are_no_booleans_and_pictures_that_are_bytes_are_refused():
    class Shares(Judge):
        def missing_metadata(self, prompt):
            return None

        def _judge(self, images, prompts):
            return images.flatten(1).mean(1)

    images = torch.rand(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"verdicts of Shares must be bool, got torch.float32"):
        Shares()(images, [Prompt("a"), Prompt("b")])
    assert Shares()(images[:0], []).shape == (0,)
    with pytest.raises(ValueError, match="divide bytes by 255"):
        Shares()((255 * images).byte(), [Prompt("a"), Prompt("b")])
    with pytest.raises(ValueError, match="divide bytes by 255"):
        PairwiseDistance().update((255 * images).byte(), [0, 0])
    with pytest.raises(ValueError, match=r"correct must be bool, got torch.float32"):
        GenEval().update(torch.tensor([0.9]), ["colors"])
