"""Configurations: a printed one and a run's own are the same run again; a class is switched alike by file and by flag."""

import inspect
from pathlib import Path

import pytest
import torch
import yaml
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from hypernoise_pl.__main__ import main
from hypernoise_pl.cli.class_help import classes_by_name, import_all_modules
from hypernoise_pl.cli.command_config import key_types_of, merge_command
from hypernoise_pl.config.files import PACKAGE, conf_folder, config_names
from hypernoise_pl.config.interpolation import resolve, to_omegaconf
from hypernoise_pl.config.loading import load_configs, read_config
from hypernoise_pl.config.options import Options
from hypernoise_pl.config.signatures import ConfigError, class_named, class_path_of, known_classes, parameters
from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.module import HyperNoiseModule

ROOT = PACKAGE.parent
RECIPES = [conf_folder() / f"{name}.yaml" for name in config_names()]
STUDIES = [path for path in sorted((ROOT / "experiments").rglob("*.yaml")) if "compare:" in path.read_text()]


pytestmark = pytest.mark.usefixtures("own_folder")


def shown(capsys, command: str, *arguments: str) -> str:
    """What --print_config prints."""
    assert main([command, *arguments, "--print_config"]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def said(capsys, *arguments: str) -> str:
    assert main([*arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


def command_of(file: Path) -> str:
    return "compare" if "compare:" in file.read_text() else "fit"


@pytest.mark.parametrize("file", [*RECIPES, *STUDIES], ids=lambda path: path.stem)
def test_a_printed_configuration_is_the_same_configuration_again(file, capsys):
    first = shown(capsys, command_of(file), "--config", str(file), "--seed_everything=3")
    Path("printed.yaml").write_text(first)
    again = shown(capsys, command_of(file), "--config", "printed.yaml")
    assert yaml.safe_load(again) == yaml.safe_load(first)
    assert "${output}" in first  # a new folder and length reach what they reached
    assert "${trainer.max_steps}" in first or "lr_scheduler: null" in first


def test_interpolations_of_a_printed_configuration_still_follow(capsys):
    Path("printed.yaml").write_text(shown(capsys, "fit"))
    Path("longer.yaml").write_text(shown(capsys, "fit", "--config=printed.yaml", "--trainer.max_steps=55"))
    longer = read_config(Path("longer.yaml"))
    assert longer["model"]["init_args"]["lr_scheduler"]["init_args"]["total_steps"] == 55


def test_a_runs_own_configuration_repeats_it_in_another_folder():
    tiny = ["--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--trainer.log_every_n_steps=1"]
    tiny += ["--data.batch_size=2", "--data.test=6", "--model.reference_search=null", "--model.images_per_prompt=2"]
    assert main(["fit", *tiny, "--config=rewards/redness", "--output=one"]) == 0
    before = {path: path.read_bytes() for path in Path("one").rglob("*") if path.is_file()}
    assert main(["fit", "--config=one/config.yaml", "--output=two"]) == 0
    one, two = (yaml.safe_load(Path(run, "config.yaml").read_text()) for run in ("one", "two"))
    assert (one.pop("output"), two.pop("output")) == ("one", "two") and one == two
    assert {path: path.read_bytes() for path in Path("one").rglob("*") if path.is_file()} == before
    names = [
        sorted(path.name for path in Path(run).rglob("*") if "tfevents" not in path.name) for run in ("one", "two")
    ]
    assert names[0] == names[1]


def places() -> list[tuple[str, tuple[str, ...], type, type]]:
    """Every place of the default configuration that names a class; its key, as a path; what it has; each other class."""
    import_all_modules()
    arguments = parameters(HyperNoiseModule)
    inside = {
        name: arguments[name]
        for name in ("generator", "noise", "adapter", "reference_search", "optimizer", "lr_scheduler")
    }
    found = [("data", PromptDataModule), ("model", HyperNoiseModule)]
    found += [(f"model.{name}", hint) for name, hint in inside.items()]
    found += [
        ("model.rewards.clip", arguments["rewards"].__args__[1]),
        ("trainer.logger", parameters(Trainer)["logger"]),
    ]
    return [
        (place, class_path_of(kind))
        for place, hint in found
        for kind in sorted(set(known_classes(hint)), key=class_path_of)
        if kind.__module__.partition(".")[0] in ("hypernoise_pl", "torch", "lightning")
        and class_named(kind.__name__, hint) is kind
    ]


PLACES = places()


def there(config: dict, place: str) -> dict:
    for key in place.split("."):
        config = config["init_args"][key] if "init_args" in config else config[key]
    return config


@pytest.mark.parametrize(("place", "path"), PLACES, ids=lambda value: value.rpartition(".")[2])
def test_a_class_is_switched_alike_by_file_and_by_flag(place, path):
    base = merge_command("fit", Options(), []).config
    old = there(base, place)
    leaf: dict = {"class_path": path}
    for key in reversed(place.split(".")[1:]):
        leaf = {"init_args": {key: leaf}} if place.startswith("model") and key != "clip" else {key: leaf}
    Path("switch.yaml").write_text(yaml.safe_dump({place.split(".")[0]: leaf}))
    by_file = merge_command("fit", Options(config=["switch.yaml"]), []).config
    by_flag = merge_command("fit", Options(), [f"--{place}={path}"]).config
    by_name = merge_command("fit", Options(), [f"--{place}", path.rpartition(".")[2]]).config
    assert by_file == by_flag == by_name
    new = there(by_flag, place)
    assert new["class_path"] == path
    kept = new.get("init_args") or {}
    assert set(kept) <= set(parameters(kinds_of(path)))
    assert all(old["init_args"][key] == value for key, value in kept.items())


def kinds_of(path: str) -> type:
    module, _, name = path.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)


@pytest.mark.parametrize(
    ("flags", "place", "expected"),
    [
        (
            ["--model.optimizer=SGD", "--model.optimizer.momentum=0.9"],
            "model.optimizer",
            {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.0},
        ),
        (
            ["--model.lr_scheduler=CosineAnnealingLR", "--model.lr_scheduler.T_max=7"],
            "model.lr_scheduler",
            {"T_max": 7},
        ),
        (["--trainer.logger=CSVLogger", "--trainer.logger.prefix=a"], "trainer.logger", {"name": "", "prefix": "a"}),
        (["--model.rewards.red", "Redness", "--model.reward_weights.red", "1"], "model.rewards.red", {}),
        (
            ["--model.reference_search=ZeroOrder", "--model.reference_search.iterations=3"],
            "model.reference_search",
            {"iterations": 3},
        ),
        (["--data=TextPrompts", "--data.train=a.txt"], "data", {"train": "a.txt", "batch_size": 64}),
        (["--model.objective.penalty=NormPenalty"], "model.objective.penalty", {}),
        (["--trainer.logger+=WandbLogger"], "trainer.logger.-1", {"save_dir": "."}),
        (["--trainer.callbacks.NoiseHealth.images=4"], "trainer.callbacks.1", {"images": 4}),
        (["--trainer.callbacks+=LearningRateMonitor"], "trainer.callbacks.-1", {}),
        (["--trainer.callbacks.1.images=4"], "trainer.callbacks.1", {"images": 4}),
        (
            ["--trainer.strategy=DDPStrategy", "--trainer.strategy.static_graph=true"],
            "trainer.strategy",
            {"static_graph": True},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_flags_keys_are_those_of_the_class_named_before_it(flags, place, expected, capsys):
    config = yaml.safe_load(shown(capsys, "fit", *flags))
    for key in place.split("."):
        config = config[int(key)] if isinstance(config, list) else config.get("init_args", config)[key]
    assert config["class_path"].rpartition(".")[2] in " ".join(flags) + " NoiseHealth"
    assert expected.items() <= (config.get("init_args") or {}).items()


def test_a_class_of_another_type_of_argument_does_not_get_the_old_value():
    text = {"data": {"class_path": "hypernoise_pl.data.text.TextPrompts", "init_args": {"train": "mine.txt"}}}
    Path("mine.yaml").write_text(yaml.safe_dump(text))
    arguments = load_configs(["fit", "mine.yaml"]).data.init_args
    assert dict(arguments) == {"train": "mine.txt", "batch_size": 64}  # fit.yaml's test: 120 is no file's name


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--model.optimizer.momentum=0.9"],
            "--model.optimizer.momentum: model.optimizer: no key is called 'momentum' of",
        ),
        (["--model.reference_search=null", "--model.reference_search.lr=1"], "no class is set there that takes 'lr'"),
        (
            ["--trainer.strategy.static_graph=1"],
            "no class is set there that takes 'static_graph'; name one first: --trainer.strategy=NAME",
        ),
        (["--trainer.callbacks.9=Progress"], "a list of 7; '9' is no index of it"),
        (["--trainer.callbacks.ImageGird.size=9"], "no class in it (did you mean 'ImageGrid'?)"),
        (
            ["--trainer.callbacks+=Progress", "--trainer.callbacks.Progress=ImageGrid"],
            "'Progress' is in the list more than once; name one by its index: 0 and 7",
        ),
        (["--model.rewards.red=Rednes"], "--model.rewards.red: no class is called 'Rednes' (did you mean 'Redness'?)"),
        (["--judge=ShapesJuge"], "--judge: no class is called 'ShapesJuge' (did you mean 'ShapesJudge'?)"),
        (["--model.generator=3"], "--model.generator: Not a valid subclass of Generator. Got value: 3"),
        (["--judge=3"], "--judge: Not a valid subclass of Judge"),
        (["--trainer.max_steps"], "needs a value"),
        (["max_steps=3"], "not understood"),
        (["--model.rewards.v2.1=Redness"], "no key is called 'v2'"),
        (["--model.rewards.keys=Redness", "--model.reward_weights.keys=1"], "'keys' cannot name a reward"),
    ],
)
def test_a_flag_that_cannot_be_is_one_line(flags, line, capsys):
    assert line in said(capsys, "fit", *flags)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["v2.1", "keys", "forward", "training", ""])
def test_what_cannot_name_a_reward_is_said_before_anything_is_loaded(name, capsys):
    reward = {name: {"class_path": "hypernoise_pl.rewards.pixels.Redness"}}
    arguments = {"rewards": reward, "reward_weights": {name: 1.0}}
    Path("named.yaml").write_text(yaml.safe_dump({"model": {"init_args": arguments}}))
    assert f"{name!r} cannot name a reward" in said(capsys, "fit", "--config=named.yaml")


def test_a_file_changes_entries_of_a_list_by_class_or_place_and_the_others_stay():
    text = {"ImageGrid": {"init_args": {"columns": 3}}, "3": {"init_args": {"every_n_train_steps": 7}}}
    Path("some.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": text}}))
    flags = ["--trainer.callbacks.ImageGrid.columns=3", "--trainer.callbacks.ModelCheckpoint.every_n_train_steps=7"]
    found = merge_command("fit", Options(config=["some.yaml"]), []).config
    assert found == merge_command("fit", Options(), flags).config
    before = merge_command("fit", Options(), []).config["trainer"]["callbacks"]
    after = found["trainer"]["callbacks"]
    assert after[:2] == before[:2] and after[2]["init_args"] == {"columns": 3}
    assert after[3]["init_args"] == before[3]["init_args"] | {"every_n_train_steps": 7}
    Path("wrong.yaml").write_text("trainer: {callbacks: {EarlyStopping: {init_args: {patience: 3}}}}\n")
    with pytest.raises(ConfigError, match=r"wrong\.yaml: trainer\.callbacks: a list of 7; 'EarlyStopping' is no index"):
        merge_command("fit", Options(config=["wrong.yaml"]), [])


