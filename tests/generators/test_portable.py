"""What an adapter says of its generator builds the same generator elsewhere, and tells nothing of the machine."""

import json
from pathlib import Path

import pytest
import yaml

from hypernoise_pl.adapters.description import fingerprint, generator_config
from hypernoise_pl.adapters.files import save_adapter
from hypernoise_pl.config.files import PACKAGE
from hypernoise_pl.config.signatures import find_class
from hypernoise_pl.generators.loading import DecoderOptions
from hypernoise_pl.generators.portable import portable_description
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions
from tests.families import FAMILIES
from tests.tiny import sana

SHAPES = PACKAGE / "shapes" / "weights" / "generator"


def saved(generator, folder: Path) -> Path:
    return save_adapter(NoiseHypernetwork(generator, LoraOptions(2, 4.0)), folder)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_built_again_from_what_its_adapter_says(name, pipeline_folder, tmp_path, monkeypatch):
    source = pipeline_folder(name)
    generator = FAMILIES[name].generator(source)
    adapter = saved(generator, tmp_path / "adapter")
    texts = [(adapter / file).read_text() for file in ("hypernoise.json", "adapter_config.json")]
    assert not any(str(source.parent) in text or str(Path.home()) in text for text in texts)
    monkeypatch.chdir(source.parent)  # another machine, where the folder of that name lies in the working directory
    found = generator_config(adapter)
    again = find_class(found["class_path"])(**found["init_args"])
    assert type(again) is type(generator)
    assert (again.noise_shape, fingerprint(again.network)) == (generator.noise_shape, fingerprint(generator.network))
    for option in generator.trained_options:
        assert getattr(again, option) == getattr(generator, option)


def test_a_folder_of_this_package_is_named_from_the_package_on(tmp_path):
    generator = SanaSprint(str(SHAPES), components="hypernoise_pl.shapes.models", max_sequence_length=20)
    about = json.loads((saved(generator, tmp_path / "adapter") / "hypernoise.json").read_text())["generator"]
    assert about == {
        "name": "generator",
        "class_path": "hypernoise_pl.generators.sana_sprint.SanaSprint",
        "init_args": {
            "model": "${package:shapes/weights/generator}",
            "components": "hypernoise_pl.shapes.models",
            "max_sequence_length": 20,
        },
    }
    assert generator_config(tmp_path / "adapter")["init_args"]["model"] == str(SHAPES)


def test_a_hub_id_its_revision_and_options_stay_and_what_is_of_the_machine_does_not(sana_folder):
    generator = sana(sana_folder, local_only=True, decoding=DecoderOptions(slicing=True))
    generator.arguments |= {"model": "owner/name", "revision": "main"}
    assert portable_description(generator)["init_args"] == {
        "model": "owner/name",
        "revision": "main",
        "max_sequence_length": 20,
        "decoding": {"tiny": None, "slicing": True, "tiling": False},
    }


def test_a_folder_that_moved_is_found_by_the_runs_configuration_or_asked_for_by_its_flag(
    sana_folder, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    adapter = saved(sana(sana_folder), run / "adapter")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"pass --model\.generator\.model=PATH") as error:
        generator_config(adapter)
    assert f"./{sana_folder.name}" in str(error.value) and "\n" not in str(error.value)
    generator = {"class_path": "SanaSprint", "init_args": {"model": str(sana_folder)}}
    (run / "config.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"generator": generator}}}))
    assert generator_config(adapter)["init_args"]["model"] == str(sana_folder)


def test_a_folder_within_the_working_directory_is_relative_to_it(sana_folder, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "sana").symlink_to(sana_folder)
    monkeypatch.chdir(tmp_path)
    for given in (tmp_path / "models" / "sana", Path("models", "sana")):
        about = portable_description(sana(given))
        assert (about["init_args"]["model"], about["name"]) == ("./models/sana", "sana")
