"""Tokens without a reported log-probability are counted by every command, and never count as probability 0."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbridge_metrics import TokenScores, character_confidence, minmax_weights, token_confidence
from rbridge_tasks.scoring.item_metrics import MissingWeightsError, item_metrics, require_weights
from rbridge_traces import Trace, TraceCache, to_table, unknown_tokens

from ..traces.releases import items, plain
from ..traces.support import jsonl, make_trace, write

Rbridge = Callable[..., tuple[int, str, str]]

TEXT = "The sum is 4."
ENDS = [3, 7, 10, 12, 13]
PLACEHOLDERS = (-9999.0, -1e6, -1000.0, None, float("-inf"), 0.5)


@pytest.fixture
def rbridge(monkeypatch: pytest.MonkeyPatch, run: Rbridge, tmp_path: Path) -> Rbridge:
    """Run ``rbridge ARGUMENTS`` with an empty cache; return exit code, output and errors."""
    monkeypatch.setenv("RBRIDGE_CACHE", str(tmp_path / "cache"))
    return run


def logprobs_with(placeholder: float | None) -> list[float | None]:
    """Return log-probabilities of ``The| sum| is| 4|.`` with a placeholder for `` sum``."""
    return [-0.05, placeholder, -0.01, -0.2, -0.01]


def weights_of(trace: Trace) -> list[float]:
    """Return MinMax weights of the frontier model's own tokens."""
    characters = character_confidence(trace.token_end, trace.token_logprob)  # type: ignore[arg-type]  # both are there
    return minmax_weights(token_confidence(characters, [0, *ENDS[:-1]], ENDS)).tolist()


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_the_other_tokens_keep_their_weights(placeholder: float | None) -> None:
    """By hand, over exp of -0.05, -0.01, -0.2, -0.01: minimum e^-0.2, maximum e^-0.01; the unknown token is between."""
    low, high = math.exp(-0.2), math.exp(-0.01)
    weights = weights_of(make_trace(trace=TEXT, token_end=ENDS, token_logprob=logprobs_with(placeholder)))
    first = (math.exp(-0.05) - low) / (high - low)
    np.testing.assert_allclose(weights, [first, (first + 1) / 2, 1, 0, 1], rtol=1e-5, atol=1e-6)


def test_import_ls_and_verify_count_them(rbridge: Rbridge, tmp_path: Path) -> None:
    """A file with a placeholder is imported with a warning; ls, verify and show report the unknown token."""
    good = {"id": 1, "question": "?", "trace": TEXT, "token_end": ENDS, "token_logprob": [-0.1] * 5}
    bad = {**good, "id": 2, "token_logprob": logprobs_with(-9999.0)}
    code, _, err = rbridge("traces", "import", jsonl(tmp_path / "t.jsonl", [good, bad]), "-b", "gsm8k")
    assert code == 0
    assert "1 tokens in 1 traces have no known log-probability" in err
    assert "gsm8k/2" in err
    code, out, _ = rbridge("traces", "verify")
    assert code == 0
    assert "gsm8k/t: ok, 2 traces\n  1 tokens in 1 traces have no known log-probability" in out
    out = rbridge("traces", "ls")[1]
    assert "unknown tokens" in out
    assert "rbridge traces verify" in out
    _, trace = TraceCache(str(tmp_path / "cache")).load("gsm8k").traces
    assert trace.has_confidence
    assert np.isnan(trace.token_logprob).tolist() == [False, True, False, False, False]
    assert "unknown" in rbridge("traces", "show", "gsm8k", "2", "--table")[1]
    assert rbridge("traces", "show", "gsm8k", "2")[0] == 0


