"""The question benchmarks' own files: read in the form their authors publish, written as their tools read them."""

import ast
import csv
import io
import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from hypernoise_pl.config.files import conf_folder, config_names
from hypernoise_pl.config.identity import described
from hypernoise_pl.llm.endpoint import ChatEndpoint
from hypernoise_pl.metrics.benchmark import Benchmark, Outcome, ScoredImage
from hypernoise_pl.metrics.image_files import ImageFile
from hypernoise_pl.metrics.questions.answerer import Answer, Answerer
from hypernoise_pl.metrics.questions.benchmark import QuestionBenchmark
from hypernoise_pl.metrics.questions.chat_model import ChatAnswerer
from hypernoise_pl.metrics.questions.dpg import DPGBench
from hypernoise_pl.metrics.questions.geneval2 import GenEval2
from hypernoise_pl.metrics.questions.tiif import TIIFBench
from hypernoise_pl.metrics.questions.unigenbench import UniGenBench
from hypernoise_pl.score.image_reader import read_image
from hypernoise_pl.shapes.questions import ShapesAnswerer
from hypernoise_pl.types import Prompt
from tests.rewards import zoo

HEADER = (
    "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language"
)
DPG = f"""{HEADER}
fish1,"A fish, orange, in a bowl.",,1,0,entity,whole,entity - whole (fish),Is there a fish?
fish1,"A fish, orange, in a bowl.",,2,1,attribute,color,"attribute - color (fish, orange)",Is the fish orange?
fish1,"A fish, orange, in a bowl.",,3,0,entity,whole,entity - whole (bowl),Is there a bowl?
fish1,"A fish, orange, in a bowl.",,4,"2,3",relation,spatial,"relation - spatial (fish, bowl, in)",Is the fish in the bowl?
7,A hat.,,1,0,entity,whole,entity - whole (hat),Is there a hat?
"""
GENEVAL2 = [
    {
        "prompt": "two red cows",
        "atom_count": 3,
        "vqa_list": [
            ["How many cows are in the image?", "two"],
            ["Are the cows red?", "Yes"],
            ["Are there any cows?", "Yes"],
        ],
        "skills": ["count", "attribute", "object"],
    },
    {"prompt": "a pig", "atom_count": 1, "vqa_list": [["Are there any pigs?", "Yes"]], "skills": ["object"]},
]
TIIF = [
    {
        "type": "negation+2d",
        "yn_question_list": ["Is there a tree?  ", "Are there leaves?"],
        "yn_answer_list": ["yes", "no"],
    },
    {"type": "negation+2d", "yn_question_list": ["Is there a cup?"], "yn_answer_list": ["Yes"], "corrspond_idx": 7},
]
TIIF_PROMPTS = [
    {
        "type": "negation+2d",
        "short_description": "A bare tree.",
        "long_description": "A tree that has long lost all leaves.",
    },
    {"type": "negation+2d", "short_description": "A cup.", "long_description": "A cup that stands alone on a table."},
]
UNIGEN = [
    ("Three pandas, inked.", ["Style", "Attribute - Quantity", "Attribute - Color"], ["", "three pandas", "black"]),
    ("A fox runs.", ["Action - Animal"], ["running"]),
]


class Given(Answerer):
    """Answers what it was told to, image by image."""

    def __init__(self, answers: list[list[str]]) -> None:
        super().__init__()
        self.answers = answers

    def display_name(self) -> str:
        return "what was told"

    def _answer(self, images, questions):
        rows = [int(image[0, 0, 0] * 255) for image in images]
        return [
            [
                Answer(math.nan) if said == "" else Answer(float(q.right(said)), said)
                for q, said in zip(own, self.answers[row])
            ]
            for row, own in zip(rows, questions, strict=True)
        ]


def jsonl(file: Path, lines: list) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def geneval2(folder: Path) -> Path:
    return jsonl(folder / "geneval2_data.jsonl", GENEVAL2)


def dpg(folder: Path) -> Path:
    file = folder / "dpg_bench.csv"
    file.write_text(DPG)
    return file


def tiif(folder: Path) -> Path:
    jsonl(folder / "testmini_prompts" / "negation+2d_prompts.jsonl", TIIF_PROMPTS)
    return jsonl(folder / "testmini_eval_prompts" / "negation+2d_eval_prompts.jsonl", TIIF)


