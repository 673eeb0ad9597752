"""Training: trained and frozen weights, bad steps, logs, checkpoints and precision checks."""

import csv
import math
import time
from functools import partial
from typing import ClassVar

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.noise import IndependentNoise, SharedNoise
from hypernoise_pl.objective import L2Mean, NoPenalty, Objective, Penalty, weighted_sum
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from hypernoise_pl.training.schedules import WarmupCosine
from hypernoise_pl.training.step_guard import NonFiniteError
from hypernoise_pl.types import Prompt, Rollout
from tests.every_family import make
from tests.tiny import PROMPTS, Brightness, module, randomise
from tests.worker import quiet

pytestmark = pytest.mark.filterwarnings("ignore:step .* is skipped")
COLOURS = ["red", "green", "blue", "white"]


class Rings(PromptDataModule):
    def prompts(self, split):
        return [Prompt(f"a {colour} ring", index=index) for index, colour in enumerate(COLOURS)]


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def build(folder, kind=NoiseHypernetwork, **options):
    options.setdefault("optimizer", sgd)
    options.setdefault("lora", LoraOptions(4, 8.0))
    options.setdefault("objective", Objective(L2Mean(), 1.0, 10.0))
    return module(folder, kind, images_per_prompt=2, **options)


def trainer(tmp_path, steps: int = 4, **options) -> L.Trainer:
    options = {
        "logger": False,
        "enable_checkpointing": False,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        **options,
    }
    return L.Trainer(max_steps=steps, default_root_dir=tmp_path, **options)


def fit(method, tmp_path, steps: int = 4, batch_size: int = 2, **options):
    trainer(tmp_path, steps, **options).fit(method, datamodule=Rings(batch_size))
    return method


def weights(method) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in method.trainable().items()}


class Failing(Reward):
    """The mean of all pixels, non-finite at some of its calls."""

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(self, calls, how: str) -> None:
        super().__init__()
        self.calls, self.how, self.done = calls, how, 0

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        score = images.flatten(1).mean(1)
        bad, self.done = self.done in self.calls, self.done + 1
        if not bad:
            return score
        if self.how == "value":
            return score + math.inf  # the loss is infinite, its gradient is not
        return score + (0.0 * score).sqrt()  # the loss is finite, its gradient is not


@pytest.mark.parametrize("kind", [NoiseHypernetwork, GeneratorLora])
def test_training_changes_only_the_lora_weights(sana_folder, tmp_path, kind):
    method = build(sana_folder, kind)
    frozen = {name: p.detach().clone() for name, p in method.named_parameters() if not p.requires_grad}
    lora = weights(method)
    assert frozen and lora
    assert sum(p.numel() for p in method.parameters()) == sum(t.numel() for t in (*frozen.values(), *lora.values()))
    fit(method, tmp_path)
    after = dict(method.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    assert all(after[name].grad is None for name in frozen)
    assert sum(not torch.equal(after[name], value) for name, value in lora.items()) > len(lora) / 2
    assert not any(part.training for part in method.modules())


def test_training_raises_the_reward(sana_folder, tmp_path):
    method = build(sana_folder, noise=SharedNoise())
    prompts = Rings(4).prompts("train")
    noise = method.eval_noise(prompts, 1)
    before = method.loss(method(prompts, noise))[1]["reward"].mean()
    fit(method, tmp_path, steps=20, batch_size=4)
    after = method.loss(method(prompts, noise))[1]["reward"].mean()
    assert after > before


@pytest.mark.parametrize("how", ["value", "gradient"])
def test_non_finite_step_leaves_weights_unchanged(sana_folder, tmp_path, how):
    rewards = {"bright": Failing({2}, how)}
    method = build(sana_folder, rewards=rewards, reward_weights={"bright": 1.0})
    seen = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            momentum = [state["momentum_buffer"].clone() for state in trainer.optimizers[0].state.values()]
            seen.append((weights(pl_module), momentum))

    fit(method, tmp_path, steps=4, callbacks=[Watch()], gradient_clip_val=1.0)
    assert method.bad_steps == 1
    (before, momentum), (skipped, momentum_after), (after, _) = seen[1:4]
    assert all(torch.equal(before[name], value) for name, value in skipped.items())
    assert all(torch.equal(one, other) for one, other in zip(momentum, momentum_after, strict=True))
    assert any(not torch.equal(after[name], value) for name, value in skipped.items())
    assert all(value.isfinite().all() for value in after.values())


def test_non_finite_micro_step_skips_only_its_own_step(sana_folder, tmp_path):
    method = build(sana_folder, rewards={"bright": Failing({2}, "value")}, reward_weights={"bright": 1.0})
    fit(method, tmp_path, steps=3, batch_size=1, accumulate_grad_batches=2)  # calls 2 and 3 are the second step
    assert method.bad_steps == 1
    assert method.trainer.global_step == 3
    assert all(value.isfinite().all() for value in weights(method).values())


@pytest.mark.parametrize("how", ["value", "gradient"])
def test_too_many_consecutive_bad_steps_stop_the_run_and_name_the_reward(sana_folder, tmp_path, how):
    rewards = {"bright": Brightness(), "broken": Failing(range(3, 999), how)}
    method = build(sana_folder, rewards=rewards, reward_weights={"bright": 1.0, "broken": 1.0}, max_bad_steps=2)
    before = {}

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 3:
                before.update(weights(pl_module))

    message = r"in 3 consecutive steps, the last at step 5; cause: reward 'broken'; "
    with pytest.raises(NonFiniteError, match=message) as error:
        fit(method, tmp_path, steps=20, callbacks=[Watch()])
    assert "bright" not in str(error.value) and "\n" not in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in weights(method).items())


