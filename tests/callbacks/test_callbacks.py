"""The last adapter, and the best by a logged figure; the measured KL of the refined noise."""

import math

import lightning as L
import pytest
import torch

from hypernoise_pl.adapters.description import read_description
from hypernoise_pl.adapters.files import load_adapter
from hypernoise_pl.callbacks.adapter_checkpoint import AdapterCheckpoint
from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.callbacks.noise_health import NoiseHealth
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.rewards.pixels import Brightness
from tests.tiny import module, sana
from tests.worker import Rings, quiet


class Figure(L.Callback):
    """Logs figures given beforehand, one a validation, and remembers the weights of that moment."""

    def __init__(self, values: list[float]) -> None:
        self.values, self.weights = values, []

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("validation/figure", self.values[len(self.weights)])
        self.weights.append(pl_module.adapter.view.proj_out.lora_B["hypernoise"].weight.detach().clone())


def fit(folder, tmp_path, *callbacks: L.Callback, kind=NoiseHypernetwork, **options) -> L.Trainer:
    options |= {"lora": LoraOptions(4, 8.0), "optimizer": lambda p: torch.optim.SGD(p, 1e-3), "images_per_prompt": 1}
    method = module(folder, kind, **options)
    trainer = L.Trainer(
        max_steps=4,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        callbacks=[*callbacks],
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        **quiet(),
    )
    trainer.fit(method, datamodule=Rings(2, 2))
    return trainer


@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 2)])
def test_last_and_best_are_saved(sana_folder, tmp_path, mode, best):
    figure = Figure([0.1, 0.7, -0.3, 0.2])
    trainer = fit(sana_folder, tmp_path, figure, AdapterCheckpoint("validation/figure", mode))
    generator = sana(sana_folder)
    for name, expected in (("adapter", figure.weights[3]), ("adapter-best", figure.weights[best])):
        view = load_adapter(tmp_path / name, generator).view
        assert torch.equal(view.proj_out.lora_B["hypernoise"].weight, expected)
        assert read_description(tmp_path / name)["penalty"] == {
            "class": "L2Sum",
            "penalty_weight": 1.0,
            "reward_scale": 1.0,
        }
    assert trainer.callbacks[1].state_dict() == {"best": pytest.approx([0.7, -0.3][best - 1])}


def test_an_unknown_figure_is_refused_with_the_nearest_name(sana_folder, tmp_path):
    with pytest.raises(ValueError, match=r"nothing is logged as 'validation/figur' \(did you mean 'validation/figure'"):
        fit(sana_folder, tmp_path, Figure([1.0] * 4), AdapterCheckpoint("validation/figur"))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_figure_is_never_the_best(sana_folder, tmp_path, bad):
    figure = Figure([bad, 0.7, bad, 0.2])
    with pytest.warns(UserWarning, match=r"AdapterCheckpoint: validation/figure is (nan|inf) at step \d; not the best"):
        trainer = fit(sana_folder, tmp_path, figure, AdapterCheckpoint("validation/figure"))
    assert trainer.callbacks[1].state_dict() == {"best": pytest.approx(0.7)}
    view = load_adapter(tmp_path / "adapter-best", sana(sana_folder)).view
    assert torch.equal(view.proj_out.lora_B["hypernoise"].weight, figure.weights[1])


class NoScore(Brightness):
    """NaN for every image."""

    def _score(self, images, prompts):
        return super()._score(images, prompts) * math.nan


def test_a_logged_reward_without_scores_changes_no_other_figure(sana_folder, tmp_path):
    """Weight 0 and NaN: the weighted reward, the win rate and the criterion of ``adapter-best`` are those without it."""
    criterion, found = "validation/hypernetwork/reward/weighted", []
    for more in ({}, {"none": NoScore()}):
        rewards = {"bright": Brightness(), **more}
        options = {"rewards": rewards, "reward_weights": dict.fromkeys(rewards, 0.0) | {"bright": 1.0}}
        folder = tmp_path / str(len(rewards))
        trainer = fit(sana_folder, folder, Evaluate(), AdapterCheckpoint(criterion), **options)
        found.append({**trainer.callback_metrics, "best": torch.tensor(trainer.callbacks[1].state_dict()["best"])})
        assert (folder / "adapter-best").is_dir()
    plain, logged = found
    assert logged["validation/base/unscored/none"] == logged["validation/hypernetwork/unscored/none"] == 2
    kept = {name for name in plain if name.startswith("validation/")} | {"best"}
    assert {"best", criterion, "validation/win_rate"} <= kept
    for name in kept:
        assert logged[name].isfinite() and torch.equal(logged[name], plain[name]), name


def test_noise_health_logs_the_kl_and_its_parts(sana_folder, tmp_path):
    figures = fit(sana_folder, tmp_path, NoiseHealth(images=2, probes=1, order=2)).callback_metrics
    parts = {name: figures[f"noise/kl/{name}"].item() for name in ("half_square", "trace", "log_det", "total")}
    assert parts["half_square"] > 0
    assert parts["total"] == pytest.approx(parts["half_square"] + parts["trace"] - parts["log_det"], rel=1e-3, abs=1e-6)
    assert 0 < figures["noise/lipschitz"] < 1
    assert figures["noise/validation/norm"].item() == pytest.approx(1, abs=0.3)
    correlations = [name for name in figures if name.startswith("noise/correlation/")]
    names = ("height_1", "height_2", "width_1", "width_2", "cross_channel")
    assert correlations == [f"noise/correlation/{name}" for name in names]
    assert all(abs(figures[name]) < 0.5 for name in correlations)


def test_noise_health_logs_nothing_for_fine_tuning(sana_folder, tmp_path):
    figures = fit(sana_folder, tmp_path, NoiseHealth(), kind=GeneratorLora).callback_metrics
    assert not any(name.startswith(("noise/kl", "noise/lipschitz")) for name in figures)
