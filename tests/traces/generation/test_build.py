"""Building a cache from questions: its content, what it depends on, and what a second build does."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rbridge_traces import TraceCache, TraceError
from rbridge_traces.generation.journal import JournalError

from ...error_bounds import assert_within, stored_bound
from ..chat_server import MODEL, ChatServer, completion, error, known_answer
from ..support import complaint, make_trace, same
from .support import ask, cached, finish, journal, some_questions, start, stopped


def test_character_confidences_are_those_worked_out_by_hand(tmp_path: Path, server: ChatServer) -> None:
    """Tokens that cross quotes, an escape and a two-byte character give the confidences computed by hand."""
    pieces = [b'{"reasoning": ', b'"a\xc3', b"\xaf\\", b'n2"', b', "final_answer"', b': "2"}']
    probabilities = [0.9, 0.5, 0.25, 1.0, 0.8, 0.7]
    text = b"".join(pieces).decode()
    assert text == '{"reasoning": "aï\\n2", "final_answer": "2"}'
    reply = completion(text, list(zip(pieces, np.log(probabilities).tolist(), strict=True)))
    server.faults["number 2."] = [reply]
    finish(tmp_path, server)
    trace = cached(tmp_path).traces[2]
    assert (trace.trace, trace.final_answer, trace.correct) == ("aï\n2", "2", True)
    assert trace.token_end is not None
    assert trace.token_logprob is not None
    characters = np.repeat(np.exp(trace.token_logprob.astype(float)), np.diff(trace.token_end, prepend=0))
    # a: one token at 0.5; ï: one byte in each of two tokens; \\n: backslash and n in two tokens; 2: one token at 1
    expected = [0.5, (0.5 + 0.25) / 2, (0.25 + 1.0) / 2, 1.0]
    assert_within(characters, expected, stored_bound(expected))


def test_what_is_asked_is_the_prompt_of_the_paper_decoded_greedily(tmp_path: Path, server: ChatServer) -> None:
    """The messages match exactly, temperature is 0, log-probabilities are requested, choices are one per line."""
    finish(tmp_path, server, 1, questions=some_questions(1, "csqa"), max_tokens=333)
    (body,) = server.asked
    form = '{ "reasoning": "your step by step reasoning", "final_answer": "your final answer" }'
    assert body == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant that solves commonsense problems."},
            {
                "role": "user",
                "content": "What is number 0.\n0. none\n1. one\n2. two\n\n"
                f"Respond ONLY with a JSON object in this exact format: {form}",
            },
        ],
        "temperature": 0,
        "max_tokens": 333,
        "logprobs": True,
    }


def test_the_manifest_says_how_the_traces_came_about(tmp_path: Path, server: ChatServer) -> None:
    """The manifest has the served model's name, the prompt template, the decoding and the origin of the questions."""
    manifest = finish(tmp_path, server).manifest
    assert (manifest.frontier_model, manifest.confidence_model) == ("gpt-4o-2024-08-06", "gpt-4o-2024-08-06")
    assert "user: [question]\n\nRespond ONLY" in str(manifest.prompt)
    assert manifest.decoding == "greedy (temperature 0), max_tokens 2048"
    assert str(manifest.note).startswith("questions of a test; build ")
    assert (manifest.rows, manifest.rows_with_confidence) == (5, 5)


def test_traces_come_in_the_order_of_the_questions_with_their_fields(tmp_path: Path) -> None:
    """Each question gets its own answer, graded against its gold answer, in whatever order the answers arrive."""
    with ChatServer() as server:
        server.answer = lambda text: type(known_answer(text))(
            body=known_answer(text).body, wait=0.02 * (9 - int(text[15]))
        )
        finish(tmp_path, server, 10)
    trace_set = cached(tmp_path)
    assert [trace.item_id for trace in trace_set.traces] == [str(n) for n in range(10)]
    for number, trace in enumerate(trace_set.traces):
        assert f"«What is number {number}.»" in trace.trace
        assert trace.gold == str(number % 3)
        assert trace.correct is (trace.final_answer == trace.gold)
    assert trace_set.manifest.rows_correct == sum(bool(trace.correct) for trace in trace_set.traces)


def test_without_log_probabilities_the_traces_are_the_same_but_for_confidences(
    tmp_path: Path, server: ChatServer
) -> None:
    """Omitting log-probabilities does not change the texts."""
    finish(tmp_path, server)
    plain = finish(tmp_path, server, logprobs=False, source="plain").manifest
    assert (plain.confidence_model, plain.rows_with_confidence) == (None, 0)
    texts = [
        [(trace.trace, trace.final_answer) for trace in cached(tmp_path, source=source).traces]
        for source in ("gpt-4o", "plain")
    ]
    assert texts[0] == texts[1]


