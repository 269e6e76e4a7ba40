"""The shipped sample is valid and labelled as a sample, and its marks are removed correctly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_traces import BENCHMARKS, CacheNotFoundError, SampleCache, few_shot_examples, parse_spans

from ..metrics.strategies import cases, texts
from .support import complaint


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_benchmark_has_a_sample_with_answers_and_spans(benchmark: str) -> None:
    """Every scoring mode that needs no confidences can be tried on every benchmark."""
    traces = SampleCache().load(benchmark).traces
    assert traces
    for trace in traces:
        assert trace.benchmark == benchmark
        assert trace.gold is not None
        assert trace.final_answer is not None
        assert trace.spans
        assert "span>" not in trace.trace
    assert len({trace.item_id for trace in traces}) == len(traces)


@pytest.mark.parametrize("benchmark", ["mmlu_pro_stem", "arc_challenge", "csqa"])
def test_the_gold_answer_of_a_choice_item_is_one_of_its_labels(benchmark: str) -> None:
    """Ranking metrics select the gold choice by its label."""
    for trace in SampleCache().load(benchmark).traces + few_shot_examples(benchmark):
        assert trace.gold in [choice.label for choice in trace.choices or ()]


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_there_are_five_examples_and_none_is_scored(benchmark: str) -> None:
    """Each benchmark has five examples, as in the paper, and none is an item of the sample."""
    examples = few_shot_examples(benchmark)
    assert len(examples) == 5
    scored = {trace.question for trace in SampleCache().load(benchmark).traces}
    assert not scored & {example.question for example in examples}


def test_a_sample_says_that_it_is_one() -> None:
    """The sample's manifest says that its scores are not those of a benchmark."""
    manifests = SampleCache().manifests()
    assert [manifest.benchmark for manifest in manifests] == list(BENCHMARKS)
    for manifest in manifests:
        assert manifest.sample
        assert manifest.source == "sample"
        assert manifest.frontier_model == "written for rbridge-tasks (not a model)"
        assert manifest.confidence_model is None
        assert manifest.licence == "Apache-2.0"
        assert manifest.note is not None
        assert "not a benchmark" in manifest.note
        assert (manifest.rows, manifest.rows_with_confidence) == (10, 0)


def test_the_sample_is_sound() -> None:
    """Every file of the sample can be read."""
    assert [(verdict.benchmark, verdict.problem) for verdict in SampleCache().verify()] == [
        (name, None) for name in BENCHMARKS
    ]
    assert [verdict.benchmark for verdict in SampleCache().verify("csqa")] == ["csqa"]


def test_the_sample_has_one_source() -> None:
    """Another source or an unknown benchmark is refused as in a cache."""
    assert SampleCache().load("gsm8k", "sample").manifest.source == "sample"
    assert "from gpt-4o in the sample" in complaint(SampleCache().load, "gsm8k", "gpt-4o", error=CacheNotFoundError)
    assert "gsm (did you mean gsm8k?) in the sample" in complaint(SampleCache().load, "gsm", error=CacheNotFoundError)
    assert "did you mean gsm8k?" in complaint(few_shot_examples, "gsm")
    assert SampleCache().sources("gsm") == SampleCache().manifests("gsm") == []


@cases(100)
@given(st.lists(st.tuples(texts(3), texts(3)), max_size=4), texts(3))
def test_marks_that_were_put_in_are_found(pieces: list[tuple[str, str]], end: str) -> None:
    """Parsing the marks around regions of any text gives the text and the regions."""
    marked, plain, spans = "", "", []
    for outside, inside in pieces:
        marked += f"{outside}<span>{inside}</span>"
        plain += outside + inside
        spans.append((len(plain) - len(inside), len(plain)))
    assert parse_spans(marked + end) == (plain + end, tuple(spans))


def test_only_the_exact_mark_is_a_mark() -> None:
    """Other HTML, and the mark with other characters, is part of the text."""
    text = '<span class="x">a</SPAN> < span> <span/>'
    assert parse_spans(text) == (text, ())


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("a<span>b<span>c</span></span>", "a <span> at character 2 opens inside another"),
        ("a</span>", "a </span> at character 1 closes nothing"),
        ("<span>a</span>b</span>", "a </span> at character 2 closes nothing"),
        ("𝔘<span>b", "the <span> at character 1 is never closed"),
        ("a<span></span>", "the <span></span> at character 1 holds nothing"),
    ],
)
def test_marks_that_make_no_sense_are_refused(marked: str, expected: str) -> None:
    """Nested, unbalanced and empty marks are reported by the character of the text without marks."""
    assert complaint(parse_spans, marked).startswith(expected)
