"""``rbridge proxies``: all 80 proxies from samples files, each trace once; other files are refused in one line."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rbridge_metrics import PROXIES, ProxyParameters, TokenScores, proxy_scores_of_traces
from rbridge_tasks.frequencies import proxies as module
from rbridge_tasks.frequencies.frequency_file import TokenFrequencies, TokenizerIdentity, write_frequencies
from rbridge_tasks.tables.directions import metric_called
from rbridge_tasks.tables.score_table import read_scores

from ..harness.made_traces import DATE, VOCABULARY, evaluation, made_scores
from ..tables.made_scores import as_json
from .conftest import Refused


def values(table: pd.DataFrame, column: str = "value") -> dict[str, float]:
    return dict(zip(table["metric"], table[column], strict=True))


def counts_over(scores: list[TokenScores]) -> np.ndarray:
    return np.bincount(np.concatenate([trace_scores.token_id[-1000:] for trace_scores in scores]), minlength=VOCABULARY)


def frequencies_of(counts: np.ndarray, tokens: list[str] | None = None) -> TokenFrequencies:
    """Return counts under the tokenizer of the made-up scores, whose tokens are the letters a to z."""
    names = tokens or [chr(ord("a") + at) for at in range(len(counts))]
    return TokenFrequencies(TokenizerIdentity("letters", len(counts), "0" * 64), counts, names, 3, ("corpus.txt",))


def test_all_80_with_their_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has mean and standard error over traces for each proxy, and other commands can read it."""
    monkeypatch.setattr(module, "_TRACES_AT_ONCE", 3)
    scores = [made_scores(seed, tokens=5 + seed) for seed in range(7)]
    evaluation(tmp_path / "out", scores)
    summary = as_json("proxies", tmp_path / "out", "-o", tmp_path / "proxies.parquet")
    assert (summary["files"], summary["traces"], summary["scores"]) == (1, 7, 80)
    assert summary["frequencies"] == "the traces of each evaluation"
    table = read_scores(tmp_path / "proxies.parquet")
    assert set(table["metric"]) == set(PROXIES)
    assert set(table["benchmark"]) == {"gsm8k"}
    assert set(table["run"]) == {"dclm"}
    assert set(zip(table["params"], table["tokens"], table["n"], strict=True)) == {(97.9e6, 1e9, 7)}
    items = proxy_scores_of_traces(scores, counts=counts_over(scores)).reshape(7, 80)
    for at, name in enumerate(PROXIES):
        assert values(table)[name] == pytest.approx(items[:, at].mean(), rel=1e-12)
        assert values(table, "stderr")[name] == pytest.approx(items[:, at].std(ddof=1) / math.sqrt(7), rel=1e-9)
        assert not metric_called(name).told


def test_parameters_reach_the_proxies(tmp_path: Path) -> None:
    """Options set the last tokens, the width and the floor; frequencies are counted over the scored tokens."""
    scores = [made_scores(seed) for seed in range(3)]
    evaluation(tmp_path / "out", scores)
    options = ("--last-tokens", 6, "--gaussian-width", 0.4, "--entropy-floor", 0.3)
    as_json("proxies", tmp_path / "out", "-o", tmp_path / "p.csv", *options)
    counts = np.bincount(np.concatenate([trace_scores.token_id[-6:] for trace_scores in scores]), minlength=VOCABULARY)
    items = proxy_scores_of_traces(scores, counts=counts, parameters=ProxyParameters(6, 0.4, 0.3)).reshape(3, 80)
    expected = dict(zip(PROXIES, items.mean(axis=0), strict=True))
    assert values(read_scores(tmp_path / "p.csv")) == pytest.approx(expected, rel=1e-12)


def test_the_same_traces_under_two_tasks_count_once(tmp_path: Path) -> None:
    """``--tasks rbridge,rbridge_proxies`` logs each trace twice."""
    scores = [made_scores(seed) for seed in range(4)]
    evaluation(tmp_path / "both", scores, tasks=("rbridge_gsm8k", "rbridge_proxies_gsm8k"))
    evaluation(tmp_path / "one", scores)
    summary = as_json("proxies", tmp_path / "both", "-o", tmp_path / "both.csv")
    assert (summary["files"], summary["traces"]) == (2, 4)
    as_json("proxies", tmp_path / "one", "-o", tmp_path / "one.csv")
    assert (tmp_path / "both.csv").read_text() == (tmp_path / "one.csv").read_text()


