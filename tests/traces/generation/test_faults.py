"""What goes wrong with a server: each fault has its one line, and nothing that was paid for is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rbridge_traces import CacheNotFoundError, TraceError
from rbridge_traces.generation.client import Connection, check_connection
from rbridge_traces.generation.refusals import ServerGaveUpError, UnusableServerError

from ..chat_server import ChatServer, Reply, completion, error, known_answer, page
from ..support import complaint
from .support import ask, cached, finish, journal, start, stopped


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A server with the known answers."""
    with ChatServer() as running:
        yield running


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of the test's own, and no server of anybody else's."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.mark.slow
def test_a_rate_limit_is_waited_for(tmp_path: Path, server: ChatServer) -> None:
    """After 429 with Retry-After the second request comes no earlier than told, and the build goes on."""
    server.faults["number 2."] = [error(429, "Rate limit reached", code="rate_limit_exceeded", retry_after="1.5")]
    assert finish(tmp_path, server).manifest.rows == 5
    first, second = (when for when, text in zip(server.times, server.questions, strict=True) if "number 2." in text)
    assert second - first >= 1.5
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "fault",
    [error(500, "oops"), error(503, "overloaded"), Reply(cut=0), Reply(body=completion("x" * 500).body, cut=300)],
    ids=["500", "503", "dropped before", "dropped within"],
)
def test_a_passing_fault_leaves_no_trace(tmp_path: Path, server: ChatServer, fault: Reply) -> None:
    """A server error and a connection that is dropped before or in the middle of the answer are asked again."""
    server.faults["number 3."] = [fault]
    written = finish(tmp_path, server)
    assert (written.manifest.rows, written.built.failed) == (5, [])
    assert len(server.asked) == 6


@pytest.mark.slow
def test_a_server_that_hangs_is_asked_again_after_the_timeout(tmp_path: Path, server: ChatServer) -> None:
    """An answer that does not come in time is asked for again."""
    server.faults["number 1."] = [Reply(wait=30)]
    assert finish(tmp_path, server, timeout=0.5).manifest.rows == 5
    assert len(server.asked) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (error(429, "Rate limit reached"), "keeps answering 429 (Rate limit reached)"),
        (error(500, "oops"), "keeps answering 500 (oops)"),
        (Reply(cut=0), "cannot be reached"),
        (Reply(wait=30), "does not answer in time"),
    ],
    ids=["429", "500", "dropped", "hang"],
)
def test_a_server_that_gives_up_ends_the_build_and_the_rest_is_asked_next_time(
    tmp_path: Path, server: ChatServer, fault: Reply, said: str
) -> None:
    """What was answered is kept, the cache is not written, and the same command asks only what is missing."""
    server.faults["number 4."] = [fault] * 3
    message = stopped(start(tmp_path, server, 6, timeout=1.0), ServerGaveUpError, concurrency=1)
    assert said in message
    assert "4 of 6 answered and kept; run the same command again to continue" in message
    with pytest.raises(CacheNotFoundError):
        cached(tmp_path)
    before = len(server.asked)
    assert finish(tmp_path, server, 6).manifest.rows == 6
    assert sorted(server.questions[before:]) == ["What is number 4.", "What is number 5."]  # asked at the same time


def test_malformed_output_is_asked_once_more(tmp_path: Path, server: ChatServer) -> None:
    """An answer that is no JSON object is retried; twice, and the item is failed with the reason."""
    broken = completion("Sure, it is 7.", [(b"Sure, it is 7.", -0.1)])
    half = completion('{"reasoning": "so"}', [(b'{"reasoning": "so"}', -0.1)])
    server.faults["number 1."] = [broken]
    server.faults["number 2."] = [broken, half]
    written = finish(tmp_path, server)
    assert [trace.item_id for trace in cached(tmp_path).traces] == ["0", "1", "3", "4"]
    (failed,) = written.built.failed
    assert (failed.item_id, failed.kind, failed.attempt) == ("2", "malformed", 2)
    assert "no final_answer" in failed.reason
    assert "1 failed: 1 malformed" in str(written.manifest.note)
    assert len(server.asked) == 7
    assert finish(tmp_path, server).changed is False
    assert len(server.asked) == 7
    assert finish(tmp_path, server, retry_failed=True).manifest.rows == 5
    assert len(server.asked) == 8


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (completion('{"reasoning": "so', [(b'{"reasoning": "so', -0.1)], finish_reason="length"), "truncated"),
        (completion(None, finish_reason="content_filter"), "filtered"),
        (completion(None, refusal="I cannot help with that."), "filtered"),
        (error(400, "The response was filtered", code="content_filter"), "filtered"),
        (error(400, "maximum context length is 8", code="context_length_exceeded"), "refused"),
        (error(422, "cannot process"), "refused"),
    ],
    ids=["length", "filter", "refusal", "400 filter", "400 length", "422"],
)
def test_what_asking_again_would_not_help_is_failed_at_once(
    tmp_path: Path, server: ChatServer, fault: Reply, kind: str
) -> None:
    """A truncated, filtered or refused item is not paid for twice, and the others go on."""
    server.faults["number 2."] = [fault]
    written = finish(tmp_path, server)
    assert [(failed.item_id, failed.kind) for failed in written.built.failed] == [("2", kind)]
    assert written.manifest.rows == 4
    assert len(server.asked) == 5