def test_culprit_in_the_first_micro_step_is_named(sana_folder, tmp_path):
    class Picky(Brightness):
        def _score(self, images, prompts):
            wrong = torch.tensor([math.nan if "green" in prompt else 1.0 for prompt in prompts])
            return super()._score(images, prompts) * wrong

    method = build(sana_folder, rewards={"picky": Picky()}, reward_weights={"picky": 1.0}, max_bad_steps=0)
    with pytest.raises(NonFiniteError, match="reward 'picky'"):
        fit(method, tmp_path, steps=4, batch_size=1, accumulate_grad_batches=4)


def test_non_finite_penalty_is_named(sana_folder, tmp_path):
    class Infinite(Penalty):
        def __call__(self, rollout: Rollout) -> Tensor:
            return rollout.residual.flatten(1).sum(1) * math.nan

    method = build(sana_folder, objective=Objective(Infinite()), max_bad_steps=0)
    with pytest.raises(NonFiniteError, match="cause: the penalty; "):
        fit(method, tmp_path)


def test_non_finite_reward_of_weight_0_does_not_stop_the_run(sana_folder, tmp_path):
    rewards = {"bright": Brightness(), "broken": Failing(range(999), "value")}
    method = build(sana_folder, rewards=rewards, reward_weights={"bright": 1.0, "broken": 0.0}, max_bad_steps=0)
    assert fit(method, tmp_path).bad_steps == 0


def test_log_values_belong_to_the_logged_step(sana_folder, tmp_path):
    def schedule(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 + step)

    method = build(sana_folder, lr_scheduler=schedule)
    fit(method, tmp_path, steps=6, logger=CSVLogger(tmp_path, name="", version=""), log_every_n_steps=3, batch_size=1)
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "5"]
    assert [float(row["train/learning_rate"]) for row in rows] == pytest.approx([0.3, 0.6])
    figures = {name: float(value) for name, value in rows[0].items()}
    assert all(math.isfinite(value) for value in figures.values())
    weighted = figures["train/weighted/bright"] + figures["train/weighted/red"]
    assert figures["train/weighted/red"] == pytest.approx(0.5 * figures["train/reward/red"], rel=1e-4)
    assert figures["train/reward"] == pytest.approx(weighted, rel=1e-4)
    assert figures["train/total"] == pytest.approx(figures["train/penalty"] - 10 * figures["train/reward"], rel=1e-4)
    assert figures["train/loss"] == pytest.approx(figures["train/total"], rel=1e-4)
    assert figures["train/penalty"] == pytest.approx(0.5 * figures["noise/train/residual"] ** 2, rel=1e-3)
    assert figures["train/gradient_norm"] > 0 and figures["speed/images_per_second"] > 0
    assert figures["noise/train/norm"] == pytest.approx(1, abs=0.3) and figures["train/bad_steps"] == 0
    assert {"noise/train/kurtosis", "noise/train/norm_spread", "noise/train/mean"} <= figures.keys()


