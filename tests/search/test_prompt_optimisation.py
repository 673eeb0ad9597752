"""Prompt optimisation against a real server; the toy generator reads a prompt's length: longer is brighter."""

import json

import pytest
import torch
from torch import Tensor

from hypernoise_pl.llm.account import Spending
from hypernoise_pl.llm.endpoint import ChatEndpoint
from hypernoise_pl.llm.errors import EndpointUnusable
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.prompt_optimisation import PromptOptimisation
from hypernoise_pl.search.random_search import RandomSearch
from tests.chat_server import Reply, serving
from tests.prompt_rewriter import lengthen, parse_request
from tests.toy_generator import PROMPTS, ToyGenerator, brightness, start_noise


def refusing_one_prompt(body: dict) -> Reply:
    """No rewrites for one of the prompts."""
    return Reply("no idea") if parse_request(body)[0] == "bb" else lengthen(body)


def search(server, **options) -> PromptOptimisation:
    endpoint = ChatEndpoint(
        "m", server.url, None, retries=0, timeout_seconds=20, spending=options.pop("spending", Spending())
    )
    return PromptOptimisation(endpoint, **{"rounds": 3, "rewrites": 4, **options})


def problem(budget: int, prompts=PROMPTS, scorer=brightness, **options) -> NoiseProblem:
    return NoiseProblem(ToyGenerator(), scorer, prompts, start_noise()[: len(prompts)], budget, seed=1, **options)


def by_reading(task: NoiseProblem, lengths: range) -> Tensor:
    """[B, S] the score of the start noise for readings of so many letters."""
    generator = ToyGenerator()
    images = [generator.generate(task.start, generator.encode(["x" * n] * len(task.start))) for n in lengths]
    return torch.stack([brightness(image, PROMPTS) for image in images], 1)


def test_the_answer_is_the_best_reading_of_the_start_noise_and_costs_the_budget():
    with serving(lengthen) as server:
        method = search(server)
        task = problem(method.nfe())
        method.run(task)
    assert task.account.nfe == task.account.verified == method.nfe() == 13
    assert task.generator.evaluations == 3 * 13 and len(server.asked) == 9
    assert torch.equal(task.best.noise, task.start)
    scores = by_reading(task, range(1, 16))
    for row, prompt in enumerate(PROMPTS):
        reachable = scores[row, len(prompt) - 1 : len(prompt) + 12]
        assert task.best.scores[row].item() == pytest.approx(reachable.max().item(), abs=1e-6)
    assert (task.best.scores > scores[range(3), [0, 1, 2]]).all()
    torch.testing.assert_close(brightness(task.best.images, PROMPTS), task.best.scores)


def test_a_request_shows_the_prompt_and_the_best_readings_with_their_scores():
    with serving(lengthen) as server:
        method = search(server, shown=3)
        task = problem(method.nfe(), ['say "hi"'])
        method.run(task)
    first, second, third = (parse_request(body) for body in server.asked)
    assert first[0] == second[0] == third[0] == 'say "hi"'
    assert [text for _, text in first[1]] == ['say "hi"'] and first[2] == 4
    assert len(second[1]) == len(third[1]) == 3
    assert [s for s, _ in second[1]] == sorted((s for s, _ in second[1]), reverse=True)
    expected = by_reading(task, range(8, 13))[0].sort(descending=True).values[:3]
    assert [s for s, _ in second[1]] == pytest.approx(expected.tolist(), rel=1e-3)


def test_images_are_scored_against_the_prompt_itself():
    asked = []

    def noting(images: Tensor, prompts: list[str]) -> Tensor:
        asked.extend(prompts)
        return brightness(images, prompts)

    with serving(lengthen) as server:
        search(server, rounds=1).run(problem(5, scorer=noting))
    assert set(asked) == set(PROMPTS)


