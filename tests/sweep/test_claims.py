"""Claims: one owner alone, and free again once it is gone."""

import json
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from hypernoise_pl.sweep import claims
from hypernoise_pl.sweep.claims import Claim, ClaimWatcher, claim_new_folder


def _race(above, number, gate, won):
    gate.wait()
    if claim_new_folder(above / f"{number:04d}") is not None:
        won.put(os.getpid())


def test_only_one_of_many_processes_claims_a_new_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    gate, won = context.Event(), context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path, 3, gate, won)) for _ in range(8)]
    for racer in racers:
        racer.start()
    gate.set()
    for racer in racers:
        racer.join()
    assert won.get(timeout=5) and won.empty()


def test_folder_of_a_living_worker_is_free_only_after_release(tmp_path):
    claim = claim_new_folder(tmp_path / "0000")
    assert claim is not None and claim_new_folder(tmp_path / "0000") is None
    assert ClaimWatcher().claim_free_folder(tmp_path / "0000") is None
    claim.release()
    second = ClaimWatcher().claim_free_folder(tmp_path / "0000")
    assert second is not None and second.file.name == "claim-0002.json"
    assert ClaimWatcher().claim_free_folder(tmp_path / "0000") is None


def test_folder_of_a_killed_worker_is_free_immediately(tmp_path):
    code = f"from pathlib import Path; from hypernoise_pl.sweep.claims import claim_new_folder; claim_new_folder(Path({str(tmp_path / '0000')!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; print('made', flush=True); input()"], stdin=-1, stdout=-1
    ) as it:
        assert it.stdout.readline() == b"made\n"
        assert ClaimWatcher().claim_free_folder(tmp_path / "0000") is None
        it.kill()
    assert ClaimWatcher().claim_free_folder(tmp_path / "0000") is not None


def test_reused_process_id_does_not_count_as_the_owner(tmp_path):
    claim = claim_new_folder(tmp_path / "0000")
    owner = json.loads(claim.file.read_text())
    claim.file.write_text(json.dumps({**owner, "started": owner["started"] - 3600}))
    assert ClaimWatcher().claim_free_folder(tmp_path / "0000") is not None


@pytest.mark.parametrize("clock", [-7200.0, 0.0, 7200.0])
def test_worker_of_another_machine_is_alive_while_its_claim_changes_whatever_its_clock(tmp_path, monkeypatch, clock):
    claim = claim_new_folder(tmp_path / "0000")
    claim.file.write_text(json.dumps({"machine": "elsewhere", "pid": 1, "started": 0.0}))
    now = time.time() + clock
    monkeypatch.setattr(claims, "STALE_SECONDS", 0.3)
    watch = ClaimWatcher()
    for beat in range(4):
        os.utime(claim.file, (now + beat, now + beat))
        assert watch.claim_free_folder(tmp_path / "0000") is None
        time.sleep(0.1)
    time.sleep(0.3)
    found = watch.claim_free_folder(tmp_path / "0000")
    assert isinstance(found, Claim)


def test_folder_without_a_claim_is_free_after_the_stale_time(tmp_path, monkeypatch):
    (tmp_path / "0000").mkdir()
    monkeypatch.setattr(claims, "STALE_SECONDS", 0.1)
    watch = ClaimWatcher()
    assert watch.claim_free_folder(tmp_path / "0000") is None
    time.sleep(0.2)
    assert watch.claim_free_folder(tmp_path / "0000") is not None
