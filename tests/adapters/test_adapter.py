"""Adapters on disk: PEFT can read them, only their own generator takes them, a good one is never lost."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hypernoise_pl.adapters.files import load_adapter, load_hypernetwork, load_weights, save_adapter
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions, lora_state
from tests.tiny import PROMPTS, randomise, sana

TEXTS = [prompt.text for prompt in PROMPTS]
OPTIONS = LoraOptions(4, 8.0)
FILES = ["adapter_model.safetensors", "adapter_config.json", "hypernoise.json"]


def trained(folder: Path, **options) -> tuple[SanaSprint, NoiseHypernetwork]:
    generator = sana(folder)
    hypernetwork = NoiseHypernetwork(generator, OPTIONS, **options)
    randomise(hypernetwork)
    return generator, hypernetwork


def residual(generator: SanaSprint, hypernetwork: NoiseHypernetwork) -> torch.Tensor:
    noise = torch.randn(3, *generator.noise_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return hypernetwork(noise, generator.encode(TEXTS))


def test_an_adapter_folder_has_weights_and_both_descriptions_and_nothing_is_left_beside_it(sana_folder, tmp_path):
    _generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter", {"class": "L2Sum"})
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    config = json.loads((folder / "hypernoise.json").read_text())
    assert config["generator"]["name"] == sana_folder.name and config["penalty"] == {"class": "L2Sum"}
    assert config["noise_shape"] == [4, 8, 8] and config["adapts"] == "noise"
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_other_options_of_the_generator_than_those_in_training_are_a_warning(sana_folder, tmp_path):
    _generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    config = json.loads((folder / "hypernoise.json").read_text())
    assert config["options"] == {"guidance_scale": 4.5, "instruction": None, "max_sequence_length": 20}
    load_adapter(folder, sana(sana_folder))  # warnings are errors here
    with pytest.warns(UserWarning, match=r"adapter .*: trained with guidance_scale 4.5, this generator has 3.0"):
        load_adapter(folder, sana(sana_folder, guidance_scale=3.0))
    del config["options"]  # as adapters of an earlier version have it
    (folder / "hypernoise.json").write_text(json.dumps(config))
    load_adapter(folder, sana(sana_folder, guidance_scale=3.0))


def test_peft_reads_an_adapter_folder_as_its_own(sana_folder, tmp_path):
    from peft import PeftModel

    generator, hypernetwork = trained(sana_folder, mode="absolute")  # the base output stays, as peft has it
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    theirs = PeftModel.from_pretrained(copy.deepcopy(generator.network), folder)
    noise = torch.randn(3, *generator.noise_shape, generator=torch.Generator().manual_seed(0))
    conditioning = generator.encode(TEXTS)
    with torch.no_grad():
        ours = generator.predict(hypernetwork.view, noise, conditioning)
        torch.testing.assert_close(generator.predict(theirs, noise, conditioning), ours)
        assert not torch.allclose(generator.predict(generator.network, noise, conditioning), ours)


def test_a_fine_tuned_generator_is_not_loaded_as_a_hypernetwork(sana_folder, tmp_path):
    generator = sana(sana_folder)
    folder = save_adapter(GeneratorLora(generator, OPTIONS), tmp_path / "adapter")
    with pytest.raises(ValueError, match="it adapts the generator itself"):
        load_hypernetwork(folder, generator)


def test_an_adapter_loads_over_its_generator_in_any_precision_and_folder(sana_folder, tmp_path):
    _generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    (tmp_path / "elsewhere").symlink_to(sana_folder)
    half = SanaSprint(str(tmp_path / "elsewhere"), max_sequence_length=20, dtype="bfloat16")
    load_adapter(folder, half)
    half.network.half()
    load_adapter(folder, half)


def test_another_generator_is_refused_even_of_the_same_shape(sana_folder, tmp_path):
    _generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    other = sana(sana_folder)
    other.name = "owner/other"
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.copy_(parameter[torch.randperm(len(parameter))])
    message = rf"adapter {folder}: trained with generator {sana_folder.name} .* not owner/other"
    with pytest.raises(ValueError, match=message) as error:
        load_adapter(folder, other)
    assert "\n" not in str(error.value)
    other = sana(sana_folder)
    other.noise_shape = (4, 4, 4)
    with pytest.raises(ValueError, match="trained with generator"):
        load_adapter(folder, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LoraOptions(2, 8.0), "'rank' is 4"),
        (LoraOptions(4, 4.0), "'alpha' is 8.0"),
        (LoraOptions(4, 8.0, ["to_q", "proj_out"]), "'targets' is 'all'"),
    ],
)
def test_an_adapter_of_another_rank_scale_or_target_is_refused(sana_folder, tmp_path, options, message):
    _generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    with pytest.raises(ValueError, match=message):
        load_weights(NoiseHypernetwork(sana(sana_folder), options), folder)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(sana_folder, tmp_path, file):
    generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        load_adapter(folder, generator)


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "hypernoise.json"])
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_damaged_file_is_named(sana_folder, tmp_path, file, keep):
    generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(ValueError, match=f"{file}: damaged( file)?") as error:
        load_adapter(folder, generator)
    assert "\n" not in str(error.value)


def test_a_later_format_is_refused(sana_folder, tmp_path):
    generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    config = json.loads((folder / "hypernoise.json").read_text())
    (folder / "hypernoise.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_adapter(folder, generator)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from hypernoise_pl.adapters.files import save_adapter
from tests.adapters.test_adapter import trained
_generator, hypernetwork = trained(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (200, 20_000, 100_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        print("written", save_adapter(hypernetwork, Path(sys.argv[2])))
    except OSError as error:
        print(error)
    if limit == 20_000:
        input("look now")
"""


