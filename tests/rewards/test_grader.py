"""The grader against a real server that looks at the picture it is sent."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from hypernoise_pl.llm.account import Spending
from hypernoise_pl.llm.endpoint import ChatEndpoint
from hypernoise_pl.llm.errors import EndpointUnusable
from hypernoise_pl.rewards.grader import ASPECTS, VisionLanguageGrader
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from tests.chat_server import Reply, in_turn, serving
from tests.toy_generator import PROMPTS, ToyGenerator

EVEN = Reply(json.dumps(dict.fromkeys(ASPECTS, 60)))


def seen(body: dict) -> tuple[np.ndarray, str]:
    """The picture and the prompt of a request, as the model behind the server sees them."""
    text, image = body["messages"][1]["content"]
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), json.loads(text["text"].partition(": ")[2])


def marks(body: dict) -> Reply:
    """Accuracy by how bright the picture is, quality by the prompt's length."""
    pixels, prompt = seen(body)
    given = dict.fromkeys(ASPECTS, 0.0) | {"accuracy": pixels.mean() / 2.55, "quality": len(prompt)}
    return Reply(json.dumps(given))


def moody(body: dict) -> Reply:
    """No marks for pictures that begin darkly."""
    return marks(body) if seen(body)[0][0, 0, 0] >= 128 else Reply("I cannot tell")


def grader(server, cache=None, weights=None, **options) -> VisionLanguageGrader:
    endpoint = ChatEndpoint("m", server.url, None, **{"retries": 0, "timeout_seconds": 20.0, **options})
    return VisionLanguageGrader(endpoint, weights, None if cache is None else str(cache))


def pictures(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 6, 5, generator=torch.Generator().manual_seed(0))


TEXTS = ["a", 'a "ring"', "Größe\n2", "a"]


def test_the_score_is_the_weighted_mean_of_the_marks():
    images = pictures()
    bright = (images * 255).round().flatten(1).mean(1) / 2.55
    length = torch.tensor([len(text) for text in TEXTS])
    with serving(marks) as server:
        torch.testing.assert_close(grader(server)(images, TEXTS), (bright + length) / 5)
        uneven = grader(server, weights={"accuracy": 3, "quality": 0})(images, TEXTS)
        torch.testing.assert_close(uneven, 3 * bright / 6)
        form = server.asked[0]["response_format"]["json_schema"]["schema"]
    assert set(form["properties"]) == set(ASPECTS) and len(ASPECTS) == 5
    low, high = VisionLanguageGrader.score_range
    assert (low, high) == (0, 100)


@pytest.mark.parametrize("wrong", [{"beauty": 1}, {"quality": -1}, dict.fromkeys(ASPECTS, 0)])
def test_invalid_weights_are_rejected(wrong):
    with pytest.raises(ValueError, match="grader weights"):
        VisionLanguageGrader(ChatEndpoint("m"), wrong)


def test_marks_are_cached(tmp_path):
    images = pictures()
    with serving(marks) as server:
        first = grader(server, tmp_path)(images, TEXTS)
        assert len(server.asked) == 4
        assert torch.equal(grader(server, tmp_path)(images, TEXTS), first)
        reweighted = grader(server, tmp_path, {"accuracy": 0})(images, TEXTS)
        assert torch.equal(reweighted, torch.tensor([len(text) / 4 for text in TEXTS]))
        assert len(server.asked) == 4
        grader(server, tmp_path)(images, [*TEXTS[:3], "b"])  # another prompt
        assert len(server.asked) == 5
        grader(server, tmp_path)(images.flip(1), TEXTS)  # other pictures
        assert len(server.asked) == 9
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 9 and all(file.suffix == ".json" for file in files)
    with serving(in_turn(EVEN)) as other:
        endpoint = ChatEndpoint("another model", other.url, None)
        assert torch.equal(VisionLanguageGrader(endpoint, cache=str(tmp_path))(images, TEXTS), torch.full((4,), 60.0))
        assert len(other.asked) == 4


def test_equal_images_of_a_batch_are_graded_once():
    images = pictures(1).expand(5, -1, -1, -1)
    with serving(in_turn(EVEN)) as server:
        grader(server)(images, ["a", "a", "b", "a", "b"])
        assert len(server.asked) == 2


def test_a_damaged_cache_file_is_named(tmp_path):
    with serving(in_turn(EVEN)) as server:
        grader(server, tmp_path)(pictures(1), ["a"])
        (file,) = tmp_path.rglob("*.json")
        for damage in ("{", '{"marks": {}}', "[]"):
            file.write_text(damage)
            with pytest.raises(ValueError, match=f"grader's cache {re.escape(str(file))}: damaged file, remove it"):
                grader(server, tmp_path)(pictures(1), ["a"])


def test_failures_score_nan_warn_once_and_are_not_cached(tmp_path):
    images = pictures()
    images[:2, :, 0, 0], images[2:, :, 0, 0] = 0.1, 0.9
    with serving(moody) as server:
        judge = grader(server, tmp_path)
        with pytest.warns(UserWarning, match="chat model m: invalid answer: not JSON.*count as missing") as said:
            scores = judge(images, TEXTS)
        assert len(said) == 1 and scores.isnan().tolist() == [True, True, False, False]
        judge(images, TEXTS)  # the missing are asked again, without a word
        assert len(server.asked) == 6 and judge.endpoint.account.failures == 4
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_a_search_counts_the_missing_and_finds_among_the_rest():
    start = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with serving(moody) as server:
        judge = grader(server)
        task = NoiseProblem(ToyGenerator(), judge, PROMPTS, start, budget=12, seed=1)
        with pytest.warns(UserWarning, match="count as missing"):
            RandomSearch(12).run(task)
    assert len(server.asked) == judge.endpoint.account.requests == 36
    assert 0 < task.account.missing == judge.endpoint.account.failures < 36
    best = task.answer()
    assert (best.images[:, 0, 0, 0] > 0.5).all() and best.scores.isfinite().all()
    bright = (best.images * 255).round().flatten(1).mean(1) / 2.55
    torch.testing.assert_close(best.scores, (bright + torch.tensor([1, 2, 3])) / 5)


def test_a_cap_ends_the_marks_not_the_search():
    start = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with serving(marks) as server:
        judge = grader(server, spending=Spending(requests=20))
        task = NoiseProblem(ToyGenerator(), judge, PROMPTS, start, budget=12, seed=1, chunk=3)
        with pytest.warns(UserWarning, match="cap of 20 requests"):
            RandomSearch(12).run(task)
    assert len(server.asked) == 20 and task.account.missing == 16 and task.account.nfe == 12
    assert task.answer().scores.isfinite().all()


def test_without_an_endpoint_the_requirement_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    judge = VisionLanguageGrader(ChatEndpoint("m"), cache=None)
    assert "OPENAI_BASE_URL" in judge.missing()
    with pytest.raises(EndpointUnusable, match="OPENAI_BASE_URL"):
        judge(pictures(), TEXTS)
