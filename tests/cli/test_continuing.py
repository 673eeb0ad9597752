"""What a run that goes on from a checkpoint takes from it, what from its own configuration, and what it refuses."""

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.cli import ReduceLROnPlateau

from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.objective import L2Mean, Objective
from hypernoise_pl.training.schedules import WarmupCosine
from tests.tiny import module
from tests.worker import Rings, quiet


class Seen(L.Callback):
    """Notes the prompts of every step, and its rate."""

    def __init__(self) -> None:
        self.steps: dict[int, list[int]] = {}
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.steps.setdefault(trainer.global_step, []).extend(prompt.index for prompt in batch)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def sgd(**options):
    return lambda parameters: torch.optim.SGD(parameters, **{"lr": 0.1, "momentum": 0.9, **options})


def run(
    folder: Path,
    steps: int,
    begun: Path | None = None,
    batch_size: int = 2,
    accumulate: int = 2,
    callbacks=(),
    **options,
):
    """Train to a step, from a checkpoint if there is one; the module, the Trainer and what was seen."""
    kind, seen = options.pop("kind", NoiseHypernetwork), Seen()
    defaults = {"lora": LoraOptions(4, 8.0), "objective": Objective(L2Mean(), 1.0, 10.0), "optimizer": sgd()}
    method = module(folder, kind, **{**defaults, **options}).double()
    trainer = L.Trainer(
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        limit_val_batches=0,
        enable_checkpointing=False,
        callbacks=[*callbacks, seen],
        **quiet(),
    )
    data = Rings(batch_size)
    trainer.fit(method, datamodule=data, ckpt_path=begun, weights_only=True if begun else None)
    return method, trainer, seen


@pytest.fixture(scope="module")
def saved(sana_folder, tmp_path_factory) -> Path:
    """After three steps of two micro-batches of two prompts; eleven prompts, so an epoch is two steps."""
    file = tmp_path_factory.mktemp("saved") / "three.ckpt"
    run(sana_folder, 3, lr_scheduler=lambda optimizer: WarmupCosine(optimizer, 2, 10))[1].save_checkpoint(file)
    return file


def cosine(optimizer):
    return WarmupCosine(optimizer, 2, 10)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kind": GeneratorLora}, "its adapts is noise, this run's is generator; restore"),
        ({"mode": "absolute"}, "its mode is residual, this run's is absolute; pass --model.adapter.mode=residual, or"),
        ({"lora": LoraOptions(2, 8.0)}, "its rank is 4, this run's is 2; pass --model.adapter.lora.rank=4, or"),
        ({"lora": LoraOptions(4, 4.0)}, "its alpha is 8, this run's is 4; pass --model.adapter.lora.alpha=8, or"),
        (
            {"lora": LoraOptions(4, 8.0, ["to_q", "proj_out"])},
            r"its targets is all, this run's is \['to_q', 'proj_out'\]; pass --model.adapter.lora.targets=all, or",
        ),
        (
            {"optimizer": lambda parameters: torch.optim.AdamW(parameters)},
            "its optimizer is torch.optim.sgd.SGD, this run's is torch.optim.adamw.AdamW; restore",
        ),
        (
            {"lr_scheduler": None},
            "its lr_scheduler is hypernoise_pl.training.schedules.WarmupCosine, this run's is None; restore",
        ),
    ],
)
def test_what_cannot_be_continued_is_refused_in_one_line(sana_folder, saved, options, complaint):
    with pytest.raises(ValueError, match=f"cannot be resumed: {complaint}") as refused:
        run(sana_folder, 4, saved, **{"lr_scheduler": cosine, **options})
    assert "\n" not in str(refused.value) and str(refused.value).endswith("leave --ckpt_path out to start anew")


def test_another_generator_is_refused(sana_folder, saved, tmp_path):
    from tests.families import FAMILIES
    from tests.tiny import sana

    FAMILIES["sana-sprint"].build(tmp_path)
    other = sana(tmp_path)
    with torch.no_grad():
        for weight in other.network.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    other.pipeline.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="cannot be resumed: its generator's fingerprint is"):
        run(tmp_path, 4, saved, lr_scheduler=cosine)


def test_the_same_settings_go_on_as_if_nothing_had_been(sana_folder, saved):
    whole = run(sana_folder, 6, lr_scheduler=cosine)[0].trainable()
    resumed = run(sana_folder, 6, saved, lr_scheduler=cosine)[0].trainable()
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())


