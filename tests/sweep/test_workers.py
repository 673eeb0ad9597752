"""Workers: real processes that run real fits, are killed and stopped, and continue; on a journal and on PostgreSQL."""

import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import yaml

from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.study import open_storage, open_study
from hypernoise_pl.sweep.validations import read_validations
from hypernoise_pl.training.checkpoint_io import newest_checkpoint

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_folder")]

GAIN = "validation/hypernetwork/reward/weighted"
FIT = {
    "data.batch_size": 2,
    "data.validation": 6,
    "data.eval_batch_size": 6,
    "model.images_per_prompt": 1,
    "model.reference_search": None,
    "trainer.limit_test_batches": 0,
    "trainer.max_steps": 4,
    "trainer.val_check_interval": 2,
    "trainer.callbacks.ModelCheckpoint.every_n_train_steps": 1,
}
GRID = {"parameters": {"model.adapter.lora.rank": [2, 4]}, "sampler": "grid", "objectives": {GAIN: "maximize"}}


def begin(*arguments: str, **changes: object) -> subprocess.Popen[str]:
    """A sweep's process, in a folder called ``out``."""
    Path("mine.yaml").write_text(yaml.safe_dump({**GRID, "set": FIT} | changes, sort_keys=False))
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hypernoise_pl", "sweep", "mine.yaml", "--output=out", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    output, errors = process.communicate(timeout=600)
    assert process.returncode == status, output + errors
    return output, errors


def wait_for(found, seconds: float = 400):
    until = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)
    return value


def trials(url: str | None = None) -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(Path("out"), url)
    found = optuna.load_study(study_name="mine", storage=storage).get_trials()
    if url is not None:
        storage.remove_session()
        storage.engine.dispose()
    return found


def summary() -> dict:
    return json.loads(Path("out/summary.json").read_text())


def checkpoint(number: int) -> bool:
    """Whether a point has one, and its fit is not at its end."""
    folder = Path(f"out/trials/{number:04d}/seed-0")
    return folder.is_dir() and newest_checkpoint(folder) is not None


def test_worker_continues_the_point_of_a_killed_worker_from_its_checkpoint():
    longer = {**FIT, "trainer.max_steps": 30, "trainer.val_check_interval": 10}
    killed = begin(set=longer)
    wait_for(lambda: checkpoint(0))
    other = begin(set=longer)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    output, _ = ended(other)
    found = trials()
    assert [each.state.name for each in found] == ["COMPLETE", "COMPLETE"]
    assert sorted(each.user_attrs["point"] for each in found) == [0, 1]
    log = Path("out/trials/0000/log.txt").read_text()
    assert log.count("fit: run folder") == 2 and re.search(r"stopped by SIGTERM; step \d+ is saved", log)
    begun = [int(step.replace(",", "")) for step in re.findall(r"fit: step ([\d,]+) of 30 \(", log)]
    assert begun[0] == 0 and any(step > 0 for step in begun[1:2])  # the second process went on from a checkpoint
    assert sorted(read_validations(Path("out/trials/0000/seed-0"))) == [10, 20, 30]
    assert len(list(Path("out/trials/0000").glob("claim-*.json"))) == 2
    # the same fit without a kill has the same figures
    command = summary()["commands"][str(summary()["best"][0])]
    assert f"best         trial {summary()['best'][0]}" in output and command in output
    job = json.loads(Path("out/trials/0000/seed-0/trial.json").read_text())
    flags = [flag for flag in job["flags"] if not flag.startswith(("--output", "--ckpt_path"))]
    job |= {"flags": [*flags, "--output=whole"], "folder": "whole", "parent": os.getpid()}
    Path("whole.json").write_text(json.dumps(job))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "hypernoise_pl.sweep.trial", "whole.json"], check=True, env=environment)
    whole, resumed = read_validations(Path("whole"))[30], read_validations(Path("out/trials/0000/seed-0"))[30]
    assert resumed[GAIN] == pytest.approx(whole[GAIN], abs=1e-5)
    assert json.loads(Path("whole/versions.json").read_text())["optuna"] == optuna.__version__


def test_stopped_sweep_prints_the_command_that_continues_it():
    longer = {**FIT, "trainer.max_steps": 30, "trainer.val_check_interval": 30}
    first = begin("--workers=2", set=longer, parameters={"model.adapter.lora.rank": [2, 4, 8]})
    wait_for(lambda: checkpoint(0) and checkpoint(1))
    first.send_signal(signal.SIGTERM)
    _, errors = ended(first, 143)
    assert "stopped by SIGTERM; to continue: python -m hypernoise_pl sweep mine.yaml --output=out --workers=2" in errors
    assert not any(each.state.is_finished() for each in trials())
    again = begin("--workers=2", set=longer, parameters={"model.adapter.lora.rank": [2, 4, 8]})
    ended(again)
    assert [each.state.name for each in trials()] == ["COMPLETE"] * 3
    assert {each["number"]: each["values"] for each in summary()["trials"]} == {
        number: {"model.adapter.lora.rank": rank} for number, rank in enumerate([2, 4, 8])
    }
    assert summary()["finished"]
    third = begin(set=longer, parameters={"model.adapter.lora.rank": [2, 4, 8]})  # nothing is left to do
    output, _ = ended(third)
    assert "sweep: 3 of 3 trials" in output and len(trials()) == 3
    other = begin(set=longer, parameters={"model.adapter.lora.rank": [2, 4, 16]})
    _, errors = ended(other, 2)
    assert "--output out: holds another sweep: parameters.model.adapter.lora.rank [2, 4, 16] (was [2, 4, 8])" in errors


