"""The alarm in a real training: a reward that is trained on rises, and one that is held out falls."""

import json
import re

import lightning as L
import pytest
import torch

from hypernoise_pl.callbacks.early_stop import EarlyStop
from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.callbacks.hacking_alarm import HackingAlarm
from hypernoise_pl.callbacks.live_page import LivePage
from hypernoise_pl.callbacks.noise_health import NoiseHealth
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.objective import L2Sum, Objective
from hypernoise_pl.report.history import HISTORY
from hypernoise_pl.rewards.pixels import Brightness
from tests.tiny import module
from tests.worker import Rings, quiet


class Darkness(Brightness):
    """What brightness takes away."""

    score_range = (-1.0, 0.0)

    def _score(self, images, prompts):
        return -super()._score(images, prompts)


def fit(sana, folder, steps, *callbacks, scale=300.0, checkpoint=None, **options) -> L.Trainer:
    method = module(
        sana,
        rewards={"bright": Brightness(), "dark": Darkness()},
        reward_weights={"bright": 1.0, "dark": 0.0},
        lora=LoraOptions(4, 8.0),
        objective=Objective(L2Sum(), 1.0, scale),
        images_per_prompt=2,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.02),
    )
    trainer = L.Trainer(
        max_steps=steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        log_every_n_steps=1,
        callbacks=[Evaluate(), *callbacks],
        enable_checkpointing=False,
        default_root_dir=folder,
        **quiet() | options,
    )
    trainer.fit(method, datamodule=Rings(2, 2), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return trainer


def alarms(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("alarm: ")]


def test_a_falling_held_out_reward_is_printed_once_logged_and_drawn(sana_folder, tmp_path, capsys):
    # where nothing is lost in variety and no bound is crossed, the held-out reward alone is seen
    alarm = HackingAlarm(diversity=0.0, growth=1e9)
    trainer = fit(sana_folder, tmp_path, 12, alarm, LivePage(every=0))
    lines = alarms(capsys)
    assert trainer.callback_metrics["alarm/signs"].item() >= 1
    worse = [line for line in lines if "the held-out reward dark finds the images worse than the base's" in line]
    falls = [line for line in lines if "the reward rises and the held-out reward dark falls" in line]
    assert worse and falls and len(lines) == len(worse) + len(falls)
    began = int(re.match(r"alarm: step (\d+): ", worse[0])[1])
    rows = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    shown = [row for row in rows if row["split"] == "validation"]
    assert [row["step"] for row in shown] == [2, 4, 6, 8, 10, 12]
    assert [row["figures"]["alarm/signs"] for row in shown] == [len(row["signs"]) for row in shown]
    pairs = zip([{}, *(row["signs"] for row in shown)], [row["signs"] for row in shown])
    begun = [own[name] for before, own in pairs for name in own if name not in before]
    assert begun == [re.sub(r"^alarm: step \d+: ", "", line) for line in lines]  # each once, when it begins
    page = (tmp_path / "live.html").read_text()
    assert f"<title>step {began}: " in page and 'class="mark"' in page
    assert page.count('<p class="sign">') == len(shown[-1]["signs"]) == trainer.callback_metrics["alarm/signs"]


def test_the_alarm_reads_the_measured_kl(sana_folder, tmp_path, capsys):
    fit(sana_folder, tmp_path, 4, NoiseHealth(1, 1, 2), HackingAlarm(0.0, 9.0, 1e9, kl=0.0), scale=0.0)
    assert alarms(capsys) == []  # nothing moves, nothing is beyond a bound of 0
    fit(sana_folder, tmp_path, 4, NoiseHealth(1, 1, 2), HackingAlarm(0.0, 9.0, 1e9, kl=0.0))
    found = [line for line in alarms(capsys) if "bound" in line]
    assert len(found) == 1 and re.match(r"alarm: step \d: noise/kl/total is [\d.]+, above its bound of 0\.", found[0])
    fit(sana_folder, tmp_path, 4, HackingAlarm(0.0, 9.0, 1e9, kl=0.0))
    assert [line for line in alarms(capsys) if "train/penalty is " in line]


def test_a_resumed_run_prints_no_sign_twice_and_knows_its_best(sana_folder, tmp_path, capsys):
    whole, part = HackingAlarm(0.0, 9.0, 1e9), HackingAlarm(0.0, 9.0, 1e9)
    fit(sana_folder, tmp_path, 8, whole)
    expected = alarms(capsys)
    fit(sana_folder, tmp_path, 6, part).save_checkpoint(tmp_path / "6.ckpt")
    again = HackingAlarm(0.0, 9.0, 1e9)
    fit(sana_folder, tmp_path, 8, again, checkpoint=tmp_path / "6.ckpt")
    assert alarms(capsys) == expected != []
    assert again.state_dict() == whole.state_dict()


def test_an_alarm_can_end_the_training(sana_folder, tmp_path, capsys):
    stop = EarlyStop("alarm/signs", "min", patience=99, divergence_threshold=0.5)
    trainer = fit(sana_folder, tmp_path, 40, HackingAlarm(0.0, 9.0, 1e9), stop)
    assert trainer.global_step < 40 and "divergence threshold reached: alarm/signs = " in stop.why
    assert f"fit: step {trainer.global_step}: the training ends: {stop.why}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"diversity": 2.0}, "diversity must be a share of the base's in \\[0, 1\\], got 2.0"),
        ({"growth": 0.5}, "growth must be a factor of at least 1, got 0.5"),
        ({"kl": -1.0}, "kl must be at least 0, got -1.0"),
        ({"deviations": -0.1}, "deviations must be at least 0, got -0.1"),
    ],
)
def test_limits_out_of_range_are_refused(options, line):
    with pytest.raises(ValueError, match=f"HackingAlarm: {line}"):
        HackingAlarm(**options)
