"""``rbridge report``: inputs, messages about missing inputs, and reproducible output."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rbridge_metrics.proxy_names import PROXIES
from rbridge_tasks.cli import main

from ..decisions.test_ladder import table as ladder_table
from ..tables.made_scores import as_json, invoke
from .made_report import TRACES, samples, score_rows, table, target_rows, token_scores

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run ``rbridge report ARGUMENTS``, which has to fail, and return its one-line error."""

    def run(*arguments: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["rbridge", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        errors = capsys.readouterr().err.strip()
        assert errors.startswith("rbridge: error: ")
        assert "\n" not in errors
        return errors

    return run


def test_one_run_and_nothing_else_is_enough(tmp_path: Path) -> None:
    """Sections without input name the option or command that fills them, on the page and on stderr."""
    scores = table(tmp_path / "one.csv", score_rows(["web"], checkpoints=1, metrics=["rbridge_nll"]))
    result = invoke("report", scores, "-o", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for line in ("rbridge fit", "--target targets.csv", "--samples out/step1000", "nothing to rank"):
        assert line in page
        assert line in result.stderr
    assert "<dt>Last checkpoint</dt><dd>web: rbridge_nll (nats per token)" in page


@pytest.mark.parametrize("tokens", [None, 0.0])
def test_unknown_and_zero_tokens_are_accepted(tmp_path: Path, tokens: float | None) -> None:
    """Scores of unknown tokens are counted in a note; a checkpoint at 0 tokens is shown."""
    rows = score_rows(checkpoints=3, metrics=["rbridge_nll"])
    rows = [row | ({"tokens": tokens} if row["model"].endswith("step1") else {}) for row in rows]
    invoke("report", table(tmp_path / "s.csv", rows), "-o", tmp_path / "r.html")
    assert ("4 scores of unknown training tokens" in (tmp_path / "r.html").read_text()) == (tokens is None)


def test_without_standard_errors_no_lead_is_called_clear(tmp_path: Path) -> None:
    """The best run is named, its lead is not called clear, and footnotes say why there are no intervals."""
    rows = [row | {"stderr": None} for row in score_rows(["web", "books"], metrics=["rbridge_nll"])]
    invoke("report", table(tmp_path / "s.csv", rows), "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "<dt>Best run</dt><dd>web on both benchmarks" in page
    assert "nothing says how clear the lead is" in page
    assert "<sup>b</sup> no standard error" in page
    assert "<sup>g</sup> too few resamples or no standard errors" in page


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    """The page does not depend on time or randomness; it has a date only if one is given."""
    rows = score_rows(checkpoints=3)
    scores = table(tmp_path / "s.parquet", rows)
    samples(tmp_path / "out", model="ckpts/web-1b/step3", scores=[token_scores(text, 1) for text in TRACES])
    pages = []
    for name in ("a", "b"):
        invoke("report", scores, "-o", tmp_path / f"{name}.html", "--samples", tmp_path / "out")
        pages.append((tmp_path / f"{name}.html").read_bytes())
    assert pages[0] == pages[1]
    invoke("report", scores, "-o", tmp_path / "c.html", "--title", "Nightly <1>", "--date", "2026-01-02")
    page = (tmp_path / "c.html").read_text()
    assert "Nightly &lt;1&gt;" in page
    assert "s.parquet · 2026-01-02" in page


@pytest.mark.slow
def test_fifty_checkpoints_of_every_proxy_stay_under_3_mb(tmp_path: Path) -> None:
    """Two runs of 50 checkpoints on 6 benchmarks by 82 metrics, with a fit and traces."""
    benchmarks = ["gsm8k", "csqa", "math500", "humaneval", "arc_challenge", "mmlu_pro_stem"]
    runs = ["web", "books"]
    every = score_rows(runs, benchmarks, checkpoints=50, metrics=["rbridge_nll", "trace_bits_per_byte"])
    scores = table(tmp_path / "s.parquet", [*every, *score_rows(runs, benchmarks, checkpoints=2, metrics=[*PROXIES])])
    past = score_rows(["past"], benchmarks, checkpoints=6, metrics=["rbridge_nll"])
    fit = ("--proxy-metric", "rbridge_nll", "--target-metric", "acc", "--proxy", "1b", "--target", "13b")
    invoke("fit", table(tmp_path / "past.csv", [*past, *target_rows(past)]), *fit, "-o", tmp_path / "fit.json")
    for benchmark in benchmarks:
        scores_of_traces = [token_scores(text, seed, width=1) for seed, text in enumerate(TRACES)]
        samples(tmp_path / benchmark, model="ckpts/web-1b/step1", scores=scores_of_traces, benchmark=benchmark)
    options = [part for name in benchmarks for part in ("--samples", tmp_path / name)]
    invoke("report", scores, tmp_path / "fit.json", "-o", tmp_path / "r.html", "--traces", 4, *options)
    assert (tmp_path / "r.html").stat().st_size < 3e6


def test_head_says_how_well_the_runs_are_ordered(tmp_path: Path) -> None:
    """The proxy orders 5 of 6 pairs as the targets do, accuracy at its size 2 of 6, at a twentieth of the compute."""
    runs = ("a", "b", "c", "d")
    scores = {"rbridge_nll": (0.9, 0.8, 0.6, 0.7), "exact_match": (0.10, 0.12, 0.11, 0.09)}

    def row(run: str, metric: str, value: float, params: float, tokens: float) -> dict[str, object]:
        return {
            "run": run, "model": f"{run}-{params:g}", "params": params, "tokens": tokens, "benchmark": "gsm8k",
            "metric": metric, "value": value, "stderr": None, "n": 100,
        }  # fmt: skip

    proxies = [
        row(run, metric, value, 1e6, 1e9)
        for metric, values in scores.items()
        for run, value in zip(runs, values, strict=True)
    ]
    targets = [row(run, "exact_match", 0.1 * place, 1e7, 2e9) for place, run in enumerate(runs, 1)]
    files = [table(tmp_path / name, rows) for name, rows in (("s.csv", proxies), ("t.csv", targets))]
    invoke("report", files[0], "-o", tmp_path / "r.html", "--target", files[1], "--target-metric", "exact_match")
    head = (tmp_path / "r.html").read_text(encoding="utf-8").partition("Order of the runs")[2].partition("</dd>")[0]
    assert re.findall(r"[\d/]+ %|1/\d+", head) == ["83 %", "1/20", "33 %", "50 %"]


def test_agreement_with_a_target_is_that_of_rank(tmp_path: Path) -> None:
    """The page shows the decision accuracies that rbridge rank gives for a table of targets."""
    rows = score_rows(["web", "books", "code", "wiki"], ["gsm8k"], checkpoints=3, metrics=["rbridge_nll"])
    scores = table(tmp_path / "s.csv", rows)
    targets = table(tmp_path / "t.csv", [row for row in target_rows(rows) if row["tokens"] == 1.5e12])
    invoke("report", scores, "-o", tmp_path / "r.html", "--target", targets)
    page = (tmp_path / "r.html").read_text()
    for point in as_json("rank", scores, "--target", targets)["agreement"]:
        cells = f'<data value="{point["flops"]!r}">{point["flops"]:.3g}</data><td><data value="4">4</data>'
        assert f'{cells}<td><data value="{100 * point["decision_accuracy"]:.6g}">' in page


def test_a_fit_of_other_benchmarks_gives_a_reason(tmp_path: Path) -> None:
    """The page is written, and its section says why nothing can be predicted."""
    rows = score_rows(["web"], ["gsm8k"], checkpoints=8, metrics=["rbridge_nll"])
    invoke(
        "fit", table(tmp_path / "past.csv", [*rows, *target_rows(rows)]), "--proxy-metric", "rbridge_nll",
        "--target-metric", "acc", "--proxy", "1b", "--target", "13b", "-o", tmp_path / "fit.json",
    )  # fmt: skip
    unfitted = table(tmp_path / "other.csv", score_rows(["new"], ["humaneval"], checkpoints=2, metrics=["rbridge_nll"]))
    result = invoke("report", unfitted, tmp_path / "fit.json", "-o", tmp_path / "r.html")
    assert "has no curve for humaneval" in result.stderr
    assert "has no curve for humaneval" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "there is no file 'missing.csv'"),
        (["empty.csv"], "has no rows"),
        (["nan.csv"], "NaN"),
        (["scores.csv", "-o", "report.pdf"], ".html"),
        (["scores.csv", "--metric", "acc"], "has no metric acc; it has rbridge_nll"),
        (["scores.csv", "--metric", "surprize"], "has no metric surprize; it has rbridge_nll"),
        (["scores.csv", "--metric", "surprise"], "Write surprise:lower or surprise:higher"),
        (["scores.csv", "-b", "gsm9k"], "has no benchmark gsm9k; it has gsm8k, csqa"),
        (["unknown.csv"], "--metric surprise:lower"),
        (["scores.csv", "missing.json"], "there is no file 'missing.json'"),
        (["scores.csv", "--samples", "nowhere"], "there is no file or folder 'nowhere'"),
        (["scores.csv", "--target", "empty.csv"], "has no rows"),
        (["scores.csv", "--target-at", "13B"], "PARAMS:TOKENS"),
        (["scores.csv", "--predict", "7B"], "PARAMS:TOKENS"),
        (["scores.csv", "--reach", "60"], "--reach 60"),
    ],
)
def test_a_wrong_input_is_one_line(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """The message names what was found and what to do; no page is written."""
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "scores.csv", score_rows())
    table(tmp_path / "unknown.csv", score_rows(metrics=["surprise"]))
    (tmp_path / "empty.csv").write_text("run,benchmark,metric,value\n")
    (tmp_path / "nan.csv").write_text("run,benchmark,metric,value\nweb,gsm8k,acc,nan\n")
    assert message in refused(*arguments)
    assert not [*tmp_path.glob("*.html"), *tmp_path.glob("*.pdf")]


def test_forecasts_are_those_of_ladder(tmp_path: Path) -> None:
    """Contours with description and table, forecasts with intervals, the backtest; a note for too few sizes."""
    scores = tmp_path / "s.csv"
    ladder_table().to_csv(scores, index=False)
    invoke("report", scores, "-m", "bits_per_byte", "--predict", "7B:1T", "--reach", 0.6, "-o", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    [part] = as_json("ladder", scores, "-m", "bits_per_byte", "--predict", "7B:1T")["benchmarks"]
    forecast = part["forecasts"][0]
    assert f'<data value="{forecast["accuracy_pct"]:.6g}">{forecast["accuracy_pct"]:.1f}</data>' in page
    assert f"{forecast['low_pct']:.1f} to {forecast['high_pct']:.1f}" in page
    assert part["verdict"].partition(": ")[2] in page
    for text in (
        "acc on hellaswag over size and training tokens",
        "Backtest",
        "Cheapest model",
        "1e21 FLOPs",
        "7B params, 1T tokens",
    ):
        assert text in page
    two_sizes = ladder_table(sizes=(1e8, 3e8))
    two_sizes.to_csv(scores, index=False)
    result = invoke("report", scores, "-m", "bits_per_byte", "--predict", "7B:1T", "-o", tmp_path / "r.html")
    assert "hellaswag has runs of 2 sizes" in result.stderr