def test_included_files_are_looked_for_beside_the_file_that_names_them(tmp_path):
    (tmp_path / "mine" / "parts").mkdir(parents=True)
    Path("mine/top.yaml").write_text("include: [base.yaml, parts/more.yaml]\ntrainer: {max_steps: 3}\n")
    Path("mine/base.yaml").write_text("trainer: {max_steps: 1, devices: 7}\n")
    Path("mine/parts/more.yaml").write_text("include: [leaf.yaml]\n")
    Path("mine/parts/leaf.yaml").write_text("description: leaf\n")
    Path("base.yaml").write_text("trainer: {devices: 9}\n")  # of the working directory: not the one that is meant
    config = load_configs(["fit", "mine/top.yaml"])
    assert (config.trainer.max_steps, config.trainer.devices, config.description) == (3, 7, "leaf")
    Path("mine/top.yaml").write_text("include: [nowhere.yaml]\n")
    with pytest.raises(ConfigError, match=r"config nowhere\.yaml: no such file"):
        load_configs(["fit", "mine/top.yaml"])


def class_paths(node) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(class_paths, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    own = {node["class_path"]} if isinstance(node.get("class_path"), str) else set()
    return own | class_paths(list(node.values()))


def test_help_class_knows_every_class_that_a_recipe_names_and_every_one_of_the_package(capsys):
    files = [yaml.safe_load(path.read_text()) for path in [*RECIPES, *STUDIES]]
    named = {path.rpartition(".")[2] for path in class_paths(files)}
    assert {"ShapesPrompts", "Objective", "ModelCheckpoint", "TensorBoardLogger", "AdamW", "FsdpStrategy"} <= named
    own = {
        name
        for name, several in classes_by_name().items()
        for kind in several
        if kind.__module__.startswith("hypernoise_pl.") and not inspect.isabstract(kind) and len(several) == 1
    }
    assert {"LoraOptions", "Method", "Comparison", "Objective", "ShapesJudge", "DistilledVerifier"} <= own
    for name in sorted(named | {"LoraOptions", "Method", "Comparison", "Objective", "ShapesJudge"}):
        assert main(["fit", "--help-class", name]) == 0, name
        page = capsys.readouterr().out
        assert page.partition("\n")[0].rpartition(".")[2] == name
    assert named <= set(classes_by_name())


def test_no_two_classes_of_the_package_that_a_place_may_hold_have_one_name():
    import_all_modules()
    for _, hint in [("", PromptDataModule), ("", HyperNoiseModule), *parameters(HyperNoiseModule).items()]:
        names = [kind.__name__ for kind in set(known_classes(hint)) if kind.__module__.startswith("hypernoise_pl.")]
        assert len(names) == len(set(names))


def test_loggers_of_the_default_recipe():
    assert {CSVLogger, TensorBoardLogger} <= set(known_classes(parameters(Trainer)["logger"]))
    assert torch.optim.SGD in set(known_classes(parameters(HyperNoiseModule)["optimizer"]))


@pytest.mark.parametrize("recipe", ["fit", "sd_turbo", "sana_sprint", "flux_schnell", "sdxl_turbo", "pixart_dmd"])
def test_what_the_start_line_says_of_the_rank_is_the_rank(recipe):
    options = Options(config=[recipe])
    written = merge_command("fit", options, ["--model.adapter.lora.rank=7"]).config
    assert "LoRA of rank 7" in resolve(to_omegaconf(written, key_types_of("fit")))["description"]