def test_checkpoint_holds_only_trained_weights(sana_folder, tmp_path):
    keep = ModelCheckpoint(tmp_path, save_last=True, save_top_k=0, every_n_train_steps=2)
    method = build(sana_folder)
    fit(method, tmp_path, callbacks=[keep], enable_checkpointing=True)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["state_dict"].keys() == method.trainable().keys()
    assert all(torch.equal(tensor, weights(method)[name]) for name, tensor in saved["state_dict"].items())
    lora = sum(tensor.nbytes for tensor in saved["state_dict"].values())
    assert (tmp_path / "last.ckpt").stat().st_size < 2 * lora + 300_000  # weights, momentum, and some names
    other = build(sana_folder, lora=LoraOptions(2, 4.0))
    with pytest.raises(ValueError, match=r"its rank is 4, this run.s is 2; pass --model.adapter.lora.rank=4, or "):
        trainer(tmp_path, 8).fit(other, datamodule=Rings(2), ckpt_path=tmp_path / "last.ckpt", weights_only=True)


@pytest.mark.parametrize("inference_mode", [True, False])
def test_fit_validates_between_steps_and_test_runs_the_reference_search(sana_folder, tmp_path, inference_mode):
    method = build(sana_folder, reference_search=ReNO(3))
    runs = trainer(tmp_path, 4, inference_mode=inference_mode, limit_val_batches=1.0, val_check_interval=1)
    data = Rings(2, eval_batch_size=3)
    runs.fit(method, datamodule=data)
    seen = []

    class Watch(L.Callback):
        def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            seen.append(outputs)

    trainer(tmp_path, callbacks=[Watch()], inference_mode=inference_mode).test(method, datamodule=data, verbose=False)
    assert [len(outputs["base"].prompts) for outputs in seen] == [6, 2]
    base, refined, searched = (seen[0][name] for name in ("base", "hypernetwork", "reference"))
    assert torch.equal(base.noise, refined.noise) and base.texts == refined.texts
    assert not base.residual.any() and refined.residual.any()
    assert (base.nfe, refined.nfe, searched.nfe) == (1, 2, 3)
    assert [rollout.nfe_backward for rollout in (base, refined, searched)] == [0, 0, 3]
    assert [rollout.label for rollout in (base, refined, searched)] == ["base", "hypernetwork", "ReNO (3 iterations)"]
    assert torch.equal(searched.noise, base.noise[::2]) and len(searched.prompts) == 3
    assert all(rollout.seconds > 0 for rollout in seen[0].values())
    before, after = (weighted_sum(rollout.scores, method.ensemble.weights) for rollout in (base, searched))
    assert (after >= before[::2] - 1e-5).all()


@pytest.mark.parametrize(("kind", "nfe"), [(NoiseHypernetwork, 2), (GeneratorLora, 1)])
def test_search_of_one_candidate_from_the_adapter_equals_the_adapter(sana_folder, kind, nfe):
    method = build(sana_folder, kind)
    randomise(method.adapter)
    noise = method.eval_noise(PROMPTS, 1)
    with torch.no_grad():
        base, adapted = method(PROMPTS, noise, 0.0), method(PROMPTS, noise)
    bare = method.search(RandomSearch(1), PROMPTS, noise)
    found = method.search(RandomSearch(1), PROMPTS, noise, adapted=True)
    assert (bare.nfe, found.nfe) == (1, nfe)
    label = {NoiseHypernetwork: "hypernetwork", GeneratorLora: "fine-tuned generator"}[kind]
    assert [r.label for r in (base, adapted, bare)] == ["base", label, "RandomSearch (1 candidates)"]
    torch.testing.assert_close(bare.images, base.images)
    torch.testing.assert_close(found.images, adapted.images)
    torch.testing.assert_close(found.residual, adapted.residual)
    assert not torch.allclose(found.images, bare.images, atol=1e-3)


def test_images_of_several_steps_depend_only_on_the_noise(sana_folder):
    method = build(sana_folder, steps=2)
    noise = method.eval_noise(PROMPTS, 1)
    with torch.no_grad():
        together = method(PROMPTS, noise).images
        alone = method(PROMPTS[1:2], noise[1:2]).images
        base = method(PROMPTS, noise, strength=0.0).images
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-4)
    assert torch.equal(together, base)  # f = 0 at the start, and the fresh noise between steps is the same


def test_strength_scales_the_residual(sana_folder):
    method = build(sana_folder)
    randomise(method.adapter)
    noise = method.eval_noise(PROMPTS, 1)
    with torch.no_grad():
        half, full = method(PROMPTS, noise, strength=0.5), method(PROMPTS, noise)
    torch.testing.assert_close(half.residual, full.residual / 2)
    torch.testing.assert_close(full.refined, noise + full.residual)


