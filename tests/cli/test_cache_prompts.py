"""Prompts encoded beforehand: the same conditioning, from files that survive being stopped and shared."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hypernoise_pl.__main__ import main
from hypernoise_pl.generators.conditioning_key import conditioning_key
from hypernoise_pl.generators.conditioning_store import ConditioningStore, open_store
from hypernoise_pl.module import HyperNoiseModule
from hypernoise_pl.rewards.pixels import Brightness
from hypernoise_pl.runs.cache_prompts import encode_missing
from tests.families import FAMILIES
from tests.tiny import sana

TEXTS = ["a red circle", "two squares", "a star left of a ring", "three stars", "a green ring"]
ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("own_folder")


def tensors(conditioning) -> list[torch.Tensor]:
    found = []
    conditioning.map(lambda tensor: found.append(tensor) or tensor)
    return found


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.asks == "prompt"])
def test_what_is_read_is_what_would_be_encoded(family, pipeline_folder, tmp_path):
    generator = FAMILIES[family].generator(pipeline_folder(family))
    wanted = generator.encode(TEXTS)
    cache = open_store(str(tmp_path), generator)
    assert encode_missing(cache, generator, TEXTS, shard=2)[0] == len(TEXTS)
    assert len(list(cache.folder.glob("*.safetensors"))) == 3

    module = HyperNoiseModule(
        FAMILIES[family].generator(pipeline_folder(family)),
        {"bright": Brightness()},
        {"bright": 1.0},
        prompt_cache=str(tmp_path),
    )
    encoders = module.generator.text_encoders()
    assert encoders and not any("text_encoder" in name for name, _ in module.named_parameters())
    calls = []
    for encoder in encoders.values():
        encoder.register_forward_hook(lambda *_: calls.append(1))
    order = [3, 0, 4, 0]
    got = module.conditioning([TEXTS[place] for place in order])
    assert not calls
    assert len(tensors(got)) == len(tensors(wanted))
    for one, other in zip(tensors(got), tensors(wanted)):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other[order], rtol=1e-5, atol=1e-5)


def test_text_encoders_do_not_go_where_the_generator_goes(sana_folder):
    generator = sana(sana_folder)
    generator.offload_text_encoders()
    generator.to("meta")
    assert {p.device.type for p in generator.network.parameters()} == {"meta"}
    (encoder,) = generator.text_encoders().values()
    assert generator.pipeline.text_encoder is encoder is generator.text_encoder
    assert {p.device.type for p in encoder.parameters()} == {"cpu"}


def test_only_text_encoders_go_where_prompts_are_encoded(sana_folder):
    generator = sana(sana_folder)
    generator.offload_text_encoders()
    onto = generator.text_encoders_on(torch.device("meta"))
    with contextlib.suppress(NotImplementedError), onto:  # there is no way back from there
        assert all(weight.is_meta for weight in generator.text_encoder.parameters())
        assert not any(weight.is_meta for weight in generator.parameters())
        seen = generator.encode(TEXTS).embeddings
    assert seen.is_meta


def test_a_prompt_that_is_not_there_is_encoded_and_told_of(sana_folder, tmp_path):
    generator = sana(sana_folder)
    encode_missing(open_store(str(tmp_path), generator), generator, TEXTS[:2])
    module = HyperNoiseModule(sana(sana_folder), {"b": Brightness()}, {"b": 1.0}, prompt_cache=str(tmp_path))
    with pytest.warns(UserWarning, match=r"'three stars' \(1 of 3 prompts\) is not in it.*cache-prompts"):
        got = module.conditioning([*TEXTS[:2], "three stars"])
    torch.testing.assert_close(got.embeddings, generator.encode([*TEXTS[:2], "three stars"]).embeddings)
    module.conditioning(["three stars", "a green ring"])  # the first is kept now; the second is told of no more


def test_the_key_is_all_that_decides_what_prompts_become(sana_folder):
    first = sana(sana_folder)
    assert conditioning_key(first) == conditioning_key(sana(sana_folder))
    others = [sana(sana_folder) for _ in range(4)]
    others[0].name = "another/name"
    others[1].max_sequence_length = 12
    others[2].instruction = ["Draw:"]
    others[3].text_encoder.bfloat16()
    others.append(sana(sana_folder))
    next(others[-1].text_encoder.parameters()).data.mul_(1.01)
    assert len({conditioning_key(generator) for generator in (first, *others)}) == 6


def test_one_changed_value_of_an_encoder_its_configuration_or_tokenizer_is_another_place(sana_folder):
    """Each changes what prompts become, and would be answered with embeddings of the old encoder."""

    def one_word(generator) -> None:
        words = generator.text_encoder.get_input_embeddings().weight.data
        words[generator.pipeline.tokenizer("red").input_ids[-1], 1] += 1

    def steeper(generator) -> None:
        generator.text_encoder.config.query_pre_attn_scalar = 1

    def other_padding(generator) -> None:
        generator.pipeline.tokenizer.pad_token = "<unk>"

    places = {conditioning_key(sana(sana_folder))}
    for change in (one_word, steeper, other_padding):
        generator = sana(sana_folder)
        change(generator)
        places.add(conditioning_key(generator))
    assert len(places) == 4


def test_a_damaged_shard_is_named(sana_folder, tmp_path):
    generator = sana(sana_folder)
    cache = open_store(str(tmp_path), generator)
    encode_missing(cache, generator, TEXTS)
    (shard,) = cache.folder.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{shard.name}: damaged file") as error:
        ConditioningStore(cache.folder).texts()
    assert "\n" not in str(error.value)


def test_a_shard_with_fewer_rows_than_texts_is_named(sana_folder, tmp_path):
    generator = sana(sana_folder)
    cache = open_store(str(tmp_path), generator)
    encode_missing(cache, generator, TEXTS)
    (shard,) = cache.folder.glob("*.safetensors")
    save_file({name: rows[:2].clone() for name, rows in load_file(shard).items()}, shard, {"texts": json.dumps(TEXTS)})
    with pytest.raises(ValueError, match=f"{shard.name}: not a shard of a prompt cache"):
        ConditioningStore(cache.folder).texts()


COMMAND = ["cache-prompts", "--model.prompt_cache=cache", "--data.train=2500"]


def start() -> subprocess.Popen:
    command = [sys.executable, "-m", "hypernoise_pl", *COMMAND]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def shards() -> list[Path]:
    return sorted(Path("cache").rglob("*.safetensors"))


def texts_of(file: Path) -> list[str]:
    with safe_open(file, "pt") as shard:
        texts = json.loads(shard.metadata()["texts"])
        assert shard.get_slice("embeddings").get_shape()[0] == len(texts)
    return texts


@pytest.mark.slow
def test_killed_and_resumed_then_filled_by_two_at_once(capsys):
    process = start()
    deadline = time.monotonic() + 120
    while len(shards()) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {file: file.stat().st_mtime_ns for file in shards()}
    assert len(before) >= 3

    both = [start(), start()]
    ends = [(*process.communicate(timeout=120), process.returncode) for process in both]
    assert [code for *_, code in ends] == [0, 0], ends
    assert all(file.stat().st_mtime_ns == time_ for file, time_ in before.items())
    said = [out for out, *_ in ends]
    every = {text for file in shards() for text in texts_of(file)}
    assert all(f"; {len(every)} are in cache" in out for out in said)
    assert len(every) > len(before) * 64

    assert main(COMMAND) == 0  # nothing is left to do
    assert "cache-prompts: 0 prompts encoded;" in capsys.readouterr().out


def test_without_a_folder_it_says_which_option(capsys):
    assert main(["cache-prompts", "--data.train=10", "--model.reward_weights.clip=0.1"]) == 2
    assert "cache-prompts: the folder is missing; give --model.prompt_cache=DIR" in capsys.readouterr().err


def test_what_changes_an_encoding_changes_its_place(pipeline_folder):
    def place(family: str, change=lambda pipeline: None, **options) -> str:
        generator = FAMILIES[family].generator(pipeline_folder(family), **options)
        change(generator.pipeline)
        return conditioning_key(generator)

    def shorter(pipeline) -> None:
        pipeline.tokenizer.model_max_length -= 1

    def other_chat(pipeline) -> None:
        pipeline.tokenizer.chat_template = pipeline.tokenizer.chat_template.replace("assistant", "helper")

    def other_labels(pipeline) -> None:
        pipeline.labels = dict(zip(pipeline.labels, reversed(pipeline.labels.values())))

    for family, changes in {
        "sd-turbo": [{"change": shorter}, {"dtype": "bfloat16"}],
        "z-image": [{"change": other_chat}, {"max_sequence_length": 39}],
        "dit": [{"change": other_labels}],
        "sd-3-turbo": [{"t5": False}],
        "sana-sprint": [{"instruction": ["a ring"]}],
    }.items():
        assert place(family) == place(family)
        assert len({place(family), *(place(family, **change) for change in changes)}) == 1 + len(changes)


def test_rewards_are_not_built(capsys):
    few = [
        "--data.batch_size=4",
        "--data.train=8",
        "--data.validation=6",
        "--data.test=6",
        "--model.rewards.clip.model=/nowhere",
    ]
    assert main(["cache-prompts", "--model.prompt_cache=cache", *few]) == 0
    assert "prompts encoded" in capsys.readouterr().out
