"""``rbridge traces score``: part of the traces, and the facts of the traces that it keeps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rbridge_tasks.cli import main
from rbridge_traces import TraceCache
from rbridge_traces.benchmark import Benchmark

from ..traces.support import make_trace, write

Score = Callable[..., tuple[int, str, str]]
ABOUT = {
    "frontier_model": "gpt-4o",
    "prompt": "Solve it",
    "decoding": "greedy",
    "licence": "MIT",
    "note": "from a friend",
    "origin": "hf://datasets/me/traces@0123",
}


@pytest.fixture
def cache(tmp_path: Path) -> TraceCache:
    """A cache with three traces: right, wrong and not graded."""
    cache = TraceCache(str(tmp_path / "cache"))
    graded = enumerate((True, False, None))
    write(cache, [make_trace(str(i), correct=correct, spans=((0, 3),)) for i, correct in graded], **ABOUT)
    return cache


@pytest.fixture
def score(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: TraceCache, checkpoint: Path
) -> Score:
    """Run ``rbridge traces score`` on that cache with a tiny model; return exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        model = ["--model", str(checkpoint), "--num-fewshot", "0"]
        command = ["rbridge", "traces", "score", "-b", "gsm8k", *model, "--cache", cache.root, *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


def test_facts_of_the_traces_are_kept(score: Score, cache: TraceCache, checkpoint: Path) -> None:
    """Scoring adds confidences and the model's name; model, prompt, licence, origin and spans of the traces stay."""
    assert score()[0] == 0
    scores = cache.load("gsm8k", needs="confidence")
    expected = ABOUT | {"note": "from a friend; confidences by teacher forcing, 0-shot"}
    assert {name: getattr(scores.manifest, name) for name in ABOUT} == expected
    assert scores.manifest.confidence_model == str(checkpoint)
    assert (scores.manifest.rows, scores.manifest.rows_correct, scores.manifest.rows_with_spans) == (3, 1, 3)


def test_only_correct_traces_can_be_scored(score: Score, cache: TraceCache) -> None:
    """The correct traces get a new source name and a note; replacing the source needs --replace."""
    code, _, err = score("--only-correct")
    assert code == 2
    assert "2 traces of gsm8k from gpt-4o are not known to be right and would be lost" in err
    assert "--as NAME" in err
    assert cache.manifests()[0].rows == 3
    assert score("--only-correct", "--as", "right")[0] == 0
    right = cache.load("gsm8k", "right")
    assert [trace.item_id for trace in right.traces] == ["0"]
    assert "only the traces whose final answer is right" in str(right.manifest.note)
    assert cache.load("gsm8k", "gpt-4o").manifest.rows == 3
    assert score("--only-correct", "--source", "gpt-4o", "--replace")[0] == 0
    assert cache.load("gsm8k", "gpt-4o").manifest.rows == 1


def test_the_definition_is_written_with_the_scored_traces(
    score: Score, cache: TraceCache, checkpoint: Path, tmp_path: Path
) -> None:
    """Traces scored from one cache into another bring their benchmark's definition with them."""
    asked = Benchmark(name="wissen", question_template="Frage: {question}\nAntwort:", grader="number")
    source, target = TraceCache(str(tmp_path / "written")), TraceCache(cache.root)
    source.write([make_trace("0", benchmark="wissen")], benchmark="wissen", source="gpt-4o")
    source.define(asked)
    arguments = ("-b", "wissen", "--from", source.root)
    assert score(*arguments)[0] == 0
    assert target.definition("wissen") == asked
    other_definition = Benchmark(name="wissen", question_template="Q: {question}\nA:")
    target.define(other_definition)
    code, _, error = score(*arguments, "--as", "again")
    assert code != 0
    assert "wissen" in error
    assert "--replace" in error
    assert score(*arguments, "--as", "again", "--replace", "--model", str(tmp_path / "no model"))[0] != 0
    assert target.definition("wissen") == other_definition
    assert score(*arguments, "--as", "again", "--replace")[0] == 0
    assert target.definition("wissen") == asked