def old_cache(root: Path) -> TraceCache:
    """Write a cache of the format before unknown tokens: -9999 in the file, no count in the manifest."""
    cache = TraceCache(str(root))
    write(cache, [make_trace("1", TEXT, token_end=ENDS, token_logprob=[-0.1] * 5)], confidence_model="gpt-4o")
    folder = root / "gsm8k" / "gpt-4o"
    (old,) = folder.glob("*.parquet")
    table = to_table(cache.load("gsm8k").traces)
    stored = pa.array([logprobs_with(-9999.0)], pa.list_(pa.float32()))
    old.unlink()
    pq.write_table(table.set_column(table.column_names.index("token_logprob"), "token_logprob", stored), old)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    del manifest["tokens_unknown"]
    manifest["files"] = {old.name: hashlib.sha256(old.read_bytes()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return cache


def test_placeholders_of_an_old_cache_are_unknown_and_not_zero(rbridge: Rbridge, tmp_path: Path) -> None:
    """ls and verify count the placeholders of an old cache; its readers get them as unknown."""
    (trace,) = old_cache(tmp_path / "cache").load("gsm8k").traces
    assert min(weights_of(trace)[1:]) == weights_of(trace)[3] == 0.0
    assert weights_of(trace)[1] > 0.5
    assert "1 tokens in 1 traces have no known log-probability" in rbridge("traces", "verify")[1]
    (row,) = [line for line in rbridge("traces", "ls")[1].splitlines() if "gpt-4o" in line]
    assert [cell.strip() for cell in row.split("│")][1:8] == ["gsm8k", "gpt-4o", "1", "1", "?", "-", "1"]


@pytest.mark.slow
def test_doctor_counts_unknown_tokens(rbridge: Rbridge, tmp_path: Path) -> None:
    """doctor also counts the placeholders of an old cache."""
    old_cache(tmp_path / "cache")
    assert "1 tokens without a known log-probability" in rbridge("doctor")[1]


def test_a_trace_with_too_few_known_tokens_has_no_confidences(rbridge: Rbridge, tmp_path: Path) -> None:
    """If less than half of the characters are known, rbridge_nll refuses the trace and trace_nll scores it."""
    few = [None, None, -0.1, -9999.0, -0.1]
    row = {"id": 1, "question": "?", "trace": TEXT, "token_end": ENDS, "token_logprob": few}
    code, out, err = rbridge("traces", "import", jsonl(tmp_path / "t.jsonl", [row]), "-b", "gsm8k")
    assert code == 0
    assert "3 tokens in 1 traces" in err
    assert "1 of these traces know less than half" in err
    assert "1 have no token confidences" in out
    traces = TraceCache(str(tmp_path / "cache")).load("gsm8k").traces
    with pytest.raises(MissingWeightsError, match="less than half of the characters"):
        require_weights(traces, "confidence", "here")
    require_weights(traces, "none", "here")
    scores = TokenScores(
        token_id=np.arange(5, dtype=np.int32),
        token_start=np.array([0, *ENDS[:-1]], np.int32),
        token_end=np.array(ENDS, np.int32),
        logprob=np.full(5, -1.0, np.float32),
        rank=np.ones(5, np.int32),
        entropy=np.ones(5, np.float32),
        max_logprob=np.full(5, -1.0, np.float32),
        vocab_size=10,
    )
    assert item_metrics(scores, traces[0], "none", spans=False)["trace_nll"] == 1.0


def test_probabilities_given_as_log_probabilities_are_refused(rbridge: Rbridge, tmp_path: Path) -> None:
    """If most values are above 0, they are probabilities and not a server's placeholders."""
    row = {"id": 1, "question": "?", "trace": TEXT, "token_end": ENDS, "token_logprob": [0.9, 0.8, 1.0, 0.0, 0.9]}
    code, _, err = rbridge("traces", "import", jsonl(tmp_path / "t.jsonl", [row]), "-b", "gsm8k")
    assert code == 2
    assert "the log-probability is 0.9 at token 0, and most others are above 0 too" in err


def test_counts_are_of_all_traces() -> None:
    """By hand: 1 + 0 + 3 tokens in two traces, of which one is unusable."""
    rows = [[-0.1, None, -0.1, -0.1, -0.1], [-0.1] * 5, [None, None, -0.1, None, -0.1]]
    traces = [make_trace(str(n), TEXT, token_end=ENDS, token_logprob=row) for n, row in enumerate(rows)]
    counts = unknown_tokens([*traces, make_trace("3", TEXT)])
    assert (counts.tokens, counts.traces, counts.unusable, counts.first) == (4, 2, 1, "gsm8k/0")


def test_pull_counts_them(rbridge: Rbridge, tmp_path: Path) -> None:
    """Placeholders in the token rows of a release are counted."""
    plain(tmp_path / "release" / "traces" / "gsm8k", items())
    (first, *_) = sorted((tmp_path / "release" / "traces" / "gsm8k").glob("*.jsonl"))
    rows = [json.loads(line) for line in first.read_text().splitlines()]
    for row in rows[:8]:
        row["logprob"] = -9999.0
    jsonl(first, rows)
    code, _, err = rbridge("traces", "pull", "--from", str(tmp_path / "release"))
    assert code == 0
    assert "in 1 traces have no known log-probability" in err
    assert "in 1 traces have no known log-probability" in rbridge("traces", "verify")[1]


def test_import_reports_how_it_read_api_responses(rbridge: Rbridge, tmp_path: Path) -> None:
    """Cut-off answers, failed answers and index labels have a line each; the model is recorded."""
    options = {"question": "Which?", "choices": ["a", "b", "c", "d"], "gold": 3}
    answer = {"text": "It is d.", "logprobs": {"tokens": ["It is", " d."], "token_logprobs": [-0.1, -0.2]}}
    rows = [
        options | {"id": 1, "response": {"model": "writer-1", "choices": [answer | {"finish_reason": "length"}]}},
        options | {"id": 2, "response": {"model": "writer-1", "choices": [answer | {"text": '{"reasoning": "'}]}},
    ]
    path = jsonl(tmp_path / "out.jsonl", rows)
    code, _, err = rbridge("traces", "import", path, "-b", "mmlu_pro_stem")
    assert code == 2
    assert "row 2: its log-probabilities cannot be used" in err
    assert "--skip-failed" in err
    code, out, err = rbridge("traces", "import", path, "-b", "mmlu_pro_stem", "--skip-failed")
    assert code == 0
    assert "1 traces of mmlu_pro_stem" in out
    assert "1 failed answers left out (1 log-probabilities of another text)" in out
    assert "1 gold answers were indexes from 0 and are stored as labels" in out
    assert "1 answers reached their token limit" in err
    held = TraceCache(str(tmp_path / "cache")).load("mmlu_pro_stem")
    assert (held.manifest.frontier_model, held.manifest.confidence_model) == ("writer-1", "writer-1")
    assert held.traces[0].gold == "D"