def test_fit_of_a_worse_point_is_pruned_and_figures_are_means_over_seeds():
    # a rate of 3 spoils the images at once
    points = {"model.optimizer.lr": [1e-4, 3.0]}
    process = begin(parameters=points, seeds=2, pruner={"asha": {"min_resource": 2, "reduction_factor": 2}})
    output, _ = ended(process)
    assert [each.state.name for each in trials()] == ["COMPLETE", "PRUNED"]
    assert "trial 1: pruned at step" in output
    best, pruned = summary()["trials"]
    assert summary()["best"] == [0] and best["steps"] == [4, 4] and sum(pruned["steps"]) < 8
    figures = best["figures"][GAIN]
    assert figures["mean"] == pytest.approx(sum(figures["seeds"]) / 2) == trials()[0].value
    assert figures["seeds"][0] != figures["seeds"][1]  # another seed is another fit
    low, high = figures["interval"]
    half = 12.706 * abs(figures["seeds"][0] - figures["seeds"][1]) / 2
    assert (low + high) / 2 == pytest.approx(figures["mean"]) and (high - low) / 2 == pytest.approx(half)
    assert list(trials()[0].intermediate_values) == [2, 4, 6, 8]  # steps of both seeds together
    assert not Path("out/trials/0001/seed-0/checkpoints").exists()
    config = yaml.safe_load(Path("out/trials/0000/seed-1/config.yaml").read_text())
    assert config["seed_everything"] == 1 and config["data"]["init_args"]["seed"] == 1


def test_failed_fit_is_retried_and_reported():
    fails = {**FIT, "trainer.callbacks+": "tests.signalling.RaiseAt"}
    process = begin(set=fails, retries=1)
    output, _ = ended(process)
    assert [each.state.name for each in trials()] == ["FAIL", "FAIL"]
    log = Path("out/trials/0000/log.txt").read_text()
    assert log.count("out of luck") >= 2 and log.count("fit: run folder") == 2
    assert "trial 0: failed: RuntimeError: out of luck" in output and "best  " not in output
    assert summary()["trials"][0]["error"].startswith("RuntimeError: out of luck") and summary()["best"] == []


def test_several_objectives_have_a_pareto_front():
    both = {GAIN: "maximize", "validation/base/reward/weighted": "minimize"}
    ended(begin(objectives=both))
    values = [each.values for each in trials()]
    assert all(len(each) == 2 for each in values)
    front = summary()["best"]
    worse = [any(o[0] >= own[0] and o[1] <= own[1] and o != own for o in values) for own in values]
    assert front == [place for place, is_worse in enumerate(worse) if not is_worse]


def _server() -> Path | None:
    """Debian's folder of a PostgreSQL server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture
def postgres(tmp_path_factory):
    """The URL of a server of the test's own, on loopback."""
    programs = _server()
    if programs is None:
        pytest.skip("no PostgreSQL server here; `apt install postgresql` has one")
    pytest.importorskip("psycopg")
    folder = tmp_path_factory.mktemp("postgres")
    user = {}
    if os.getuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        for above in folder.parents:
            if above != Path("/") and above.stat().st_uid == 0:
                above.chmod(above.stat().st_mode | 0o011)
        user = {"user": "postgres"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": "/"}
    subprocess.run([programs / "initdb", "-D", data, "-A", "trust", "-U", "me"], check=True, **quiet, **user)
    server = [programs / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", folder]
    with subprocess.Popen(server, **quiet, **user) as running:
        url = f"postgresql+psycopg://me:secret@127.0.0.1:{port}/postgres"

        def answers() -> bool:
            probe = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            return subprocess.run(probe, check=False).returncode == 0

        wait_for(answers, 60)
        yield url
        running.send_signal(signal.SIGINT)


def test_workers_share_a_postgresql_database_and_survive_a_kill(postgres):
    parameters = {"parameters": {"model.adapter.lora.rank": [2, 4, 8]}, "pruner": {"asha": {"min_resource": 100}}}
    longer = {**FIT, "trainer.max_steps": 20, "trainer.val_check_interval": 10}
    killed, other = (begin(f"--storage={postgres}", set=longer, **parameters) for _ in range(2))
    wait_for(lambda: checkpoint(0) and checkpoint(1))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    output, errors = ended(other)
    found = trials(postgres)
    assert [each.state.name for each in found] == ["COMPLETE"] * 3
    assert sorted(each.user_attrs["point"] for each in found) == [0, 1, 2]
    assert all(list(each.intermediate_values) == [10, 20] for each in found)
    assert 'optuna-dashboard "$HYPERNOISE_STORAGE"' in output
    assert not list(Path("out").glob("journal*"))
    everything = (
        output + errors + "".join(f.read_text(errors="replace") for f in Path("there").rglob("*.*") if f.is_file())
    )
    assert "secret" not in everything


def _open(url, gate, found):
    gate.wait()
    study = open_study(Definition(name="mine", **GRID), open_storage(Path("out"), url))
    found.put(study.study_name)


def test_workers_that_start_together_create_the_database_tables_once(postgres):
    context = multiprocessing.get_context("spawn")
    gate, found = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_open, args=(postgres, gate, found)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert [found.get(timeout=5) for _ in workers] == ["mine"] * 4


def test_unreachable_database_gives_a_one_line_error():
    _, errors = ended(begin("--storage=postgresql+psycopg://me:secret@127.0.0.1:1/none"), 2)
    (line,) = [line for line in errors.splitlines() if "error:" in line]
    assert "--storage postgresql+psycopg://me:***@127.0.0.1:1/none: " in line and "secret" not in errors


def test_definition_written_as_yaml_reads_back_equal():
    wanted = Definition(name="mine", **GRID)
    assert Definition(**yaml.safe_load(wanted.as_yaml())) == wanted