@pytest.mark.slow
def test_a_full_disk_leaves_the_good_adapter_in_place(sana_folder, tmp_path):
    _generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    (folder / "mark").touch()  # only in the old folder
    command = [sys.executable, "-c", FULL_DISK, str(sana_folder), str(folder)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(2):  # within the weights, and within PEFT's configuration or ours
            assert process.stdout.readline().startswith(
                f"adapter {folder}: not written; an older adapter is unchanged: "
            )
        assert process.stdout.read(len("look now")) == "look now"
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == {**before, "mark": b""}
        assert os.listdir(tmp_path) == ["adapter"]
        output, _ = process.communicate("\n")
    assert output.splitlines()[-1] == f"written {folder}"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_saving_again_replaces(sana_folder, tmp_path):
    _generator, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    randomise(hypernetwork, seed=1)
    save_adapter(hypernetwork, folder)
    saved = load_file(folder / "adapter_model.safetensors")
    own = lora_state(hypernetwork.view)
    assert len(saved) == len(own)
    assert all(torch.equal(saved[f"base_model.model.{name}"], weight) for name, weight in own.items())
    assert os.listdir(tmp_path) == ["adapter"]
    (tmp_path / "like").mkdir()
    assert folder.stat().st_mode == (tmp_path / "like").stat().st_mode  # others may read it


def test_a_folder_of_other_files_is_left_as_it_is(sana_folder, tmp_path):
    generator, hypernetwork = trained(sana_folder)
    (tmp_path / "mine").mkdir()
    save_adapter(hypernetwork, str(tmp_path / "mine"))  # an empty one, named by a text
    assert torch.equal(
        residual(generator, load_adapter(str(tmp_path / "mine"), generator)), residual(generator, hypernetwork)
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("a year of work")
    with pytest.raises(OSError, match=r"an older adapter is unchanged: the folder holds 'thesis.txt' and no adapter"):
        save_adapter(hypernetwork, tmp_path / "other")
    assert [file.name for file in (tmp_path / "other").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("key", "complaint"), [("adapts", "must be noise or generator"), ("mode", "mode must be")])
def test_unknown_word_in_a_description_is_refused(sana_folder, tmp_path, key, complaint):
    _, hypernetwork = trained(sana_folder)
    folder = save_adapter(hypernetwork, tmp_path / "adapter")
    config = json.loads((folder / "hypernoise.json").read_text())
    (folder / "hypernoise.json").write_text(json.dumps(config | {key: "other"}))
    with pytest.raises(ValueError, match=complaint):
        load_adapter(folder, sana(sana_folder))