def test_an_answer_whose_object_is_whole_counts_although_it_was_cut_off_behind_it(
    tmp_path: Path, server: ChatServer
) -> None:
    """A model that goes on talking behind a complete object has been paid for a complete object."""
    text = '{"reasoning": "so", "final_answer": "2"} and so on and'
    server.faults["number 2."] = [completion(text, [(text.encode(), -0.1)], finish_reason="length")]
    assert finish(tmp_path, server).built.failed == []


def test_a_model_without_log_probabilities_names_the_way(tmp_path: Path, server: ChatServer) -> None:
    """One answer is paid for, not all; it is kept, and --no-logprobs then uses it."""
    silent = completion(json.dumps({"reasoning": "so", "final_answer": "0"}))
    server.answer = lambda _: silent
    message = stopped(start(tmp_path, server), UnusableServerError)
    assert "--no-logprobs" in message
    assert "rbridge traces score" in message
    assert len(server.asked) == 1
    assert '"final_answer\\": \\"0\\"' in journal(tmp_path).read_text()
    written = finish(tmp_path, server, logprobs=False)
    assert len(server.asked) == 5
    assert (written.manifest.rows, written.manifest.rows_with_confidence) == (5, 0)
    assert (written.manifest.confidence_model, written.built.mean_confidence) == (None, None)
    assert server.asked[0]["logprobs"] is True
    assert "logprobs" not in server.asked[1]


def test_one_answer_without_log_probabilities_among_others_is_asked_again(tmp_path: Path, server: ChatServer) -> None:
    """A server that forgets them once does not end the build."""
    server.faults["number 2."] = [completion(json.dumps({"reasoning": "so", "final_answer": "0"}))]
    assert finish(tmp_path, server).built.failed == []
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (error(401, "Incorrect API key provided", code="invalid_api_key"), "OPENAI_API_KEY"),
        (error(403, "Project has no access", code="forbidden"), "check its permissions"),
        (error(429, "You exceeded your current quota", code="insufficient_quota"), "add credit"),
        (error(402, "Insufficient Balance"), "add credit"),
        (error(404, "The model `gpt-4o` does not exist", code="model_not_found"), "it serves gpt-4o, gpt-4o-mini, o3"),
        (error(400, "messages.0: unknown role"), "400, messages.0: unknown role"),
        (error(400, "logprobs is not supported with this model"), "--no-logprobs"),
        (page(404), "--base-url"),
        (page(200), "web page"),
        (Reply(body={"object": "no completion"}), "no Chat Completions response"),
    ],
    ids=["401", "403", "quota", "402", "model", "400", "logprobs", "404 page", "page", "other JSON"],
)
def test_what_no_retry_can_mend_stops_at_once(tmp_path: Path, server: ChatServer, fault: Reply, said: str) -> None:
    """The first request tells; the line says what to change, and no second request is made."""
    server.faults[""] = [fault] * 50
    assert said in stopped(start(tmp_path, server, max_retries=8), UnusableServerError)
    assert len(server.asked) == 1


def test_a_quota_that_runs_out_in_the_middle_keeps_what_was_answered(tmp_path: Path, server: ChatServer) -> None:
    """Answers in flight at that moment are waited for; more credit, and the same command goes on."""
    server.latency = 0.3
    quota = error(429, "You exceeded your current quota", code="insufficient_quota")
    server.faults["number 4."] = [quota]
    message = stopped(start(tmp_path, server, 20, max_retries=8), UnusableServerError, concurrency=4)
    answered = len(server.asked) - 1
    assert f"({answered} of 20 answered and kept)" in message
    assert answered < 20
    assert finish(tmp_path, server, 20).manifest.rows == 20
    assert len(server.asked) == 21


