"""The 80 proxies equal their definitions in plain float64 Python, and values worked by hand."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import (
    PROXIES,
    STATISTICS,
    WEIGHTINGS,
    ProxyParameters,
    ScoreError,
    TokenScores,
    proxy_scores,
    proxy_scores_of_traces,
)
from rbridge_metrics.proxies import frequency_weights, weighted_means
from rbridge_metrics.proxy_names import proxy_name

from .strategies import cases

# ---------------------------------------------------------------- the slow reference


def by_definition(
    logits: np.ndarray,
    targets: list[int],
    counts: list[int],
    *,
    last: int = 1000,
    width: float = 1.0,
    floor: float = 0.01,
) -> dict[str, float]:
    """Every proxy from the logits of each position, token by token, in plain float64 arithmetic."""
    rows = []
    for row, target in zip(logits.astype(np.float64).tolist(), targets, strict=True):
        top = max(row)
        total = math.fsum(math.exp(x - top) for x in row)
        p = [math.exp(x - top) / total for x in row]
        rank = 1 + sum(x > row[target] for x in row) + sum(x == row[target] for x in row[:target])
        entropy = -math.fsum(x * math.log(x) for x in p if x > 0) / math.log(len(row))
        nll = -(row[target] - top - math.log(total))
        rows.append((target, nll, p[target], max(p), rank, entropy))
    rows = rows[-last:]
    mean_nll = sum(row[1] for row in rows) / len(rows)
    result = {}
    for statistic in STATISTICS:
        for weighting in WEIGHTINGS:
            above = below = 0.0
            for target, nll, p_token, p_max, rank, entropy in rows:
                s = {
                    "cross_entropy": nll, "top1_accuracy": rank <= 1, "top2_accuracy": rank <= 2,
                    "top3_accuracy": rank <= 3, "top5_accuracy": rank <= 5, "entropy": entropy, "rank": rank,
                    "reciprocal_rank": 1 / rank, "margin": p_max - p_token,
                    "wrong_confidence": p_max if rank > 1 else 0,
                }[statistic]  # fmt: skip
                frequency = max(counts[target], 1) / sum(counts)
                w = {
                    "uniform": 1, "probability": p_token, "improbability": 1 - p_token, "entropy": entropy,
                    "inverse_entropy": 1 / (entropy + floor), "frequency": frequency,
                    "inverse_frequency": 1 / frequency,
                    "gaussian": math.exp(-((nll - mean_nll) ** 2) / (2 * width**2)),
                }[weighting]  # fmt: skip
                above += w * s
                below += w
            result[proxy_name(statistic, weighting)] = above / below
    return result


def scores_of(logits: np.ndarray, targets: list[int]) -> TokenScores:
    """Token scores as a back end gives them: reduced from the logits, then stored as float32."""
    wide = logits.astype(np.float64)
    logp = wide - np.log(np.exp(wide - wide.max(1, keepdims=True)).sum(1, keepdims=True)) - wide.max(1, keepdims=True)
    n = len(targets)
    target = wide[np.arange(n), targets]
    lower_id = np.arange(wide.shape[1])[None] < np.array(targets)[:, None]
    rank = 1 + (wide > target[:, None]).sum(1) + ((wide == target[:, None]) & lower_id).sum(1)
    return TokenScores(
        token_id=np.array(targets, np.int32),
        token_start=np.arange(n, dtype=np.int32),
        token_end=np.arange(1, n + 1, dtype=np.int32),
        logprob=logp[np.arange(n), targets].astype(np.float32),
        rank=rank.astype(np.int32),
        entropy=-(np.exp(logp) * logp).sum(1).astype(np.float32),
        max_logprob=logp.max(1).astype(np.float32),
        vocab_size=wide.shape[1],
    )


def random_trace(rng: np.random.Generator, tokens: int, vocabulary: int, scale: float) -> tuple[np.ndarray, list[int]]:
    logits = rng.normal(0, scale, (tokens, vocabulary)).astype(np.float32)
    likely = logits.argmax(1)
    targets = np.where(rng.random(tokens) < 0.5, likely, rng.integers(0, vocabulary, tokens))
    return logits, targets.tolist()


@pytest.mark.parametrize("scale", [0.05, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("parameters", [ProxyParameters(), ProxyParameters(7, 0.3, 0.2), ProxyParameters(None, 4, 1)])
def test_all_80_equal_a_slow_float64_reference(scale: float, parameters: ProxyParameters) -> None:
    """From logits through float32 token scores, within 1e-5 relative, for each trace alone and all at once."""
    rng = np.random.default_rng(int(scale * 100))
    vocabulary = 90
    counts = rng.integers(0, 50, vocabulary).tolist()
    made = [random_trace(rng, tokens, vocabulary, scale) for tokens in (1, 2, 30, 130)]
    traces = [scores_of(logits, targets) for logits, targets in made]
    together = proxy_scores_of_traces(traces, counts=counts, parameters=parameters)
    assert together.shape == (4, 10, 8)
    for (logits, targets), trace, scores in zip(made, traces, together, strict=True):
        expected = by_definition(
            logits, targets, counts, last=parameters.last_tokens or 10**9, width=parameters.gaussian_width_nats,
            floor=parameters.entropy_floor,
        )  # fmt: skip
        assert list(expected) == list(PROXIES)
        np.testing.assert_allclose(scores.ravel(), list(expected.values()), rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(proxy_scores(trace, counts=counts, parameters=parameters), scores)


@cases(150)
@given(st.data())
def test_traces_of_a_batch_do_not_affect_each_other(data: st.DataObject) -> None:
    """A trace has the same scores in any batch as alone, with or without entropies and ranks."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    traces = []
    for tokens in data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=6)):
        trace = scores_of(*random_trace(rng, tokens, 12, 2.0))
        for name in data.draw(st.sets(st.sampled_from(["entropy", "max_logprob", "rank"]))):
            trace = replace(trace, **{name: None})
        traces.append(trace)
    counts = data.draw(st.none() | st.just(np.arange(12)))
    together = proxy_scores_of_traces(traces, counts=counts)
    for trace, scores in zip(traces, together, strict=True):
        np.testing.assert_array_equal(proxy_scores(trace, counts=counts), scores)
        for (name, proxy), value in zip(PROXIES.items(), scores.ravel(), strict=True):
            absent = {"counts"} if counts is None else set()
            absent |= {need for need in ("entropy", "max_logprob", "rank") if getattr(trace, need) is None}
            assert math.isnan(value) == bool(proxy.needs & absent), name
            if not math.isnan(value):
                low, high = proxy.bounds
                assert low - 1e-6 <= value <= high + 1e-6, name