def test_fine_tuning_changes_the_generator_and_not_the_noise(sana_folder, tmp_path):
    method = build(sana_folder, GeneratorLora)
    noise = method.eval_noise(PROMPTS, 1)
    with torch.no_grad():
        start = method(PROMPTS, noise)
        base = method(PROMPTS, noise, strength=0.0)
    assert torch.equal(start.images, base.images) and start.nfe == base.nfe == 1
    fit(method, tmp_path, steps=6)
    with torch.no_grad():
        after = method(PROMPTS, noise)
        again = method(PROMPTS, noise, strength=0.0)
    assert not after.residual.any()
    assert torch.equal(again.images, base.images) and not torch.equal(after.images, base.images)
    assert after.scores["bright"].mean() > base.scores["bright"].mean()
    with pytest.raises(ValueError, match=r"strength 0 or 1, got 0.5"):
        method(PROMPTS, noise, strength=0.5)


def test_mixed_precision_trains_float32_weights(sana_folder, tmp_path):
    method = fit(build(sana_folder), tmp_path, precision="bf16-mixed")
    assert {p.dtype for p in method.trainable().values()} == {torch.float32}
    assert all(value.isfinite().all() for value in weights(method).values())


def test_half_precision_lora_weights_are_refused(sana_folder, tmp_path):
    with pytest.raises(ValueError, match=r"trainer.precision bf16-true .*; use 32-true or bf16-mixed"):
        fit(build(sana_folder), tmp_path, precision="bf16-true")


def test_overflow_while_the_loss_scale_falls_is_not_counted(pipeline_folder, tmp_path):
    from lightning.pytorch.plugins import MixedPrecision

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    folder = pipeline_folder("sd-turbo")
    method = make("sd-turbo", folder, objective=Objective(NoPenalty()), whiten_gradient=None, max_bad_steps=0)
    fit(method, tmp_path, steps=3, plugins=[plugin])
    assert method.bad_steps == 0 and scaler.get_scale() == 2.0**117


def test_activation_checkpointing_leaves_the_gradient_unchanged(sana_folder):
    found = []
    for checkpointing in (False, True):
        method = build(sana_folder, checkpoint_activations=checkpointing)
        randomise(method.adapter)
        rollout = method(PROMPTS, method.eval_noise(PROMPTS, 1))
        method.loss(rollout)[0].backward()
        found.append({name: p.grad for name, p in method.trainable().items()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_warmup_cosine_follows_its_formula():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmupCosine(optimizer, warmup_steps=3, total_steps=13, floor=0.1)
    rates = []
    for _ in range(16):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert rates[8] == pytest.approx(2 * (0.1 + 0.9 / 2))
    assert rates[13:] == pytest.approx([0.2] * 3)
    assert rates[3:14] == sorted(rates[3:14], reverse=True)
    with pytest.raises(ValueError, match="total_steps must be at least 1, got -1"):
        WarmupCosine(optimizer, total_steps=-1)
    with pytest.raises(ValueError, match=r"total_steps must be at least 1, got None; set trainer\.max_steps"):
        WarmupCosine(optimizer, total_steps=None)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"brigth": 1.0, "red": 1.0}, r"no reward is called 'brigth' \(did you mean 'bright'\?\)"),
        ({"bright": 1.0}, "reward 'red' has no weight"),
    ],
)
def test_unknown_or_missing_weight_name_is_refused(sana_folder, given, complaint):
    with pytest.raises(ValueError, match=complaint):
        module(sana_folder, reward_weights=given)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"images_per_prompt": 0}, "images_per_prompt must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_steps_and_images_per_prompt_below_1_are_refused(sana_folder, given, complaint):
    with pytest.raises(ValueError, match=complaint):
        module(sana_folder, **given)


def test_untied_weights_are_refused_before_training(sana_folder, tmp_path):
    method = build(sana_folder)
    method.generator.network.load_state_dict(
        {name: tensor.clone() for name, tensor in method.generator.network.state_dict().items()}, assign=True
    )
    with pytest.raises(RuntimeError, match="no longer shared"):
        fit(method, tmp_path)


