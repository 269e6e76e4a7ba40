"""Faults of a server: transient ones are retried, others stop the build, and no paid answer is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rbridge_traces import CacheNotFoundError
from rbridge_traces.generation.client import Connection, check_connection
from rbridge_traces.generation.refusals import ServerGaveUpError, UnusableServerError

from ..chat_server import ChatServer, Reply, completion, error, known_answer, page
from ..support import complaint
from .support import ask, cached, finish, journal, start, stopped

pytestmark = pytest.mark.usefixtures("api_key")


@pytest.mark.slow
def test_a_rate_limit_is_waited_for(tmp_path: Path, server: ChatServer) -> None:
    """After a 429 the second request waits for Retry-After, and the build continues."""
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
    """A request is repeated after a server error or a dropped connection, and the build is complete."""
    server.faults["number 3."] = [fault]
    written = finish(tmp_path, server)
    assert (written.manifest.rows, written.built.failed) == (5, [])
    assert len(server.asked) == 6


@pytest.mark.slow
def test_a_server_that_hangs_is_asked_again_after_the_timeout(tmp_path: Path, server: ChatServer) -> None:
    """An answer that exceeds the timeout is requested again."""
    server.faults["number 1."] = [Reply(wait=30)]
    assert finish(tmp_path, server, timeout=0.5).manifest.rows == 5
    assert len(server.asked) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (error(429, "Rate limit reached"), "keeps answering 429 (Rate limit reached)"),
        (error(500, "oops"), "keeps answering 500 (oops)"),
        (Reply(cut=0), "cannot be reached"),
        (Reply(wait=30), "does not answer in time"),
    ],
    ids=["429", "500", "dropped", "hang"],
)
def test_a_server_that_gives_up_ends_the_build_and_the_rest_is_asked_next_time(
    tmp_path: Path, server: ChatServer, fault: Reply, reason: str
) -> None:
    """Answers so far are kept, the cache is not written, and the same command asks only the missing questions."""
    server.faults["number 4."] = [fault] * 3
    message = stopped(start(tmp_path, server, 6, timeout=1.0), ServerGaveUpError, concurrency=1)
    assert reason in message
    assert "4 of 6 answered and kept; run the same command again to continue" in message
    with pytest.raises(CacheNotFoundError):
        cached(tmp_path)
    before = len(server.asked)
    assert finish(tmp_path, server, 6).manifest.rows == 6
    assert sorted(server.questions[before:]) == ["What is number 4.", "What is number 5."]  # concurrent, in any order


@pytest.mark.parametrize(
    ("fault", "advice"),
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
        (Reply(body=b"[" * 100_000), "no Chat Completions response"),
    ],
    ids=["401", "403", "quota", "402", "model", "400", "logprobs", "404 page", "page", "other JSON", "nested JSON"],
)
def test_what_no_retry_can_mend_stops_at_once(tmp_path: Path, server: ChatServer, fault: Reply, advice: str) -> None:
    """The message names the setting to change, and no second request is made."""
    server.faults[""] = [fault] * 50
    assert advice in stopped(start(tmp_path, server, max_retries=8), UnusableServerError)
    assert len(server.asked) == 1


def test_a_quota_that_runs_out_in_the_middle_keeps_what_was_answered(tmp_path: Path, server: ChatServer) -> None:
    """Answers in flight are kept; with new credit, the same command continues."""
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
    """The message suggests the closest model that the server lists."""
    message = stopped(start(tmp_path, server, model="gpt-4o-mimi"), UnusableServerError)
    assert "'gpt-4o-mimi' (did you mean gpt-4o-mini?)" in message


def test_a_wrong_key_is_named_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message reports the refused API key without printing it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-and-secret")
    with ChatServer(key="sk-right") as server:
        message = stopped(start(tmp_path, server), UnusableServerError)
    assert "refuses the API key" in message
    assert "wrong-and" not in message
    assert "sk-wrong" not in journal(tmp_path).read_text()


def test_an_address_where_nobody_listens_is_named(tmp_path: Path) -> None:
    """A closed port is reported before any question is sent, whatever the number of retries."""
    with ChatServer() as server:
        build = start(tmp_path, server, max_retries=8)
    message = stopped(build, UnusableServerError)
    assert server.url in message
    assert "--base-url" in message


def test_after_a_wrong_setting_the_right_one_needs_no_replace(tmp_path: Path, server: ChatServer) -> None:
    """A build without any answer does not fix the settings."""
    with ChatServer() as closed:
        build = start(tmp_path, closed)
    stopped(build, UnusableServerError)
    assert finish(tmp_path, server).manifest.rows == 5


@pytest.mark.parametrize(
    ("key", "url", "expected"),
    [
        ("", None, "set OPENAI_API_KEY"),
        ("", "https://api.openai.com/v1/", "set OPENAI_API_KEY"),
        ("sk-\u00e9", None, "characters that no key has"),
        ("sk", "localhost:8000", "no address"),
        ("sk", "http://[::1", "no address"),
    ],
)
def test_a_connection_that_cannot_work_is_refused_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, key: str, url: str | None, expected: str
) -> None:
    """OpenAI without a key, an invalid key and an invalid address are refused."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert expected in complaint(check_connection, Connection("gpt-4o", url))


