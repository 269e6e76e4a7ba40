"""Item scores from samples files: reading, joining, and refusal of files that do not fit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from rbridge_metrics import TraceMoments, bits_per_byte, weighted_nats_over_test_set
from rbridge_tasks.tables.joined_items import join_items
from rbridge_tasks.tables.samples import SamplesError, check_against_table, find_samples, read_items

from .made_scores import samples


def test_items_of_a_mean(tmp_path: Path) -> None:
    """A metric that is a mean is read unchanged, in any order of the lines."""
    path = samples(tmp_path / "a.jsonl", {"rbridge_nll": [3.0, 1.0, 2.0]}, ids=[2, 0, 1])
    items = read_items(path, "rbridge_nll")
    assert items.ids == ("0", "1", "2")
    assert items.numerator.tolist() == [1.0, 2.0, 3.0]
    assert items.score == pytest.approx(2.0)


def test_items_of_a_corpus_ratio(tmp_path: Path) -> None:
    """Bits per byte are stored as (nats, bytes): the score is the ratio of the sums, as lm-eval reports it."""
    pairs = [[10.0, 20], [30.0, 25]]
    path = samples(tmp_path / "a.jsonl", {"rbridge_bits_per_byte": pairs})
    items = read_items(path, "rbridge_bits_per_byte")
    assert items.score == pytest.approx(bits_per_byte([10, 30], [20, 25]))
    path = samples(tmp_path / "b.jsonl", {"bits_per_byte": [[-nats, size] for nats, size in pairs]})
    assert read_items(path, "bits_per_byte").score == pytest.approx(items.score)


def test_items_weighted_over_the_test_set(tmp_path: Path) -> None:
    """With weights over the test set an item is six sums, and its score depends on all items."""
    moments = [TraceMoments(5.0, 3.0, 4, 20, 0.1, 0.9), TraceMoments(8.0, 2.0, 5, 30, 0.2, 1.0)]
    nats = weighted_nats_over_test_set(moments)
    path = samples(tmp_path / "a.jsonl", {"rbridge_nll": moments, "rbridge_bits_per_byte": moments})
    assert read_items(path, "rbridge_nll").score == pytest.approx((nats[0] / 4 + nats[1] / 5) / 2)
    assert read_items(path, "rbridge_bits_per_byte").score == pytest.approx(nats.sum() / math.log(2) / 50)


def test_the_filter_is_part_of_the_metric(tmp_path: Path) -> None:
    """A task with two filters writes each item twice; a score table names the filter after the comma."""
    strict = samples(tmp_path / "strict.jsonl", {"exact_match": [0, 1, 0]}, filter_name="strict-match")
    flexible = samples(tmp_path / "flexible.jsonl", {"exact_match": [1, 1, 0]}, filter_name="flexible-extract")
    both = tmp_path / "both.jsonl"
    both.write_text(strict.read_text() + flexible.read_text())
    assert read_items(both, "exact_match,strict-match").score == pytest.approx(1 / 3)
    assert read_items(both, "exact_match,flexible-extract").score == pytest.approx(2 / 3)
    with pytest.raises(SamplesError, match="it has exact_match,flexible-extract, exact_match,strict-match"):
        read_items(both, "exact_match")


def test_items_of_traces_are_identified_by_item_id(tmp_path: Path) -> None:
    """lm-eval's running number depends on which traces a cache holds."""
    first = samples(tmp_path / "a.jsonl", {"rbridge_nll": [1.0]}, ids=[0], doc={"item_id": "gsm8k-17"})
    assert read_items(first, "rbridge_nll").ids == ("gsm8k-17",)


def test_items_are_joined_by_id(tmp_path: Path) -> None:
    """Candidates whose files are in different orders are compared item by item."""
    first = read_items(samples(tmp_path / "a.jsonl", {"acc": [1, 0, 1]}, ids=["x", "y", "z"]), "acc")
    second = read_items(samples(tmp_path / "b.jsonl", {"acc": [0, 1, 1]}, ids=["z", "y", "x"]), "acc")
    assert join_items({"a": first, "b": second}).numerator.tolist() == [[1, 0, 1], [1, 1, 0]]


def test_resampling_a_ratio_keeps_its_pairs_together(tmp_path: Path) -> None:
    """Nats and bytes of an item are drawn together: items of equal bits per byte give no spread."""
    pairs = [[math.log(2) * size * 0.5, size] for size in (10, 200, 3000)]
    items = read_items(samples(tmp_path / "a.jsonl", {"trace_bits_per_byte": pairs}), "trace_bits_per_byte")
    assert np.ptp(join_items({"a": items}).resampled(100, seed=0)) < 1e-12


