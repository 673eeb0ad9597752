"""A network sharded over two processes trains like a full one and saves checkpoints for a single process."""

import sys
from pathlib import Path

import lightning as L
import pytest
import torch

from hypernoise_pl.adapters.files import load_adapter
from hypernoise_pl.distributed.strategy import FsdpStrategy
from hypernoise_pl.noise import gaussian
from tests import two_processes
from tests.sharded import HALF, SETTINGS, STEPS, TEXTS, in_settings, train, weights
from tests.tiny import DOUBLE, module, sana
from tests.worker import Rings, quiet

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:step .* is skipped")]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(pipeline_folder) -> dict[str, Path]:
    return {"sana": pipeline_folder("sana-sprint"), "flux": pipeline_folder("flux-schnell")}


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def half(folders, output):
    return weights(train(folders, 1, HALF, saved=output / "single.ckpt"))


@pytest.fixture(scope="module")
def two(folders, output, half):
    """The results of each of two processes."""
    command = [sys.executable, "-m", "tests.sharded", *map(str, folders.values()), str(output)]
    done = two_processes.run(command, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return [torch.load(output / f"rank{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def settings(folders):
    return in_settings(folders, 1)


@pytest.fixture(scope="module")
def uninterrupted(folders):
    return weights(train(folders, 1, STEPS))


def assert_same(found, expected, tolerance: float) -> None:
    """Check every weight within a tolerance relative to its norm."""
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert (found[name] - weight).norm() <= tolerance * weight.norm(), name


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_equal_those_of_one_process(settings, two, name):
    bad, expected = settings[0][name]
    assert (bad > 0) == (name == "bad_in_one_process")
    for rank in (0, 1):
        bad_here, found = two[rank]["settings"][0][name]
        assert bad_here == bad
        assert_same(found, expected, SETTINGS[name].tolerance)
    assert any(weight.any() for key, weight in expected.items() if "lora_B" in key)  # they have changed


def test_non_finite_step_in_one_process_stops_both_and_both_name_the_cause(settings, two):
    assert "cause: reward 'bright'; " in settings[1]
    assert two[0]["settings"][1] == two[1]["settings"][1] == settings[1]


def test_each_of_two_processes_holds_half_of_the_network(two):
    assert sum(found["held"] for found in two) == pytest.approx(1.0, abs=1e-9)
    assert all(0.45 < found["held"] < 0.55 for found in two)


def test_run_resumed_with_another_strategy_equals_the_uninterrupted_run(folders, output, half, uninterrupted, two):
    resumed = weights(train(folders, 1, STEPS, begun=output / "sharded.ckpt"))
    assert_same(resumed, uninterrupted, DOUBLE)
    for found in two:
        assert_same(found["half"], half, DOUBLE)
        for run in ("whole", "from_sharded", "from_single"):
            assert_same(found[run], uninterrupted, DOUBLE)


def test_checkpoint_has_the_format_of_a_single_process(output, two):
    sharded, single = (torch.load(output / f"{name}.ckpt", weights_only=True) for name in ("sharded", "single"))
    assert sharded["state_dict"].keys() == single["state_dict"].keys()
    (theirs,), (ours,) = sharded["optimizer_states"], single["optimizer_states"]
    assert theirs["param_groups"] == ours["param_groups"]
    assert theirs["state"].keys() == ours["state"].keys()
    for place, entries in ours["state"].items():
        for key, value in entries.items():
            found = theirs["state"][place][key]
            assert type(found) is torch.Tensor
            assert (found - value).norm() <= DOUBLE * value.norm()


def test_adapter_of_two_processes_loads_in_one(folders, output, two):
    generator = sana(folders["sana"]).double()
    hypernetwork = load_adapter(output / "adapter", generator)
    with torch.no_grad():
        hypernetwork.double()
        residual = hypernetwork(gaussian(generator.noise_shape, [1, 2]).double(), generator.encode(TEXTS))
    for found in two:
        assert found["residual"].norm() > 0.01
        # the adapter's weights are read in float32, each within 6e-8 of itself
        assert (found["residual"] - residual).norm() <= 1e-6 * residual.norm()


def test_inference_mode_is_refused(folders):
    trainer = L.Trainer(max_steps=1, devices=1, strategy=FsdpStrategy(), enable_checkpointing=False, **quiet())
    with pytest.raises(ValueError, match=r"needs trainer\.inference_mode: false"):
        trainer.fit(module(folders["sana"]), datamodule=Rings(2, 2))
