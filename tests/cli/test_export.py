"""What is exported can be loaded by those it is for, says what it is, and reaches the hub as it is."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from hypernoise_pl.__main__ import main
from hypernoise_pl.adapters.files import load_adapter, save_adapter
from hypernoise_pl.adapters.formats import load_reference
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.generator_lora import GeneratorLora
from hypernoise_pl.lora.view import LoraOptions
from hypernoise_pl.report.verdict import verdict
from tests.hub import Hub, running
from tests.report.handmade import PROMPTS as TAGGED
from tests.report.handmade import fitted, rollouts, three
from tests.tiny import PROMPTS, module, randomise, sana

FIT = {"seconds": 60.0, "seconds_per_step": 0.5, "device": "cpu"}
SUMMARY = fitted(three(), FIT)


@pytest.fixture
def run(sana_folder: Path, tmp_path: Path) -> Path:
    """The folder of a fit."""
    folder = tmp_path / "runs" / "fit" / "20260101-000000"
    options = {"model": str(sana_folder), "max_sequence_length": 20}
    config = {
        "trainer": {"max_steps": 20, "max_epochs": None},
        "model": {
            "class_path": "hypernoise_pl.module.HyperNoiseModule",
            "init_args": {
                "generator": {"class_path": "hypernoise_pl.generators.sana_sprint.SanaSprint", "init_args": options},
                "rewards": {"red": {"class_path": "hypernoise_pl.rewards.pixels.Redness"}},
                "reward_weights": {"red": 0.5},
            },
        },
        "data": {"class_path": "hypernoise_pl.data.text.TextPrompts", "init_args": {"train": "/home/me/prompts.txt"}},
    }
    (folder / "images").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    for name in ("validation-000020.png", "test-000020.png"):
        (folder / "images" / name).write_bytes(name.encode())
    save_adapter(trained(sana_folder), folder / "adapter", {"class": "L2Sum", "reward_scale": 50.0})
    return folder


def trained(folder: Path) -> NoiseHypernetwork:
    hypernetwork = NoiseHypernetwork(sana(folder), LoraOptions(4, 8.0))
    randomise(hypernetwork)
    return hypernetwork


@torch.no_grad()
def residual(folder: Path, network: Any) -> torch.Tensor:
    generator = sana(folder)
    noise = torch.randn(3, *generator.noise_shape, generator=torch.Generator().manual_seed(0))
    conditioning = generator.encode([prompt.text for prompt in PROMPTS])
    if isinstance(network, NoiseHypernetwork):
        return network(noise, conditioning)
    return generator.predict(network, noise, conditioning)


def test_the_newest_fit_is_exported_with_its_card(run, sana_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export"]) == 0
    folder = Path("runs/fit/20260101-000000/export-own")
    assert capsys.readouterr().out == f"adapter and model card are in {folder}\n"
    found = load_adapter(folder, sana(sana_folder))
    assert torch.equal(residual(sana_folder, found), residual(sana_folder, trained(sana_folder)))
    card = (folder / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "peft"
    for line in (
        '    image = pipe("a prompt", num_inference_steps=1, intermediate_timesteps=None, guidance_scale=4.5, '
        "complex_human_instruction=None).images[0]",
        "- data: TextPrompts (train prompts.txt)",
        "- rewards: red (Redness, weight 0.5)",
        "- penalty: class L2Sum, reward_scale 50.0",
        "- LoRA: rank 4, alpha 8, layers all",
        "- length: 20 steps",
        "| method | base | hypernetwork | ReNO (50 iterations) |",
        "| judge | 0.250 | 0.625 | 1.000 |",
        "| NFE | 1 | 2 | 50 + 25 back |",
        "4 prompts, 2 noises each. Means are over tags; a tie counts one half of a win. "
        + verdict(SUMMARY)
        + " Judged by hand.",
    ):
        assert line in card.splitlines()
    assert "(samples.png)" in card and (folder / "samples.png").read_bytes() == b"test-000020.png"
    texts = [file.read_text() for file in folder.iterdir() if file.suffix in (".json", ".md")]
    assert len(texts) == 3 and not any(str(sana_folder) in text or "/home/me" in text for text in texts)


def test_an_adapter_measured_on_a_single_prompt_of_a_tag_is_exported(run, tmp_path):
    alone = {
        name: rollouts(name, right, [0.0, 1.0], TAGGED[:1])
        for name, right in (("base", [0, 1]), ("hypernetwork", [1, 1]))
    }
    (run / "summary.json").write_text(json.dumps(fitted(alone)))
    assert main(["export", "--adapter", str(run / "adapter"), "--output", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "gains +0.500 over base by the judge (1 prompt; no interval: a tag has a single prompt)" in card


def test_formats_are_read_by_those_they_are_for(run, sana_folder, tmp_path):
    from peft import PeftModel

    wanted = residual(sana_folder, trained(sana_folder))
    given = ["export", "--adapter", str(run / "adapter"), "--output"]
    assert main([*given, str(tmp_path / "theirs"), "--format", "reference"]) == 0
    assert not (tmp_path / "theirs" / "hypernoise.json").exists()
    assert torch.equal(residual(sana_folder, load_reference(tmp_path / "theirs", sana(sana_folder))), wanted)
    assert main([*given, str(tmp_path / "plain"), "--format", "peft"]) == 0
    with pytest.warns(UserWarning, match="lora_bias"):
        plain = PeftModel.from_pretrained(copy.deepcopy(sana(sana_folder).network), tmp_path / "plain")
    torch.testing.assert_close(residual(sana_folder, plain), wanted, rtol=0, atol=1e-5)
    assert "The network needs no patch" in (tmp_path / "plain" / "README.md").read_text()
    (run / "summary.json").unlink()
    assert main([*given, str(tmp_path / "plain")]) == 0  # a second export takes the first one's place
    assert "These weights were not measured." in (tmp_path / "plain" / "README.md").read_text()
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_a_run_in_bfloat16_gives_peft_the_residual_of_float32(run, sana_folder, tmp_path):
    """The format is for float32, where a last layer that was rounded to bfloat16 would not be taken away whole."""
    from peft import PeftModel

    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["init_args"]["generator"]["init_args"]["dtype"] = "bfloat16"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    given = ["export", "--adapter", str(run / "adapter"), "--format", "peft", "--output", str(tmp_path / "out")]
    assert main(given) == 0
    with pytest.warns(UserWarning, match="lora_bias"):
        plain = PeftModel.from_pretrained(copy.deepcopy(sana(sana_folder).network), tmp_path / "out")
    wanted = residual(sana_folder, trained(sana_folder))
    torch.testing.assert_close(residual(sana_folder, plain), wanted, rtol=0, atol=1e-5)


def test_figures_of_other_weights_are_not_on_the_card(run, sana_folder, tmp_path):
    """``adapter-best`` lies in the same run, whose figures and samples are the last adapter's."""
    save_adapter(trained(sana_folder), run / "adapter-best")
    given = ["export", "--adapter", str(run / "adapter-best"), "--output", str(tmp_path / "out")]
    assert main(given) == 0  # the last is the best
    assert "gains +0.375" in (tmp_path / "out" / "README.md").read_text()
    best = NoiseHypernetwork(sana(sana_folder), LoraOptions(4, 8.0))
    save_adapter(best, run / "adapter-best")
    with pytest.warns(UserWarning, match="gets no figures and no samples"):
        assert main(given) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "These weights were not measured." in card
    assert "0.625" not in card and not (tmp_path / "out" / "samples.png").exists()
    assert residual(sana_folder, load_adapter(tmp_path / "out", sana(sana_folder))).abs().max() == 0