def unigen(folder: Path, language: str = "en") -> Path:
    names = {"en": ("Testpoints", "Testpoint Description"), "zh": ("考点", "考点对应描述")}[language]
    file = folder / f"test_prompts_{language}.csv"
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["index", f"prompt_{language}", f"sub_dims_{language}"])
        for index, (prompt, *lists) in enumerate(UNIGEN):
            rows.writerow([index + 3, prompt, json.dumps(dict(zip(names, lists)), ensure_ascii=False)])
    return file


MAKE = {GenEval2: geneval2, DPGBench: dpg, TIIFBench: tiif, UniGenBench: unigen}
PROMPTS = {
    GenEval2: ["two red cows", "a pig"],
    DPGBench: ["A fish, orange, in a bowl.", "A hat."],
    TIIFBench: ["A bare tree.", "A cup."],
    UniGenBench: ["Three pandas, inked.", "A fox runs."],
}


def scored(benchmark: QuestionBenchmark, prompts: list[Prompt], folder: Path = Path("images")) -> list[ScoredImage]:
    """Every image of every prompt, the n-th answered by the n-th list of the benchmark's answerer."""
    files = [
        ImageFile(folder / benchmark.folder.name(prompt, number), prompt, number, f"{prompt.index} {number}")
        for prompt in prompts
        for number in range(benchmark.folder.images)
    ]
    images = torch.arange(len(files)).float()[:, None, None, None].expand(-1, 3, 2, 2) / 255
    outcomes = benchmark(images, [file.prompt for file in files])
    return [ScoredImage(file, file.prompt, outcome) for file, outcome in zip(files, outcomes, strict=True)]


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_a_file_is_read_and_its_images_are_found_where_they_are_named(kind, tmp_path):
    benchmark = kind(Given([]))
    prompts = benchmark.read(MAKE[kind](tmp_path))
    assert [prompt.text for prompt in prompts] == PROMPTS[kind]
    assert [prompt.index for prompt in prompts] == [0, 1]
    benchmark.check(prompts)
    json.dumps([prompt.metadata for prompt in prompts])
    assert benchmark.title and benchmark.caveat and benchmark.judged_by() == "what was told"
    folder = tmp_path / "images"
    assert benchmark.folder.find(folder, prompts) == []
    for prompt in prompts:
        for number in range(benchmark.folder.images):
            file = folder / benchmark.folder.name(prompt, number)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    found = benchmark.folder.find(folder, prompts)
    wanted = [(prompt, number) for prompt in prompts for number in range(benchmark.folder.images)]
    assert [(each.prompt, each.number) for each in found] == wanted
    assert len({each.name for each in found}) == len(found) and all(each.path.is_file() for each in found)
    found[0].path.unlink()
    left = {each.path for each in benchmark.folder.find(folder, prompts)}
    assert left == {each.path for each in found} - {found[0].path}


def test_geneval2_is_read(tmp_path):
    prompts = GenEval2(Given([])).read(geneval2(tmp_path))
    questions = GenEval2(Given([])).questions(prompts[0])
    assert [(q.text, q.answers, q.skills) for q in questions] == [
        ("How many cows are in the image?", ("two",), ("count",)),
        ("Are the cows red?", ("Yes",), ("attribute",)),
        ("Are there any cows?", ("Yes",), ("object",)),
    ]
    assert prompts[0].metadata["atom_count"] == 3 and {prompt.tag for prompt in prompts} == {""}


def test_geneval2_writes_the_lists_and_paths_of_its_own_script(tmp_path):
    benchmark = GenEval2(Given([["2", "no", "yes"], ["yes"]]))
    prompts = benchmark.read(geneval2(tmp_path))
    own = scored(benchmark, prompts)
    assert [each.outcome.value for each in own] == [0.0, 1.0]
    assert own[0].outcome.figures == {
        "arithmetic": pytest.approx(2 / 3),
        "accuracy": pytest.approx(2 / 3),
        "atoms/3": 0.0,
        "skill/count": 1.0,
        "skill/attribute": 0.0,
        "skill/object": 1.0,
    }
    files = benchmark.results(own)
    assert json.loads(files["score_lists.json"]) == [[1.0, 0.0, 1.0], [1.0]]
    paths = json.loads(files["image_paths.json"])
    assert paths == {"two red cows": "images/00000_0.png", "a pig": "images/00001_0.png"}


