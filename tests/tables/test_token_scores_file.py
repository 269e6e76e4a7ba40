"""Files of token scores: every bit comes back, and readers of samples files read them too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import rbridge_tasks as rb
from rbridge_metrics import TokenScores, TraceMoments
from rbridge_tasks.tables.lm_eval_results import ResultsError, ResultsFile
from rbridge_tasks.tables.sample_settings import settings_beside
from rbridge_tasks.tables.samples import SamplesError, find_samples, read_items, sample_rows
from rbridge_tasks.tables.token_scores_file import (
    TokenScoresFileError,
    stored_results,
    token_score_rows,
    write_token_scores,
)
from rbridge_tasks.tables.trace_samples import evaluations, keep_token_scores_only

from ..report.made_report import samples, token_scores

TASK = "rbridge_gsm8k"


@st.composite
def any_scores(draw: st.DrawFn) -> TokenScores:
    """Scores of up to six tokens with any bits, overlaps and gaps, and with or without each optional array."""
    size = draw(st.integers(0, 6))
    integers = hnp.arrays(np.int32, size)
    floats = hnp.arrays(np.float32, size, elements=st.floats(width=32))
    logprob = draw(floats)
    ends = np.cumsum(draw(hnp.arrays(np.int32, size, elements=st.integers(0, 3)))).astype(np.int32)
    tiling = np.concatenate((np.zeros(1, np.int32), ends))[:size]
    return TokenScores(
        token_id=draw(integers),
        token_start=draw(st.one_of(st.just(tiling), integers)),
        token_end=ends,
        logprob=logprob,
        rank=draw(st.none() | integers),
        entropy=draw(st.none() | floats),
        max_logprob=draw(st.none() | st.just(logprob.copy()) | floats),
        vocab_size=draw(st.integers(1, 2**31 - 1)),
        context_tokens_cut=draw(st.integers(0, 9)),
        windows=draw(st.integers(1, 9)),
        confidence=draw(st.none() | floats),
    )


def row(item: int, scores: TokenScores, **values: Any) -> dict[str, Any]:
    """A sample as lm-eval gives it."""
    doc = {
        "benchmark": "gsm8k",
        "item_id": f"item {item}",
        "question": "Why \u00e9?",
        "choices": None,
        "trace": f"So {item}.",
    }
    return {"doc": doc, "resps": [[scores]], "metrics": [*values], "doc_hash": f"{item}", "prompt_hash": "", **values}


def bits(scores: TokenScores) -> list[Any]:
    """Every array as bytes, with its type."""
    fields = (getattr(scores, name) for name in TokenScores.__slots__)
    return [(value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else value for value in fields]


@given(st.lists(any_scores(), min_size=1, max_size=4))
def test_every_bit_comes_back(tmp_path_factory: pytest.TempPathFactory, listed: list[TokenScores]) -> None:
    """Also NaN payloads, infinities, negative zeros, missing arrays and overlapping tokens."""
    path = tmp_path_factory.mktemp("scores") / "samples_rbridge_gsm8k_x.parquet"
    write_token_scores(path, TASK, [row(at, scores, rbridge_nll=0.1 * at) for at, scores in enumerate(listed)], {})
    back = [*token_score_rows(path)]
    assert [bits(sample["resps"][0][0]) for sample in back] == [bits(scores) for scores in listed]
    assert [sample["doc"]["item_id"] for sample in back] == [f"item {at}" for at in range(len(listed))]
    assert [sample["rbridge_nll"] for sample in back] == [0.1 * at for at in range(len(listed))]


def test_metrics_may_be_pairs_or_sums(tmp_path: Path) -> None:
    """Bits per byte are (nats, bytes) and weights over the test set are six sums, as in a samples file."""
    moments = [TraceMoments(5.0, 3.0, 4, 20, 0.1, 0.9), TraceMoments(8.0, 2.0, 5, 30, 0.2, 1.0)]
    scores = [token_scores("So it is.", seed) for seed in (1, 2)]
    rows = [
        row(at, scores[at], rbridge_nll=moments[at], trace_bits_per_byte=(7.0 + at, 9)) for at in range(len(moments))
    ]
    path = tmp_path / "samples_rbridge_gsm8k_x.parquet"
    write_token_scores(path, TASK, rows, {"results": {}})
    low, high = 0.1, 1.0
    expected = [(moment.confident_nats - low * moment.nats) / (high - low) / moment.tokens for moment in moments]
    assert read_items(path, "rbridge_nll").numerator == pytest.approx(expected)
    assert read_items(path, "trace_bits_per_byte").score == pytest.approx(15.0 / math.log(2) / 18)


def test_a_metric_may_be_text(tmp_path: Path) -> None:
    """Items of proxy tasks have no number."""
    path = tmp_path / "samples_rbridge_proxies_gsm8k_x.parquet"
    text = "9 tokens, see resps"
    write_token_scores(path, "rbridge_proxies_gsm8k", [row(1, token_scores("So.", 1), entropy=text)], {})
    (sample,) = token_score_rows(path)
    assert sample["entropy"] == text


def test_a_folder_of_samples_reads_the_same_after_the_change(tmp_path: Path) -> None:
    """Items, traces, settings and results that gate, rank, proxies and report read do not depend on the format."""
    texts = ["So it is. We add two and two.", "A second one, longer by far than the first one."]
    folder = samples(tmp_path, model="m", scores=[token_scores(text, at) for at, text in enumerate(texts)])
    before = find_samples(folder, "gsm8k")
    assert before is not None
    items, compared = read_items(before, "rbridge_nll"), settings_beside(before, "rbridge_nll")
    (evaluation,) = evaluations([folder])
    traces = [*evaluation.traces()]
    keep_token_scores_only(folder)
    after = find_samples(folder, "gsm8k")
    assert after is not None
    assert after.suffix == ".parquet"
    assert not before.exists()
    items_after = read_items(after, "rbridge_nll")
    assert (items_after.ids, items_after.hashes, items_after.prompts) == (items.ids, items.hashes, items.prompts)
    assert items_after.numerator.tobytes() == items.numerator.tobytes()
    assert settings_beside(after, "rbridge_nll") == compared
    (evaluation,) = evaluations([after])
    for first, second in zip(traces, evaluation.traces(), strict=True):
        assert (first.item, first.text, first.doc, bits(first.scores)) == (
            second.item, second.text, second.doc, bits(second.scores),
        )  # fmt: skip


def test_the_file_is_enough_without_its_results_file(tmp_path: Path) -> None:
    """The file holds the results too."""
    folder = samples(tmp_path, model="m", scores=[token_scores("So it is.", 1)])
    keep_token_scores_only(folder)
    (results,) = folder.glob("results_*.json")
    expected = ResultsFile(results)
    results.unlink()
    (path,) = folder.glob("*.parquet")
    (evaluation,) = evaluations([folder])
    assert evaluation.results.model == expected.model
    assert stored_results(path)["configs"] == expected.data["configs"]


def test_a_gate_compares_two_files(tmp_path: Path) -> None:
    """A Parquet file of token scores is not taken for a score table."""
    scores = [token_scores("So it is.", seed) for seed in range(12)]
    paths = [tmp_path / f"samples_rbridge_gsm8k_{name}.parquet" for name in ("now", "before")]
    for path, shift in zip(paths, (0.0, 5.0), strict=True):
        rows = [row(at, item, rbridge_nll=shift + 0.01 * at) for at, item in enumerate(scores)]
        write_token_scores(path, TASK, rows, {"results": {}})
    better = rb.gate(paths[0], paths[1], metric="rbridge_nll")
    worse = rb.gate(paths[1], paths[0], metric="rbridge_nll")
    assert (better.passed, worse.passed) == (True, False)


@pytest.mark.parametrize("content", ["cut", "table", "text", "newer"])
def test_a_file_without_token_scores_is_one_line(tmp_path: Path, content: str) -> None:
    """A file that is cut off, another table, not Parquet or of a later layout: the message names the file."""
    path = tmp_path / "samples_rbridge_gsm8k_x.parquet"
    write_token_scores(path, TASK, [row(1, token_scores("So it is.", 1), rbridge_nll=1.0)], {"results": {}})
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif content == "table":
        pq.write_table(pa.table({"a": [1]}), path)
    elif content == "text":
        path.write_text("{}")
    else:
        table = pq.read_table(path)
        metadata = table.schema.metadata | {b"rbridge_token_scores": b'{"schema": 99}'}
        pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(TokenScoresFileError, match=path.name) as error:
        next(sample_rows(path))
    assert "\n" not in str(error.value)
    with pytest.raises(ResultsError, match=path.name):
        ResultsFile(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"rbridge_token_scores", b"{"),
        (b"rbridge_token_scores", b"[1]"),
        (b"rbridge_token_scores", b"\xff"),
        (b"rbridge_token_scores", b'{"schema": 1}'),
        (b"rbridge_token_scores", b'{"schema": 1, "metrics": [3]}'),
        (b"lm_eval_results", b'{"results": '),
        (b"lm_eval_results", b"null"),
        (b"lm_eval_results", b"[" * 100_000),
    ],
)
def test_damaged_metadata_are_one_line(tmp_path: Path, name: bytes, content: bytes) -> None:
    """What the file says of itself and the stored results: the message names the file."""
    path = tmp_path / "samples_rbridge_gsm8k_x.parquet"
    write_token_scores(path, TASK, [row(1, token_scores("So it is.", 1), rbridge_nll=1.0)], {"results": {}})
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | {name: content}), path)
    with pytest.raises(TokenScoresFileError, match=path.name) as error:
        stored_results(path)
    assert "\n" not in str(error.value)
    if name == b"rbridge_token_scores":
        with pytest.raises(TokenScoresFileError, match=path.name):
            next(token_score_rows(path))


@pytest.mark.parametrize("content", ["{", "[1]", "7", None, "[" * 100_000])
def test_a_damaged_item_is_one_line(tmp_path: Path, content: str | None) -> None:
    """A cell of ``doc`` that holds no JSON object: the message names the file."""
    path = tmp_path / "samples_rbridge_gsm8k_x.parquet"
    write_token_scores(path, TASK, [row(1, token_scores("So it is.", 1), rbridge_nll=1.0)], {"results": {}})
    table = pq.read_table(path)
    docs = pa.array([content], pa.string())
    pq.write_table(table.set_column(table.schema.get_field_index("doc"), "doc", docs), path)
    with pytest.raises(TokenScoresFileError, match=path.name) as error:
        next(token_score_rows(path))
    assert "\n" not in str(error.value)


def test_tokens_beyond_the_trace_are_refused(tmp_path: Path) -> None:
    """Offsets of another trace would show and count the wrong characters."""
    samples(tmp_path, model="m", scores=[token_scores("So it is. " * 50, 1)])
    (evaluation,) = evaluations([tmp_path])
    with pytest.raises(SamplesError, match=r"item-0 .* to 500 of a trace of"):
        next(evaluation.traces())
    keep_token_scores_only(tmp_path)
    (evaluation,) = evaluations([tmp_path])
    with pytest.raises(SamplesError, match=r"item-0 .* to 500 of a trace of"):
        next(evaluation.traces())


def test_a_flipped_bit_in_the_scores_is_noticed(tmp_path: Path) -> None:
    """Pages carry checksums, which reading verifies; files written without them are still read."""
    path = tmp_path / "samples_rbridge_gsm8k_x.parquet"
    scores = token_scores("So it is. " * 200, 1)
    write_token_scores(path, TASK, [row(1, scores, rbridge_nll=1.0)], {"results": {}})
    whole = path.read_bytes()
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(at) for at in range(group.num_columns)]
    logprob = next(column for column in columns if column.path_in_schema.startswith("token_logprob"))
    at = logprob.data_page_offset + logprob.total_compressed_size - 8
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(TokenScoresFileError, match="CRC"):
        next(token_score_rows(path))
    path.write_bytes(whole)
    pq.write_table(pq.read_table(path), path, compression="zstd")
    (sample,) = token_score_rows(path)
    assert bits(sample["resps"][0][0]) == bits(scores)


def test_rows_without_token_scores_are_refused(tmp_path: Path) -> None:
    """Nothing is written."""
    path = tmp_path / "samples_rbridge_gsm8k_x.parquet"
    for rows in ([], [{"doc": {"item_id": "a", "trace": "b"}, "resps": [["no scores"]], "metrics": []}]):
        with pytest.raises(TokenScoresFileError):
            write_token_scores(path, TASK, rows, {})
    assert not path.exists()
