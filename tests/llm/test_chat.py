"""The chat endpoint against a real server: answers, failures, retries, caps, concurrency."""

import copy
import json
import pickle
import threading
import time

import pytest

from hypernoise_pl.llm.account import Spending
from hypernoise_pl.llm.answer_schema import AnswerSchema
from hypernoise_pl.llm.endpoint import ChatEndpoint
from hypernoise_pl.llm.errors import ChatError, EndpointUnusable
from tests.chat_server import Reply, in_turn, serving

SCHEMA = AnswerSchema("pair", {"left": "a number", "right": "another"}, (0, 10))
GOOD = Reply('{"left": 3, "right": 4.5}')
ASKED = [{"role": "user", "content": "two numbers?"}]


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def endpoint(server, **options) -> ChatEndpoint:
    return ChatEndpoint("m", server.url, **{"retries": 0, "timeout_seconds": 20.0, **options})


def failed(server, **options) -> str:
    """The one chat that a question fails with."""
    chat = endpoint(server, **options)
    with pytest.raises(ChatError) as caught:
        chat.ask(ASKED, SCHEMA)
    assert chat.account.failures == 1 and chat.account.last_failure == str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_valid_answer_is_returned_and_counted():
    with serving(in_turn(GOOD)) as server:
        chat = endpoint(server, temperature=0.5, spending=Spending(2.0, 8.0))
        assert chat.ask(ASKED, SCHEMA) == {"left": 3, "right": 4.5}
    (body,) = server.asked
    assert body["model"] == "m" and body["messages"] == ASKED and body["temperature"] == 0.5
    form = body["response_format"]["json_schema"]
    assert form["strict"] and form["schema"]["required"] == ["left", "right"]
    assert form["schema"]["additionalProperties"] is False
    assert server.keys == ["Bearer secret"]
    account = chat.account
    assert (account.requests, account.prompt_tokens, account.completion_tokens) == (1, 1000, 10)
    assert account.cost == pytest.approx((1000 * 2 + 10 * 8) / 1e6) and account.failures == 0


def test_the_environment_gives_the_base_url(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    chat = ChatEndpoint("m", key_variable=None, retries=0)
    assert "base_url or set the environment variable OPENAI_BASE_URL" in chat.missing()
    with pytest.raises(EndpointUnusable, match="missing: a chat endpoint"):
        chat.ask(ASKED, SCHEMA)
    assert chat.account.requests == 0
    with serving(in_turn(GOOD)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert chat.missing() is None
        assert chat.ask(ASKED, SCHEMA)["left"] == 3
    assert "OPENAI_API_KEY" in ChatEndpoint("m").missing()


BODIES = ["{not json", "[]", "{}", '"text"', '{"choices": []}', '{"choices": [{}]}', '{"choices": [{"message": {}}]}']


@pytest.mark.parametrize("body", BODIES)
def test_invalid_response_bodies_raise_chat_error(body):
    with serving(in_turn(Reply(body=body))) as server:
        assert failed(server).startswith("chat model m: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json at all", "not JSON"),
        ('{"left": 3', "not JSON"),
        ('{"left": 3}', "expected the fields"),
        ('{"left": 3, "right": 4, "more": 5}', "expected the fields"),
        ('{"left": "3", "right": 4}', "left must be a finite number"),
        ('{"left": true, "right": 4}', "left must be a finite number"),
        ('{"left": NaN, "right": 4}', "left must be a finite number"),
        ('{"left": 3, "right": 11}', r"right must be in [0, 10], got 11"),
        ("[3, 4]", "expected the fields"),
    ],
)
def test_invalid_answers_are_rejected_and_counted(text, said):
    with serving(in_turn(Reply(text))) as server:
        assert said in failed(server)
        chat = endpoint(server, retries=2)
        with pytest.raises(ChatError, match="invalid answer"):
            chat.ask(ASKED, SCHEMA)
        assert (chat.account.requests, chat.account.prompt_tokens, chat.account.failures) == (3, 3000, 1)


def test_text_fields_must_not_be_empty():
    schema = AnswerSchema("words", {"word": "any"})
    assert schema.parse('{"word": "ring"}') == {"word": "ring"}
    for wrong in ('{"word": " "}', '{"word": 3}', '{"word": null}'):
        with pytest.raises(ValueError, match="word must be a non-empty text"):
            schema.parse(wrong)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_transient_errors_are_retried(status):
    busy = Reply(status=status, body='{"error": {"message": "busy\\nnow"}}', headers={"retry-after": "0"})
    with serving(in_turn(busy, busy, GOOD)) as server:
        chat = endpoint(server, retries=2)
        assert chat.ask(ASKED, SCHEMA)["left"] == 3
        assert chat.account.requests == len(server.asked) == 3 and chat.account.failures == 0
    with serving(in_turn(busy)) as server:
        assert f"HTTP {status}" in failed(server, retries=1) and len(server.asked) == 2


