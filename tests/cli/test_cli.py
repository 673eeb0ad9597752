"""The commands as a person types them: configuration, overrides, errors, files."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hypernoise_pl.__main__ import main
from hypernoise_pl.cli import export
from hypernoise_pl.cli.command_table import COMMANDS, CONFIGURED, PROGRAM
from hypernoise_pl.cli.flags import FORMATS
from hypernoise_pl.cli.parser import own_flags
from hypernoise_pl.compare.config import Method
from hypernoise_pl.config.files import benchmark_names, conf_folder, config_names, sweep_names
from hypernoise_pl.config.loading import load_configs, read_config
from hypernoise_pl.config.signatures import ConfigError

METHOD_KEYS = {field.name for field in dataclasses.fields(Method)}
SHORT = [
    "--trainer.max_steps=2",
    "--trainer.val_check_interval=2",
    "--trainer.log_every_n_steps=1",
    "--data.batch_size=8",
    "--data.validation=6",
    "--data.test=6",
    "--model.images_per_prompt=2",
    "--model.reference_search.iterations=2",
]


pytestmark = pytest.mark.usefixtures("own_folder")


def configured(capsys, *arguments: str) -> dict:
    """The configuration that a command line amounts to."""
    assert main(["fit", *arguments, "--print_config"]) == 0
    Path("shown.yaml").write_text(capsys.readouterr().out)
    return read_config(Path("shown.yaml"))


def refused(capsys, *arguments: str, code: int = 2) -> str:
    """The one line with which a command line is refused."""
    assert main([*arguments]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    return lines[0]


def test_help_is_answered_without_heavy_imports():
    for arguments in (["--help"], *([command, "--help"] for command in COMMANDS)):
        code = (
            "import sys; from hypernoise_pl.__main__ import main\n"
            f"assert main({arguments!r}) == 0\n"
            "heavy = {'torch', 'lightning', 'diffusers', 'transformers', 'omegaconf'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert shown.startswith("usage: python -m hypernoise_pl")


def test_help_has_every_flag_its_default_and_examples(capsys):
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        page = capsys.readouterr().out
        assert page.find("\noptions:") < page.index("\ncommon:") < page.index("\nexamples:")
        assert ("configuration:" in page) == (command in CONFIGURED)
        for flag in own_flags(command):
            assert f"  {flag}" in page or f", {flag}" in page, flag
        assert all(len(line) <= 80 for line in page.splitlines() if f"{PROGRAM} {command}" not in line), command
    assert main(["predict", "--help"]) == 0
    assert "residual to add (default: 1.0)" in " ".join(capsys.readouterr().out.split())
    assert main([]) == 0
    page = capsys.readouterr().out
    assert all(f"\n    {name} " in page or f"\n    {name}\n" in page for name in COMMANDS) and "exit status:" in page
    assert all(len(line) <= 80 for line in page.splitlines())


def test_unknown_command_names_the_nearest(capsys):
    assert main(["fti"]) == 2
    assert "no command 'fti' (did you mean 'fit'?)" in capsys.readouterr().err
    assert main(["xyz"]) == 2
    assert "commands: fit, validate, test" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fit", "--ouput=x"], "--ouput: no such flag or key (did you mean '--output'?)"),
        (["fit", "--ckpt-path=last"], "--ckpt-path: no such flag or key (did you mean '--ckpt_path'?)"),
        (["fit", "--verbos", "1"], "--verbos: no such flag or key (did you mean '--verbose'?)"),
        (
            ["fit", "--adapter=x"],
            "--adapter: fit has no such flag; it is one of validate, test, predict, compare, export",
        ),
        (["cache-prompts", "--strength=2"], "--strength: cache-prompts has no such flag; it is one of predict"),
        (["predict", "--steps=two"], "argument --steps: invalid int value: 'two'"),
        (["predict", "--prompt"], "argument --prompt: expected one argument"),
        (["export", "--formt=peft"], "--formt=peft: not understood (did you mean '--format'?)"),
        (["export", "--format=gguf"], "argument --format: invalid choice: 'gguf'"),
        (["configs", "shw"], "argument action: invalid choice: 'shw'"),
        (["configs", "show"], "show: the name is missing"),
        (["configs", "show", "shapes_lnog"], "no configuration is called 'shapes_lnog' (did you mean 'shapes_long'?)"),
        (["configs", "copy", "fit", "nowhere/a.yaml"], "nowhere/a.yaml: no folder nowhere"),
        (["configs", "list", "fit"], "fit: list takes no name"),
    ],
)
def test_a_flag_that_the_command_does_not_have_is_one_line(arguments, said, capsys):
    assert said in refused(capsys, *arguments)
    assert not list(Path().iterdir())


def test_formats_are_those_of_export():
    assert tuple(export.FORMATS) == FORMATS


def test_configurations_are_listed_shown_and_copied(capsys):
    assert main(["configs", "--json"]) == 0
    shown = capsys.readouterr()
    listed = {each["name"]: each["description"] for each in json.loads(shown.out)}
    sweeps = [f"sweeps/{name}" for name in sweep_names()]
    assert list(listed) == [*config_names(), *sweeps, *(f"benchmarks/{name}" for name in benchmark_names())]
    assert {"fit", "sana_sprint", "strategy/ddp", "rewards/redness", "sweeps/shapes_recipe"} <= set(listed)
    for name, description in listed.items():
        assert f"  {name:<{max(map(len, listed))}}  {description}\n" in shown.err
        assert description.endswith((".", "?")) and len(description) <= 52, (
            f"the first line of conf/{name}.yaml says in 52 letters what for"
        )
    assert main(["configs", "show", "strategy/ddp"]) == 0
    assert capsys.readouterr().out == (conf_folder() / "strategy/ddp.yaml").read_text()
    assert main(["configs", "copy", "benchmarks/shapes"]) == 0
    assert "next  python -m hypernoise_pl score shapes.yaml IMAGES\n" in capsys.readouterr().out
    assert Path("shapes.yaml").read_text() == (conf_folder() / "benchmarks/shapes.yaml").read_text()
    Path("sub").mkdir()
    for arguments, file, command in [
        (["sana_sprint"], "sana_sprint.yaml", "fit"),
        (["compare", "mine.yaml"], "mine.yaml", "compare"),
        (["strategy/ddp", "sub"], "sub/ddp.yaml", "fit"),
    ]:
        assert main(["configs", "copy", *arguments]) == 0
        assert f"next  python -m hypernoise_pl {command} --config {file}\n" in capsys.readouterr().out
        assert Path(file).read_text() == (conf_folder() / f"{arguments[0]}.yaml").read_text()
        assert main([command, "--config", file, "--print_config"]) == 0
        Path(file).write_text("# mine\n")
        assert f"{file} is there already" in refused(capsys, "configs", "copy", *arguments)
        assert Path(file).read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("hypernoise pre", {"predict "}),
        ("hypernoise compare --bud", {"--budget-seconds "}),
        ("hypernoise fit --config shapes", {"shapes_long "}),
        ("hypernoise score shapes_q", {"shapes_questions "}),
        ("hypernoise predict --benchmark shapes_f", {"shapes_fidelity "}),
        ("hypernoise export --format re", {"reference "}),
    ],
)
def test_a_shell_completes_commands_flags_and_names(line, found, tmp_path):
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "found"), "COMP_TYPE": "9"}
    code = "from hypernoise_pl.__main__ import main; main()"
    subprocess.run([sys.executable, "-c", code], env=os.environ | asked, check=True)
    assert set((tmp_path / "found").read_text().split("\n")) == found


def test_one_weight_in_a_second_file_leaves_the_others(tmp_path, capsys):
    Path("mine.yaml").write_text("model: {init_args: {reward_weights: {clip: 0.7}}}\n")
    base = configured(capsys)["model"]["init_args"]["reward_weights"]
    mine = configured(capsys, "--config", "mine.yaml")["model"]["init_args"]["reward_weights"]
    assert mine == base | {"clip": 0.7}


def test_flags_reach_every_value_and_interpolations_see_them(capsys):
    found = configured(
        capsys,
        "--model.reward_weights.pick=2",
        "--model.adapter.lora.rank=7",
        "--model.noise=SharedNoise",
        "--model.objective.penalty=L2Mean",
        "--trainer.max_steps=123",
        "--data.batch_size=${trainer.log_every_n_steps}",
    )
    arguments = found["model"]["init_args"]
    assert arguments["reward_weights"]["pick"] == 2
    assert arguments["adapter"]["init_args"]["lora"]["rank"] == 7
    assert arguments["noise"]["class_path"] == "hypernoise_pl.noise.SharedNoise"
    assert arguments["objective"]["penalty"]["class_path"] == "hypernoise_pl.objective.L2Mean"
    assert arguments["lr_scheduler"]["init_args"]["total_steps"] == 123
    assert found["data"]["init_args"]["batch_size"] == found["trainer"]["log_every_n_steps"]


def test_interpolation_across_files(capsys):
    Path("a.yaml").write_text("trainer: {max_steps: 77}\n")
    Path("b.yaml").write_text("data: {init_args: {train: '${trainer.max_steps}'}}\n")
    assert configured(capsys, "--config", "a.yaml", "--config", "b.yaml")["data"]["init_args"]["train"] == 77


def test_another_class_keeps_the_arguments_both_take(capsys):
    flag = configured(capsys, "--model.adapter=GeneratorLora")["model"]
    assert flag["init_args"]["adapter"]["class_path"] == "hypernoise_pl.lora.generator_lora.GeneratorLora"
    own = configured(capsys)["model"]["init_args"]["adapter"]["init_args"]["lora"]
    assert flag["init_args"]["adapter"]["init_args"] == {"lora": own}
    Path("c.yaml").write_text(
        "model: {init_args: {reference_search: {class_path: hypernoise_pl.search.random_search.RandomSearch}}}"
    )
    reference = configured(capsys, "--config", "c.yaml")["model"]["init_args"]["reference_search"]
    assert reference["class_path"] == "hypernoise_pl.search.random_search.RandomSearch"
    assert reference["init_args"] == {"candidates": 16}


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--trainer.max_step=3", "did you mean 'max_steps'?"),
        ("--model.reward_weights.cilp=1", "did you mean 'clip'?"),
        ("--model.adapter.lora.rnak=3", "did you mean 'rank'?"),
        ("--model.generator.modle=x", "did you mean 'model'?"),
        ("--modle.lora.rank=3", "did you mean '--model'?"),
        ("--model.adapter=GeneratorLor", "did you mean 'GeneratorLora'?"),
        ("--data=ShapesPromts", "did you mean 'ShapesPrompts'?"),
        ("--model.noise=SharedNois", "did you mean 'SharedNoise'?"),
        ("--model.adapter.lora.rank=abc", "--model.adapter.lora.rank: got 'abc'; give a whole number"),
        ("--config=nowhere", "config nowhere: no such file"),
    ],
)
def test_a_wrong_flag_is_one_line_with_the_nearest_name(flag, said, capsys):
    assert said in refused(capsys, "fit", flag)
    assert not list(Path().iterdir())  # nothing was begun


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainer: {max_step: 3}", "no key is called 'max_step' (did you mean 'max_steps'?)"),
        ("model: {init_args: {reward_weights: {cilp: 1}}}", "no reward is called 'cilp' (did you mean 'clip'?)"),
        (
            "model: {init_args: {adapter: {init_args: {lora: {rnak: 3}}}}}",
            "no key is called 'rnak' (did you mean 'rank'?)",
        ),
        ("modle: {}", "no key is called 'modle' (did you mean 'model'?)"),
        ("model: {class_path: hypernoise_pl.module.HyperNoisModule}", "did you mean 'HyperNoiseModule'?"),
        ("model: [1, 2", "not YAML"),
        ("- 1", "needs keys and values"),
        ("data: {init_args: {train: '${trainer.max_stepz}'}}", "max_stepz"),
    ],
)
def test_a_wrong_file_is_one_line(text, said, capsys):
    Path("wrong.yaml").write_text(text)
    assert said in refused(capsys, "fit", "--config", "wrong.yaml")


def test_devices_and_weights_that_are_not_there(capsys):
    assert "CUDA" in refused(capsys, "fit", "--trainer.accelerator=cuda")
    assert "ddpp" in refused(capsys, "fit", "--trainer.strategy=ddpp")
    assert "generator /nowhere: no such folder" in refused(capsys, "fit", "--model.generator.model=/nowhere")
    assert "no such file" in refused(capsys, "fit", "--ckpt_path=gone.ckpt", "--output=run")


def test_every_configuration_parses_and_explains_its_keys(capsys):
    assert config_names()
    for name in config_names():
        file = conf_folder() / f"{name}.yaml"
        command = "compare" if "compare" in yaml.safe_load(file.read_text()) else "fit"
        assert main([command, "--config", str(file), "--print_config"]) == 0
        capsys.readouterr()
        lines = [line.strip() for line in file.read_text().splitlines()]
        for above, line in zip(["", *lines], lines):
            key, colon, value = line.removeprefix("- ").partition(":")
            if line.startswith("#") or not colon or not value.strip() or key in ("class_path", "init_args"):
                continue
            if key.strip("{ ") in METHOD_KEYS:  # explained once, above the list
                continue
            assert "#" in line or above.startswith("#"), f"{file.name}: {key} has no comment"


def test_an_option_of_a_class_that_an_earlier_flag_named(capsys):
    found = configured(capsys, "--model.generator=QwenImage", "--model.generator.shift=3")["model"]["init_args"]
    assert found["generator"]["class_path"] == "hypernoise_pl.generators.qwen_image.QwenImage"
    assert found["generator"]["init_args"]["shift"] == 3
    assert found["generator"]["init_args"]["max_sequence_length"] == 20  # both classes take it
    search = "--model.reference_search=hypernoise_pl.search.random_search.RandomSearch"
    assert "no key is called 'iterations'" in refused(capsys, "fit", search, "--model.reference_search.iterations=3")
    wrong = refused(capsys, "fit", "--model.generator=QwenImage", "--model.generator.shfit=3")
    assert "no key is called 'shfit' of QwenImage (did you mean 'shift'?)" in wrong
    data = configured(capsys, "--data=TextPrompts", "--data.train=p.txt")["data"]
    assert data["init_args"]["train"] == "p.txt"


@pytest.mark.slow
def test_fit_then_test_then_predict(tmp_path, capsys, monkeypatch):
    assert main(["fit", *SHORT, "--output=run"]) == 0
    shown = capsys.readouterr().out
    assert "ReNO (2 iterations)" in shown and "2 + 2 back" in shown
    assert "python -m hypernoise_pl predict --adapter run/adapter" in shown
    summary = json.loads(Path("run/summary.json").read_text())
    methods = summary["methods"]
    for method, nfe in (("base", 1), ("hypernetwork", 2)):
        assert methods[method]["nfe"] == nfe
        assert set(methods[method]["rewards"]) == {"clip", "pick", "image_reward"}
        assert set(methods[method]["judge"]) >= {"mean", "colors", "position", "counting"}
    assert methods["reference"]["gain"] is not None and summary["fit"]["seconds"] > 0
    assert (summary["prompts"], summary["seeds"]) == (6, 2)
    for file in ("adapter/adapter_model.safetensors", "config.yaml", "checkpoints/last.ckpt"):
        assert Path("run", file).is_file()
    assert list(Path("run/images").glob("test-*.png"))
    assert list(Path("run").glob("events.out.tfevents.*"))

    capsys.readouterr()
    assert main(["test", "--adapter=run/adapter", *SHORT, "--output=again", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads(Path("again/summary.json").read_text())
    assert "hypernetwork" in shown.err and "summary      again/summary.json" in shown.err
    again, before = json.loads(Path("again/summary.json").read_text()), methods["hypernetwork"]
    assert again["methods"]["hypernetwork"]["judge"] == before["judge"] and again["fit"] is None
    assert again["methods"]["hypernetwork"]["rewards"] == pytest.approx(before["rewards"])

    prompts = ["--prompt=a red circle", "--prompt=two stars", "--seeds=0,5"]
    assert main(["predict", "--adapter=run/adapter", *prompts, "--output=seen"]) == 0
    rows = [json.loads(line) for line in Path("seen/predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * 2
    assert all(Path("seen", row["file"]).is_file() for row in rows)
    assert Path("seen/grid.png").is_file()


def test_predict_without_prompts_or_with_bad_seeds(capsys):
    assert "no prompts" in refused(capsys, "predict", "--adapter=x")
    assert "needs whole numbers" in refused(capsys, "predict", "--prompt=a", "--seeds=1,b")
    assert "--seeds 1,0,01: 1 is there twice" in refused(capsys, "predict", "--prompt=a", "--seeds=1,0,01")
    Path("binary.txt").write_bytes(b"\x00\x01")
    assert "binary" in refused(capsys, "predict", "--prompts=binary.txt")
    assert "no hypernoise.json" in refused(capsys, "predict", "--prompt=a ring", "--adapter=nowhere")


def test_config_error_is_a_value_error():
    with pytest.raises(ConfigError):
        load_configs(["nothing_like_this"])


def test_a_class_explains_itself(capsys):
    assert main(["fit", "--help-class", "SDTurbo"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("hypernoise_pl.generators.stable_diffusion.SDTurbo\n\nA Stable Diffusion pipeline")
    for option in ("--model", "--sampler", "--lora", "--height", "--decoding.tiny"):  # its own and its base's
        assert f"  {option} " in page
    assert main(["fit", "--help-class", "hypernoise_pl.search.reno.ReNO"]) == 0
    assert "--iterations" in capsys.readouterr().out
    assert main(["fit", "--help-class", "Sdturbo"]) == 2
    assert "no such class (did you mean 'SDTurbo'?)" in capsys.readouterr().err


def test_a_reward_of_ones_own_is_one_flag_away(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_reward.py").write_text(
        "from hypernoise_pl.rewards.pixels import Redness\n\n\n"
        "class Bluish(Redness):\n    def __init__(self, scale: float = 1.0) -> None:\n        super().__init__()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    flags = ["--model.rewards.mine=my_reward.Bluish", "--model.rewards.mine.scale=3", "--model.reward_weights.mine=2"]
    assert main(["fit", *flags, "--print_config"]) == 0
    rewards = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    assert rewards["rewards"]["mine"] == {"class_path": "my_reward.Bluish", "init_args": {"scale": 3.0}}
    assert rewards["reward_weights"]["mine"] == 2 and set(rewards["rewards"]) > {"clip", "pick", "mine"}
    for flags, line in [
        (["--model.rewards.mine=my_reward.Blueish"], "my_reward has no 'Blueish' (did you mean 'Bluish'?)"),
        (["--model.rewards.mine=3"], "no key is called 'mine'"),
        (["--model.rewards.mine=my_reward.Bluish"], "reward 'mine' has no weight; give it one"),
        (["--model.reward_weights.clp=2"], "no reward is called 'clp' (did you mean 'clip'?)"),
    ]:
        assert main(["fit", *flags]) == 2
        assert line in capsys.readouterr().err
