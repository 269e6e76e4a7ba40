"""Parts of the page: complete traces, shades, and the weights of the task."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import TokenScores, minmax_weights_over_test_set, span_weights
from rbridge_tasks.report.coloured_tokens import SHADES, WeightedTrace, pieces, shade_of, weighted_traces
from rbridge_tasks.report.costly_tokens import changed_tokens
from rbridge_tasks.tables.trace_samples import ScoredTrace, evaluations

from ..harness.lm_eval_files import modern, write_json
from .made_report import TRACES, samples, token_scores


@given(st.text(min_size=1, max_size=30), st.data())
def test_pieces_joined_are_the_trace(text: str, data: st.DataObject) -> None:
    """No character is lost or shown twice, for any token offsets."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    starts, ends = [0, *cuts], [*cuts, len(text)]
    if data.draw(st.booleans()) and len(cuts) > 1:  # two tokens share a character
        ends[0] = min(len(text), ends[0] + 1)
    scores = token_scores("x" * len(starts), 0, width=1)
    scores.token_start, scores.token_end = np.array(starts, np.int32), np.array(ends, np.int32)
    trace = WeightedTrace(ScoredTrace("1", text, scores, ""), scores.nll, np.ones(len(starts)))
    trace_pieces, left_out = pieces(trace, None, 100)
    assert left_out == 0
    shown_text = "".join(piece.text for piece in trace_pieces)
    spelled, _ = pieces(WeightedTrace(ScoredTrace("1", text, token_scores(text, 0, width=99), ""), trace.nll[:1],
                                      np.ones(1)), None, 100)  # fmt: skip
    assert shown_text == "".join(piece.text for piece in spelled)
    assert sum(piece.tip.count("weight × NLL".replace(" ", "\N{NO-BREAK SPACE}")) for piece in trace_pieces) == len(
        starts
    )


def test_shades_increase_with_cost() -> None:
    """Each shade begins at its threshold in nats; infinity has the last shade."""
    assert [shade_of(start) for start in SHADES] == list(range(len(SHADES)))
    assert shade_of(math.inf) == len(SHADES) - 1


def test_a_cost_that_stays_infinite_has_not_changed() -> None:
    """It is in neither list, and the other tokens are."""
    later, earlier = (
        WeightedTrace(ScoredTrace("1", "abcd", token_scores("abcd", 0, width=2), ""), np.array([math.inf, nll]), ones)
        for nll, ones in ((1.0, np.ones(2)), (3.0, np.ones(2)))
    )
    better, worse = changed_tokens([later], {"1": earlier})
    assert [row.change for row in better] == [-2.0]
    assert not worse


@pytest.mark.parametrize("weighting", ["confidence_test_set", "spans", "none"])
def test_weights_are_those_of_the_task(tmp_path: Path, weighting: str) -> None:
    """The rbridge_weights in the results of lm-eval decide, and the page names them."""
    scores = [token_scores(text, seed) for seed, text in enumerate(TRACES)]
    samples(tmp_path, model="ckpts/web/step1", scores=scores)
    results = modern("ckpts/web/step1", {"rbridge_gsm8k": {"rbridge_nll,none": 1.0}})
    results["configs"]["rbridge_gsm8k"]["metadata"]["rbridge_weights"] = weighting
    write_json(tmp_path / "results_2026-01-02T03-04-05.json", results)
    file = next(tmp_path.glob("samples_*"))
    file.write_text(file.read_text().replace('"item_id"', '"spans": [[3, 9]], "item_id"'))
    traces, description = weighted_traces(evaluations([tmp_path])[0])
    expected = {
        "confidence_test_set": lambda: minmax_weights_over_test_set([_confidence(part) for part in scores]),
        "spans": lambda: [span_weights(part.token_start, part.token_end, [(3, 9)]) for part in scores],
        "none": lambda: [np.ones(part.nll.size) for part in scores],
    }[weighting]()
    for trace, weights in zip(traces, expected, strict=True):
        np.testing.assert_allclose(trace.weight, weights)
        assert trace.score == pytest.approx(float((weights * trace.nll).mean()))
    assert {"confidence_test_set": "over the test set", "spans": "key steps", "none": "every weight is 1"}[
        weighting
    ] in description


def _confidence(scores: TokenScores) -> np.ndarray:
    assert scores.confidence is not None
    return scores.confidence