def test_geneval2_finds_images_by_a_file_of_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, prompts = GenEval2.folder, GenEval2(Given([])).read(geneval2(tmp_path))
    Path("pig.png").touch()
    Path("paths.json").write_text(json.dumps({"a pig": "pig.png", "two red cows": "gone.png", "another": "pig.png"}))
    found = [(each.path, each.prompt.text, each.number) for each in folder.find(Path("paths.json"), prompts)]
    assert found == [(Path("gone.png"), "two red cows", 0), (Path("pig.png"), "a pig", 0)]
    Path("paths.json").write_text("[]")
    with pytest.raises(ValueError, match=r"image paths paths.json: it must be one JSON object"):
        folder.find(Path("paths.json"), prompts)


def test_dpg_is_read_with_its_dependencies_and_the_first_question_too(tmp_path):
    (fish, hat) = DPGBench(Given([])).read(dpg(tmp_path))
    questions = DPGBench(Given([])).questions(fish)
    assert [(q.id, q.parents) for q in questions] == [("1", ()), ("2", ("1",)), ("3", ()), ("4", ("2", "3"))]
    assert questions[1].skills == ("attribute", "attribute - color") and questions[1].text == "Is the fish orange?"
    assert hat.metadata["item_id"] == "7"


def test_dpg_files_hold_a_grid_of_four(tmp_path):
    benchmark = DPGBench(Given([]))
    (_, hat) = benchmark.read(dpg(tmp_path))
    (tmp_path / "7.png").touch()
    found = benchmark.folder.find(tmp_path, [hat])
    assert [each.cell for each in found] == [(0, 0, 2, 2), (0, 1, 2, 2), (1, 0, 2, 2), (1, 1, 2, 2)]
    assert [each.name for each in found] == ["7.png#0", "7.png#1", "7.png#2", "7.png#3"]
    (single,) = DPGBench.layout(side=1).find(tmp_path, [hat])
    assert single.cell is None and single.name == "7.png"
    pictures = torch.rand(4, 3, 8, 6)
    assert DPGBench.folder.write(tmp_path / "made", hat, pictures) == ["7.png"] * 4
    read = [read_image(each) for each in DPGBench.folder.find(tmp_path / "made", [hat])]
    assert torch.allclose(torch.stack(read), pictures, atol=0.5 / 255 + 1e-6)
    with pytest.raises(ValueError, match="side must be at least 1, got 0"):
        DPGBench(Given([]), side=0)


def test_dpg_counts_and_writes_as_its_own_script(tmp_path):
    fish = [["yes"] * 4, ["yes", "no", "yes", "yes"], ["no", "yes", "no", "yes"], ["yes", "yes", "yes", "no"]]
    benchmark = DPGBench(Given([*fish, ["yes"], ["no"], [""], ["yes"]]))
    own = scored(benchmark, benchmark.read(dpg(tmp_path)))
    # a wrong colour also fails the place; a missing fish fails its colour, and that the place
    assert [each.outcome.value for each in own[:4]] == [1.0, 0.5, 0.0, 0.75]
    assert own[2].outcome.figures["skill/attribute"] == 1.0  # categories do not ask for parents
    assert own[1].outcome.figures["skill/entity"] == own[1].outcome.figures["skill/entity - whole"] == 1.0
    files = benchmark.results(own)
    lines = files["dpg-bench_results.txt"].splitlines()
    assert lines == ["images/fish1.png, 1.0, 0.5, 0.0, 0.75, 0.5625", "DPG-Bench score: 56.25"]  # 7.png lacks an answer
    assert len(files["dpg-bench_results_detail.txt"].splitlines()) == 16
    assert len(files["questions.jsonl"].splitlines()) == 8