def test_a_local_server_needs_no_key(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build with --base-url works without OPENAI_API_KEY."""
    monkeypatch.delenv("OPENAI_API_KEY")
    check_connection(Connection("gpt-4o", server.url))
    assert finish(tmp_path, server).manifest.rows == 5


def test_parameters_that_a_model_takes_otherwise_are_adapted(tmp_path: Path, server: ChatServer) -> None:
    """Requests switch to max_completion_tokens and the default temperature; the manifest records the decoding."""
    token_limit = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    temperature = "Unsupported value: 'temperature' does not support 0 with this model."
    server.faults[""] = [
        error(400, token_limit, code="unsupported_parameter"),
        error(400, temperature, code="unsupported_value"),
    ]
    assert finish(tmp_path, server, max_tokens=77).manifest.rows == 5
    assert len(server.asked) == 7
    assert all(body["max_completion_tokens"] == 77 and "max_tokens" not in body for body in server.asked[1:])
    assert all("temperature" not in body for body in server.asked[2:])
    assert cached(tmp_path).manifest.decoding == "the model's own temperature, max_tokens 77"


def test_a_server_whose_place_a_web_page_takes_is_not_the_items_fault(tmp_path: Path, server: ChatServer) -> None:
    """Web pages in place of answers stop the build; once the server is back, every item is asked."""
    ask(start(tmp_path, server, 5))
    server.answer = lambda _: page()
    assert "a web page, 10 times in a row" in stopped(start(tmp_path, server, 30), ServerGaveUpError)
    server.answer = known_answer
    written = finish(tmp_path, server, 30)
    assert (written.manifest.rows, written.built.failed) == (30, [])


def test_a_setting_that_every_request_is_refused_for_does_not_fail_all_items(
    tmp_path: Path, server: ChatServer
) -> None:
    """A token limit above the model's stops the build early, and --retry-failed repeats the failed items."""
    ask(start(tmp_path, server, 5))
    server.faults[""] = [error(400, "max_tokens is too large")] * 50
    message = stopped(start(tmp_path, server, 40), UnusableServerError)
    assert "max_tokens is too large, 10 times in a row" in message
    assert "--retry-failed" in message
    assert len(server.asked) < 20
    server.faults.clear()
    assert finish(tmp_path, server, 40, retry_failed=True).manifest.rows == 40


def test_no_more_than_the_allowed_requests_are_in_flight(tmp_path: Path) -> None:
    """The number of simultaneous requests reaches --concurrency and never exceeds it."""
    with ChatServer(latency=0.05) as server:

        def answer_in_company(question: str) -> Reply:
            deadline = time.monotonic() + 2.0  # the first request arrives alone
            while server.most_at_once < 6 and time.monotonic() < deadline:
                time.sleep(0.01)
            return known_answer(question)

        server.answer = answer_in_company
        ask(start(tmp_path, server, 30), concurrency=6)
    assert server.most_at_once == 6