def test_the_latest_evaluation_of_a_checkpoint_counts(tmp_path: Path) -> None:
    """A later evaluation under the other task replaces the earlier one, with a note."""
    evaluation(tmp_path / "out", [made_scores(1), made_scores(2)])
    later = [made_scores(3), made_scores(4)]
    evaluation(tmp_path / "again", later, tasks=("rbridge_proxies_gsm8k",), began=1.8e9)
    summary = as_json("proxies", tmp_path / "out", tmp_path / "again", "-o", tmp_path / "p.csv")
    assert summary["scores"] == 80
    assert summary["notes"]
    table = read_scores(tmp_path / "p.csv")
    expected = np.mean([trace_scores.nll.mean() for trace_scores in later])
    assert values(table)["cross_entropy"] == pytest.approx(expected, rel=1e-12)


def test_frequencies_of_a_corpus(tmp_path: Path) -> None:
    """With --frequencies the weights come from the file; unseen tokens count as seen once."""
    scores = [made_scores(seed) for seed in range(3)]
    evaluation(tmp_path / "out", scores)
    counts = np.where(np.arange(VOCABULARY) % 3 == 0, 0, np.arange(VOCABULARY)).astype(np.int64)
    write_frequencies(frequencies_of(counts), tmp_path / "f.parquet")
    as_json("proxies", tmp_path / "out", "-o", tmp_path / "p.csv", "--frequencies", tmp_path / "f.parquet")
    items = proxy_scores_of_traces(scores, counts=counts).reshape(3, 80)
    expected = dict(zip(PROXIES, items.mean(axis=0), strict=True))
    assert values(read_scores(tmp_path / "p.csv")) == pytest.approx(expected, rel=1e-12)


def test_frequencies_of_another_tokenizer_are_refused(tmp_path: Path, refused: Refused) -> None:
    """The text of the tokens reveals ids of other letters; ids beyond the vocabulary are refused, too."""
    evaluation(tmp_path / "out", [made_scores(1)])
    shifted = [chr(ord("a") + (at + 1) % 26) for at in range(VOCABULARY)]
    write_frequencies(frequencies_of(np.ones(VOCABULARY, np.int64), shifted), tmp_path / "shifted.parquet")
    write_frequencies(frequencies_of(np.ones(5, np.int64)), tmp_path / "small.parquet")
    arguments = (tmp_path / "out", "-o", tmp_path / "p.csv", "--frequencies")
    assert "scored with another tokenizer than letters" in refused("proxies", *arguments, tmp_path / "shifted.parquet")
    assert "beyond the 5 tokens of letters" in refused("proxies", *arguments, tmp_path / "small.parquet")
    assert not (tmp_path / "p.csv").exists()


def test_proxies_without_their_inputs_are_omitted_and_counted(tmp_path: Path) -> None:
    """Without entropies 26 proxies have no row and a note says why; the other proxies have theirs."""
    evaluation(tmp_path / "out", [made_scores(1), replace(made_scores(2), entropy=None)])
    summary = as_json("proxies", tmp_path / "out", "-o", tmp_path / "p.csv")
    table = read_scores(tmp_path / "p.csv")
    assert set(table["metric"]) == {name for name, proxy in PROXIES.items() if "entropy" not in proxy.needs}
    assert len(table) == 80 - 26
    assert "26 proxies left out of 1 evaluation, such as gsm8k of" in summary["notes"][0]["text"]
    assert "no entropies" in summary["notes"][0]["text"]


def test_sample_traces_are_omitted_by_default(tmp_path: Path, refused: Refused) -> None:
    """``--include-sample`` keeps them, as in ``rbridge collect``."""
    evaluation(tmp_path / "out", [made_scores(1), made_scores(2)], sample=True)
    assert "--include-sample" in refused("proxies", tmp_path / "out", "-o", tmp_path / "p.csv")
    summary = as_json("proxies", tmp_path / "out", "-o", tmp_path / "p.csv", "--include-sample")
    assert summary["scores"] == 80