@pytest.mark.parametrize("layout", ["own", "peft", "reference"])
@pytest.mark.parametrize("damage", ["truncated", "not finite", "of rank 2"])
def test_damaged_weights_are_not_exported(damage, layout, run, sana_folder, tmp_path, capsys):
    file = run / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(iter(tensors))
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "not finite":
        tensors[name][0] = torch.nan
        save_file(tensors, file)
    else:
        save_adapter(NoiseHypernetwork(sana(sana_folder), LoraOptions(2, 8.0)), tmp_path / "two")
        file.write_bytes((tmp_path / "two" / file.name).read_bytes())
    given = ["export", "--adapter", str(run / "adapter"), "--format", layout, "--output", str(tmp_path / "out")]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert f"adapter {file}: " in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_hub_gets_the_folder_as_it_is(run, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    with running(Hub()) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        assert main(["export", "--adapter", str(run / "adapter"), "--push", "me/mine", "--private"]) == 0
        assert capsys.readouterr().out.endswith(f"pushed to {hub.url}/me/mine\n")
    assert [(made["organization"], made["name"], made["visibility"]) for made in hub.created] == [
        ("me", "mine", "private")
    ]
    folder = run / "export-own"
    assert hub.files == {file.name: file.read_bytes() for file in folder.iterdir()} and len(hub.files) == 5
    assert hub.cards == [hub.files["README.md"].decode()]
    assert hub.tokens == {"Bearer hf_of_a_test"}
    assert "attach(pipe, 'me/mine')" in hub.files["README.md"].decode()


def test_a_hub_that_takes_nothing_is_one_line(run, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    given = ["export", "--adapter", str(run / "adapter"), "--push", "me/mine"]
    with running(Hub(403)) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        assert main(given) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "me/mine: not pushed" in error and "a token that may write is needed" in error
    assert main(given) == 1  # nobody listens there now
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "me/mine: not pushed" in error


def said(capsys, *given: str) -> str:
    assert main(["export", *given]) == 2
    error: str = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("hypernoise_pl export: error: ")
    return error


def test_bad_input_is_one_clear_line(run, sana_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path / "runs" / "fit")
    adapter = str(run / "adapter")
    assert "run `python -m hypernoise_pl fit` first" in said(capsys)
    assert "no hypernoise.json in that folder" in said(capsys, "--adapter", str(tmp_path))
    assert "invalid choice: 'pefd'" in said(capsys, "--adapter", adapter, "--format", "pefd")
    assert "--formt: not understood (did you mean '--format'?)" in said(capsys, "--formt", "own")
    assert "needs owner/name" in said(capsys, "--adapter", adapter, "--push", "mine")
    assert "only with --push" in said(capsys, "--adapter", adapter, "--private")
    assert "give the fit's run folder with --run" in said(capsys, "--adapter", adapter, "--run", str(tmp_path))
    assert "is not an adapter folder" in said(capsys, "--adapter", adapter, "--output", str(tmp_path))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["init_args"]["generator"]["init_args"]["hight"] = 1
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "its generator is not understood" in said(capsys, "--adapter", adapter, "--format", "peft")
    (run / "config.yaml").write_text("trainer: {}")
    assert "was not written by fit" in said(capsys, "--adapter", adapter)
    (run / "config.yaml").write_text("{")
    assert "config.yaml: damaged" in said(capsys, "--adapter", adapter)
    tuned = module(sana_folder, GeneratorLora, lora=LoraOptions(4, 8.0))
    save_adapter(tuned.adapter, run / "adapter")
    (run / "config.yaml").write_text("trainer: {}")
    assert "use --format own" in said(capsys, "--adapter", adapter, "--format", "reference")