# ---------------------------------------------------------------- worked by hand


def four_tokens() -> TokenScores:
    """The example of docs/proxies.md: probabilities 1/2, 1/4, 1/8, 1/2 over 16 tokens."""
    half, quarter, eighth = math.log(1 / 2), math.log(1 / 4), math.log(1 / 8)
    return TokenScores(
        token_id=np.array([3, 7, 3, 9], np.int32),
        token_start=np.array([0, 1, 2, 3], np.int32),
        token_end=np.array([1, 2, 3, 4], np.int32),
        logprob=np.array([half, quarter, eighth, half], np.float32),
        rank=np.array([1, 2, 4, 1], np.int32),
        entropy=np.array([1, 2, 3, 2], np.float32) * np.float32(math.log(2)),
        max_logprob=np.array([half, half, quarter, half], np.float32),
        vocab_size=16,
    )


def test_four_tokens_worked_by_hand() -> None:
    """H / ln 16 = 1/4, 1/2, 3/4, 1/2; token 3 occurs twice among four tokens, the others once."""
    counts = np.bincount(four_tokens().token_id)
    scores = dict(zip(PROXIES, proxy_scores(four_tokens(), counts=counts).ravel(), strict=True))
    ln2 = math.log(2)
    by_hand = {
        "cross_entropy": (1 + 2 + 3 + 1) / 4 * ln2,
        "top1_accuracy": 2 / 4,
        "top2_accuracy": 3 / 4,
        "top5_accuracy": 1.0,
        "entropy": (0.25 + 0.5 + 0.75 + 0.5) / 4,
        "rank": 8 / 4,
        "reciprocal_rank": (1 + 1 / 2 + 1 / 4 + 1) / 4,
        "margin": (0 + 1 / 4 + 1 / 8 + 0) / 4,
        "wrong_confidence": (0 + 1 / 2 + 1 / 4 + 0) / 4,
        "top1_accuracy_by_probability": (0.5 + 0.5) / (0.5 + 0.25 + 0.125 + 0.5),
        "top1_accuracy_by_improbability": (0.5 + 0.5) / (0.5 + 0.75 + 0.875 + 0.5),
        "top1_accuracy_by_entropy": (0.25 + 0.5) / 2.0,
        "top1_accuracy_by_inverse_entropy": (1 / 0.26 + 1 / 0.51) / (1 / 0.26 + 1 / 0.51 + 1 / 0.76 + 1 / 0.51),
        "top1_accuracy_by_frequency": (2 + 1) / (2 + 1 + 2 + 1),
        "top1_accuracy_by_inverse_frequency": (1 / 2 + 1) / (1 / 2 + 1 + 1 / 2 + 1),
    }
    nlls = [ln2, 2 * ln2, 3 * ln2, ln2]
    bell = [math.exp(-((nll - 1.75 * ln2) ** 2) / 2) for nll in nlls]
    by_hand["top1_accuracy_by_gaussian"] = (bell[0] + bell[3]) / sum(bell)
    for name, value in by_hand.items():
        assert scores[name] == pytest.approx(value, rel=1e-6), name


