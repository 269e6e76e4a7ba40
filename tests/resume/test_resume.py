"""Scores of our request type under ``--use_cache``: results of an earlier run are reused, bit for bit."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook, CachingLM
from lm_eval.models.huggingface import HFLM

from rbridge_metrics import TokenScores
from rbridge_tasks.backends import hf
from rbridge_tasks.harness import patches
from rbridge_tasks.harness.requests import REQUEST_TYPE
from rbridge_tasks.harness.use_cache import StaleCacheError
from rbridge_tasks.resume.store import SUFFIX, ScoreStore

from ..error_bounds import assert_within, model_bound, model_sum_bound
from ..support import Pair, harness_model, mixed_pairs, tiny_model
from .test_resume_store import bits_of

patches.apply("task")


def pairs(copies: int = 3) -> list[Pair]:
    """Items of three tasks, with and without a shared prompt."""
    return [(context, f"{trace} {i}") for i in range(copies) for context, trace in mixed_pairs()]


def ask(lm: HFLM, cache: Path | None, texts: Sequence[Pair]) -> list[TokenScores]:
    """Request the texts' scores as lm-eval does, with ``--use_cache`` or without."""
    requests = [Instance(REQUEST_TYPE, {"benchmark": "b", "item_id": str(i)}, pair, i) for i, pair in enumerate(texts)]
    if cache is None:
        lm.set_cache_hook(CacheHook(None))
        scores: list[TokenScores] = lm.rbridge_token_scores(requests)  # type: ignore[attr-defined]  # added by a patch
        return scores
    wrapped = CachingLM(lm, f"{cache}_rank{lm.rank}.db")
    scores = wrapped.rbridge_token_scores(requests)
    wrapped.dbdict.close()
    return scores


def run(lm: HFLM, cache: Path | None, texts: Sequence[Pair]) -> list[dict[str, Any]]:
    """The same scores as comparable bits."""
    return [bits_of(scores) for scores in ask(lm, cache, texts)]


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """A list that collects the input shape of every forward pass of a Llama."""
    from transformers import LlamaForCausalLM

    shapes: list[tuple[int, ...]] = []
    forward = LlamaForCausalLM.forward

    @functools.wraps(forward)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", counted)
    return shapes


class KilledError(BaseException):
    """Ends a run like a kill: no handler of Exception catches it."""


def killed_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """End the run when it adds the batch after the first ``batches`` to the store."""
    append, taken = ScoreStore.append, [0]

    def counted(self: ScoreStore, entries: Any) -> None:
        if taken[0] == batches:
            raise KilledError
        taken[0] += 1
        append(self, entries)

    monkeypatch.setattr(ScoreStore, "append", counted)


@pytest.mark.parametrize("family", ["llama", "mistral_sliding", pytest.param("mamba", marks=pytest.mark.slow)])
@pytest.mark.parametrize("batch_size", [3, "auto"])
def test_a_resumed_run_ends_as_one_that_was_not_killed(
    tokenizers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, batch_size: Any
) -> None:
    """After any number of batches, for models with and without shared prompts: the same bits."""
    lm = harness_model(tiny_model(family, 700), tokenizers["bos"], batch_size=batch_size, max_batch_size=4)
    texts = pairs()
    expected = run(lm, None, texts)
    for batches in range(100):
        cache = tmp_path / str(batches)
        with monkeypatch.context() as patch:
            killed_after(patch, batches)
            try:
                run(lm, cache, texts)
            except KilledError:
                pass
            else:
                assert batches >= (1 if batch_size == "auto" else 8)
                break
        assert run(lm, cache, texts) == expected
        assert run(lm, cache, texts) == expected


