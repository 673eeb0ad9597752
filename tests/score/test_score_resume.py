"""A run of ``score`` that is killed, stopped, repeated or shared by processes has the figures of one that is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hypernoise_pl.__main__ import main
from hypernoise_pl.system.files import lock_folder
from tests.score.drawn import score, write_folder

pytestmark = pytest.mark.usefixtures("own_folder")

COMMAND = [sys.executable, "-m", "hypernoise_pl", "score", "shapes_rewards", "images", "--batch-size=1"]


def started(*flags: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [*COMMAND, *flags], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def stopped_by(signum: int) -> subprocess.Popen[str]:
    """Send a process a signal once it has some outcomes."""
    process, journal = started("--output=out"), Path("out/outcomes-0-of-1.jsonl")
    end = time.monotonic() + 120
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None and time.monotonic() < end, process.stderr and process.stderr.read()
        time.sleep(0.001)
    process.send_signal(signum)
    return process


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_stopped_run_continues_to_identical_files(signum):
    write_folder(Path("images"), images=6)
    process = stopped_by(signum)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-9 if signum == signal.SIGKILL else 143)
    if signum == signal.SIGTERM:
        assert said.endswith("hypernoise_pl score: stopped by SIGTERM; the same command goes on where it was\n")
    journal = Path("out/outcomes-0-of-1.jsonl")
    before = journal.read_bytes()
    done = before.count(b"\n")
    assert not Path("out/summary.json").exists() and 3 <= done < 72
    with journal.open("ab") as file:
        file.write(b'{"made_by": "", "name": "000')  # as a process leaves it that dies within a line
    score("images", "--batch-size=1", benchmark="shapes_rewards")
    assert not list(Path("out").glob("share-*"))  # a killed process leaves the folder that it locks
    after = journal.read_bytes()
    assert after.startswith(before) and after.count(b"\n") == 72 + 1  # nothing was done twice
    score("images", "--batch-size=1", benchmark="shapes_rewards", output="whole")
    for name in ("summary.json", "score.html"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()


def test_shard_of_a_running_process_is_refused(capsys):
    write_folder(Path("images"), images=1)
    score("images", benchmark="shapes_rewards")
    assert not list(Path("out").glob("share-*"))
    with lock_folder(Path("out/share-0-of-1")):
        assert main([*COMMAND[3:], "--output=out"]) == 2
    assert "share-0-of-1: another process is running in it; wait until it ends" in capsys.readouterr().err


def test_two_shards_give_the_summary_of_one_process(capsys):
    write_folder(Path("images"), images=3)
    Path("images/00003/samples/0001.png").write_bytes(b"")
    whole = score("images")
    assert main(["score", "shapes", "images", "--output=both", "--shard=1/2"]) == 0
    assert "shard 1 of 2 is done; the last one to finish writes the summary in both" in capsys.readouterr().out
    assert not Path("both/summary.json").exists()
    assert score("images", "--shard=0/2", output="both") == whole
    assert score("images", output="both") == whole  # no third share is left to do
    processes = [started(f"--shard={shard}/2", "--output=two") for shard in (0, 1)]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    alone = score("images", "--batch-size=1", benchmark="shapes_rewards", output="alone")
    assert Path("two/summary.json").read_bytes() == Path("alone/summary.json").read_bytes()
    assert alone["images_left_out"] == 1


def test_old_outcome_of_another_shard_does_not_hide_a_changed_image():
    """Outcomes of the first run lie in a file that is read after that of the second."""
    write_folder(Path("images"))
    for shard in ("0/2", "1/2"):
        assert main(["score", "shapes", "images", "--output=out", f"--shard={shard}"]) == 0
    for file in Path("images").rglob("0001.png"):
        file.write_bytes(Path("images/00000/samples/0000.png").read_bytes())
    assert score("images") == score("images", output="anew")


def test_finished_folder_stays_unchanged_and_refuses_other_settings(capsys):
    write_folder(Path("images"))
    score("images")
    before = Path("out/summary.json").read_bytes(), Path("out/outcomes-0-of-1.jsonl").read_bytes()
    score("images", "--batch-size=3", "--benchmark.judge.chunk=5")  # neither changes a figure
    assert before == (Path("out/summary.json").read_bytes(), Path("out/outcomes-0-of-1.jsonl").read_bytes())
    capsys.readouterr()
    for given, said in (
        (
            ["shapes_questions", "images"],
            "benchmark.class=hypernoise_pl.metrics.judge_benchmark.JudgeBenchmark, this run has hyper",
        ),
        (["shapes", "images/../fewer"], "prompts.count=12, this run has 1"),
    ):
        write_folder(Path("fewer")) if not Path("fewer").exists() else None
        for file in Path("fewer").glob("000[01]*"):
            if file.name != "00000":
                file.rename(Path(f"gone-{file.name}"))
        assert main(["score", *given, "--output=out"]) == 2
        assert f"--output out: holds figures of other settings: {said}" in capsys.readouterr().err


def test_unfinished_run_is_continued_without_output_flag(capsys):
    write_folder(Path("images"))
    assert main(["score", "shapes", "images"]) == 0
    (first,) = Path("runs/score").iterdir()
    (first / "summary.json").unlink()
    assert main(["score", "shapes", "images"]) == 0
    assert [*Path("runs/score").iterdir()] == [first] and (first / "summary.json").exists()
    assert main(["score", "shapes", "images"]) == 0
    assert len([*Path("runs/score").iterdir()]) == 2
