"""The answering models: BLIP against transformers' own decoding, a chat model against a server that looks at pictures."""

import base64
import io
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from hypernoise_pl.llm.account import Spending
from hypernoise_pl.llm.endpoint import ChatEndpoint
from hypernoise_pl.llm.errors import EndpointUnusable
from hypernoise_pl.metrics.benchmark import summarise_outcomes
from hypernoise_pl.metrics.questions.benchmark import QuestionBenchmark
from hypernoise_pl.metrics.questions.blip import BlipAnswerer
from hypernoise_pl.metrics.questions.chat_model import ChatAnswerer
from hypernoise_pl.metrics.questions.geneval2 import GenEval2
from hypernoise_pl.metrics.questions.question import Question, to_metadata
from hypernoise_pl.types import Prompt
from tests.chat_server import Reply, in_turn, serving
from tests.rewards import zoo

RED = Question("Is it red?", ("Yes",), "red", skills=("attribute",))
MANY = Question("How many stars are there?", ("three",), "many", skills=("count",))
COLOUR = Question("Which colour is the circle?", ("blue", "pink"), "colour", options=("red", "blue", "pink"))
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(zoo.blip_vqa(tmp_path_factory.mktemp("blip")))


def images(count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Original:
    """transformers' own generation, forced to write an answer."""

    def __init__(self, folder: str) -> None:
        from transformers import BertTokenizer, BlipForQuestionAnswering

        self.model = BlipForQuestionAnswering.from_pretrained(folder)
        self.tokenizer = BertTokenizer.from_pretrained(folder)

    def probability(self, image: torch.Tensor, question: str, answer: str, end: bool) -> float:
        """Of an answer's tokens, and of the end after them if so asked."""
        mean, std = (
            torch.tensor([0.48145466, 0.4578275, 0.40821073]),
            torch.tensor([0.26862954, 0.26130258, 0.27577711]),
        )
        pixels = (image - mean[:, None, None]) / std[:, None, None]
        ids = self.tokenizer(answer, add_special_tokens=False).input_ids + [3] * end
        found = self.model.generate(
            self.tokenizer(question, return_tensors="pt").input_ids,
            pixels[None],
            max_new_tokens=len(ids),
            output_logits=True,
            return_dict_in_generate=True,
            prefix_allowed_tokens_fn=lambda _, before: [ids[len(before) - 1]],
        )
        assert len(found.logits) == len(ids)
        return math.exp(sum(step[0].log_softmax(-1)[token].item() for step, token in zip(found.logits, ids)))


def test_blip_equals_transformers_own_decoding(folder):
    pictures, original = images(), Original(folder)
    asked = [[RED, MANY, COLOUR], [], [MANY, RED]]
    answers = BlipAnswerer(folder).answer(pictures, asked)
    assert [len(own) for own in answers] == [3, 0, 2]
    for picture, own, given in zip(pictures, asked, answers):
        for question, answer in zip(own, given):
            if question is RED:
                choices = {word: original.probability(picture, question.text, word, False) for word in ("yes", "no")}
                right = ["yes"]
            elif question is COLOUR:
                choices = {word: original.probability(picture, question.text, word, False) for word in question.options}
                right = ["blue", "pink"]
            else:
                choices = {
                    word: sum(original.probability(picture, question.text, text, True) for text in (word, str(number)))
                    for number, word in enumerate(NUMBERS)
                }
                right = ["three"]
            total = sum(choices.values())
            assert answer.probability == pytest.approx(sum(choices[word] for word in right) / total, rel=1e-3)
            assert answer.given == max(choices, key=choices.get)
    values = [answer.probability for own in answers for answer in own]
    assert len({*values}) == 5 and min(values) > 0 and max(values) < 1


def test_blip_answers_alike_in_batches_of_any_size(folder):
    asked = [[RED, MANY, COLOUR, Question("Is there a star left of a ring?", ("no",), "left")]] * 3
    whole = BlipAnswerer(folder).answer(images(), asked)
    for own, expected in zip(BlipAnswerer(folder, batch_size=1).answer(images(), asked), whole):
        assert [answer.given for answer in own] == [answer.given for answer in expected]
        assert [a.probability for a in own] == pytest.approx([a.probability for a in expected], rel=1e-4)


def test_blip_rejects_invalid_folders(folder, tmp_path):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        BlipAnswerer(folder, batch_size=0)
    with pytest.raises(FileNotFoundError, match=f"answerer {re.escape(str(tmp_path / 'no'))}"):
        BlipAnswerer(str(tmp_path / "no"))
    with pytest.raises(ValueError, match="give it options"):
        BlipAnswerer(folder).answer(images(1), [[Question("Which colour?", ("red",), "1")]])


def test_geneval2_with_blip_is_soft_tifa(folder, tmp_path):
    file = tmp_path / "data.jsonl"
    pairs = [["How many stars are there?", "three"], ["Is it red?", "Yes"], ["Are there stars?", "Yes"]]
    line = {"prompt": "three red stars", "atom_count": 3, "vqa_list": pairs, "skills": ["count", "attribute", "object"]}
    file.write_text(json.dumps(line) + "\n")
    benchmark = GenEval2(BlipAnswerer(folder))
    (prompt,) = benchmark.read(file)
    outcomes = benchmark(images(), [prompt] * 3)
    for outcome in outcomes:
        count, attribute, there = (one["value"] for one in outcome.details["questions"])
        assert outcome.value == pytest.approx((count * attribute * there) ** (1 / 3))
        assert outcome.figures["arithmetic"] == pytest.approx((count + attribute + there) / 3)
        assert outcome.figures["atoms/3"] == outcome.value and outcome.figures["skill/count"] == count
    assert benchmark.judged_by() == f"BLIP {folder}"
    assert summarise_outcomes(outcomes, [prompt] * 3)["score"]["images"] == 3


def seen(body: dict) -> tuple[np.ndarray, list[str]]:
    """The picture and the questions of a request, as the model behind the server sees them."""
    text, image = body["messages"][1]["content"]
    _, _, data = image["image_url"]["url"].partition(",")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    return pixels, [json.loads(line.partition(". ")[2]) for line in text["text"].splitlines()[1:]]


def looks(body: dict) -> Reply:
    """Red if red is the strongest; three stars if the picture is bright; pink always. Silent where it is dark."""
    pixels, questions = seen(body)
    if pixels.mean() < 40:
        return Reply("I cannot see")
    means = pixels.reshape(-1, 3).mean(0)
    facts = {
        RED.text: "Yes, it is." if means.argmax() == 0 else "No.",
        MANY.text: "3" if pixels.mean() > 128 else "four",
        f"{COLOUR.text} Options: red, blue, pink.": "Pink",
    }
    return Reply(json.dumps({f"answer_{n}": facts[text] for n, text in enumerate(questions, 1)}))


def flat(*colours: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(colours)[:, :, None, None].expand(-1, -1, 4, 6).contiguous()


PICTURES = flat((0.9, 0.6, 0.6), (0.1, 0.3, 0.4), (0.0, 0.05, 0.0), (0.6, 0.1, 0.1))
PROMPT = Prompt("three red stars", metadata=to_metadata([RED, MANY, COLOUR]))


def chat(server, cache=None, together=True, **options) -> ChatAnswerer:
    endpoint = ChatEndpoint("m", server.url, None, **{"retries": 0, "timeout_seconds": 20.0, **options})
    return ChatAnswerer(endpoint, together, None if cache is None else str(cache))


@pytest.mark.parametrize("together", [True, False])
def test_a_chat_model_is_sent_the_picture_and_its_failures_are_missing(together):
    with serving(looks) as server:
        benchmark = QuestionBenchmark(chat(server, together=together))
        with pytest.warns(UserWarning, match="chat model m: invalid answer.*count as missing") as said:
            outcomes = benchmark(PICTURES, [PROMPT] * 4)
        requests = 4 if together else 12
        assert len(server.asked) == requests and len(said) == 1
        assert benchmark.answerer.endpoint.account.failures == requests // 4
        assert not any("expected" in json.dumps(body["messages"]) or "Yes" in seen(body)[1] for body in server.asked)
    assert [outcome.value for outcome in outcomes[:2]] == [1.0, pytest.approx(1 / 3)]
    assert math.isnan(outcomes[2].value) and outcomes[2].figures == {}
    assert outcomes[2].reason.count("no answer") == 3
    assert (
        outcomes[1].reason == "Is it red? expected Yes, given No.\nHow many stars are there? expected three, given four"
    )
    figures = summarise_outcomes(outcomes, [PROMPT] * 4)
    assert figures["score"]["left_out"] == 1 and figures["score"]["mean"] == pytest.approx((1 + 1 / 3 + 2 / 3) / 3)
    assert figures["skill/attribute"]["mean"] == pytest.approx(2 / 3)


def test_answers_of_a_chat_model_are_cached(tmp_path):
    with serving(looks) as server:
        with pytest.warns(UserWarning, match="count as missing"):
            first = chat(server, tmp_path).answer(PICTURES[:3], [[RED, MANY]] * 3)
        assert len(server.asked) == 3 and len(list(tmp_path.rglob("*.json"))) == 2
        with pytest.warns(UserWarning, match="count as missing"):
            again = chat(server, tmp_path).answer(PICTURES[:3], [[RED, MANY]] * 3)
        assert again[:2] == first[:2] and len(server.asked) == 4  # the missing one is asked again
        chat(server, tmp_path).answer(PICTURES[:1], [[RED]])  # other questions
        assert len(server.asked) == 5
        changed = [Question(RED.text, ("no",), "red"), MANY]  # another expectation is no other question
        assert [a.probability for a in chat(server, tmp_path).answer(PICTURES[:1], [changed])[0]] == [0.0, 1.0]
        assert len(server.asked) == 5
    for file in tmp_path.rglob("*.json"):
        file.write_text("{")
    with serving(looks) as server, pytest.raises(ValueError, match=r"answerer's cache .*: damaged file, remove it"):
        chat(server, tmp_path).answer(PICTURES[:1], [[RED]])


def test_equal_images_with_equal_questions_are_asked_once():
    with serving(looks) as server:
        answers = chat(server).answer(PICTURES[:1].expand(5, -1, -1, -1), [[RED], [RED], [MANY], [], [RED]])
        assert len(server.asked) == 2 and [len(own) for own in answers] == [1, 1, 1, 0, 1]


def test_a_cap_leaves_the_rest_missing():
    with serving(in_turn(Reply('{"answer_1": "yes"}'))) as server:
        asker = chat(server, spending=Spending(requests=2), concurrency=1)
        with pytest.warns(UserWarning, match="cap of 2 requests"):
            answers = asker.answer(PICTURES, [[RED]] * 4)
    assert [own[0].missing for own in answers] == [False, False, True, True]


def test_without_an_endpoint_the_requirement_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    benchmark = QuestionBenchmark(ChatAnswerer(ChatEndpoint("m"), cache=None))
    assert "OPENAI_BASE_URL" in benchmark.missing() and benchmark.judged_by() == "chat model m"
    with pytest.raises(EndpointUnusable, match="OPENAI_BASE_URL"):
        benchmark(PICTURES, [PROMPT] * 4)