def test_settings_of_this_run_count_and_are_said(sana_folder, saved):
    def longer(optimizer):
        return WarmupCosine(optimizer, 2, 20, floor=0.5)

    said = (
        r"resuming at step 3: this run's settings replace the checkpoint's: model.optimizer.lr 0.2 \(checkpoint: 0.1\), "
        r"model.optimizer.momentum 0.5 \(checkpoint: 0.9\), model.lr_scheduler.total_steps 20 \(checkpoint: 10\), "
        r"model.lr_scheduler.floor 0.5 \(checkpoint: 0.1\), model.reward_weights.red 2 \(checkpoint: 0.5\)$"
    )
    options = {"reward_weights": {"bright": 1.0, "red": 2.0}, "optimizer": sgd(lr=0.2, momentum=0.5)}
    with pytest.warns(UserWarning, match=said):
        _, trainer, seen = run(sana_folder, 6, saved, lr_scheduler=longer, **options)
    whole = run(sana_folder, 6, lr_scheduler=longer, **options)[2]
    assert seen.rates[1:] == pytest.approx(whole.rates[4:], rel=1e-12)
    assert trainer.optimizers[0].param_groups[0]["momentum"] == 0.5


def test_a_rate_without_a_schedule_is_that_of_this_run(sana_folder, tmp_path):
    run(sana_folder, 1)[1].save_checkpoint(tmp_path / "one.ckpt")
    with pytest.warns(UserWarning, match=r"checkpoint's: model.optimizer.lr 0.02 \(checkpoint: 0.1\)$"):
        seen = run(sana_folder, 2, tmp_path / "one.ckpt", optimizer=sgd(lr=0.02))[2]
    assert seen.rates == [0.02]


@pytest.mark.parametrize(("batch_size", "accumulate"), [(2, 2), (4, 1), (1, 4), (1, 1), (3, 3), (2, 5), (11, 2)])
def test_prompts_go_on_after_the_last_whole_step_whatever_a_step_is(sana_folder, saved, batch_size, accumulate):
    """A permutation of the prompts goes on where the checkpoint's three steps of four left it."""
    stream = [index for number in range(30) for index in run_order(number)]
    changed = (batch_size, accumulate) != (2, 2)
    with pytest.warns(UserWarning, match="resuming") if changed else nothing():
        _, trainer, seen = run(sana_folder, 6, saved, batch_size, accumulate, lr_scheduler=cosine)
    step = batch_size * accumulate
    assert trainer.global_step == 6
    assert seen.steps == {3 + k: stream[12 + k * step : 12 + (k + 1) * step] for k in range(3)}


def run_order(number: int) -> list[int]:
    """The permutation of this number, as one process with a batch of one sees it."""
    from hypernoise_pl.data.batches import PromptBatches

    batches = PromptBatches(11, 1, 0)
    batches.resume(11 * number)
    return [index for batch in batches for index in batch]


def nothing():
    import contextlib

    return contextlib.nullcontext()


def test_a_step_that_was_interrupted_is_taken_whole(sana_folder, tmp_path):
    """Saved after the first of two micro-batches, whose gradient is lost: both are given again."""

    class Save(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 2 and batch_idx % 2 == 0:
                trainer.save_checkpoint(tmp_path / "within.ckpt")

    method = module(
        sana_folder, lora=LoraOptions(4, 8.0), objective=Objective(L2Mean(), 1.0, 10.0), optimizer=sgd()
    ).double()
    options = quiet() | {"accumulate_grad_batches": 2, "limit_val_batches": 0, "enable_checkpointing": False}
    L.Trainer(max_steps=3, callbacks=[Save()], **options).fit(method, datamodule=Rings(2))
    whole = run(sana_folder, 5)
    resumed = run(sana_folder, 5, tmp_path / "within.ckpt")
    assert resumed[2].steps == {step: prompts for step, prompts in whole[2].steps.items() if step >= 2}
    for name, weight in whole[0].trainable().items():
        assert torch.equal(resumed[0].trainable()[name], weight)


class SavesAtStepThree(L.Callback):
    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 3 and not self.file.exists():
            trainer.save_checkpoint(self.file)


@pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback")
def test_averaged_weights_go_on_as_if_nothing_had_been(sana_folder, tmp_path):
    file = tmp_path / "three.ckpt"
    whole, *_ = run(sana_folder, 6, callbacks=[EMAWeightAveraging(decay=0.5), SavesAtStepThree(file)])
    kept = torch.load(file, weights_only=True)
    assert kept["state_dict"].keys() == kept["current_model_state"].keys() == whole.trainable().keys()
    ended, *_ = run(sana_folder, 6, file, callbacks=[EMAWeightAveraging(decay=0.5)])
    plain, *_ = run(sana_folder, 6)
    for name, weight in whole.trainable().items():
        assert torch.equal(weight, ended.trainable()[name])
    assert any(not torch.equal(weight, plain.trainable()[name]) for name, weight in whole.trainable().items())


def test_a_schedule_that_waits_for_a_figure_is_refused(sana_folder):
    with pytest.raises(
        ValueError, match=r"model\.lr_scheduler ReduceLROnPlateau: schedules that follow a metric are not supported"
    ):
        run(sana_folder, 1, lr_scheduler=lambda optimizer: ReduceLROnPlateau(optimizer, monitor="train/loss"))