def test_tiif_is_read_by_folder_or_file_in_either_length(tmp_path):
    file = tiif(tmp_path)
    for place in (file, file.parent):
        prompts = TIIFBench.read(place, length="long")
        assert [prompt.text for prompt in prompts] == [line["long_description"] for line in TIIF_PROMPTS]
    assert prompts[1].tag == "negation+2d" and prompts[1].metadata["line"] == 1
    questions = TIIFBench(Given([])).questions(prompts[0])
    assert [(q.text, q.answers) for q in questions] == [("Is there a tree?", ("yes",)), ("Are there leaves?", ("no",))]
    name = TIIFBench.layout(length="long", model="sana").name(prompts[1], 0)
    assert name == "negation+2d/sana/long_description/1.png"


def test_tiif_writes_the_files_that_its_summary_reads(tmp_path):
    benchmark = TIIFBench(Given([["Yes, a tree", "yes"], ["yes"]]), model="sana")
    own = scored(benchmark, benchmark.read(tiif(tmp_path)))
    assert [each.outcome.value for each in own] == [0.5, 1.0]
    files = benchmark.results(own)
    first = json.loads(files["sana/negation+2d/short/0.json"])
    assert first["gt_answers"] == ["yes", "no"] and first["model_pred"] == ["yes", "yes"]
    assert first["attribute"] == "negation+2d" and first["jsonl_file"] == "negation+2d_eval_prompts.jsonl"
    # the original pools questions: 2 of 3
    assert files["result_summary_dimension.txt"] == "negation+2d: 0.6667\nRelation+Reasoning: 0.6667\noverall: 0.6667\n"


GROUPS = {  # as the repository's summary has them, a few of each
    "Attribute": ["shape+color", "texture+color"],
    "Relation": ["2d_spatial_relation", "action+3d"],
    "Reasoning": ["numeracy", "comparison"],
    "Attribute+Relation": ["action+texture", "shape+2d"],
    "Attribute+Reasoning": ["numeracy+color", "negation+texture"],
    "Relation+Reasoning": ["differentiation+3d"],
    "Text Generation": ["text"],
    "Style Control": ["style"],
    "Complex": ["real_world"],
}


def test_tiif_types_are_in_the_groups_of_its_summary(tmp_path):
    for place, kind in enumerate(kind for kinds in GROUPS.values() for kind in kinds):
        answers = ["yes"] if place % 2 else ["no"]
        jsonl(tmp_path / "e_prompts" / f"{kind}_prompts.jsonl", [TIIF_PROMPTS[1] | {"type": kind}])
        line = {"type": kind, "yn_question_list": ["Is there a cup?"], "yn_answer_list": answers}
        jsonl(tmp_path / "e_eval_prompts" / f"{kind}_eval_prompts.jsonl", [line])
    benchmark = TIIFBench(Given([["yes"]] * 20))
    prompts = benchmark.read(tmp_path / "e_eval_prompts")
    expected = {kind: float(place % 2) for place, kind in enumerate(k for kinds in GROUPS.values() for k in kinds)}
    means = {group: sum(expected[kind] for kind in kinds) / len(kinds) for group, kinds in GROUPS.items()}
    text = benchmark.results(scored(benchmark, prompts))["result_summary_dimension.txt"]
    found = {name: float(share) for name, share in (line.split(": ") for line in text.splitlines())}
    assert found == pytest.approx(expected | means | {"overall": sum(means.values()) / 9}, abs=1e-4)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_unigenbench_is_read_in_either_language(language, tmp_path):
    benchmark = UniGenBench(Given([]))
    prompts = benchmark.read(unigen(tmp_path, language))
    assert [prompt.text for prompt in prompts] == PROMPTS[UniGenBench]
    questions = benchmark.questions(prompts[0])
    assert [q.skills for q in questions] == [
        ("Style",),
        ("Attribute", "Attribute - Quantity"),
        ("Attribute", "Attribute - Color"),
    ]
    assert "Three pandas, inked." in questions[1].text and questions[1].text.endswith(
        "Attribute - Quantity: three pandas"
    )
    assert questions[0].text.endswith("in this point? Style")  # a point that the file does not describe
    assert benchmark.folder.name(prompts[0], 2) == "3_2.png"