def test_only_the_last_tokens_count() -> None:
    """A trace longer than the limit has the scores of its last tokens, and the Gaussian is centred on those."""
    rng = np.random.default_rng(3)
    logits, targets = random_trace(rng, 1300, 20, 2.0)
    whole, end = scores_of(logits, targets), scores_of(logits[300:], targets[300:])
    np.testing.assert_array_equal(proxy_scores(whole, counts=np.ones(20)), proxy_scores(end, counts=np.ones(20)))
    everything = proxy_scores(whole, parameters=ProxyParameters(last_tokens=None))
    assert everything[0, 0] == pytest.approx(whole.nll.mean())


def test_names_and_directions() -> None:
    """80 different names; errors and losses are better lower, accuracies higher, for every weighting."""
    assert len(PROXIES) == 80
    assert len(STATISTICS) == 10
    assert len(WEIGHTINGS) == 8
    assert list(PROXIES)[:3] == ["cross_entropy", "cross_entropy_by_probability", "cross_entropy_by_improbability"]
    directions = Counter((proxy.statistic, proxy.lower_is_better) for proxy in PROXIES.values())
    assert set(directions.values()) == {8}
    lower = {statistic for statistic, lower_is_better in directions if lower_is_better}
    assert lower == {"cross_entropy", "entropy", "rank", "margin", "wrong_confidence"}


# ---------------------------------------------------------------- edges


def certain(tokens: int = 3) -> TokenScores:
    """A model that gives every token probability 1: improbability and entropy weights are all 0."""
    zeros = np.zeros(tokens, np.float32)
    return replace(
        four_tokens(), token_id=np.arange(tokens, dtype=np.int32), token_start=np.arange(tokens, dtype=np.int32),
        token_end=np.arange(1, tokens + 1, dtype=np.int32), logprob=zeros, rank=np.ones(tokens, np.int32),
        entropy=zeros, max_logprob=zeros,
    )  # fmt: skip


def test_weights_that_are_all_0_give_the_plain_mean() -> None:
    """Improbability and entropy weights of a certain model give the plain mean, not NaN."""
    scores = proxy_scores(certain(), counts=np.ones(16))
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, scores[:, :1].repeat(8, axis=1))
    assert weighted_means(np.array([[1.0, 3.0]]), np.zeros((1, 2))).tolist() == [[2.0]]


