"""Answers that cannot be used: each is retried, or its item fails with a reason, and the build continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from rbridge_traces import CacheNotFoundError, TraceError
from rbridge_traces.answer_form import AnswerForm
from rbridge_traces.generation.refusals import UnusableServerError

from ..chat_server import ChatServer, Reply, completion, error
from ..support import complaint
from .support import ask, cached, finish, journal, start, stopped

pytestmark = pytest.mark.usefixtures("api_key")


def test_malformed_output_is_asked_once_more(tmp_path: Path, server: ChatServer) -> None:
    """An answer that is not a complete JSON object is requested once more; then the item fails with the reason."""
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
    """A truncated, filtered or refused item is not requested again, and the other items are."""
    server.faults["number 2."] = [fault]
    written = finish(tmp_path, server)
    assert [(failed.item_id, failed.kind) for failed in written.built.failed] == [("2", kind)]
    assert written.manifest.rows == 4
    assert len(server.asked) == 5


def test_an_answer_whose_object_is_whole_counts_although_it_was_cut_off_behind_it(
    tmp_path: Path, server: ChatServer
) -> None:
    """An answer truncated after its complete JSON object is used."""
    text = '{"reasoning": "so", "final_answer": "2"} and so on and'
    server.faults["number 2."] = [completion(text, [(text.encode(), -0.1)], finish_reason="length")]
    assert finish(tmp_path, server).built.failed == []


def test_a_model_without_log_probabilities_names_the_way(tmp_path: Path, server: ChatServer) -> None:
    """The build stops after one answer; --no-logprobs then reuses that answer."""
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
    """A single answer without log-probabilities is requested again, and the build continues."""
    server.faults["number 2."] = [completion(json.dumps({"reasoning": "so", "final_answer": "0"}))]
    assert finish(tmp_path, server).built.failed == []
    assert len(server.asked) == 6


def test_a_model_that_never_answers_in_the_form_is_not_paid_for_to_the_end(tmp_path: Path, server: ChatServer) -> None:
    """After 20 answers of which none is usable, the build stops and quotes the problem."""
    server.answer = lambda _: completion("It is 7.", [(b"It is 7.", -0.1)])
    message = stopped(start(tmp_path, server, 50), UnusableServerError)
    assert "none of the first 20 answers of gpt-4o can be used" in message
    assert len(server.asked) <= 24


def test_where_every_item_failed_nothing_is_written(tmp_path: Path, server: ChatServer) -> None:
    """The error counts the failures, and no cache is written."""
    server.answer = lambda _: completion('{"rea', [(b'{"rea', -0.1)], finish_reason="length")
    build = start(tmp_path, server, 3)
    ask(build)
    assert "none of 3 items has a usable answer: 3 truncated" in complaint(build.write, error=TraceError)
    with pytest.raises(CacheNotFoundError):
        cached(tmp_path)


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
    """A response with unexpected JSON fails its item with a reason; the build continues."""
    body = {**completion("x").body, **change} if isinstance(change, dict) else change
    server.faults["number 2."] = [Reply(body=body)] * 2
    written = finish(tmp_path, server, logprobs=logprobs)
    assert [failed.item_id for failed in written.built.failed] == ["2"]
    assert written.built.failed[0].reason
    assert written.manifest.rows == 4


def test_thinking_tokens_before_the_content_cost_no_answer(tmp_path: Path) -> None:
    """A server that also lists its thinking tokens: none of 25 items fails, and one -9999 is counted as unknown."""

    def answer(question: str) -> Reply:
        content = '{"reasoning": "2 + 2 = 4", "final_answer": "1"}'
        thinking = [(b"<think>", -1.0), (content.encode(), -1.0), (b"</think>", -1.0), (b"\n", -1.0)]
        unknown = -9999.0 if "number 3." in question else -0.5
        content_tokens = [
            (content[:18].encode(), -0.1),
            (content[18:22].encode(), unknown),
            (content[22:].encode(), -0.2),
        ]
        reply = completion(content, [*thinking, *content_tokens, (b"<|im_end|>", -1.0)])
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


@pytest.mark.parametrize("trace", ["reasoning", "thinking"])
def test_half_a_surrogate_pair_in_a_trace_fails_its_item_alone(
    tmp_path: Path, server: ChatServer, trace: Literal["reasoning", "thinking"]
) -> None:
    """Without log-probabilities, too, a trace that is no text is malformed, and the others are written."""
    good = completion("So.\nFinal answer: 2", reasoning="Hm.")
    bad = completion("So \ud83d.\nFinal answer: 2", reasoning="Hm \ud83d.")
    server.answer = lambda question: bad if "number 2." in question else good
    written = finish(tmp_path, server, logprobs=False, form=AnswerForm(trace, "text"))
    assert [(failed.item_id, failed.kind) for failed in written.built.failed] == [("2", "malformed")]
    assert "its trace holds half a surrogate pair" in written.built.failed[0].reason
    assert written.manifest.rows == 4
