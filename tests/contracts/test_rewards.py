"""The promises of every verifier and reward of the package."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hypernoise_pl import rewards
from hypernoise_pl.rewards.aesthetic import Aesthetic
from hypernoise_pl.rewards.base import Reward, Verifier
from hypernoise_pl.rewards.classifier import ImageClassifier
from hypernoise_pl.rewards.clip import CLIPScore, HPSv2, PickScore
from hypernoise_pl.rewards.ensemble import WeightedSum
from hypernoise_pl.rewards.features import CLIPImageFeatures
from hypernoise_pl.rewards.grader import VisionLanguageGrader
from hypernoise_pl.rewards.hpsv3 import HPSv3
from hypernoise_pl.rewards.image_reward import ImageReward
from hypernoise_pl.rewards.ocr import TextAccuracy
from hypernoise_pl.rewards.oracle import GreedyFID
from hypernoise_pl.rewards.pixels import Brightness, JPEGSize, Redness
from hypernoise_pl.rewards.transformers_reward import TransformersReward
from hypernoise_pl.rewards.vqa import VQAScore
from tests import vision
from tests.members import concrete_classes, without_example
from tests.rewards import original_blip, original_clip, zoo
from tests.rewards.words import picture

PROMPTS = ["a red circle", "two squares", "a star left of a ring", "a red circle"]
CLASSES = ["tench", "red circle", "maillot", "tench"]


@dataclass(frozen=True)
class Member:
    """One verifier, made in a folder of its own, with prompts and images that get different scores."""

    make: Callable[[Path], Verifier]
    prompts: list[str]
    images: Callable[[], Tensor] = lambda: torch.rand(4, 3, 20, 24)


def _open_clip(cls: type[Verifier]) -> Callable[[Path], Verifier]:
    def make(folder: Path) -> Verifier:
        file, arguments = original_clip.save(folder)
        return cls(file, **arguments)

    return make


def _features(folder: Path) -> CLIPImageFeatures:
    file, arguments = original_clip.save(folder, quick=True)
    return CLIPImageFeatures(file, architecture=arguments["architecture"])


def _aesthetic(folder: Path) -> Verifier:
    features = _features(folder)
    torch.save(torch.nn.Linear(original_clip.EMBED, 1).state_dict(), folder / "head.pth")
    return Aesthetic(str(folder / "head.pth"), features)


def _oracle(folder: Path) -> Verifier:
    features = _features(folder)
    for name in ("reference", "initial"):
        (folder / name).mkdir()
        for number in range(3):
            pixels = torch.randint(0, 256, (16, 16, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return GreedyFID(features, str(folder / "reference"), str(folder / "initial"))


def _words() -> Tensor:
    return torch.stack([picture(word) for word in ("NEWS", "NEW", "NEXT", "")])


def _image_reward(folder: Path) -> Verifier:
    return ImageReward(str(original_blip.save(folder)), str(folder / "tokenizer"))


def _weighted_sum(folder: Path) -> Verifier:
    return WeightedSum({"bright": Brightness(), "red": Redness()}, {"bright": 1.0, "red": -0.5})


def _hpsv3(folder: Path) -> Verifier:
    return HPSv3(str(zoo.hpsv3(folder)), str(folder), dtype="float32")


MEMBERS = {
    "clip": Member(_open_clip(CLIPScore), PROMPTS),
    "pick": Member(_open_clip(PickScore), PROMPTS),
    "hps": Member(_open_clip(HPSv2), PROMPTS),
    "image_reward": Member(_image_reward, PROMPTS),
    "hpsv3": Member(_hpsv3, PROMPTS),
    "aesthetic": Member(_aesthetic, PROMPTS),
    "siglip": Member(lambda folder: TransformersReward(str(zoo.siglip(folder))), PROMPTS),
    "vqa": Member(lambda folder: VQAScore(str(zoo.blip_vqa(folder))), PROMPTS),
    "classifier": Member(lambda folder: ImageClassifier(str(vision.vit(folder, classes=True))), CLASSES),
    "redness": Member(lambda folder: Redness(), PROMPTS),
    "brightness": Member(lambda folder: Brightness(), PROMPTS),
    "weighted_sum": Member(_weighted_sum, PROMPTS),
    "jpeg": Member(lambda folder: JPEGSize(), PROMPTS),
    "oracle": Member(_oracle, PROMPTS),
    "ocr": Member(lambda folder: TextAccuracy(), ['a sign that says "NEWS"'] * 4, _words),
}


@pytest.fixture(scope="module", params=MEMBERS.values(), ids=MEMBERS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Verifier, list[str]]:
    torch.manual_seed(0)
    return request.param.make(tmp_path_factory.mktemp("member")).eval(), request.param.prompts


@pytest.fixture
def images(request: pytest.FixtureRequest) -> torch.Tensor:
    torch.manual_seed(0)
    parameters = request.node.callspec.params
    return MEMBERS[parameters.get("name") or request.node.callspec.id].images()


def test_every_verifier_of_the_package_has_an_example(tmp_path_factory: pytest.TempPathFactory) -> None:
    classes = concrete_classes(Verifier, rewards)
    classes -= {VisionLanguageGrader}  # asks a server: tests/rewards/test_grader.py starts one
    examples = {type(member.make(tmp_path_factory.mktemp("one"))) for member in MEMBERS.values()}
    missing = without_example(classes, examples)
    assert not missing, f"{missing}: add an example to MEMBERS in {Path(__file__).name}"


def test_a_verifier_gives_one_score_an_image_in_single_precision(
    made: tuple[Verifier, list[str]], images: torch.Tensor
) -> None:
    verifier, prompts = made
    for count in (1, 4):
        scores = verifier(images[:count], prompts[:count])
        assert scores.shape == (count,) and scores.dtype == torch.float32
        assert scores.isfinite().all()
    assert verifier(images, prompts).unique().numel() == 4


def test_every_verifier_but_a_sum_of_others_states_its_usual_range(made: tuple[Verifier, list[str]]) -> None:
    verifier, _ = made
    parts = [part for part in verifier.modules() if isinstance(part, Verifier)]
    low, high = parts[-1].score_range  # the members of a sum come after it
    assert low < high


def test_the_same_images_get_the_same_scores(made: tuple[Verifier, list[str]], images: torch.Tensor) -> None:
    verifier, prompts = made
    assert torch.equal(verifier(images, prompts), verifier(images, prompts))


def test_the_score_of_an_image_does_not_depend_on_the_batch(
    made: tuple[Verifier, list[str]], images: torch.Tensor
) -> None:
    verifier, prompts = made
    together = verifier(images, prompts)
    apart = torch.cat([verifier(image[None], [prompt]) for image, prompt in zip(images, prompts)])
    turned = verifier(images.flip(0), prompts[::-1]).flip(0)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together, turned, rtol=1e-4, atol=1e-5)


def test_images_and_prompts_of_different_counts_are_refused(
    made: tuple[Verifier, list[str]], images: torch.Tensor
) -> None:
    verifier, prompts = made
    with pytest.raises(ValueError, match=r"images must have shape \[3, 3, \*, \*\]"):
        verifier(images, prompts[:3])


def test_a_verifier_is_frozen_and_in_eval_mode(made: tuple[Verifier, list[str]]) -> None:
    verifier, _ = made
    assert not any(weight.requires_grad for weight in verifier.parameters())
    assert not any(module.training for module in verifier.modules())


def test_rewards_are_differentiable_and_other_verifiers_are_not(
    made: tuple[Verifier, list[str]], images: torch.Tensor
) -> None:
    verifier, prompts = made
    assert verifier(images.requires_grad_(), prompts).requires_grad == isinstance(verifier, Reward)


@pytest.fixture(scope="module")
def precise(made: tuple[Verifier, list[str]]) -> tuple[Reward, list[str]]:
    verifier, prompts = made
    if not isinstance(verifier, Reward):
        pytest.skip("not a reward")
    return verifier.double(), prompts


class DoubleThroughout(TorchFunctionMode):
    """Keeps tensors in double precision where a network takes its norms in single precision."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        wanted = (*arguments[1:], *options.values())
        single = function is Tensor.float or (function is Tensor.to and any(x is torch.float32 for x in wanted))
        if single and arguments[0].dtype == torch.float64:
            return arguments[0]
        return function(*arguments, **options)