def test_very_unlikely_traces_keep_their_weights() -> None:
    """Weights below the smallest float64 still count: only their ratios matter."""
    trace = replace(four_tokens(), logprob=np.array([-900, -901, -2000, -2001], np.float32))
    scores = dict(zip(PROXIES, proxy_scores(trace).ravel(), strict=True))
    e = math.exp(-1)
    assert scores["cross_entropy_by_probability"] == pytest.approx((900 + 901 * e) / (1 + e))
    assert scores["cross_entropy_by_gaussian"] == pytest.approx((901 + 2000) / 2, rel=1e-3)


def test_unseen_tokens_are_counted_once() -> None:
    """A token that the corpus lacks counts as if it occurred once; other tokens keep their counts."""
    assert frequency_weights([0, 1, 2], [4, 1, 0]).tolist() == [4 / 5, 1 / 5, 1 / 5]
    assert frequency_weights([], [4, 1, 0]).tolist() == []


def test_token_ids_that_are_not_whole_are_refused() -> None:
    """Ids read as floats because some are missing, for example."""
    with pytest.raises(ScoreError, match="token ids of type float64"):
        frequency_weights([0.0, np.nan], [4, 1, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logprob": np.array([-1, math.nan, -1, -1], np.float32)}, "logprob nan of token 1 of trace 0"),
        ({"logprob": np.array([-1, -1, -math.inf, -1], np.float32)}, "logprob -inf of token 2 of trace 0"),
        ({"logprob": np.array([1, -1, -1, -1], np.float32)}, "logprob 1 of token 0"),
        ({"entropy": np.array([1, 1, 1, math.nan], np.float32)}, "entropy nan of token 3"),
        ({"entropy": np.array([1, 1, -1, 1], np.float32)}, "entropy -1 of token 2"),
        ({"max_logprob": np.array([0, 0, math.inf, 0], np.float32)}, "max_logprob inf of token 2"),
        ({"rank": np.array([0, 1, 1, 1], np.int32)}, "rank 0 of token 0"),
        ({"vocab_size": 1}, "a vocabulary of 1"),
        ({"token_id": np.array([3, 7, 3, 16], np.int32)}, "token id 16 with counts of a vocabulary of 16 tokens"),
        ({"token_id": np.array([3, 7, 3, -1], np.int32)}, "token id -1"),
    ],
)
def test_what_is_no_number_is_refused_and_named(change: dict[str, object], message: str) -> None:
    """NaN, infinities and impossible values are errors; the message names the token and the trace."""
    broken = replace(four_tokens(), **change)
    with pytest.raises(ScoreError, match=message) as error:
        proxy_scores(broken, counts=np.ones(16))
    assert "\n" not in str(error.value)
    if "trace 0" in message:
        with pytest.raises(ScoreError, match=message.replace("trace 0", "trace 2")):
            proxy_scores_of_traces([four_tokens(), four_tokens(), broken], counts=np.ones(16))


def test_nothing_to_score_is_refused() -> None:
    """A trace without tokens, counts that are all 0 and impossible parameters are errors; no traces give no rows."""
    empty = {name: np.zeros(0, np.int32) for name in ("token_id", "token_start", "token_end", "rank")}
    floats = dict.fromkeys(("logprob", "entropy", "max_logprob"), np.zeros(0, np.float32))
    with pytest.raises(ScoreError, match="trace 1 has no tokens"):
        proxy_scores_of_traces([four_tokens(), replace(four_tokens(), **empty, **floats)])
    with pytest.raises(ScoreError, match="all 0"):
        proxy_scores(four_tokens(), counts=np.zeros(16))
    for wrong in ({"last_tokens": 0}, {"gaussian_width_nats": 0.0}, {"entropy_floor": -1.0}):
        with pytest.raises(ScoreError, match=next(iter(wrong))):
            ProxyParameters(**wrong)
    assert proxy_scores_of_traces([]).shape == (0, 10, 8)