def test_noise_does_not_use_the_global_random_state(sana_folder, tmp_path):
    one = fit(build(sana_folder, noise=IndependentNoise(1)), tmp_path)
    torch.manual_seed(123)
    other = build(sana_folder, noise=IndependentNoise(1))
    torch.manual_seed(321)
    fit(other, tmp_path)
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_evaluation_in_a_precision_that_converts_weights_is_refused(sana_folder, tmp_path, precision):
    with pytest.raises(ValueError, match=rf"trainer.precision {precision} .*; use 32-true or bf16-mixed"):
        trainer(tmp_path, precision=precision).test(build(sana_folder), datamodule=Rings(2), verbose=False)


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_float16_reward_with_a_weight_needs_loss_scaling(sana_folder, tmp_path, weight):
    class Half(Brightness):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))

    rewards = {"bright": Brightness(), "coarse": Half()}
    method = build(sana_folder, rewards=rewards, reward_weights={"bright": 1.0, "coarse": weight})
    if weight:
        message = r"model\.rewards\.coarse\.dtype float16 with trainer\.precision 32-true: .*; use bfloat16 or float32"
        with pytest.raises(ValueError, match=message):
            fit(method, tmp_path)
    else:
        fit(method, tmp_path)


def test_checkpoint_loads_without_a_trainer(sana_folder, tmp_path):
    trained, run = build(sana_folder), trainer(tmp_path, 2)
    run.fit(trained, datamodule=Rings(batch_size=2))
    run.save_checkpoint(tmp_path / "two.ckpt")
    fresh = build(sana_folder)
    parts = {
        "generator": fresh.generator,
        "rewards": {**fresh.ensemble.members},
        "reward_weights": fresh.ensemble.weights,
        "optimizer": sgd,
    }
    path = tmp_path / "two.ckpt"
    loaded = HyperNoiseModule.load_from_checkpoint(
        path, adapter=partial(NoiseHypernetwork, lora=LoraOptions(4, 8.0)), **parts
    )
    for name, weight in trained.trainable().items():
        assert weight.any() and torch.equal(loaded.trainable()[name], weight)
    with pytest.raises(ValueError, match=r"lora.rank"):
        HyperNoiseModule.load_from_checkpoint(
            path, adapter=partial(NoiseHypernetwork, lora=LoraOptions(2, 4.0)), **parts
        )


def test_second_fit_counts_its_own_bad_steps(sana_folder, tmp_path):
    class BadOnce(Brightness):
        seen = 0

        def _score(self, images, prompts):
            self.seen += 1
            return super()._score(images, prompts) * (math.nan if self.seen == 1 else 1.0)

    method = build(sana_folder, rewards={"bright": BadOnce()}, reward_weights={"bright": 1.0})
    trainer(tmp_path, 2).fit(method, datamodule=Rings(batch_size=2))
    assert method.skipped_steps().startswith("1 of 2 steps were skipped")
    trainer(tmp_path, 2).fit(method, datamodule=Rings(batch_size=2))
    assert method.skipped_steps() == "" and method.bad_steps == 0 and not method.bad_rewards


@pytest.mark.parametrize("spread", [0.0, -1.0])
def test_norm_limit_that_is_not_positive_is_refused(sana_folder, spread):
    with pytest.raises(ValueError, match=r"^whiten_gradient must be above 0, got .*; null"):
        build(sana_folder, whiten_gradient=spread)


@pytest.mark.parametrize("kind", [NoiseHypernetwork, GeneratorLora])
def test_weights_that_are_all_0_are_refused_by_fit_and_accepted_by_test(sana_folder, tmp_path, kind):
    method = build(sana_folder, kind, reward_weights={"bright": 0.0, "red": 0.0})
    with pytest.raises(ValueError, match="reward_weights: all are 0, so there is nothing to train on; give one"):
        fit(method, tmp_path)
    trainer(tmp_path, callbacks=[]).test(method, datamodule=Rings(2), verbose=False)


def test_step_speed_excludes_a_validation_before_it(sana_folder, tmp_path):
    class Slow(L.Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            time.sleep(1.5)

    class Speeds(L.Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.seen.append(float(trainer.callback_metrics["speed/images_per_second"]))

    speeds = Speeds()
    trainer = L.Trainer(max_steps=4, val_check_interval=1, check_val_every_n_epoch=None, log_every_n_steps=1,
                        callbacks=[Slow(), speeds], enable_checkpointing=False, default_root_dir=tmp_path, **quiet())  # fmt: skip
    trainer.fit(module(sana_folder, images_per_prompt=1), datamodule=Rings(2, 2))
    assert min(speeds.seen[1:]) > 2 / 1.5  # two images a step; each validation alone takes longer than that
