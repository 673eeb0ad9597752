"""What a run says of its progress: in a terminal, in a log, and from its own first steps how long it takes."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import lightning as L
import pytest
import torch

from hypernoise_pl.callbacks.progress import Progress, peak_memory, spoken
from hypernoise_pl.lora.view import LoraOptions
from tests import two_processes
from tests.screen import Screen
from tests.tiny import module
from tests.worker import Rings, quiet

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4.2, "4.2 seconds"), (89, "89 seconds"), (90, "1.5 minutes"), (4000, "67 minutes"), (9000, "2.5 hours")],
)
def test_a_duration_has_a_fitting_unit(seconds, said):
    assert spoken(seconds) == f"about {said}"


def test_peak_gpu_memory_is_in_gib(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: int(31.26 * 2**30) if device.index else 0)
    assert peak_memory(torch.device("cuda", 1)) == "peak 31.3 GiB"


def test_an_interval_is_not_negative():
    with pytest.raises(ValueError, match="every must be at least 0 seconds, got -1"):
        Progress(every=-1)


def test_reward_of_a_line_is_the_mean_since_the_last_line(sana_folder, capsys):
    method = module(sana_folder, lora=LoraOptions(4, 8.0), images_per_prompt=1)
    seen = []

    class Seen(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.extend(pl_module.newest_reward.tolist())

    options = {"limit_val_batches": 0, "enable_checkpointing": False, "accumulate_grad_batches": 2}
    trainer = L.Trainer(max_steps=2, callbacks=[Progress(every=0), Seen()], **options, **quiet())
    trainer.fit(method, datamodule=Rings(2, 2))
    said = re.findall(r"fit: step (\d) of 2 .*, reward (\S+), \S+ images/s", capsys.readouterr().out)
    assert len(seen) == 8  # two micro-batches of two images a step
    means = [f"{sum(part) / 4:.3f}" for part in (seen[:4], seen[4:])]
    assert said == [("1", means[0]), ("2", means[1]), ("2", means[1])]


@pytest.mark.parametrize(("steps", "accumulated", "lines"), [(12, 1, 0), (14, 1, 1), (14, 2, 1)])
def test_a_run_prints_the_remaining_time_once_after_its_first_steps(sana_folder, capsys, steps, accumulated, lines):
    method = module(
        sana_folder, lora=LoraOptions(4, 8.0), optimizer=lambda p: torch.optim.SGD(p, 1e-3), images_per_prompt=1
    )
    options = {"limit_val_batches": 0, "enable_checkpointing": False, "accumulate_grad_batches": accumulated}
    trainer = L.Trainer(max_steps=steps, callbacks=[Progress()], **options, **quiet())
    trainer.fit(method, datamodule=Rings(2, 2))
    found = re.findall(r"fit: (\S+) s a step \(steps 3 to 12\): about .* for the 2 steps left", capsys.readouterr().out)
    assert len(found) == lines and all(0 < float(seconds) < 60 for seconds in found)


def fit_in(folder: Path, *flags: str) -> list[str]:
    """The command of a short run that says a line a step."""
    folder.mkdir(exist_ok=True)
    short = ["--trainer.max_steps=4", "--trainer.val_check_interval=2", "--data.batch_size=4", "--data.test=6"]
    small = ["--model.images_per_prompt=2", "--model.reference_search.iterations=2", "--trainer.callbacks.1.images=1"]
    return [sys.executable, "-m", "hypernoise_pl", "fit", *short, *small, "--trainer.callbacks.0.every=0", *flags]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def told_of_a_log(text: str, steps: int) -> None:
    """Check what a log of ``fit_in`` says: whole lines, once, with the right figures."""
    assert "\r" not in text and "\x1b" not in text and text.endswith("\n")
    lines = text.splitlines()
    assert lines.count("fit: loading models") == 1
    assert len([line for line in lines if line.startswith("fit: run folder ")]) == 1
    form = r"fit: step (\d) of (\d) \((\d+) %\), reward (-?\d+\.\d{3}), ([\d.,]+) images/s, (\d+:\d\d left|in \d+:\d\d)"
    found = [match.groups() for match in (re.fullmatch(form, line) for line in lines) if match]
    assert [(int(step), int(total), int(share)) for step, total, share, *_ in found] == [
        *((step, steps, 100 * step // steps) for step in range(1, steps)),
        (steps, steps, 100),
    ]
    assert all(float(images.replace(",", "")) > 0 for *_, images, _ in found)
    assert found[-1][-1].startswith("in ") and all(end.endswith(" left") for *_, end in found[:-1])
    interval = r"95 % interval [+-]\d\.\d{3} to [+-]\d\.\d{3} over 60 prompts"
    gains = [
        re.fullmatch(rf"validation: step (\d), gain [+-]\d\.\d{{3}} by the judge \({interval}\)", x) for x in lines
    ]
    assert [match[1] for match in gains if match] == ["2", "4"]
    assert next(line for line in lines if line.startswith("test: ")) == "test: 0 of 1 batches (0 %)"


@pytest.mark.slow
def test_a_log_has_whole_lines_even_of_a_run_that_asks_for_lightnings_bar(tmp_path):
    command = fit_in(tmp_path, "--trainer.enable_progress_bar=true")
    done = subprocess.run(command, cwd=tmp_path, env=environment(), stdout=-1, stderr=-2, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    told_of_a_log(done.stdout, 4)


@pytest.mark.slow
def test_only_the_first_of_two_processes_prints(tmp_path):
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = two_processes.run(fit_in(tmp_path, *two), tmp_path, environment())
    assert done.returncode == 0, done.stdout + done.stderr
    told_of_a_log(done.stdout, 4)


def in_terminal(command: list[str], folder: Path, columns: int = 80, **more: str) -> tuple[int, str]:
    """Exit status of a command in a terminal of its own, and all that it writes there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    variables = environment() | {"TERM": "xterm"} | more
    with subprocess.Popen(command, cwd=folder, env=variables, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        text = read_all(ours)
    return process.returncode, text


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 40])
def test_the_live_view_fits_the_terminal_and_is_cleared(tmp_path, columns):
    slow = "--data.batch_size=128"  # a step takes longer than the view rests between two pictures
    code, text = in_terminal(fit_in(tmp_path, slow), tmp_path, columns)
    assert code == 0, text
    pictures = [re.sub(r"\x1b\[[0-9;]*m", "", part) for part in text.split("\r\x1b[J") if part.startswith("\r\n\r")]
    drawn = [line.rstrip() for part in pictures for line in part.rpartition("\x1b[")[0].split("\r\n\r")]
    assert max(map(len, drawn)) < columns
    bar = r"fit( ━*[╸╺]?━*)? step [1-4] of 4  (\d+:\d\d (left|so far)|waits)"
    rows = [line for line in drawn if re.fullmatch(bar, line)]
    assert any("━" in row for row in rows)
    assert any(re.match(r"  reward -?\d+\.\d{3} [▁▂▃▄▅▆▇█]{2,}", line) for line in drawn)
    words = re.sub(r"\s", "", "".join(drawn))
    assert re.search(r"images/s,?memory\d+\.\dGiB", words)
    gain = r"validation:step2,gain[+-]\d\.\d{3}bythejudge\(95%interval[+-]\d\.\d{3}to[+-]\d\.\d{3}over60prompts\)"
    assert re.search(
        gain + r"page:runs/fit/[\d-]+/live\.htmlpictures:runs/fit/[\d-]+/images/validation-000002\.png", words
    )
    assert any(line.startswith("validation") for line in drawn) and any(line.startswith("test") for line in drawn)
    screen = Screen(columns)
    screen.write(text)
    left = screen.shown()
    assert not re.search(r"━|[▁▂▃▄▅▆▇█]{2}", left) and "judge " in left
    said = re.sub(r"\s", "", left)
    assert re.search(r"fit:step4of4\(100%\),reward-?\d+\.\d{3},[\d.,]+images/s,in\d+:\d\d", said)
    assert "validation: step" not in left and "\x1b[?25l" not in text  # the cursor is never hidden


@pytest.mark.slow
def test_a_dumb_terminal_has_lines(tmp_path):
    code, text = in_terminal(fit_in(tmp_path), tmp_path, TERM="dumb")
    assert code == 0, text
    told_of_a_log(text.replace("\r\n", "\n"), 4)


def read_all(terminal: int) -> str:
    """What is written to a terminal until it is closed at the other side."""
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says so where nobody holds the other side any more
            part = b""
        if not part:
            os.close(terminal)
            return b"".join(parts).decode()
        parts.append(part)