def test_different_items_are_refused(tmp_path: Path) -> None:
    """Different item sets cannot be paired; the error says how many items each side lacks."""
    first = read_items(samples(tmp_path / "a.jsonl", {"acc": [1, 0, 1]}), "acc")
    second = read_items(samples(tmp_path / "b.jsonl", {"acc": [1, 0]}), "acc")
    with pytest.raises(SamplesError, match="b was scored on 2 items and a on 3; 1 are only in a and 0 only in b"):
        join_items({"a": first, "b": second})


def test_other_content_under_the_same_id_is_refused(tmp_path: Path) -> None:
    """Item 0 of one version of a data set is not item 0 of another."""
    first = read_items(samples(tmp_path / "a.jsonl", {"acc": [1, 0]}), "acc")
    second = read_items(samples(tmp_path / "b.jsonl", {"acc": [1, 0]}, doc_hash="another"), "acc")
    with pytest.raises(SamplesError, match="2 items of a and b have the same id but not the same content"):
        join_items({"a": first, "b": second})


def test_a_file_of_another_run_is_refused(tmp_path: Path) -> None:
    """The score over the items has to equal the score in the table."""
    items = read_items(samples(tmp_path / "a.jsonl", {"acc": [1, 0]}), "acc")
    check_against_table("dclm", items, 0.5, "acc")
    with pytest.raises(SamplesError, match=r"acc of 0.5 over its 2 items, but the score table has 0.7 for dclm"):
        check_against_table("dclm", items, 0.7, "acc")


def test_folders_and_files_are_found_by_their_benchmark(tmp_path: Path) -> None:
    """A folder gives the file of a benchmark; a file of another benchmark does not match; two files are an error."""
    gsm8k = samples(tmp_path / "samples_rbridge_gsm8k_2026-01-01T00-00-00.jsonl", {"rbridge_nll": [1.0]})
    arc_challenge = samples(tmp_path / "samples_arc_challenge_2026-01-01T00-00-00.jsonl", {"acc": [1]})
    assert find_samples(tmp_path, "gsm8k") == find_samples(gsm8k, "gsm8k") == gsm8k
    assert find_samples(tmp_path, "arc_challenge") == arc_challenge
    assert find_samples(arc_challenge, "gsm8k") is None
    assert find_samples(tmp_path, "csqa") is None
    samples(tmp_path / "samples_rbridge_gsm8k_2026-01-02T00-00-00.jsonl", {"rbridge_nll": [1.0]})
    with pytest.raises(SamplesError, match="2 samples files of gsm8k"):
        find_samples(tmp_path, "gsm8k")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is no samples file of lm-eval, or was cut off"),
        ("[1]", "line 1 of .* is no JSON object"),
        ('{"acc": "yes", "doc_id": 0}', "is not a number for every item"),
        ('{"acc": NaN, "doc_id": 0}', "is nan; a finite number is needed"),
        ('{"acc": [1, 2, 3], "doc_id": 0}', r"a number, or \(nats, bytes\), is needed"),
        ('{"acc": 1, "doc_id": 0}\n{"acc": 1, "doc_id": 0}', "item 0 stands twice"),
        ("", "it has no rows"),
        ("[" * 100_000, "is no samples file of lm-eval, or was cut off"),
        ('{"metrics": null, "doc_id": 0}', "it has no rows"),
        (f'{{"acc": {"1" * 400}, "doc_id": 0}}', "is not a number for every item"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, line: str, message: str) -> None:
    """The message says what is wrong with which file."""
    path = tmp_path / "damaged.jsonl"
    path.write_text(line)
    with pytest.raises(SamplesError, match=message) as error:
        read_items(path, "acc")
    assert "\n" not in str(error.value)
    assert "damaged.jsonl" in str(error.value) or "item 0" in str(error.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file or folder that does not exist."""
    with pytest.raises(SamplesError, match="there is no file or folder"):
        find_samples(tmp_path / "none", "gsm8k")
    with pytest.raises(SamplesError, match="there is no file or folder"):
        find_samples(tmp_path / ("x" * 300), "gsm8k")
    with pytest.raises(SamplesError, match="cannot read"):
        read_items(tmp_path / "none.jsonl", "acc")


def test_numbers_are_read_as_lm_eval_writes_them(tmp_path: Path) -> None:
    """A right item is written as 1, 1.0 or true."""
    path = tmp_path / "a.jsonl"
    values = (True, 1, 0.0, False)
    path.write_text(
        "".join(json.dumps({"doc_id": at, "filter": "none", "acc": v}) + "\n" for at, v in enumerate(values))
    )
    assert read_items(path, "acc").numerator.tolist() == [1, 1, 0, 0]
