"""Formats of prompt files: each reader reads each format, and refuses a file that looks like another one."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hypernoise_pl.data.files import PromptFile
from hypernoise_pl.data.prompt_reader import read_prompts
from hypernoise_pl.data.text import TextPrompts
from hypernoise_pl.data.text_file import FORMATS

ROWS = [
    {"prompt": "a red circle, and a star", "tag": "colors", "id": "7"},
    {"prompt": "two caf\u00e9s \u2028 and \u201ea ring\u201c", "tag": "counting", "id": "x9"},
]


def parquet(rows: list[dict[str, str]]) -> bytes:
    import io

    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def table(delimiter: str) -> bytes:
    lines = [ROWS[0].keys(), *(row.values() for row in ROWS)]
    return "".join(delimiter.join(f'"{field}"' for field in line) + "\n" for line in lines).encode()


def by_tag() -> dict[str, list[dict[str, str]]]:
    return {row["tag"]: [{"prompt": row["prompt"], "id": row["id"]}] for row in ROWS}


SAMPLES: dict[str, list[Callable[[], bytes]]] = {
    "csv": [lambda: table(","), lambda: table(";"), lambda: table("\t")],
    "tsv": [lambda: table("\t")],
    "parquet": [lambda: parquet(ROWS)],
    "jsonl": [lambda: "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()],
    "json": [
        lambda: json.dumps(ROWS, indent=1).encode(),
        lambda: json.dumps(dict(enumerate(ROWS))).encode(),
        lambda: json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]}).encode(),
        lambda: json.dumps(by_tag()).encode(),
        lambda: json.dumps({"prompts": ROWS}).encode(),
        lambda: "\n".join(json.dumps(row) for row in ROWS).encode(),
    ],
    "yaml": [lambda: yaml.safe_dump(ROWS).encode(), lambda: yaml.safe_dump(by_tag(), sort_keys=False).encode()],
    "lines": [lambda: "".join(row["prompt"] + "\n\n" for row in ROWS).encode()],
}
CASES = [
    pytest.param(file_format, make, ending, id=f"{ending or 'none'}-{number}")
    for ending, file_format in FORMATS.items()
    for number, make in enumerate(SAMPLES[file_format])
]


def readers(file: Path) -> list[list]:
    """By every way in which a file of prompts is read."""
    return [
        read_prompts(file),
        TextPrompts(str(file)).prompts("train"),
        PromptFile(file.name).read(file.parent),
    ]


@pytest.mark.parametrize("letters", [str.lower, str.upper])
@pytest.mark.parametrize("changed", ["plain", "bom", "crlf", "gz"])
@pytest.mark.parametrize(("file_format", "make", "ending"), CASES)
def test_a_format_is_read_by_its_ending_in_any_letter_case(tmp_path, file_format, make, ending, changed, letters):
    data = make()
    if file_format != "parquet":
        data = {
            "plain": data,
            "bom": b"\xef\xbb\xbf" + data,
            "crlf": data.replace(b"\n", b"\r\n"),
            "gz": gzip.compress(data),
        }[changed]
    zipped = ".gz" if changed == "gz" and file_format != "parquet" else ""
    file = tmp_path / f"p{letters(ending + zipped)}"
    file.write_bytes(data)
    for prompts in readers(file):
        assert [prompt.text for prompt in prompts] == [row["prompt"] for row in ROWS]
        assert [prompt.index for prompt in prompts] == [0, 1]
        if file_format != "lines":
            assert [prompt.tag for prompt in prompts] == ["colors", "counting"]
            assert [prompt.metadata.get("id") for prompt in prompts] == ["7", "x9"]


@pytest.mark.parametrize("ending", [ending for ending, file_format in FORMATS.items() if file_format == "lines"])
@pytest.mark.parametrize("file_format", [file_format for file_format in SAMPLES if file_format != "lines"])
def test_a_file_of_another_format_is_not_read_as_lines(tmp_path, file_format, ending):
    for number, make in enumerate(SAMPLES[file_format]):
        file = tmp_path / f"{number}{ending}"
        file.write_bytes(make())
        with pytest.raises(ValueError, match=f"prompt file {file}(: binary|, line 1: .*name the file )") as error:
            read_prompts(file)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.txt", "prompt,tag\na cat,colors\n", r"a\.txt, line 1: the header of a table.* name the file \.csv"),
        ("a.txt", "id\tprompt\n1\ta cat\n", r"line 1: the header of a table.* name the file \.tsv"),
        ("a.txt", "\nCaption\na cat\n", r"line 2: the header of a table"),
        ("a.txt", "1\ta cat\n2\ta dog\n", r"line 1: columns with tabs between"),
        ("a.txt", '"a cat","colors"\n"a dog","colors"\n', "line 1: quoted columns"),
        ("a.txt", 'a cat\n{"prompt": "a dog"}\n', r"line 2: JSON.* name the file \.jsonl"),
        ("a.txt", '[\n "a cat",\n', r"line 1: JSON.* name the file \.json"),
        ("a.txt", "- a cat\n- a dog\n", r"line 1: YAML.* name the file \.yaml"),
        ("a.txt", "| prompt | tag |\n| --- | --- |\n| a cat | x |\n", "line 1: a Markdown table"),
        ("a.txt", "<!DOCTYPE html>\n<p>a cat</p>\n", "line 1: markup"),
        ("a.txt", "a cat\n".encode("utf-16"), r"a\.txt: UTF-16; save it as UTF-8"),
        ("a.txt", gzip.compress(b"a cat\n", mtime=0), r"a\.txt: binary"),
        ("a.txt.gz", b"a cat\n", r"a\.txt\.gz: not gzip, or damaged"),
        ("a.jsonl.gz", gzip.compress(b'{"prompt": "a cat"}\n' * 99, mtime=0)[:-12], "not gzip, or damaged"),
        (
            "a.csv",
            "prompt\na cat, a dog\n",
            r"a\.csv, line 2: 2 columns, the header has 1; put a prompt that holds ','",
        ),
        ("a.csv", "prompt,prompt\na,b\n", "two columns are called 'prompt'"),
        ("a.csv", "a cat\na dog\n", "no column is called 'prompt'; it has 'a cat'; rename one"),
        ("a.csv", "promt,n\na cat,1\n", r"no column is called 'prompt' \(did you mean 'promt'\?\)"),
        ("a.json", '{"prompt": {"0": "a cat"}}', 'item 1: needs an object with a text "prompt"'),
        ("a.json", '{"prompt": ["a", "b"], "tag": ["x"]}', 'item 1: needs an object with a text "prompt"'),
        ("a.json", "{}", "needs a list of prompts"),
        ("a.json", '["a", ""]', "item 2: needs an object"),
        ("a.yaml", "- a cat\n- [a\n", r"a\.yaml, line 3: not YAML"),
        ("a.yaml", "- a cat\n- 3\n", "item 2: needs an object"),
        ("a.parquet", b"PAR1 no", r"a\.parquet: not Parquet"),
        *((f"a{ending}", "", ": empty|: not Parquet") for ending in FORMATS),
        *((f"a{ending}", b"\x89PNG\r\n\x1a\n\x00", ": binary|: not Parquet") for ending in FORMATS),
    ],
)
def test_a_bad_file_is_refused_in_one_line_by_every_reader(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (read_prompts, lambda f: TextPrompts(str(f)), lambda f: PromptFile(f.name).check(f.parent)):
        with pytest.raises(ValueError, match=complaint) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value) and name in str(error.value)


@pytest.mark.parametrize("ending", [*FORMATS, ".pdf"])
def test_a_folder_and_a_missing_file_are_refused_as_such(tmp_path, ending):
    (tmp_path / f"folder{ending}").mkdir()
    with pytest.raises(ValueError, match=r": a folder; give a file of prompts in it"):
        read_prompts(tmp_path / f"folder{ending}")
    with pytest.raises(FileNotFoundError, match=r"gone.*: no such file"):
        read_prompts(tmp_path / f"gone{ending}")


def test_common_prompts_are_not_taken_for_another_format(tmp_path):
    texts = [
        "a cat, a dog, masterpiece",
        "{red|blue} circle [from:to:0.5]",
        "[photo] of a (ring:1.2)",
        "<sks> dog",
        '"open" sign, neon, at night',
        "- a dash at the start",
        "prompt of the day",
        "a text, a caption, a tag",
        "1. a list of one's own",
    ]
    for given in (texts, *([text] for text in texts if not text.startswith("- "))):
        (tmp_path / "p.txt").write_text("\n".join(given))
        assert [prompt.text for prompt in read_prompts(tmp_path / "p.txt")] == given


def test_a_single_object_is_one_prompt(tmp_path):
    (tmp_path / "p.json").write_text('{"prompt": "a cat", "tag": "colors"}')
    assert [(p.text, p.tag) for p in read_prompts(tmp_path / "p.json")] == [("a cat", "colors")]


def test_a_row_without_the_key_of_the_first_row_is_refused(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a cat"}\n{"text": "a dog"}\n')
    with pytest.raises(ValueError, match='line 2: needs an object with a text "prompt"'):
        read_prompts(tmp_path / "p.jsonl")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "prompt, tag\na cat, colors\na dog,colors \n"),
        ("p.jsonl", '{"prompt": "a cat", "tag": " colors"}\n{"prompt": "a dog", "tag": "colors "}\n'),
        ("p.json", '{"colors": ["a cat"], " colors ": ["a dog"]}'),
    ],
)
def test_spaces_around_a_tag_are_removed(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert [(p.text, p.tag) for p in read_prompts(tmp_path / name)] == [("a cat", "colors"), ("a dog", "colors")]


def test_a_number_is_read_as_a_tag_0_too(tmp_path):
    (tmp_path / "p.jsonl").write_text("".join(f'{{"prompt": "a cat", "tag": {tag}}}\n' for tag in ("0", "1", "null")))
    assert [p.tag for p in read_prompts(tmp_path / "p.jsonl")] == ["0", "1", ""]