def test_unigenbench_writes_the_table_and_pools_points(tmp_path):
    told = [["yes", "no", "no"], ["yes", "yes", "no"], ["yes", "yes", "yes"], ["yes", "", "yes"]]
    benchmark = UniGenBench(Given([*told, ["yes"], ["no"], ["no"], ["no"]]))
    own = scored(benchmark, benchmark.read(unigen(tmp_path)))
    files = benchmark.results(own)
    rows = list(csv.DictReader(io.StringIO(files["results.csv"])))
    assert len(rows) == 7 and rows[0]["index"] == "3" and rows[0]["img_path"] == "images/3_0.png"
    # its own script reads both by Python's literals
    assert ast.literal_eval(rows[1]["testpoint"]) == UNIGEN[0][1]
    assert ast.literal_eval(rows[1]["result_json"])["score"] == [1, 1, 0]
    found = json.loads(files["results.json"])
    assert found["sub_dimensions"]["Attribute - Quantity"] == {"correct": 2, "total": 3, "accuracy": 0.6667}
    assert found["primary_dimensions"]["Attribute "] == {"correct": 3, "total": 6, "accuracy": 0.5}
    assert found["primary_dimensions"]["Action "]["correct"] == 1
    assert own[0].outcome.figures["skill/Attribute"] == 0.0 and math.isnan(own[3].outcome.value)


CONTENTS = {
    "no json": (GenEval2, "{", "line 1: not JSON"),
    "no object": (GenEval2, "\n[1]", "line 2: it needs a JSON object a line"),
    "no prompt": (GenEval2, json.dumps({**GENEVAL2[1], "prompt": " "}), "line 1: 'prompt' must be a text, got ' '"),
    "no pairs": (GenEval2, json.dumps({**GENEVAL2[1], "vqa_list": ["a"]}), "'vqa_list' must be a list of"),
    "short": (GenEval2, json.dumps({**GENEVAL2[0], "skills": ["count"]}), "3 in 'vqa_list', 1 in 'skills'"),
    "no skills": (
        GenEval2,
        json.dumps({"prompt": "a", "skill": ["a"]}),
        "'skills' must be a list of texts; there is none .did",
    ),
    "no count": (
        GenEval2,
        json.dumps({**GENEVAL2[1], "atom_count": 0}),
        "'atom_count' must be a number of at least 1, got 0",
    ),
    "no column": (
        DPGBench,
        DPG.replace("tuple", "tuples"),
        "line 1: no column is called 'tuple' .did you mean 'tuples'",
    ),
    "header alone": (DPGBench, HEADER, "no row below the header"),
    "few columns": (DPGBench, f"{HEADER}\nfish,A fish.\n", "line 2: 2 columns, the header has 9"),
    "no number": (DPGBench, DPG.replace('"2,3"', "two"), "line 5: 'dependency' must be whole numbers.*got 'two'"),
    "no parent": (DPGBench, DPG.replace('"2,3"', "9"), "line 5: 'dependency' 9 is no question of item 'fish1'"),
    "twice": (DPGBench, DPG.replace(",,3,0", ",,2,0"), "line 4: item 'fish1' has two questions 2"),
    "no text": (DPGBench, DPG.replace("A hat.", ""), "line 6: nothing in column 'text'"),
    "no points": (UniGenBench, "index,prompt_en,sub_dims_en\n0,a,{}\n", "line 2: 'Testpoints' must be a list of texts"),
    "broken points": (UniGenBench, "index,prompt_en,sub_dims_en\n0,a,{\n", "line 2: 'sub_dims_en' is not JSON"),
    "no language": (UniGenBench, "index,prompt,sub_dims\n0,a,{}\n", "line 2: no columns prompt_en and sub_dims_en"),
    "no index": (UniGenBench, "index,prompt_en,sub_dims_en\nx,a,{}\n", "line 2: .*whole number as index, got 'x'"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_a_malformed_file_is_one_line_that_says_where(case, tmp_path):
    kind, content, said = CONTENTS[case]
    file = tmp_path / "own.file"
    file.write_text(content)
    with pytest.raises(ValueError, match=said) as raised:
        kind(Given([])).read(file)
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"yn_answer_list": ["yes", "perhaps"]}, "line 1: 'yn_answer_list' must be of yes and no, got 'perhaps'"),
        ({"yn_answer_list": ["yes"]}, "line 1: 2 in 'yn_question_list', 1 in 'yn_answer_list'"),
        ({"type": "negation+3d"}, "line 1: type 'negation.3d', but 'negation.2d' in .*_prompts.jsonl, line 1"),
    ],
)
def test_a_malformed_tiif_file_is_one_line_that_says_where(change, said, tmp_path):
    file = tiif(tmp_path)
    jsonl(file, [TIIF[0] | change, TIIF[1]])
    with pytest.raises(ValueError, match=said):
        TIIFBench(Given([])).read(file)


