"""A stopped command prints how to continue, exits with the signal's status and resumes; its output may be closed."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hypernoise_pl.__main__ import main
from hypernoise_pl.training.checkpoint_io import newest_checkpoint
from tests import two_processes

ROOT = Path(__file__).parents[2]
SHORT = [
    "--trainer.max_steps=5",
    "--trainer.limit_val_batches=0",
    "--data.batch_size=4",
    "--data.test=6",
    "--model.images_per_prompt=1",
    "--model.reference_search=null",
]
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run(command: str, folder: Path, **options) -> subprocess.CompletedProcess[str]:
    """Run a printed command line as a shell would."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "hypernoise_pl"]
    return subprocess.run(
        [sys.executable, *words[1:]],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        restore_signals=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )


def stopped_line(text: str) -> str:
    (line,) = [line for line in text.splitlines() if "stopped by" in line]
    assert "Traceback" not in text and "error" not in line
    return line


def signalling(folder: Path, signum: int) -> str:
    """A configuration in which the third step is interrupted."""
    callback = {"class_path": "tests.signalling.SignalAt", "init_args": {"step": 2, "signum": int(signum)}}
    (folder / "signal.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))
    return shlex.join(["python", "-m", "hypernoise_pl", "fit", *SHORT, "--config=signal.yaml", "--output=run"])


@pytest.mark.slow
def test_stopped_training_saves_and_the_printed_command_resumes_it(tmp_path):
    (tmp_path / "whole").mkdir()
    # the uninterrupted run, with closed output
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "hypernoise_pl", "fit", *SHORT, "--output=run", "--trainer.callbacks=[]"]
    done = subprocess.run(words, cwd=tmp_path / "whole", env=environment(), stdout=writer, stderr=writer, timeout=300)
    os.close(writer)
    assert done.returncode == 0
    expected = load_file(tmp_path / "whole/run/adapter/adapter_model.safetensors")
    for signum, code in CODES.items():
        folder = tmp_path / signum.name
        folder.mkdir()
        found = run(signalling(folder, signum), folder)
        assert found.returncode == code, found.stderr
        line = stopped_line(found.stderr)
        assert f"stopped by {signum.name}; step 3 is saved; to continue: " in line
        assert not (folder / "run" / "adapter").exists()
        again = run(line.partition("to continue: ")[2], folder)
        assert again.returncode == 0, again.stderr
        adapter = load_file(folder / "run/adapter/adapter_model.safetensors")
        assert adapter.keys() == expected.keys()
        assert all(torch.equal(adapter[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_signal_to_the_second_process_stops_both_after_the_same_step(tmp_path):
    callback = {"class_path": "tests.signalling.SignalAt", "init_args": {"step": 2, "signum": 15, "rank": 1}}
    page = {"class_path": "hypernoise_pl.callbacks.live_page.LivePage", "init_args": {"every": 0}}
    (tmp_path / "s.yaml").write_text(
        yaml.safe_dump({"trainer": {"callbacks": [page, callback], "log_every_n_steps": 1}})
    )
    two = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    command = [sys.executable, "-m", "hypernoise_pl", "fit", *SHORT, *two, "--config=s.yaml"]
    done = two_processes.run(command, tmp_path, environment())
    assert done.returncode == 143, done.stderr
    assert "stopped by SIGTERM; step 3 is saved; to continue: " in stopped_line(done.stderr)
    (folder,) = (tmp_path / "runs" / "fit").iterdir()
    newest = newest_checkpoint(folder)
    assert newest is not None and newest[1]["global_step"] == 3
    # the first process alone writes the page and its record
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [(row["split"], row["step"]) for row in rows] == [("train", step) for step in (1, 2, 3)]
    assert "Stopped by SIGTERM, step 3 of 5" in (folder / "live.html").read_text()


@pytest.mark.slow
def test_stopped_predict_continues_with_the_missing_images(tmp_path):
    from tests.tiny_adapter import save_shapes_adapter

    save_shapes_adapter(tmp_path / "adapter")
    rows = [f"p{number},a red circle number {number},tag{number % 2},{number}" for number in range(60)]
    (tmp_path / "p.csv").write_text("id,prompt,tag,seed\n" + "\n".join(rows) + "\n")
    command = ["-m", "hypernoise_pl", "predict", "--adapter=adapter", "--prompts=p.csv", "--seeds=0,1"]
    command += ["--model.adapter.lora.rank=2", "--model.adapter.lora.alpha=4"]
    process = subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    written: list[Path] = []
    until = time.monotonic() + 120
    while not written and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
        written = [f for f in tmp_path.glob("runs/predict/*/predictions.jsonl") if f.read_text().count("\n") >= 8]
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    folder = written[0].parent
    early = {file: file.stat().st_mtime_ns for file in folder.glob("*.png")}
    complete = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert 8 <= len(complete) < 240
    with (folder / "predictions.jsonl").open("a") as file:
        file.write('{"number": 59, "pro')  # as a machine that goes down may leave it
    again = run(stopped_line(said).partition("to continue: ")[2], tmp_path)
    assert again.returncode == 0, again.stderr
    found = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert found[: len(complete)] == complete
    assert [(row["number"], row["kind"], row["seed"]) for row in found] == [
        (number, kind, seed) for number in range(60) for kind in ("base", "refined") for seed in (0, 1)
    ]
    assert all((row["id"], row["tag"]) == (f"p{row['number']}", f"tag{row['number'] % 2}") for row in found)
    kept = {row["file"] for row in complete}
    assert all(file.stat().st_mtime_ns == before for file, before in early.items() if file.name in kept)
    assert len(list(tmp_path.glob("runs/predict/*"))) == 1


@pytest.mark.parametrize("signum", CODES)
@pytest.mark.parametrize("command", ["compare", "cache-prompts", "validate", "test"])
def test_stopped_command_exits_with_the_signal_status_and_prints_how_to_continue(
    tmp_path, monkeypatch, capsys, command, signum
):
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    (tmp_path / "p.txt").write_text("a red circle\ntwo blue stars\n")
    data = {"class_path": "tests.signalling.SignalsOnce", "init_args": {"train": "p.txt", "signum": int(signum)}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"data": data, "judge": None}))
    more = ["--model.prompt_cache=cache"] if command == "cache-prompts" else []
    if command in ("validate", "test"):
        from tests.tiny_adapter import save_shapes_adapter

        save_shapes_adapter(tmp_path / "adapter")
        more = ["--adapter=adapter", "--model.adapter.lora.rank=2", "--model.adapter.lora.alpha=4"]
    try:
        assert main([command, "--config=data.yaml", *more]) == CODES[signum]
    finally:
        signal.signal(signal.SIGINT, before)
    line = stopped_line(capsys.readouterr().err)
    assert f"hypernoise_pl {command}: stopped by {signum.name}; " in line
    assert "begins anew" in line or f"to continue: python -m hypernoise_pl {command}" in line
    if command in ("compare", "cache-prompts"):  # the others have begun their log
        assert not (tmp_path / "runs").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_stopped_shapes_training_loop_saves_and_resumes(tmp_path):
    from hypernoise_pl.shapes.training.loop import LoopOptions, train
    from hypernoise_pl.system.signals import Stopped, run_script

    def trained(folder: Path, asked: bool) -> torch.nn.Linear:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)

        def loss(step: int):
            if asked and step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            draws = torch.Generator().manual_seed(step)
            return model(torch.randn(8, 3, generator=draws)).square().mean(), {}

        return train("line", model, loss, LoopOptions(9, 0.1), folder)

    expected = trained(tmp_path / "whole", False)
    with pytest.raises(Stopped, match="SIGTERM"):
        trained(tmp_path / "part", True)
    assert torch.load(tmp_path / "part" / "line.pt", weights_only=True)["step"] == 5
    assert torch.equal(trained(tmp_path / "part", False).weight, expected.weight)
    assert run_script(lambda: trained(tmp_path / "script", True)) == 143
    assert run_script(lambda: trained(tmp_path / "script", False)) == 0


def test_stop_saves_a_checkpoint_without_a_checkpoint_callback(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    callback = {"class_path": "tests.signalling.SignalAt", "init_args": {"step": 1, "signum": int(signal.SIGTERM)}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback], "logger": False}}))
    assert main(["fit", *SHORT, "--config=s.yaml", "--trainer.accumulate_grad_batches=2"]) == 143
    (folder,) = Path("runs/fit").iterdir()
    newest = newest_checkpoint(folder)
    assert newest is not None and newest[1]["global_step"] == 2
    assert f"--output={folder}" in stopped_line(capsys.readouterr().err)