def test_gradients_equal_finite_differences(precise: tuple[Reward, list[str]], images: torch.Tensor) -> None:
    reward, prompts = precise
    images = (0.1 + 0.8 * images.double()).requires_grad_()  # away from where the resized is clamped
    direction = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with DoubleThroughout():
        scores = reward._score(images, prompts)
    (gradient,) = torch.autograd.grad(scores.sum(), images)
    step = 1e-5
    with torch.no_grad(), DoubleThroughout():
        ahead, behind = (reward._score(images + sign * step * direction, prompts) for sign in (1, -1))
    expected = (gradient * direction).flatten(1).sum(1)
    assert expected.abs().min() > 1e-7
    torch.testing.assert_close((ahead - behind) / (2 * step), expected, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("name", [name for name, member in MEMBERS.items() if member.prompts is PROMPTS])
def test_a_verifier_reads_the_end_of_a_long_prompt_or_warns_once(
    name: str, images: torch.Tensor, tmp_path: Path
) -> None:
    verifier = MEMBERS[name].make(tmp_path).eval()
    long = "a star left of a ring and " * 60

    def read(*prompts: str) -> list[float]:
        """Scores of one picture."""
        return verifier(images[:1].expand(len(prompts), -1, -1, -1), prompts).tolist()

    def is_different(*ends: str) -> bool:
        """Whether prompts that begin alike get different scores."""
        return len({round(score, 5) for score in read(*ends)}) > 1

    reads = is_different("a red circle", "two squares")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reads_to_the_end = is_different(long + "a red circle", long + "two squares")
        read(long + "a blue star")
    cut = [str(warning.message) for warning in caught if "not read" in str(warning.message)]
    assert len(cut) == (1 if reads and not reads_to_the_end else 0)
    for message in cut:
        assert type(verifier).__name__ in message and "red circle" in message
