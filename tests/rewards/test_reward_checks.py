"""Rewards that cannot be trained on are named before anything has trained, and those that go bad are counted."""

from typing import ClassVar

import lightning as L
import pytest
import torch
from torch import Tensor

from hypernoise_pl.__main__ import main
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.rewards.base import Reward, Verifier
from hypernoise_pl.rewards.ensemble import RewardError
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from tests.tiny import PROMPTS, Brightness, module
from tests.worker import Rings, quiet


class Plain(Reward):
    """The mean of all pixels."""

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        return images.flatten(1).mean(1)


class Detached(Plain):
    def _score(self, images, prompts):
        return super()._score(images.detach(), prompts)


class Unconnected(Plain):
    """Scores that have a graph, but none that goes to the images."""

    def __init__(self) -> None:
        super().__init__()
        self.free = [torch.zeros(1, requires_grad=True)]

    def _score(self, images, prompts):
        return super()._score(images.detach(), prompts) + self.free[0]


class InNumPy(Plain):
    def _score(self, images, prompts):
        return torch.from_numpy(images.detach().numpy().mean((1, 2, 3)))


class Rounded(Plain):
    def _score(self, images, prompts):
        return (10 * super()._score(images, prompts)).round()


class Raises(Plain):
    def _score(self, images, prompts):
        return {}[prompts[0]]


class PerPixel(Plain):
    def _score(self, images, prompts):
        return images.mean(1)


class Number(Plain):
    def _score(self, images, prompts):
        return 1.0


class EverySecond(Plain):
    """Not a number at every second call."""

    calls = 0

    def _score(self, images, prompts):
        self.calls += 1
        return super()._score(images, prompts) * (float("nan") if self.calls % 2 == 0 else 1.0)


def fit(folder, rewards, weights=None, kind=NoiseHypernetwork, steps: int = 2, **options):
    method = module(folder, kind, rewards=rewards, reward_weights=weights or dict.fromkeys(rewards, 1.0), **options)
    before = {name: weight.detach().clone() for name, weight in method.trainable().items()}
    trainer = L.Trainer(max_steps=steps, limit_val_batches=0, enable_checkpointing=False, **quiet())
    try:
        trainer.fit(method, datamodule=Rings(2))
    except Exception:
        assert trainer.global_step == 0
        assert all(torch.equal(weight, before[name]) for name, weight in method.trainable().items())
        raise
    return method


@pytest.mark.parametrize("kind", [NoiseHypernetwork, GeneratorLora])
@pytest.mark.parametrize("beside", [{}, {"bright": Brightness()}])
@pytest.mark.parametrize("reward", [Detached, Unconnected, InNumPy])
def test_a_reward_without_a_gradient_is_named_before_any_step(sana_folder, reward, beside, kind):
    with pytest.raises(RewardError, match=rf"reward 'mine' \({reward.__name__}\) gives no gradient: .* set model\."):
        fit(sana_folder, {**beside, "mine": reward()}, kind=kind)


def test_one_that_is_only_logged_needs_none(sana_folder):
    rewards = {"bright": Brightness(), "mine": Detached()}
    assert not fit(sana_folder, rewards, {"bright": 1.0, "mine": 0.0}).skipped_steps()


class Counted(Verifier):
    """A verifier that says how often it was asked."""

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    asked = 0

    def _score(self, images, prompts):
        self.asked += 1
        return images.detach().flatten(1).mean(1)


def test_a_verifier_is_refused_as_what_trains_and_waits_for_validation_as_what_is_logged(sana_folder):
    with pytest.raises(RewardError, match=r"reward 'seen' \(Counted\) gives no gradient"):
        fit(sana_folder, {"bright": Brightness(), "seen": Counted()})
    seen = Counted()
    method = fit(sana_folder, {"bright": Brightness(), "seen": seen}, {"bright": 1.0, "seen": 0.0})
    assert not seen.asked
    with torch.no_grad():
        assert set(method(PROMPTS, method.eval_noise(PROMPTS, 1)).scores) == {"bright", "seen"}
    assert seen.asked == 1


class Unready(Counted):
    def missing(self):
        return "a package"


def test_a_verifier_that_cannot_score_is_said_at_once(sana_folder):
    with pytest.raises(ValueError, match="reward 'seen' cannot score; missing is a package"):
        fit(sana_folder, {"bright": Brightness(), "seen": Unready()}, {"bright": 1.0, "seen": 0.0})


def test_a_gradient_of_zero_is_warned_of(sana_folder):
    with pytest.warns(UserWarning, match="reward 'mine': on the whole first batch its gradient at the images is 0"):
        fit(sana_folder, {"bright": Brightness(), "mine": Rounded()})


@pytest.mark.parametrize(
    ("reward", "kind", "complaint"),
    [
        (Raises, RewardError, r"reward 'mine' \(Raises\) fails: KeyError: 'a "),
        (PerPixel, ValueError, r"reward 'mine': scores of PerPixel must have shape \[2\], got \[2, "),
        (Number, ValueError, r"reward 'mine': Number must return a tensor of 2 scores, got 1.0"),
    ],
)
def test_a_reward_that_fails_is_named(sana_folder, reward, kind, complaint):
    with pytest.raises(kind, match=complaint) as raised:
        fit(sana_folder, {"bright": Brightness(), "mine": reward()})
    assert "\n" not in str(raised.value)


def test_skipped_steps_are_warned_of_once_and_counted(sana_folder):
    with pytest.warns(UserWarning, match=r"step 1 is skipped: .* \(scores of 'mine'\)") as warned:
        method = fit(sana_folder, {"bright": Brightness(), "mine": EverySecond()}, steps=6)
    assert len([one for one in warned if "is skipped" in str(one.message)]) == 1
    assert method.skipped_steps() == (
        "3 of 6 steps were skipped: loss or gradient not finite (non-finite scores: reward 'mine' 3)"
    )


@pytest.mark.filterwarnings("default")
def test_the_command_says_at_its_end_which_steps_were_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mine = ["--model.rewards.mine=tests.rewards.test_reward_checks.EverySecond", "--model.reward_weights.mine=1"]
    tiny = ["--data.batch_size=2", "--data.test=6", "--model.reference_search=null", "--trainer.limit_val_batches=0"]
    assert main(["fit", *mine, *tiny, "--trainer.max_steps=4", "--trainer.limit_test_batches=0", "--output=run"]) == 0
    said = capsys.readouterr()
    assert "\n2 of 4 steps were skipped: loss or gradient not finite (non-finite scores: reward" in said.out
    assert "warning: step 1 is skipped" in said.err


@pytest.mark.parametrize("reward", [Detached, InNumPy])
def test_a_search_that_differentiates_names_the_reward_that_it_cannot(sana_folder, reward):
    """Alone, or beside another one that it would climb by, while its best is chosen by both."""
    for others in ({}, {"bright": Brightness()}):
        rewards = {"mine": reward(), **others}
        method = module(sana_folder, rewards=rewards, reward_weights=dict.fromkeys(rewards, 1.0))
        noise = torch.randn(1, *method.generator.noise_shape)
        with pytest.raises(RewardError, match=rf"reward 'mine' \({reward.__name__}\) gives no gradient"):
            method.search(ReNO(2), PROMPTS[:1], noise)
        method.search(RandomSearch(2), PROMPTS[:1], noise)
        if others:
            method.ensemble.weights["mine"] = 0.0
            method.search(ReNO(2), PROMPTS[:1], noise)
