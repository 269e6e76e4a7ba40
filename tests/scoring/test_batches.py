"""Batches: their size, what they report as finished, what is known already, and memory that runs out."""

from __future__ import annotations

import pytest

from rbridge_tasks.backends import hf
from rbridge_tasks.scoring import score_pairs
from rbridge_tasks.scoring.collector import ScoringError

from ..support import (
    harness_model,
    mixed_pairs,
    stock_loglikelihoods,
    tiny_model,
)
from .reading import (
    Finished,
    Tokenizers,
    agree,
    memory_for,
    refused,
    repeated_questions,
    scores,
    ten_items,
    totals,
)


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
@pytest.mark.parametrize("max_length", [40, 2048])
def test_each_pair_is_called_finished_once(tokenizers: Tokenizers, batch_size: int | str, max_length: int) -> None:
    """With the scores that are returned in the end, also where a trace is spread over batches."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=batch_size, max_length=max_length)
    pairs, finished = mixed_pairs(), Finished()
    found = hf.score(lm, pairs, [""] * len(pairs), done=finished)
    assert all(finished.scores[i] is score for i, score in enumerate(found))
    assert len(finished.scores) == len(pairs)


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_what_is_known_is_not_read_again_and_changes_nothing(tokenizers: Tokenizers, family: str) -> None:
    """Only batches that hold an unknown pair are read, in the same company as before: equal to the last bit."""
    model, pairs, first = tiny_model(family, 700), repeated_questions(), Finished()
    lm = harness_model(model, tokenizers["bos"], batch_size=4)
    found = hf.score(lm, pairs, [""] * len(pairs), done=first)
    done, left = first.batches[:6], first.batches[6:]
    known = {i: first.scores[i] for batch in done for i in batch}
    again = Finished()
    repeated = hf.score(lm, pairs, [""] * len(pairs), done=again, known=known)
    assert again.batches == left
    for one, other in zip(found, repeated, strict=True):
        assert one.to_json() == other.to_json()


def test_pairs_tokenised_later_are_scored_alike(tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs come in parts, the next tokenised while one is scored; indices are those of all pairs."""
    lm, pairs = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=2), mixed_pairs()
    expected = stock_loglikelihoods(lm, pairs)
    monkeypatch.setattr(score_pairs, "PAIRS_AT_ONCE", 3)
    finished = Finished()
    found = hf.score(lm, pairs, [""] * len(pairs), done=finished, known=None)
    agree(found, expected)
    assert sorted(finished.scores) == list(range(len(pairs)))
    known = {i: found[i] for i in (3, 4, 5)}
    assert hf.score(lm, pairs, [""] * len(pairs), known=known)[4] is found[4]


def test_running_out_of_memory_halves_the_batch(tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture) -> None:
    """The numbers are those of a run with enough memory, and the user is told."""
    model = tiny_model("llama", 700)
    lm = harness_model(model, tokenizers["bos"], batch_size=8)
    pairs = [(f"{i}: {context}", trace) for i, (context, trace) in enumerate(ten_items())]
    expected = totals(scores(lm, pairs))
    assert "out of memory" not in caplog.text
    with memory_for(model, 200):
        agree(scores(lm, pairs), expected)
    assert "out of memory with a batch of 8; going on with 4" in caplog.text


def test_auto_fits_its_batches_into_memory(tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture) -> None:
    """Starting with more tokens than there is memory for, it ends up with as many as fit."""
    model = tiny_model("llama", 700)
    lm = harness_model(model, tokenizers["bos"], batch_size="auto")
    pairs = [(f"{i}: {context}", trace) for i, (context, trace) in enumerate(ten_items())]
    with memory_for(model, 100):
        found = scores(lm, pairs)
    agree(found, totals(scores(lm, pairs)))
    assert "tokens" in caplog.text.split("out of memory with a batch of ")[1]


@pytest.mark.parametrize(("given", "largest"), [(64, 10), (3, 3)])
def test_auto_reads_no_more_texts_than_the_user_allows(tokenizers: Tokenizers, given: int, largest: int) -> None:
    """``--max_batch_size`` limits the texts in a batch; left at lm-eval's default it does not."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size="auto", max_batch_size=given)
    finished, pairs = Finished(), ten_items()
    hf.score(lm, pairs, [""] * len(pairs), done=finished)
    assert max(map(len, finished.batches)) == largest


@pytest.mark.parametrize("tokens", [5, 150])
def test_one_trace_too_many_for_the_memory_is_an_error(tokenizers: Tokenizers, tokens: int) -> None:
    """What does not fit alone ends the run with a remedy, whether or not others fit."""
    model = tiny_model("mamba", 700)
    with memory_for(model, tokens):
        message = refused(harness_model(model, tokenizers["bos"], batch_size=8), mixed_pairs(), ScoringError)
    assert "does not fit into memory on cpu; use a device with more memory" in message


def test_other_errors_of_the_model_are_not_mistaken_for_memory(tokenizers: Tokenizers) -> None:
    """An index out of range is the model's own error, not a reason to halve the batch."""
    with pytest.raises(IndexError):
        scores(harness_model(tiny_model("llama", 300), tokenizers["bos"]), mixed_pairs())
