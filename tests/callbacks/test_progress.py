"""How long a run takes, said from its own first steps."""

import re

import lightning as L
import pytest
import torch

from hypernoise_pl.callbacks.progress import Progress, spoken
from hypernoise_pl.hypernetwork import LoraOptions
from tests.tiny import module
from tests.worker import Rings, quiet


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4.2, "4.2 seconds"), (89, "89 seconds"), (90, "1.5 minutes"), (4000, "67 minutes"), (9000, "2.5 hours")],
)
def test_a_duration_is_said_in_its_own_unit(seconds, said):
    assert spoken(seconds) == f"about {said}"


@pytest.mark.parametrize(("steps", "accumulated", "lines"), [(12, 1, 0), (14, 1, 1), (14, 2, 1)])
def test_a_run_says_once_after_its_first_steps_how_long_the_rest_takes(sana_folder, capsys, steps, accumulated, lines):
    method = module(
        sana_folder, lora=LoraOptions(4, 8.0), optimizer=lambda p: torch.optim.SGD(p, 1e-3), images_per_prompt=1
    )
    options = {"limit_val_batches": 0, "enable_checkpointing": False, "accumulate_grad_batches": accumulated}
    trainer = L.Trainer(max_steps=steps, callbacks=[Progress()], **options, **quiet())
    trainer.fit(method, datamodule=Rings(2, 2))
    found = re.findall(
        r"fit: (\S+) s a step here \(steps 3 to 12\): about .* for the 2 steps left", capsys.readouterr().out
    )
    assert len(found) == lines and all(0 < float(seconds) < 60 for seconds in found)
