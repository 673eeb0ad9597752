"""Prompt optimisation against a real server; the tests' generator reads a prompt's length, longer is brighter."""

import json
import re

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
from tests.search.test_search import PROMPTS, Identity, brightness, halfway


def told(body: dict) -> tuple[str, list[tuple[float, str]], int]:
    """What a request tells the model: the prompt, readings with scores, and how many it wants."""
    lines = body["messages"][1]["content"].split("\n")
    tried = [(float(s), json.loads(t)) for s, t in (line.split("  ", 1) for line in lines[2:-1])]
    return json.loads(lines[0].partition(": ")[2]), tried, int(re.findall(r"\d+", lines[-1])[0])


def longer(body: dict) -> Reply:
    """The best reading so far, longer by 1, 2, ... letters."""
    _, tried, count = told(body)
    names = body["response_format"]["json_schema"]["schema"]["required"]
    assert len(names) == count
    return Reply(json.dumps({name: tried[0][1] + "x" * (place + 1) for place, name in enumerate(names)}))


def moody(body: dict) -> Reply:
    """No rewrites for one of the prompts."""
    return Reply("no idea") if told(body)[0] == "bb" else longer(body)


def search(server, **options) -> PromptOptimisation:
    endpoint = ChatEndpoint(
        "m", server.url, None, retries=0, timeout_seconds=20, spending=options.pop("spending", Spending())
    )
    return PromptOptimisation(endpoint, **{"rounds": 3, "rewrites": 4, **options})


def problem(budget: int, prompts=PROMPTS, scorer=brightness, **options) -> NoiseProblem:
    start = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return NoiseProblem(Identity(), scorer, prompts, start[: len(prompts)], budget, seed=1, **options)


def by_reading(task: NoiseProblem, lengths: range) -> Tensor:
    """[B, S] the score of the start noise for readings of so many letters."""
    generator = Identity()
    images = [generator.generate(task.start, generator.encode(["x" * n] * len(task.start))) for n in lengths]
    return torch.stack([brightness(image, PROMPTS) for image in images], 1)


def test_finds_the_best_reading_of_the_start_noise_and_pays_exactly_what_it_says():
    with serving(longer) as server:
        method = search(server)
        task = problem(method.budget())
        method.run(task)
    assert task.account.nfe == task.account.verified == method.budget() == 13
    assert task.generator.evaluations == 3 * 13 and len(server.asked) == 9
    assert torch.equal(task.best.noise, task.start)
    scores = by_reading(task, range(1, 16))
    for row, prompt in enumerate(PROMPTS):
        reachable = scores[row, len(prompt) - 1 : len(prompt) + 12]
        assert task.best.scores[row].item() == pytest.approx(reachable.max().item(), abs=1e-6)
    assert (task.best.scores > scores[range(3), [0, 1, 2]]).all()
    torch.testing.assert_close(brightness(task.best.images, PROMPTS), task.best.scores)


def test_the_model_is_told_the_prompt_and_the_best_so_far_with_their_scores():
    with serving(longer) as server:
        method = search(server, shown=3)
        task = problem(method.budget(), ['say "hi"'])
        method.run(task)
    first, second, third = (told(body) for body in server.asked)
    assert first[0] == second[0] == third[0] == 'say "hi"'
    assert [text for _, text in first[1]] == ['say "hi"'] and first[2] == 4
    assert len(second[1]) == len(third[1]) == 3
    assert [s for s, _ in second[1]] == sorted((s for s, _ in second[1]), reverse=True)
    expected = by_reading(task, range(8, 13))[0].sort(descending=True).values[:3]
    assert [s for s, _ in second[1]] == pytest.approx(expected.tolist(), rel=1e-3)


def test_scores_are_against_the_prompt_itself():
    asked = []

    def noting(images: Tensor, prompts: list[str]) -> Tensor:
        asked.extend(prompts)
        return brightness(images, prompts)

    with serving(longer) as server:
        search(server, rounds=1).run(problem(5, scorer=noting))
    assert set(asked) == set(PROMPTS)


def test_the_same_answers_give_the_same_result_in_any_chunk_and_any_batch():
    found = []
    with serving(longer) as server:
        method = search(server)
        for chunk in (1, 4, 256, 256):
            task = problem(method.budget(), chunk=chunk)
            method.run(task)
            found.append(task.answer().images)
        alone = problem(method.budget(), PROMPTS[:1])
        method.run(alone)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])
    assert torch.equal(found[2], found[3])
    torch.testing.assert_close(alone.answer().images[0], found[0][0])