def test_tiif_files_that_do_not_belong_together_are_refused(tmp_path):
    file = tiif(tmp_path)
    prompts = tmp_path / "testmini_prompts" / "negation+2d_prompts.jsonl"
    for each, lines in ((file, TIIF), (prompts, TIIF_PROMPTS)):
        jsonl(each, [{**line, "type": "negation+textur"} for line in lines])
    with pytest.raises(ValueError, match=r"line 1: type 'negation.textur' .* part 'textur' .did you mean 'texture'"):
        TIIFBench(Given([])).read(file)
    jsonl(prompts, TIIF_PROMPTS[:1])
    with pytest.raises(ValueError, match=r"2 lines, but .*testmini_prompts.* has 1; they belong together"):
        TIIFBench(Given([])).read(file)
    prompts.unlink()
    with pytest.raises(FileNotFoundError, match=r"testmini_prompts.*no such file"):
        TIIFBench(Given([])).read(file)
    with pytest.raises(ValueError, match=r"its name must end in _eval_prompts.jsonl"):
        TIIFBench(Given([])).read(jsonl(tmp_path / "own.jsonl", TIIF))
    with pytest.raises(ValueError, match=r"length must be short or long, got 'shrt' .did you mean 'short'"):
        TIIFBench(Given([]), "shrt")


@pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
def test_a_missing_file_is_said(kind, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.jsonl: no such file"):
        kind(Given([])).read(tmp_path / "x_eval_prompts" / "none.jsonl")


FILES = sorted(file for file in (conf_folder() / "benchmarks").glob("*.yaml") if "uestions" in file.read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_configuration_builds_its_benchmark(file, tmp_path):
    written = yaml.safe_load(file.read_text())
    answerer = written["benchmark"]["init_args"]["answerer"]
    if "model" in answerer["init_args"]:
        answerer["init_args"]["model"] = str(zoo.blip_vqa(tmp_path / "blip"))
    parser = ArgumentParser()
    parser.add_argument("--benchmark", type=Benchmark)
    built = parser.instantiate_classes(parser.parse_object(written)).benchmark
    assert isinstance(built, QuestionBenchmark) and isinstance(built.answerer, Answerer)
    assert f"benchmarks/{file.stem}" not in config_names()


def test_options_that_change_no_figure_are_no_part_of_what_a_benchmark_is():
    plain = described(DPGBench(ShapesAnswerer()))
    assert described(DPGBench(ShapesAnswerer(chunk=1))) == plain
    assert described(DPGBench(ShapesAnswerer(), hard=False)) != plain
    assert described(DPGBench(ShapesAnswerer(), "arithmetic")) != plain
    asker = ChatAnswerer(ChatEndpoint("m"))
    assert described(TIIFBench(asker, model="a")) == described(TIIFBench(ChatAnswerer(ChatEndpoint("m"), cache=None)))
    assert described(TIIFBench(asker)) != described(TIIFBench(asker, "long"))
    assert described(TIIFBench(asker)) != described(TIIFBench(ChatAnswerer(ChatEndpoint("m"), together=False)))


def test_every_benchmark_has_a_configuration():
    assert {file.stem for file in FILES} >= {"geneval2", "dpg", "tiif", "unigenbench", "shapes_questions"}


def test_an_outcome_needs_an_answer_a_question():
    class Few(Given):
        def _answer(self, images, questions):
            return [[] for _ in questions]

    prompt = Prompt("a", metadata={"questions": [{"text": "a?", "answers": ["yes"], "id": "1"}]})
    with pytest.raises(ValueError, match=r"Few must give an answer to each of \[1\] questions, got \[0\]"):
        QuestionBenchmark(Few([]))(torch.zeros(1, 3, 2, 2), [prompt])
    assert isinstance(QuestionBenchmark(Given([["yes"]]))(torch.zeros(1, 3, 2, 2), [prompt])[0], Outcome)