def test_a_file_of_runs_has_priority(tmp_path: Path) -> None:
    """``--runs`` sets run, size and tokens, as in ``rbridge collect``."""
    evaluation(tmp_path / "out", [made_scores(1), made_scores(2)], model="mystery")
    (tmp_path / "runs.csv").write_text("model,run,params,tokens\nmystery,mine,1B,2T\n")
    summary = as_json("proxies", tmp_path / "out", "-o", tmp_path / "p.csv", "--runs", tmp_path / "runs.csv")
    (line,) = summary["evaluations"]
    assert (line["run"], line["params"], line["tokens"]) == ("mine", 1e9, 2e12)
    assert summary["notes"] == []


def broken_line(path: Path, **changes: object) -> None:
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | changes)
    path.write_text("\n".join(lines))


def test_other_files_are_refused_in_one_line(tmp_path: Path, refused: Refused) -> None:
    """Samples of another task, samples without a results file, and folders without samples are refused."""
    out = tmp_path / "p.csv"
    foreign_samples = tmp_path / "samples_gsm8k_cot_2026-01-01T00-00-00.jsonl"
    foreign_samples.write_text("{}\n")
    assert "is not named as samples of our tasks are" in refused("proxies", foreign_samples, "-o", out)
    assert "no samples in" in refused("proxies", tmp_path, "-o", out)
    assert "there is no file or folder" in refused("proxies", tmp_path / "nowhere", "-o", out)
    evaluation(tmp_path / "lone", [made_scores(1)])
    (tmp_path / "lone" / f"results_{DATE}.json").unlink()
    assert f"no results_{DATE}.json lies beside" in refused("proxies", tmp_path / "lone", "-o", out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resps": [["(-12.5, False)"]]}, "item 1 of .* not the token scores of a trace"),
        ({"resps": [[[-12.5, False]]]}, "item 1 of .* has no token scores under resps"),
        ({"resps": []}, "item 1 of .* has no token scores under resps"),
        ({"doc": {"question": "?"}}, "line 2 of .* has no doc with item_id and trace"),
        ({"doc": {"item_id": "0", "trace": "x"}}, "item 0 stands twice in"),
        (
            {"resps": [[str(replace(made_scores(1), logprob=np.full(20, -np.inf, np.float32)))]]},
            "item 1 of .* logprob -inf of token 0",
        ),
        ({"resps": [[str(replace(made_scores(1), vocab_size=3))]]}, "item 1 of .* token id outside 0 to 2"),
    ],
)
def test_damaged_samples_are_one_line(
    tmp_path: Path, refused: Refused, changes: dict[str, object], message: str
) -> None:
    """The error names the item and the file: responses of another kind, repeated items, infinite numbers."""
    folder = evaluation(tmp_path / "out", [made_scores(1), made_scores(2)])
    broken_line(folder / f"samples_rbridge_gsm8k_{DATE}.jsonl", **changes)
    line = refused("proxies", folder, "-o", tmp_path / "p.csv")
    assert re.search(message, line), line


def test_two_files_with_different_traces_of_an_item_are_refused(tmp_path: Path, refused: Refused) -> None:
    """Two tasks of a run read different sources; the user chooses one by giving its file."""
    folder = evaluation(tmp_path / "out", [made_scores(1)], tasks=("rbridge_gsm8k", "rbridge_proxies_gsm8k"))
    proxy_samples = folder / f"samples_rbridge_proxies_gsm8k_{DATE}.jsonl"
    row = json.loads(proxy_samples.read_text()) | {"target_hash": "another"}
    proxy_samples.write_text(json.dumps(row))
    assert "item 0 of gsm8k has different traces or prompts" in refused("proxies", folder, "-o", tmp_path / "p.csv")
    summary = as_json("proxies", proxy_samples, "-o", tmp_path / "p.csv")
    assert summary["traces"] == 1