def test_an_unknown_model_is_named_with_the_closest(tmp_path: Path, server: ChatServer) -> None:
    """The server's own list helps with a typing error."""
    message = stopped(start(tmp_path, server, model="gpt-4o-mimi"), UnusableServerError)
    assert "'gpt-4o-mimi' (did you mean gpt-4o-mini?)" in message


def test_a_wrong_key_is_named_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that wants another key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-and-secret")
    with ChatServer(key="sk-right") as server:
        message = stopped(start(tmp_path, server), UnusableServerError)
    assert "refuses the API key" in message
    assert "wrong-and" not in message
    assert "sk-wrong" not in journal(tmp_path).read_text()


def test_an_address_where_nobody_listens_is_named(tmp_path: Path) -> None:
    """A closed port is found before any question is sent, whatever the number of retries."""
    with ChatServer() as server:
        build = start(tmp_path, server, max_retries=8)
    message = stopped(build, UnusableServerError)
    assert server.url in message
    assert "--base-url" in message


def test_after_a_wrong_setting_the_right_one_needs_no_replace(tmp_path: Path, server: ChatServer) -> None:
    """A build in which nothing was answered commits to nothing."""
    with ChatServer() as closed:
        build = start(tmp_path, closed)
    stopped(build, UnusableServerError)
    assert finish(tmp_path, server).manifest.rows == 5


@pytest.mark.parametrize(
    ("key", "url", "said"),
    [
        ("", None, "set OPENAI_API_KEY"),
        ("", "https://api.openai.com/v1/", "set OPENAI_API_KEY"),
        ("sk-\u00e9", None, "characters that no key has"),
        ("sk", "localhost:8000", "no address"),
        ("sk", "http://[::1", "no address"),
    ],
)
def test_a_connection_that_cannot_work_is_refused_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, key: str, url: str | None, said: str
) -> None:
    """No key for OpenAI, or an address that is none."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert said in complaint(check_connection, Connection("gpt-4o", url))


def test_a_local_server_needs_no_key(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever serves a model has no key for it."""
    monkeypatch.delenv("OPENAI_API_KEY")
    check_connection(Connection("gpt-4o", server.url))
    assert finish(tmp_path, server).manifest.rows == 5


def test_parameters_that_a_model_takes_otherwise_are_adapted(tmp_path: Path, server: ChatServer) -> None:
    """A reasoning model wants max_completion_tokens and its own temperature; the manifest says how it decoded."""
    said = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    warm = "Unsupported value: 'temperature' does not support 0 with this model."
    server.faults[""] = [error(400, said, code="unsupported_parameter"), error(400, warm, code="unsupported_value")]
    assert finish(tmp_path, server, max_tokens=77).manifest.rows == 5
    assert len(server.asked) == 7
    assert all(body["max_completion_tokens"] == 77 and "max_tokens" not in body for body in server.asked[1:])
    assert all("temperature" not in body for body in server.asked[2:])
    assert cached(tmp_path).manifest.decoding == "the model's own temperature, max_tokens 77"


def test_a_model_that_never_answers_in_the_form_is_not_paid_for_to_the_end(tmp_path: Path, server: ChatServer) -> None:
    """After 20 answers without a usable one the build stops and quotes what is wrong."""
    server.answer = lambda _: completion("It is 7.", [(b"It is 7.", -0.1)])
    message = stopped(start(tmp_path, server, 50), UnusableServerError)
    assert "none of the first 20 answers of gpt-4o can be used" in message
    assert len(server.asked) <= 24


def test_a_server_whose_place_a_web_page_takes_is_not_the_items_fault(tmp_path: Path, server: ChatServer) -> None:
    """The build stops; when the server is back, every item is asked, failed or not."""
    ask(start(tmp_path, server, 5))
    server.answer = lambda _: page()
    assert "a web page, 10 times in a row" in stopped(start(tmp_path, server, 30), ServerGaveUpError)
    server.answer = known_answer
    written = finish(tmp_path, server, 30)
    assert (written.manifest.rows, written.built.failed) == (30, [])


def test_a_setting_that_every_request_is_refused_for_does_not_fail_all_items(
    tmp_path: Path, server: ChatServer
) -> None:
    """A build that goes on with a limit beyond the model's stops soon, and --retry-failed mends what it failed."""
    ask(start(tmp_path, server, 5))
    server.faults[""] = [error(400, "max_tokens is too large")] * 50
    message = stopped(start(tmp_path, server, 40), UnusableServerError)
    assert "max_tokens is too large, 10 times in a row" in message
    assert "--retry-failed" in message
    assert len(server.asked) < 20
    server.faults.clear()
    assert finish(tmp_path, server, 40, retry_failed=True).manifest.rows == 40