def test_a_finished_build_asks_nothing_and_changes_nothing(tmp_path: Path, server: ChatServer) -> None:
    """A second build sends no request and leaves the files of the cache unchanged."""
    finish(tmp_path, server)
    files = {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    again = start(tmp_path, server)
    assert again.jobs == []
    assert again.write().changed is False
    assert {path: path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()} == files
    assert len(server.asked) == 5


def test_a_larger_limit_asks_only_the_new_items(tmp_path: Path, server: ChatServer) -> None:
    """Existing answers are reused, and the larger set replaces the smaller one without --replace."""
    finish(tmp_path, server, 3)
    assert finish(tmp_path, server, 8, max_tokens=99).manifest.rows == 8
    assert sorted(server.questions) == [f"What is number {n}." for n in range(8)]


@pytest.mark.parametrize("order", [[3, 8], [8], [1, 2, 8]])
def test_the_cache_depends_on_the_answers_alone(tmp_path: Path, server: ChatServer, order: list[int]) -> None:
    """One build or several, sequential or concurrent, write the same bytes."""
    finish(tmp_path / "whole", server, 8)
    for concurrency, count in enumerate(order, start=1):
        build = start(tmp_path / "parts", server, count)
        ask(build, concurrency)
        build.write()
    assert cached(tmp_path / "parts").manifest.files == cached(tmp_path / "whole").manifest.files


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"model": "gpt-4o-mini", "source": "gpt-4o"}, "begun with model gpt-4o, now it is gpt-4o-mini"),
        ({"logprobs": False}, "begun with logprobs True, now it is False"),
    ],
)
def test_other_settings_are_not_mixed_into_a_build(
    tmp_path: Path, server: ChatServer, options: dict[str, object], difference: str
) -> None:
    """The message names the difference, --source and --replace."""
    finish(tmp_path, server)
    message = complaint(start, tmp_path, server, error=JournalError, **options)
    for part in (difference, "--source NAME", "--replace"):
        assert part in message


def test_another_choice_of_questions_reuses_the_answers_there_are(tmp_path: Path, server: ChatServer) -> None:
    """The selection of items is not a setting: existing answers are kept and reused."""
    finish(tmp_path, server)
    selection = [question for question in some_questions(9) if question.item_id in "13578"]
    assert finish(tmp_path, server, questions=selection).manifest.rows == 5
    assert len(server.asked) == 8


def test_a_question_that_reads_otherwise_now_is_noticed(tmp_path: Path, server: ChatServer) -> None:
    """An id with a changed question is an error: its old trace would be stored with the new question."""
    finish(tmp_path, server)
    questions = some_questions(5)
    questions[3] = type(questions[3])("gsm8k", "3", "What else?", None, "0")
    message = complaint(start, tmp_path, server, questions=questions, error=JournalError)
    assert "the question 3 was another when it was asked" in message


def test_replace_starts_over_and_sets_the_old_answers_aside(tmp_path: Path, server: ChatServer) -> None:
    """With other settings, --replace begins a new journal and keeps the old one."""
    finish(tmp_path, server)
    old = journal(tmp_path).read_bytes()
    finish(tmp_path, server, model="gpt-4o-mini", source="gpt-4o", replace=True)
    assert len(server.asked) == 10
    assert journal(tmp_path, source="gpt-4o.replaced-1").read_bytes() == old
    assert finish(tmp_path, server, model="gpt-4o-mini", source="gpt-4o").changed is False


def test_replace_with_the_same_settings_pays_for_nothing_again(tmp_path: Path, server: ChatServer) -> None:
    """--replace keeps answers that were made with the same settings."""
    finish(tmp_path, server)
    finish(tmp_path, server, replace=True)
    assert len(server.asked) == 5


def test_a_server_that_moved_needs_to_be_said(tmp_path: Path, server: ChatServer) -> None:
    """A new address may serve another model, so the build requires --moved once."""
    finish(tmp_path, server, 3)
    with ChatServer() as elsewhere:
        assert "--moved" in complaint(start, tmp_path, elsewhere, error=JournalError)
        finish(tmp_path, elsewhere, 5, moved=True)
        assert len(elsewhere.asked) == 2
        assert finish(tmp_path, elsewhere, 6).manifest.rows == 6


