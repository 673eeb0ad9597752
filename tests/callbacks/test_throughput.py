"""Memory and the share of the device's peak: what is logged, from a real training."""

import lightning as L
import pytest
import torch

from hypernoise_pl.callbacks.throughput import Throughput
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.training.flops import CountFlops
from tests.tiny import module
from tests.worker import Rings, quiet


class Figures(L.Callback):
    """Remembers what is logged after each batch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def fit(sana_folder, *callbacks, parts=1, steps=6):
    method = module(sana_folder, lora=LoraOptions(4, 8.0), optimizer=torch.optim.SGD)
    trainer = L.Trainer(
        max_steps=steps,
        limit_val_batches=0,
        log_every_n_steps=1,
        accumulate_grad_batches=parts,
        enable_checkpointing=False,
        callbacks=[*callbacks],
        **quiet(),
    )
    trainer.fit(method, datamodule=Rings(2, 2))


@pytest.mark.parametrize("parts", [1, 2])
def test_the_share_of_the_peak_is_operations_times_images_a_second(sana_folder, capsys, parts):
    throughput, figures = Throughput(peak_tflops=0.05), Figures()
    fit(sana_folder, throughput, figures, parts=parts)
    method = module(sana_folder, lora=LoraOptions(4, 8.0))  # which has encoded no prompt, as that of a new batch
    prompts = Rings(2, 2).prompts("train")[:2]
    with CountFlops() as count:
        loss, _ = method.loss(method(prompts, method.train_noise(prompts)))
        loss.backward()
    assert throughput.flops_per_image == count.total / 2
    known = [row for row in figures.rows if "speed/mfu" in row]
    assert len(known) == (6 - 3) * parts - (parts - 1)  # steps after that which is counted; they stay until the next
    for row in known[::parts]:
        expected = throughput.flops_per_image * row["speed/images_per_second"] / 0.05e12
        assert row["speed/mfu"] == pytest.approx(expected, rel=1e-4)
    said = capsys.readouterr().out
    assert said.count("TFLOP an image and step; the device's peak is 0.05 TFLOP/s") == 1
    memory = [row["memory/peak_gib"] for row in figures.rows if "memory/peak_gib" in row]
    assert len(memory) == 6 * parts - (parts - 1) and 0.05 < memory[0] < 64 and memory == sorted(memory)


def test_a_cpu_has_no_peak_unless_it_is_given(sana_folder, capsys):
    throughput, figures = Throughput(), Figures()
    fit(sana_folder, throughput, figures, steps=4)
    assert throughput.flops_per_image is None and "TFLOP" not in capsys.readouterr().out
    assert all("speed/mfu" not in row and "memory/peak_gib" in row for row in figures.rows)
    with pytest.raises(ValueError, match="peak_tflops must be above 0, got 0"):
        Throughput(peak_tflops=0)


def test_the_count_ends_with_a_training_that_fails(sana_folder):
    class Fails(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            if trainer.global_step == 2:
                raise RuntimeError("out of luck")

    throughput = Throughput(peak_tflops=1.0)
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(sana_folder, throughput, Fails())
    from torch.utils._python_dispatch import _get_current_dispatch_mode

    assert throughput.flops_per_image is None and _get_current_dispatch_mode() is None
