"""Two processes train as one does: same prompts, noises, weights and skipped steps."""

import sys
from pathlib import Path

import pytest
import torch

from hypernoise_pl.data.batches import PromptBatches
from tests import two_processes
from tests.tiny import DOUBLE
from tests.worker import COLOURS, runs

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:step .* is skipped")


@pytest.fixture(scope="module")
def two(sana_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "tests.worker", str(sana_folder), str(folder), "two_processes"]
    done = two_processes.run(command, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def one(sana_folder):
    threads = torch.get_num_threads()
    yield runs(sana_folder, 1)
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", ["independent", "shared_checkpointed", "whitened", "accumulated", "bad_in_one_process"]
)
def test_weights_after_four_steps_equal_those_of_one_process(one, two, setting):
    bad, expected = one[0][setting]
    order = PromptBatches(len(COLOURS), 4, seed=0)
    green = sum(COLOURS.index("green") in batch for batch in [*order, *order][:4])
    assert green and bad == (green if setting == "bad_in_one_process" else 0)
    for rank in (0, 1):
        bad_here, weights = two[rank][0][setting]
        assert bad_here == bad
        for name, weight in weights.items():
            assert (weight - expected[name]).norm() <= DOUBLE * expected[name].norm(), name
    assert all(torch.equal(weight, two[1][0][setting][1][name]) for name, weight in two[0][0][setting][1].items())


@pytest.mark.slow
def test_non_finite_step_in_one_process_stops_both_and_both_name_the_cause(one, two):
    assert "cause: reward 'bright'; " in one[1]
    assert two[0][1] == two[1][1] == one[1]


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["independent", "whitened", "accumulated"])
def test_logged_figures_cover_all_processes_and_micro_batches(one, two, setting):
    """Four prompts per step, two per process or micro-batch, give the same figures as one batch of four."""
    expected = one[2][setting]
    assert {"train/loss", "train/reward", "train/reward/bright", "noise/train/residual", "noise/train/kurtosis"} <= set(
        expected
    )
    for rank in (0, 1):
        found = two[rank][2][setting]
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_accumulated_steps_equal_steps_of_full_batches(one):
    """Epoch ends do not affect weights or figures: 11 prompts, two batches of two against one of four."""
    whole, parts = one[0]["independent"][1], one[0]["accumulated"][1]
    for name, weight in whole.items():
        assert (parts[name] - weight).norm() <= DOUBLE * weight.norm(), name
    for name, value in one[2]["independent"].items():
        torch.testing.assert_close(one[2]["accumulated"][name].double(), value.double(), rtol=1e-5, atol=1e-6)