def test_traces_from_elsewhere_are_not_written_over(tmp_path: Path, server: ChatServer) -> None:
    """A source that no build made is refused before any question is asked."""
    cache = TraceCache(str(tmp_path / "cache"))
    cache.write([make_trace()], benchmark="gsm8k", source="gpt-4o")
    message = complaint(start, tmp_path, server)
    assert "does not come from this build" in message
    assert "--replace" in message
    assert server.asked == []
    assert finish(tmp_path, server, replace=True).manifest.rows == 5


def test_confidences_given_since_are_not_dropped(tmp_path: Path, server: ChatServer) -> None:
    """Traces that another model scored in place are not overwritten silently."""
    finish(tmp_path, server, logprobs=False)
    trace_set = cached(tmp_path)
    scored = [make_trace(trace.item_id, trace.trace, token_end=[len(trace.trace)], token_logprob=[-1.0])
              for trace in trace_set.traces]  # fmt: skip
    note = f"{trace_set.manifest.note}; confidences by teacher forcing, 5-shot"
    TraceCache(str(tmp_path / "cache")).write(scored, benchmark="gsm8k", source="gpt-4o", note=note, replace=True)
    assert "given confidences since" in complaint(start, tmp_path, server, 8, logprobs=False)


def test_a_name_that_cannot_be_one_is_refused_before_anything_is_asked(tmp_path: Path, server: ChatServer) -> None:
    """A source name must be a slug; another name is refused before any paid request."""
    assert "cannot name a source" in complaint(start, tmp_path, server, source="GPT 4o", error=TraceError)


def test_two_builds_at_once_do_not_pay_twice(tmp_path: Path, server: ChatServer) -> None:
    """The second build reports the first and asks nothing."""
    server.latency = 0.3
    first, second = start(tmp_path, server), start(tmp_path, server)
    thread = threading.Thread(target=ask, args=(first, 1))
    thread.start()
    while not server.asked:
        time.sleep(0.01)
    assert "another build is writing" in stopped(second, JournalError)
    thread.join()
    assert "was written to by another build just now" in stopped(second, JournalError)
    assert sorted(server.questions) == [f"What is number {n}." for n in range(5)]


def test_a_journal_holds_all_that_was_paid_for_and_little_else(tmp_path: Path, server: ChatServer) -> None:
    """The journal has text, tokens, log-probabilities, usage and model of every answer; no alternatives, no key."""
    finish(tmp_path, server)
    head, *lines = [json.loads(line) for line in journal(tmp_path).read_text().splitlines()]
    assert head["settings"]["model"] == MODEL
    (entry,) = [line for line in lines if line["item_id"] == "3"]
    reply = known_answer("What is number 3.").body
    assert entry["choice"]["message"] == {"content": reply["choices"][0]["message"]["content"]}
    tokens = [{key: token[key] for key in ("token", "logprob", "bytes")}
              for token in reply["choices"][0]["logprobs"]["content"]]  # fmt: skip
    assert entry["choice"]["logprobs"]["content"] == tokens
    assert entry["usage"].items() <= reply["usage"].items()
    assert (entry["model"], entry["attempt"]) == ("gpt-4o-2024-08-06", 1)


def test_a_remote_cache_has_its_journal_in_the_users_own(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Remote files cannot be appended to, so each remote cache has its journal on the local disk."""
    from rbridge_traces.generation.journal import journal_path

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = (journal_path(f"memory://{name}", "gsm8k", "gpt-4o") for name in ("first", "second"))
    assert first != second
    assert tmp_path in first.parents
    assert journal_path(str(tmp_path / "cache"), "gsm8k", "gpt-4o") == journal(tmp_path)


def test_failures_are_counted_in_the_manifest(tmp_path: Path, server: ChatServer) -> None:
    """The manifest records how many items failed, and why."""
    server.faults["number 1."] = [error(400, "flagged by moderation")]
    broken = completion("no", [(b"no", -0.1)])
    server.faults["number 2."] = [broken, broken]
    server.faults["number 3."] = [broken, broken]
    ask(build := start(tmp_path, server), concurrency=1)
    note = str(build.write().manifest.note)
    assert "3 failed: 2 malformed, 1 filtered" in note
    assert {trace.item_id for trace in cached(tmp_path).traces} == {"0", "4"}


def test_equal_answers_give_equal_traces(tmp_path: Path, server: ChatServer) -> None:
    """Two separately built caches agree in every field of every trace."""
    finish(tmp_path / "first", server)
    finish(tmp_path / "second", server)
    assert all(map(same, cached(tmp_path / "first").traces, cached(tmp_path / "second").traces))