def test_a_prompt_without_an_answer_repeats_its_best_reading_and_costs_the_same():
    with serving(lengthen) as server:
        whole = problem(13)
        search(server).run(whole)
    with serving(refusing_one_prompt) as server:
        method = search(server)
        task = problem(13)
        method.run(task)
    assert task.account.nfe == 13 and task.account.repeated == 3 * 4
    assert method.endpoint.account.failures == 3
    assert whole.account.repeated == 0
    torch.testing.assert_close(task.best.scores[[0, 2]], whole.best.scores[[0, 2]])
    assert task.best.scores[1].item() == pytest.approx(by_reading(task, range(2, 3))[1].item())
    capped = problem(13)
    with serving(lengthen) as server:
        search(server, spending=Spending(requests=4)).run(capped)
    assert len(server.asked) == 4 and capped.account.nfe == 13 and capped.account.repeated == 5 * 4


def test_a_request_shows_no_missing_scores():
    def blind(images: Tensor, prompts: list[str]) -> Tensor:
        return brightness(images, prompts) * torch.nan

    def plain(body: dict) -> Reply:
        assert parse_request(body)[1] == []
        return Reply(json.dumps({f"prompt_{place}": f"words {place}" for place in (1, 2, 3, 4)}))

    with serving(plain) as server:
        task = problem(9, scorer=blind)
        method = search(server, rounds=2)
        method.run(task)
    assert task.account.missing == 27 and method.endpoint.account.failures == 0


def test_two_verifiers_of_the_same_order_give_the_answer_of_one():
    def both(images: Tensor, prompts: list[str]) -> Tensor:
        return torch.stack([brightness(images, prompts), 3 * brightness(images, prompts)], 1)

    with serving(lengthen) as server:
        plain, ranked = problem(13), problem(13, scorer=both)
        search(server).run(plain)
        search(server).run(ranked)
    torch.testing.assert_close(ranked.answer().images, plain.answer().images)


def test_the_search_ends_where_a_whole_round_more_would_not_fit():
    with serving(lengthen) as server:
        task = problem(8)
        search(server).run(task)
    assert task.account.nfe == 5


def test_a_missing_endpoint_is_named_before_anything_is_spent(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert RandomSearch().missing() is None and Search.missing is not PromptOptimisation.missing
    for method, said in [
        (PromptOptimisation(), "an endpoint"),
        (PromptOptimisation(ChatEndpoint("m")), "OPENAI_BASE_URL"),
    ]:
        assert said in method.missing()
        task = problem(method.nfe())
        with pytest.raises(ValueError, match=f"prompt optimisation cannot run: missing is .*{said}"):
            method.run(task)
        assert task.account.nfe == 0
    for wrong in ({"rounds": 0}, {"rewrites": 0}, {"shown": 0}):
        with pytest.raises(ValueError, match="needs numbers of 1"):
            PromptOptimisation(**wrong)


def test_a_model_that_the_server_does_not_have_stops_the_search():
    unknown = Reply(status=404, body='{"error": {"message": "no model m"}}')
    with serving(lambda body: unknown) as server, pytest.raises(EndpointUnusable, match="no model m"):
        search(server).run(problem(13))


CONFIG = """
search:
  class_path: hypernoise_pl.search.prompt_optimisation.PromptOptimisation
  init_args:
    rounds: 2
    endpoint:
      model: m
      base_url: http://127.0.0.1:8000/v1
      key_variable: null
      spending: {prompt_price: 0.1, completion_price: 0.4, cap: 2.0}
"""


def test_a_configuration_builds_the_method(tmp_path):
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--search", type=Search)
    (tmp_path / "search.yaml").write_text(CONFIG)
    arguments = [f"--config={tmp_path / 'search.yaml'}", "--search.rewrites=6", "--search.endpoint.concurrency=2"]
    built = parser.instantiate_classes(parser.parse_args(arguments)).search
    endpoint = ChatEndpoint("m", "http://127.0.0.1:8000/v1", None, concurrency=2, spending=Spending(0.1, 0.4, 2.0))
    assert built == PromptOptimisation(endpoint, rounds=2, rewrites=6)
    short = parser.instantiate_classes(parser.parse_args(["--search=PromptOptimisation"])).search
    assert short == PromptOptimisation()