def test_where_every_item_failed_nothing_is_written(tmp_path: Path, server: ChatServer) -> None:
    """An error that says what failed, and no cache."""
    server.answer = lambda _: completion('{"rea', [(b'{"rea', -0.1)], finish_reason="length")
    build = start(tmp_path, server, 3)
    ask(build)
    assert "none of 3 items has a usable answer: 3 truncated" in complaint(build.write, error=TraceError)
    with pytest.raises(CacheNotFoundError):
        cached(tmp_path)


def test_no_more_than_the_allowed_requests_are_in_flight(tmp_path: Path) -> None:
    """The server never sees more than --concurrency at a time, and does see that many."""
    with ChatServer(latency=0.05) as server:

        def answer_in_company(question: str) -> Reply:
            deadline = time.monotonic() + 2.0  # the first request comes alone
            while server.most_at_once < 6 and time.monotonic() < deadline:
                time.sleep(0.01)
            return known_answer(question)

        server.answer = answer_in_company
        ask(start(tmp_path, server, 30), concurrency=6)
    assert server.most_at_once == 6


@pytest.mark.parametrize(
    "change",
    [
        {"choices": [{"message": {"content": ["parts"]}, "finish_reason": "stop", "logprobs": {"content": [1]}}]},
        {"choices": [{"message": {"content": "{}"}, "logprobs": {"content": "tokens"}}]},
        {"choices": [{"message": {"content": "{}"}, "logprobs": {"content": [{"token": 1, "logprob": "x"}]}}]},
        {"choices": [{"message": {"content": "{}"}, "logprobs": {"content": [{}]}}]},
        {"choices": [{"message": {}, "logprobs": []}], "usage": [], "model": 7},
        {"choices": [{"message": {"content": 7, "refusal": 8}, "logprobs": 7}], "usage": {"prompt_tokens": "many"}},
        {"choices": [{"message": {"content": "\ud800"}, "logprobs": {"content": [{"token": "\ud800", "logprob": 0}]}}]},
        {"choices": [{"message": None}]},
        {"choices": []},
        {"choices": {}},
        [],
        None,
    ],
    ids=repr,
)
@pytest.mark.parametrize("logprobs", [True, False])
def test_responses_of_an_odd_form_fail_their_item_and_nothing_else(
    tmp_path: Path, server: ChatServer, change: object, logprobs: bool
) -> None:
    """Whatever the JSON of one response holds, it is a reason in the list of failures, not the end of the build."""
    body = {**completion("x").body, **change} if isinstance(change, dict) else change
    server.faults["number 2."] = [Reply(body=body)] * 2
    written = finish(tmp_path, server, logprobs=logprobs)
    assert [failed.item_id for failed in written.built.failed] == ["2"]
    assert written.built.failed[0].reason
    assert written.manifest.rows == 4


def test_thinking_tokens_before_the_content_cost_no_answer(tmp_path: Path) -> None:
    """A server that lists the tokens of its thinking too: no item of 25 fails, and one -9999 is counted."""

    def answer(question: str) -> Reply:
        content = '{"reasoning": "2 + 2 = 4", "final_answer": "1"}'
        thinking = [(b"<think>", -1.0), (content.encode(), -1.0), (b"</think>", -1.0), (b"\n", -1.0)]
        unknown = -9999.0 if "number 3." in question else -0.5
        own = [(content[:18].encode(), -0.1), (content[18:22].encode(), unknown), (content[22:].encode(), -0.2)]
        reply = completion(content, [*thinking, *own, (b"<|im_end|>", -1.0)])
        reply.body["choices"][0]["stop_reason"] = None
        return reply

    with ChatServer(answer) as thinker:
        written = finish(tmp_path, thinker, 25)
    assert not written.built.failed
    counts = written.built.unknown
    assert (counts.tokens, counts.traces, counts.first) == (1, 1, "gsm8k/3")
    traces = cached(tmp_path).traces
    assert {trace.trace for trace in traces} == {"2 + 2 = 4"}
    for trace in traces:
        assert trace.token_logprob is not None
        expected = [-0.1, np.nan if trace.item_id == "3" else -0.5, -0.2]
        np.testing.assert_allclose(trace.token_logprob, expected, rtol=1e-6)
