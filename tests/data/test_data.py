"""The order of training prompts, and prompt files good and bad."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest

from hypernoise_pl.data.base import PromptDataModule
from hypernoise_pl.data.batches import PromptBatches
from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.data.text import TextPrompts
from hypernoise_pl.types import Prompt


def batches_of(batches: PromptBatches, epochs: int) -> list[list[int]]:
    return [batch for _ in range(epochs) for batch in batches]


def test_every_prompt_comes_once_before_any_comes_twice():
    flat = [
        index for batch in batches_of(PromptBatches(11, 3, seed=0), 11) for index in batch
    ]  # 11 epochs of 3 batches: 99 places, 9 permutations
    assert len(flat) == 99
    permutations = [flat[start : start + 11] for start in range(0, 99, 11)]
    assert all(sorted(part) == list(range(11)) for part in permutations)
    assert len({tuple(part) for part in permutations}) == 9


def test_the_order_of_batches_is_a_function_of_the_seed():
    assert batches_of(PromptBatches(11, 3, 0), 4) == batches_of(PromptBatches(11, 3, 0), 4)
    assert batches_of(PromptBatches(11, 3, 0), 4) != batches_of(PromptBatches(11, 3, 1), 4)


@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_share_the_batches_of_one(world):
    alone = batches_of(PromptBatches(37, 8, 5), 9)
    parts = [batches_of(PromptBatches(37, 8 // world, 5, rank, world), 9) for rank in range(world)]
    assert [[index for batch in batches for index in batch] for batches in zip(*parts, strict=True)] == alone


@pytest.mark.parametrize("given", range(13))
@pytest.mark.parametrize(("size", "world"), [(3, 1), (1, 3), (2, 1), (4, 2)])
def test_resuming_continues_with_the_next_prompt_for_any_batch_size(given, size, world):
    stream = [index for batch in batches_of(PromptBatches(11, 1, 0), 9) for index in batch]
    parts = [PromptBatches(11, size, 0, rank, world) for rank in range(world)]
    for part in parts:
        part.resume(given)
    batches = [[index for own in rows for index in own] for rows in zip(*(batches_of(part, 2) for part in parts))]
    resumed = [index for batch in batches for index in batch]
    assert resumed == stream[given : given + len(resumed)] and parts[0].given == given + len(resumed)


@pytest.mark.parametrize(("count", "parts", "length"), [(14, 1, 7), (14, 2, 6), (14, 7, 7), (14, 9, 9), (2, 3, 3)])
def test_an_epoch_is_a_whole_number_of_optimiser_steps(count, parts, length):
    batches = PromptBatches(count, 2, 0, parts=parts)
    assert len(batches) == len([*batches]) == length


def test_the_stream_position_counts_complete_steps():
    batches = PromptBatches(14, 2, 0, parts=3)
    batches.resume(5)
    places = []
    for _ in batches:
        places.append(batches.stepped)
    assert places == [5, 5, 11, 11, 11, 17]


def test_a_set_smaller_than_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"7 training prompts do not fill one batch of 4 on 2 process"):
        PromptBatches(7, 4, 0, world=2)


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_text_files_have_one_prompt_per_line(tmp_path):
    content = "\ufeffa red circle\r\n\n  a ring \u2028 and a star\n".encode()
    prompts = read_prompts(write(tmp_path, "p.txt", content))
    assert [p.text for p in prompts] == ["a red circle", "a ring \u2028 and a star"]
    assert [p.index for p in prompts] == [0, 1]


def test_a_jsonl_line_has_prompt_tag_and_clauses(tmp_path):
    lines = b'{"prompt": "two stars", "tag": "counting", "include": [{"class": "star", "count": 2}]}\n{"prompt": "x"}\n'
    first, second = read_prompts(write(tmp_path, "p.jsonl", lines))
    assert (first.text, first.tag) == ("two stars", "counting")
    assert first.metadata == {"include": [{"class": "star", "count": 2}]}
    assert (second.tag, second.metadata, second.index) == ("", {}, 1)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("empty.txt", b"", "empty.txt: empty"),
        ("blank.txt", b"\n \n", "blank.txt: empty"),
        ("latin.txt", b"a ring\na caf\xe9\n", "latin.txt, line 2: not UTF-8"),
        ("picture.txt", b"\x89PNG\r\n\x1a\n\x00\x00", "picture.txt: binary"),
        ("a.jsonl", b'{"prompt": "x"}\n\n{"text": "y"}\n', 'a.jsonl, line 3: needs an object with a text "prompt"'),
        ("b.jsonl", b'{"prompt": 7}\n', "b.jsonl, line 1: needs"),
        ("c.jsonl", b'["x"]\n', "c.jsonl, line 1: needs"),
        ("d.jsonl", b'{"prompt": "x"}\n{"prompt": \n', "d.jsonl, line 2: not JSON"),
    ],
)
def test_an_invalid_file_is_named_with_its_line(tmp_path, name, content, complaint):
    file = write(tmp_path, name, content)
    with pytest.raises(ValueError, match=r"prompt file .*" + complaint.replace("(", r"\(")) as error:
        TextPrompts(str(file))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such"):
        TextPrompts(str(write(tmp_path, "p.txt", b"x")), test=str(tmp_path / "no_such.txt"))


def test_a_split_without_a_file_takes_that_of_the_split_before(tmp_path):
    data = TextPrompts(str(write(tmp_path, "p.txt", b"a\nb\n")), test=str(write(tmp_path, "t.txt", b"c\n")))
    assert [[p.text for p in data.prompts(split)] for split in ("train", "validation", "test")] == [
        ["a", "b"],
        ["a", "b"],
        ["c"],
    ]


@pytest.mark.parametrize(
    ("count", "world", "size"), [(5, 2, 2), (9, 4, 2), (3, 2, 1), (7, 3, 4), (10, 1, 4), (553, 8, 4)]
)
def test_every_process_evaluates_the_same_number_of_batches(tmp_path, monkeypatch, count, world, size):
    data = TextPrompts(str(write(tmp_path, "p.txt", b"".join(b"prompt %d\n" % n for n in range(count)))))
    data.eval_batch_size = size
    loaders = []
    for rank in range(world):
        monkeypatch.setattr(data, "_rank_and_world", lambda: (rank, world))  # noqa: B023 - used here
        loaders.append([[prompt.index for prompt in batch] for batch in data.val_dataloader()])
    assert len({len(batches) for batches in loaders}) == 1
    sizes = [len(batch) for batches in loaders for batch in batches]
    assert min(sizes) >= 1 and max(sizes) <= size + (size == 1)
    assert sorted(index for batches in loaders for batch in batches for index in batch) == [*range(count)]
    assert [index for batch in loaders[0] for index in batch] == [*range(0, count, world)]


class Own(PromptDataModule):
    def __init__(self, prompts: list[Any]) -> None:
        super().__init__(batch_size=1)
        self.given = prompts

    def prompts(self, split):
        return self.given


@pytest.mark.parametrize("count", [1, 2])
def test_overfitting_repeats_the_first_batches_and_evaluates_their_prompts(tmp_path, count):
    from tests.seen import Seen, of
    from tests.system.test_run_folder import Line
    from tests.worker import Rings, quiet

    data = Rings(3)  # eleven prompts: three batches and a rest
    stream = [
        [data.prompts("train")[index].text for index in batch] for batch in batches_of(PromptBatches(11, 3, 0), 3)
    ]
    repeated = stream[:count]
    trainer = L.Trainer(max_steps=5, overfit_batches=count, callbacks=[Seen()], default_root_dir=tmp_path, **quiet())
    trainer.fit(Line(), datamodule=data)
    assert [list(batch) for batch in of("train")] == (repeated * 5)[:5]
    assert [prompt.text for prompt in data.evaluated_prompts("test")] == [text for batch in repeated for text in batch]
    trainer = L.Trainer(max_steps=5, overfit_batches=0.5, default_root_dir=tmp_path, **quiet())
    with pytest.raises(ValueError, match=r"overfit_batches 0\.5 is a share; give a number of batches"):
        trainer.fit(Line(), datamodule=Rings(3))


@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader", "test_dataloader"])
def test_prompts_need_distinct_indices(loader):
    """Prompts with the same index would share their noise and their row in tables."""
    with pytest.raises(ValueError, match="prompts of Own: 'a' and 'b' both have index 0 and would share one noise"):
        getattr(Own([Prompt("a"), Prompt("b")]), loader)()
    with pytest.raises(ValueError, match=r"prompts of Own: 'a' is a str; give Prompt\(text, index=position\)"):
        getattr(Own(["a", "b"]), loader)()
    assert len(getattr(Own([Prompt("a"), Prompt("b", index=1)]), loader)().dataset) == 2