@pytest.mark.parametrize(("status", "kind"), [(400, ChatError), (401, EndpointUnusable), (404, EndpointUnusable)])
def test_permanent_errors_are_not_retried(status, kind):
    with serving(in_turn(Reply(status=status, body='{"error": {"message": "no such model"}}'))) as server:
        chat = endpoint(server, retries=3)
        with pytest.raises(ChatError, match=f"chat model m: HTTP {status}: .*no such model") as caught:
            chat.ask(ASKED, SCHEMA)
        assert type(caught.value) is kind and len(server.asked) == 1


def test_a_refusal_is_not_retried():
    message = {"role": "assistant", "content": None, "refusal": "I would rather not"}
    with serving(in_turn(Reply(body=json.dumps({"choices": [{"message": message}]})))) as server:
        assert "refused: I would rather not" in failed(server, retries=3) and len(server.asked) == 1


def test_time_out_and_unreachable_server_raise_chat_error():
    over = threading.Event()

    def silent(body):
        over.wait(60)
        return GOOD

    with serving(silent) as server:
        assert "no answer within 0.2 s" in failed(server, timeout_seconds=0.2)
        over.set()
    assert "no answer" in failed(server)


def test_the_cap_on_requests_counts_retries():
    busy = Reply(status=429, body="{}", headers={"retry-after": "0"})
    with serving(in_turn(busy, GOOD)) as server:
        chat = endpoint(server, retries=3, spending=Spending(requests=2))
        chat.ask(ASKED, SCHEMA)
        with pytest.raises(ChatError, match="the cap of 2 requests is reached"):
            chat.ask(ASKED, SCHEMA)
        assert chat.account.requests == len(server.asked) == 2


def test_no_request_begins_after_the_cost_cap():
    with serving(in_turn(GOOD)) as server:
        # a request costs 1000 tokens at 2 a million
        chat = endpoint(server, concurrency=3, spending=Spending(2.0, 0.0, cap=0.009))
        answers = chat.map(lambda _: chat.ask(ASKED, SCHEMA), range(30))
        assert 5 <= len(server.asked) <= 5 + chat.concurrency - 1
        assert chat.account.requests == len(server.asked)
        assert chat.account.cost == pytest.approx(0.002 * len(server.asked))
        capped = [answer for answer in answers if isinstance(answer, ChatError)]
        assert len(capped) == chat.account.failures == 30 - len(server.asked)
        assert "the cost cap of 0.009 is reached" in str(capped[-1])


def test_a_cost_cap_requires_token_usage():
    with serving(in_turn(Reply(GOOD.text, usage=None))) as server:
        assert "does not report token usage" in failed(server, spending=Spending(1.0, 1.0, cap=1.0))
        assert endpoint(server).ask(ASKED, SCHEMA)["left"] == 3


def test_requests_run_at_the_concurrency_limit():
    together = threading.Barrier(3)

    def reply(body):
        together.wait(30)  # passes only where three are there at once
        time.sleep(0.05)  # time for a fourth to come, if one could
        return GOOD

    with serving(reply) as server:
        chat = endpoint(server, concurrency=3)
        questions = [str(number) for number in range(12)]
        maps = [threading.Thread(target=chat.map, args=(lambda _: chat.ask(ASKED, SCHEMA), questions)) for _ in "ab"]
        for thread in maps:
            thread.start()
        for thread in maps:
            thread.join()
        assert len(server.asked) == 24 and server.most == 3 and chat.account.failures == 0


def test_map_keeps_the_order_of_items_and_returns_errors_in_place():
    def reply(body):
        number = int(body["messages"][0]["content"])
        return Reply(json.dumps({"left": number, "right": 0}))

    with serving(reply) as server:
        chat = endpoint(server)
        found = chat.map(lambda n: chat.ask([{"role": "user", "content": str(n)}], SCHEMA)["left"], range(13))
    assert found[:11] == list(range(11))
    assert all(isinstance(answer, ChatError) for answer in found[11:]) and chat.account.failures == 2


def test_a_wrong_key_cancels_remaining_questions():
    with serving(in_turn(Reply(status=401, body="{}"))) as server:
        chat = endpoint(server)
        with pytest.raises(EndpointUnusable):
            chat.map(lambda _: chat.ask(ASKED, SCHEMA), range(50))
        assert len(server.asked) < 50


def test_copies_share_the_account_and_other_processes_do_not():
    chat = ChatEndpoint("m", spending=Spending(requests=3))
    assert copy.deepcopy(chat).account is chat.account
    chat.account.requests = 2
    assert pickle.loads(pickle.dumps(chat)) == chat
    assert pickle.loads(pickle.dumps(chat)).account.requests == 0
    assert "secret" not in repr(chat)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ChatEndpoint(""),
        lambda: ChatEndpoint("m", concurrency=0),
        lambda: ChatEndpoint("m", timeout_seconds=0),
        lambda: ChatEndpoint("m", "127.0.0.1:80"),
        lambda: Spending(-1.0),
        lambda: Spending(cap=1.0),
    ],
)
def test_arguments_out_of_range_are_rejected(wrong):
    with pytest.raises(ValueError, match=r"chat endpoint|spending"):
        wrong()