def test_no_finished_batch_is_scored_again(
    tokenizers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forwards: list[tuple[int, ...]]
) -> None:
    """A resumed run makes one forward pass less for each finished batch, and none if all are finished.

    The pass over the longest text belongs to the trial, which a resumed run makes, too.
    """
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=2)
    texts = pairs()
    run(lm, None, texts)
    whole = len(forwards)
    for batches in (1, 5, 10):
        with monkeypatch.context() as patch:
            killed_after(patch, batches)
            with pytest.raises(KilledError):
                run(lm, tmp_path / str(batches), texts)
        forwards.clear()
        run(lm, tmp_path / str(batches), texts)
        assert len(forwards) <= whole - (batches - 1)
        forwards.clear()
        run(lm, tmp_path / str(batches), texts)
        assert forwards == []


def test_the_log_counts_reused_and_scored_traces(
    tokenizers: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A later run with more items reuses the existing scores."""
    caplog.set_level(logging.INFO, logger="rbridge_tasks")
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=2)
    texts = pairs()
    run(lm, tmp_path / "runs" / "cache", texts[:7])
    assert f"0 of 7 traces are taken from {tmp_path}/runs/cache_rbridge/" in caplog.text
    run(lm, tmp_path / "runs" / "cache", texts)
    assert f"7 of {len(texts)} traces are taken from" in caplog.text
    assert f"{len(texts) - 7} are scored" in caplog.text


def test_a_replaced_checkpoint_is_scored_again(
    tokenizers: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other weights in a file of the same path and size get their own scores; those of the old weights stay."""
    caplog.set_level(logging.INFO, logger="rbridge_tasks")
    folder, texts = tmp_path / "checkpoint", pairs(1)
    tokenizers["bos"].save_pretrained(folder)
    scores, sizes = [], []
    for step in (0, 1, 0):
        model = tiny_model("llama", len(tokenizers["bos"]))
        with torch.no_grad():
            model.get_parameter("model.layers.0.mlp.up_proj.weight")[0, 0] += step
        model.save_pretrained(folder)
        sizes.append((folder / "model.safetensors").stat().st_size)
        lm = HFLM(pretrained=str(folder), device="cpu", batch_size=2)
        scores.append(run(lm, tmp_path / "cache", texts))
        assert scores[-1] == run(lm, None, texts)
    assert sizes == sizes[:1] * 3
    assert scores[0] != scores[1]
    assert scores[0] == scores[2]
    taken = [message.split(" of ")[0] for message in caplog.messages if "are taken from" in message]
    assert taken == ["0", "0", str(len(texts))]


def test_a_model_that_cannot_be_identified_is_scored_each_time(
    tokenizers: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, forwards: list[tuple[int, ...]]
) -> None:
    """A warning says why; no file is written."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=2)
    expected = run(lm, None, pairs(1))
    lm.model.model.norm.register_forward_hook(lambda _module, _inputs, output: output)
    for _ in range(2):
        forwards.clear()
        assert run(lm, tmp_path / "cache", pairs(1)) == expected
        assert forwards
    assert "scores are not kept for --use_cache and none are taken: the hook" in caplog.text
    assert not (tmp_path / "cache_rbridge").exists()


def test_a_run_succeeds_if_its_scores_cannot_be_stored(
    tokenizers: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a file in place of the folder there is one warning, and the scores are returned."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=2)
    (tmp_path / "cache_rbridge").write_text("")
    assert run(lm, tmp_path / "cache", pairs(1)) == run(lm, None, pairs(1))
    assert len([message for message in caplog.messages if "cannot keep scores" in message]) == 1


def test_damaged_scores_are_scored_again(
    tokenizers: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a changed byte in the middle of the file, results are the same and a warning is logged."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=2)
    expected = run(lm, tmp_path / "cache", pairs())
    (file,) = (tmp_path / "cache_rbridge").rglob(f"*{SUFFIX}")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert run(lm, tmp_path / "cache", pairs()) == expected
    assert "are damaged" in caplog.text


def test_a_back_end_that_cannot_resume_gets_only_missing_pairs(
    tokenizers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If scores do not depend on batches, only missing pairs are scored, and answers are returned in order."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"])
    pair_counts: list[int] = []

    def score(lm: Any, pairs: Any, labels: Any, *, done: Any, _score: Any = hf.score) -> list[TokenScores]:
        pair_counts.append(len(pairs))
        scores: list[TokenScores] = _score(lm, pairs, labels, done=done)
        return scores

    texts = pairs(1)
    expected = ask(lm, None, texts)
    monkeypatch.setattr(hf, "BACKEND", dataclasses.replace(hf.BACKEND, score=score, resumes=False))
    run(lm, tmp_path / "cache", texts[1::2])
    resumed = ask(lm, tmp_path / "cache", [*texts, texts[0]])
    for result, reference in zip(resumed, [*expected, expected[0]], strict=True):
        assert result.token_id.tolist() == reference.token_id.tolist()
        assert_within(result.logprob, reference.logprob, model_bound(reference.logprob))
    assert pair_counts == [len(texts[1::2]), len(texts[::2])]


def test_other_requests_are_cached_by_lm_eval(tokenizers: dict[str, Any], tmp_path: Path) -> None:
    """lm-eval's database holds its own requests and none of ours."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"])
    wrapped = CachingLM(lm, f"{tmp_path}/cache_rank0.db")
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs(1))]
    first = wrapped.loglikelihood(requests)
    trace_requests = [
        Instance(REQUEST_TYPE, {"benchmark": "b", "item_id": "1"}, pair, i) for i, pair in enumerate(pairs(1))
    ]
    scores = wrapped.rbridge_token_scores(trace_requests)
    assert len(wrapped.dbdict) == len(requests)
    assert wrapped.loglikelihood(requests) == first
    wrapped.dbdict.close()
    sums = [float(score.logprob.astype(float).sum()) for score in scores]
    assert_within(sums, [total for total, _ in first], [model_sum_bound(score.logprob) for score in scores])


