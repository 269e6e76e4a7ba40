"""An evaluation on two processes gives the results of one process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbridge_metrics import TokenScores
from rbridge_tasks.harness.lm_eval_versions import new_request

from ..error_bounds import UNIT_ROUNDOFF, assert_within, model_bound, model_sum_bound

pytestmark = pytest.mark.slow

LIMITS = [7, 8]  # the ranks get 4 and 3 items, so lm-eval adds a copy to the second; and 4 items each


def evaluate(checkpoint: Path, folder: Path, *, ranks: int) -> dict[str, Any]:
    """Return results and samples of ``rbridge_gsm8k`` on the shipped sample for each limit, as rank 0 has them."""
    output, meeting_point = folder / f"{ranks}.json", folder / f"meeting_{ranks}"
    program = Path(__file__).with_name("one_rank.py")
    started = [
        subprocess.Popen(
            [sys.executable, program, *map(str, (checkpoint, rank, ranks, meeting_point, output, *LIMITS))],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        for process in started:
            printed, _ = process.communicate(timeout=300)
            assert process.returncode == 0, printed[-3000:]
    finally:
        for process in started:
            process.kill()
    return json.loads(output.read_text())


@pytest.fixture(scope="module")
def evaluations(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The same evaluations on one rank and on two."""
    folder = tmp_path_factory.mktemp("ranks")
    return [evaluate(checkpoint, folder, ranks=ranks) for ranks in (1, 2)]


@pytest.fixture(scope="module", params=LIMITS)
def ranked_runs(
    request: pytest.FixtureRequest, evaluations: list[dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The evaluation of a number of items on one rank and on two."""
    single_rank, double_rank = (by_limit[str(request.param)] for by_limit in evaluations)
    assert len(single_rank["requests"]) == len(single_rank["samples"]["rbridge_gsm8k"]) == request.param
    assert len(double_rank["requests"]) == 4
    return single_rank, double_rank


def samples(run: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the samples of a run by item number; each item must occur once."""
    by_item = {sample["doc_id"]: sample for sample in run["samples"]["rbridge_gsm8k"]}
    assert len(by_item) == len(run["samples"]["rbridge_gsm8k"])
    return by_item


def test_metrics_are_those_of_one_rank(ranked_runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Every metric and standard error is equal up to rounding: a mean changes by no more than its tokens do at most,
    and so does a standard deviation over the root of the number of items; bits are nats / ln 2."""
    single_rank, double_rank = (run["results"]["rbridge_gsm8k"] for run in ranked_runs)
    numbers = {name: value for name, value in single_rank.items() if isinstance(value, float)}
    assert {"rbridge_nll,none", "trace_nll,none", "rbridge_bits_per_byte,none", "trace_bits_per_byte,none"} <= set(
        numbers
    )
    assert {name: double_rank[name] for name in numbers} == pytest.approx(numbers, rel=0, abs=model_bound() / np.log(2))
    assert double_rank["rbridge_nll,none"] > 0


def test_frequencies_are_counted_over_both_ranks(ranked_runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Token frequencies are counted over the tokens of all ranks: the proxies follow from the ranks of all tokens in
    the samples.

    The bound: a weighted mean divides two sums of at most T positive terms, (2 T + 2) u relative; a mean or a standard
    error over n such values up to 1 adds (n + 4) u. Both sides are rounded, in float64.
    """
    for run in ranked_runs:
        rows = run["samples"]["rbridge_proxies_gsm8k"]
        traces = [TokenScores.from_json(row["resps"][0][0]) for row in rows]
        counts = Counter(token for trace in traces for token in trace.token_id.tolist())
        longest = max(trace.token_id.size for trace in traces)
        bound = 2 * (2 * longest + 2 + len(traces) + 4) * UNIT_ROUNDOFF["float64"]
        ranks = [np.asarray(trace.rank) for trace in traces]
        for name, power, statistics in (
            ("top5_accuracy_by_frequency", 1, [rank <= 5 for rank in ranks]),
            ("top1_accuracy_by_inverse_frequency", -1, [rank == 1 for rank in ranks]),
            ("reciprocal_rank", 0, [1 / rank for rank in ranks]),
        ):
            weights = [[counts[token] ** power for token in trace.token_id.tolist()] for trace in traces]
            values = [np.average(s, weights=w) for s, w in zip(statistics, weights, strict=True)]
            results = [run["results"]["rbridge_proxies_gsm8k"][f"{name}{part},none"] for part in ("", "_stderr")]
            assert_within(results, [np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))], bound, name)


def test_proxies_are_those_of_one_rank(ranked_runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Cross-entropy and entropy are equal up to rounding, and so are their standard errors.

    An error e of every log-probability changes the entropy by at most e (H + 1), and H / ln V is at most 1.
    """
    single_rank, double_rank = (run["results"]["rbridge_proxies_gsm8k"] for run in ranked_runs)
    for name, bound in (("cross_entropy", model_bound()), ("entropy", model_bound() * (1 + 1 / np.log(700)))):
        for key in (f"{name},none", f"{name}_stderr,none"):
            assert_within(double_rank[key], single_rank[key], bound, key)


def test_samples_are_those_of_one_rank(ranked_runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Each item has the same scores on two ranks as on one."""
    single_rank, double_rank = map(samples, ranked_runs)
    assert set(single_rank) == set(double_rank)
    for item, expected in single_rank.items():
        sample = double_rank[item]
        assert sample["doc"]["item_id"] == expected["doc"]["item_id"]
        for metric in ("rbridge_nll", "trace_nll"):
            assert sample[metric] == pytest.approx(expected[metric], rel=0, abs=model_bound())
        tokens, expected_tokens = (TokenScores.from_json(entry["resps"][0][0]) for entry in (sample, expected))
        assert tokens.token_id.tolist() == expected_tokens.token_id.tolist()
        assert_within(tokens.logprob, expected_tokens.logprob, model_bound(expected_tokens.logprob))


def test_arrays_appear_once_per_sample(ranked_runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Each document has one sample, though lm-eval pads ranks; token arrays are stored in ``resps`` only."""
    for run in ranked_runs:
        for sample in run["samples"]["rbridge_gsm8k"]:
            assert json.dumps(sample).count("max_logprob") == 1


def test_sums_on_two_ranks_equal_stock_lm_eval(
    ranked_runs: tuple[dict[str, Any], dict[str, Any]], checkpoint: Path
) -> None:
    """Each item's summed log-probability, scored on either rank, equals lm-eval's loglikelihood of the same pair."""
    from lm_eval.models.huggingface import HFLM

    rows = list(samples(ranked_runs[1]).values())
    requests = [new_request("loglikelihood", {}, tuple(row["arguments"][0]), i) for i, row in enumerate(rows)]
    stock = HFLM(pretrained=str(checkpoint), device="cpu", batch_size=3).loglikelihood(requests, disable_tqdm=True)
    logprobs = [TokenScores.from_json(sample["resps"][0][0]).logprob.astype(float) for sample in rows]
    bounds = [model_sum_bound(logprob) for logprob in logprobs]
    assert_within([logprob.sum() for logprob in logprobs], [total for total, _ in stock], bounds)
