"""``live.html``: a page of a fit made from its run folder's own record, which a resumed run goes on with."""

import json
from pathlib import Path

import lightning as L
import pytest
import torch

from hypernoise_pl.callbacks.evaluate import Evaluate
from hypernoise_pl.callbacks.image_grid import ImageGrid
from hypernoise_pl.callbacks.live_page import LivePage
from hypernoise_pl.callbacks.noise_health import NoiseHealth
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.metrics.judge import Judge
from hypernoise_pl.report.history import HISTORY
from tests.tiny import module
from tests.worker import Rings, quiet


class Bright(Judge):
    """Right is what is brighter than the middle."""

    def missing_metadata(self, prompt):
        return None

    def _judge(self, images, prompts):
        return images.flatten(1).mean(1) > 0.5


class Seen(L.Callback):
    """Remembers the page as it is after each validation, and fails at a step."""

    def __init__(self, fails: int | None = None) -> None:
        self.pages, self.fails = [], fails

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.fails:
            raise RuntimeError("out of luck")
        if trainer.global_step and trainer.global_step % 2 == 0:
            self.pages.append((Path(trainer.default_root_dir) / "live.html").read_text())


def fit(sana, folder, steps, kind=NoiseHypernetwork, judge=None, checkpoint=None, seen=None, **options) -> L.Trainer:
    method = module(sana, kind, lora=LoraOptions(4, 8.0), images_per_prompt=2, optimizer=torch.optim.SGD)
    trainer = L.Trainer(
        max_steps=steps,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        log_every_n_steps=1,
        callbacks=[
            Evaluate(judge),
            ImageGrid(columns=2, size=16),
            NoiseHealth(1, 1, 2),
            LivePage(every=0),
            seen or Seen(),
        ],
        enable_checkpointing=False,
        default_root_dir=folder,
        **quiet() | options,
    )
    trainer.fit(method, datamodule=Rings(2, 2), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    trainer.test(method, datamodule=Rings(2, 2), verbose=False)
    return trainer


def steps(folder, kind):
    rows = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    return [row["step"] for row in rows if row["split"] == kind]


def test_the_page_grows_with_the_run_and_holds_its_figures_and_pictures(sana_folder, tmp_path):
    seen = Seen()
    fit(sana_folder, tmp_path, 6, judge=Bright(), seen=seen)
    assert len(seen.pages) == 2
    early, page = seen.pages[0], (tmp_path / "live.html").read_text()
    assert "Running, step 2 of 6" in early and "location.reload()" in early and 'http-equiv="refresh"' in early
    assert "Ended, step 6 of 6" in page and "location.reload()" not in page and 'http-equiv="refresh"' not in page
    assert '"images/validation-000002.png"' in early and "validation-000004" not in early
    for step in (2, 4, 6):
        assert (
            f'"images/validation-{step:06d}.png"' in page and (tmp_path / f"images/validation-{step:06d}.png").exists()
        )
    for title in ("gain by the judge", "reward bright", "reward red", "loss", "gradient norm", "learning rate"):
        assert f'aria-label="{title}' in page
    for title in ("images a second", "kurtosis", "measured KL", "diversity"):
        assert f'aria-label="{title}' in page
    assert "\njudge " in page and 'src="images/test-000006.png"' in page
    assert "http://" not in page and "https://" not in page  # no network
    assert steps(tmp_path, "train") == [1, 2, 3, 4, 5, 6] and steps(tmp_path, "validation") == [2, 4, 6]
    assert steps(tmp_path, "test") == [6]


@pytest.mark.parametrize("kind", [NoiseHypernetwork, GeneratorLora])
def test_a_resumed_run_has_every_step_once(sana_folder, tmp_path, kind):
    trainer = fit(sana_folder, tmp_path, 3, kind)
    trainer.save_checkpoint(tmp_path / "3.ckpt")
    fit(sana_folder, tmp_path, 5, kind, checkpoint=tmp_path / "3.ckpt")  # killed without a checkpoint of its own
    with (tmp_path / HISTORY).open("a") as file:
        file.write('{"split": "train", "st')
    assert steps_of_whole_lines(tmp_path) == [1, 2, 3, 4, 5]
    fit(sana_folder, tmp_path, 6, kind, checkpoint=tmp_path / "3.ckpt")
    assert steps(tmp_path, "train") == [1, 2, 3, 4, 5, 6]
    assert steps(tmp_path, "validation") == [2, 4, 6] and steps(tmp_path, "test") == [6]
    page = (tmp_path / "live.html").read_text()
    assert "fine-tuned generator below" in page if kind is GeneratorLora else "hypernetwork below" in page
    assert ('aria-label="measured KL' in page) == (kind is NoiseHypernetwork)
    assert 'aria-label="gain by the weighted reward' in page and 'aria-label="gain by the judge' not in page


def steps_of_whole_lines(folder):
    lines = (folder / HISTORY).read_text().splitlines()[:-1]
    return [row["step"] for row in map(json.loads, lines) if row["split"] == "train"]


def test_a_run_that_fails_says_so_and_a_run_that_fails_before_its_first_step_leaves_the_record(sana_folder, tmp_path):
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(sana_folder, tmp_path, 6, seen=Seen(fails=3))
    page = (tmp_path / "live.html").read_text()
    assert "Stopped by an error: out of luck, step 3 of 6" in page and "location.reload()" not in page
    assert steps(tmp_path, "train") == [1, 2, 3]
    with pytest.raises(FileNotFoundError):
        fit(sana_folder, tmp_path, 6, checkpoint=tmp_path / "none.ckpt")
    assert steps(tmp_path, "train") == [1, 2, 3]


def test_fast_dev_run_and_test_write_no_page(sana_folder, tmp_path):
    fit(sana_folder, tmp_path, 2, fast_dev_run=1)
    L.Trainer(callbacks=[Evaluate(), LivePage()], default_root_dir=tmp_path, **quiet()).test(
        module(sana_folder), datamodule=Rings(2, 2), verbose=False
    )
    assert not list(tmp_path.glob("*.html")) and not (tmp_path / HISTORY).exists()


def test_the_seconds_between_two_pages_are_not_negative():
    with pytest.raises(ValueError, match="every must be at least 0 seconds, got -1"):
        LivePage(every=-1)