def stock_answers(lm: HFLM, cache: Path, task: str = "rbridge_csqa_cf") -> list[tuple[float, bool]]:
    """Answers of lm-eval's own ``loglikelihood`` through its cache, for a task."""
    wrapped = CachingLM(lm, f"{cache}_rank0.db")
    requests = [Instance("loglikelihood", {}, ("Question: 1 + 1?\nAnswer:", " 2"), 0, metadata=(task, 0, 1))]
    try:
        answers: list[tuple[float, bool]] = wrapped.loglikelihood(requests)
    finally:
        wrapped.dbdict.close()
    return answers


def two_checkpoints(tokenizer: Any) -> tuple[HFLM, HFLM]:
    """Models that differ in one weight."""
    first, second = (harness_model(tiny_model("llama", 700), tokenizer) for _ in range(2))
    with torch.no_grad():
        second.model.lm_head.weight[0, 0] += 1.0
    return first, second


def test_lm_evals_cache_does_not_give_our_tasks_answers_of_another_checkpoint(
    tokenizers: dict[str, Any], tmp_path: Path
) -> None:
    """Its keys are texts alone: a second model on the same path is refused, and the first gets its answers."""
    first, second = two_checkpoints(tokenizers["bos"])
    answers = stock_answers(first, tmp_path / "cache")
    assert stock_answers(first, tmp_path / "cache") == answers
    with pytest.raises(StaleCacheError, match="a --use_cache path of its own"):
        stock_answers(second, tmp_path / "cache")
    assert stock_answers(second, tmp_path / "other") != answers


def test_other_tasks_are_not_changed(tokenizers: dict[str, Any], tmp_path: Path) -> None:
    """lm-eval's own tasks get the answers that lm-eval caches."""
    first, second = two_checkpoints(tokenizers["bos"])
    answers = stock_answers(first, tmp_path / "cache", task="gsm8k")
    assert stock_answers(second, tmp_path / "cache", task="gsm8k") == answers