def test_a_prompt_without_an_answer_repeats_its_best_reading_and_costs_the_same():
    with serving(longer) as server:
        whole = problem(13)
        search(server).run(whole)
    with serving(moody) as server:
        method = search(server)
        task = problem(13)
        method.run(task)
    assert task.account.nfe == 13 and task.account.repeated == 3 * 4
    assert method.endpoint.account.failures == 3
    assert whole.account.repeated == 0
    torch.testing.assert_close(task.best.scores[[0, 2]], whole.best.scores[[0, 2]])
    assert task.best.scores[1].item() == pytest.approx(by_reading(task, range(2, 3))[1].item())
    capped = problem(13)
    with serving(longer) as server:
        search(server, spending=Spending(requests=4)).run(capped)
    assert len(server.asked) == 4 and capped.account.nfe == 13 and capped.account.repeated == 5 * 4


def test_missing_scores_are_not_told():
    def blind(images: Tensor, prompts: list[str]) -> Tensor:
        return brightness(images, prompts) * torch.nan

    def plain(body: dict) -> Reply:
        assert told(body)[1] == []
        return Reply(json.dumps({f"prompt_{place}": f"words {place}" for place in (1, 2, 3, 4)}))

    with serving(plain) as server:
        task = problem(9, scorer=blind)
        method = search(server, rounds=2)
        method.run(task)
    assert task.account.missing == 27 and method.endpoint.account.failures == 0


def test_ranked_verifiers_serve():
    def both(images: Tensor, prompts: list[str]) -> Tensor:
        return torch.stack([brightness(images, prompts), 3 * brightness(images, prompts)], 1)

    with serving(longer) as server:
        plain, ranked = problem(13), problem(13, scorer=both)
        search(server).run(plain)
        search(server).run(ranked)
    torch.testing.assert_close(ranked.answer().images, plain.answer().images)


@pytest.mark.parametrize("drawing", [0, 1])
@pytest.mark.parametrize("steps", [1, 4])
def test_sized_to_a_budget_and_no_round_more_would_fit(drawing, steps):
    with serving(longer) as server:
        for budget in (40, 41, 57):
            sized = search(server).within(budget, steps, drawing)
            wanted = sized.budget(steps, drawing)
            assert wanted <= budget < wanted + sized.rewrites * steps
            task = problem(wanted, steps=steps, adapter=halfway if drawing else None)
            sized.run(task)
            assert task.account.nfe == wanted
        with pytest.raises(ValueError, match="needs a budget of"):
            sized.within(sized.shortest(steps, drawing) - 1, steps, drawing)
        task = problem(8)
        search(server).run(task)
        assert task.account.nfe == 5  # a whole round more would not fit


def test_what_is_missing_is_said_before_anything_is_spent(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert RandomSearch().missing() is None and Search.missing is not PromptOptimisation.missing
    for method, said in [
        (PromptOptimisation(), "an endpoint"),
        (PromptOptimisation(ChatEndpoint("m")), "OPENAI_BASE_URL"),
    ]:
        assert said in method.missing()
        task = problem(method.budget())
        with pytest.raises(ValueError, match=f"prompt optimisation cannot run: missing is .*{said}"):
            method.run(task)
        assert task.account.nfe == 0
    for wrong in ({"rounds": 0}, {"rewrites": 0}, {"shown": 0}):
        with pytest.raises(ValueError, match="needs numbers of 1"):
            PromptOptimisation(**wrong)


def test_a_model_the_server_does_not_know_stops_the_search():
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


def test_a_configuration_names_it(tmp_path):
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--search", type=Search)
    (tmp_path / "search.yaml").write_text(CONFIG)
    arguments = [f"--config={tmp_path / 'search.yaml'}", "--search.rewrites=6", "--search.endpoint.concurrency=2"]
    found = parser.instantiate_classes(parser.parse_args(arguments)).search
    endpoint = ChatEndpoint("m", "http://127.0.0.1:8000/v1", None, concurrency=2, spending=Spending(0.1, 0.4, 2.0))
    assert found == PromptOptimisation(endpoint, rounds=2, rewrites=6)
    short = parser.instantiate_classes(parser.parse_args(["--search=PromptOptimisation"])).search
    assert short == PromptOptimisation()
