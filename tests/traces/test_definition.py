"""User-defined benchmarks: their definition, tables as files, and grading of their answers."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from rbridge_traces import Benchmark, TraceCache, TraceError, TraceImportError, examples_of, import_traces, read_rows
from rbridge_traces.benchmark import SHIPPED
from rbridge_traces.definition import defined, read_definition, redefined
from rbridge_traces.generation.grading import grade
from rbridge_traces.publish import export, import_export, publication
from rbridge_traces.questions import load_questions

from .support import complaint

CSV = 'question,trace,gold,a,b\n"How far, ""now""?","So\nfar.",iron,ice,iron\nHow wide?,That wide.,A,x,\n'


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv"])
def test_a_table_is_read_as_text(name: str, tmp_path: Path) -> None:
    """Quotes, line breaks and delimiters in cells are kept; an empty cell is missing."""
    text = CSV.replace(",", "\t").replace("far\t", "far,") if name.endswith(".tsv") else CSV
    data = ("\ufeff" + text).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    rows = [*read_rows(str(tmp_path / name))]
    assert rows[0] == {"question": rows[0]["question"], "trace": "So\nfar.", "gold": "iron", "a": "ice", "b": "iron"}
    assert rows[0]["question"].replace("\t", ",") == 'How far, "now"?'
    assert rows[1]["b"] is None


def test_a_broken_table_names_the_row(tmp_path: Path) -> None:
    """Too many cells, no rows and a repeated column each give a one-line error."""
    for text, expected in (
        ("question,trace\na,b,c\n", "row 1 has 3 cells under 2 columns"),
        ("question,trace\n", "has no rows"),
        ("a,a\n1,2\n", "has the columns a, a"),
        ('a,b\n"x,2\n', "is not a readable CSV file"),
    ):
        (tmp_path / "t.csv").write_text(text)
        assert expected in complaint(lambda: [*read_rows(str(tmp_path / "t.csv"))], error=TraceImportError)


def test_choices_are_columns_or_json(tmp_path: Path) -> None:
    """``--map choices=a,b`` labels the columns, a JSON cell is a list of choices, and a missing cell is left out."""
    (tmp_path / "t.csv").write_text(CSV)
    first, second = import_traces(str(tmp_path / "t.csv"), benchmark="x", mapping={"choices": "a,b"}).traces
    assert [(choice.label, choice.text) for choice in first.choices or ()] == [("A", "ice"), ("B", "iron")]
    assert first.gold == "B"
    assert len(second.choices or ()) == 1
    (tmp_path / "j.csv").write_text('question,trace,choices,gold,correct\nq,t,"[""x"", ""y""]",y,True\n')
    (trace,) = import_traces(str(tmp_path / "j.csv"), benchmark="x").traces
    assert (trace.gold, trace.correct) == ("B", True)


DEFINITION = """
question_template: |-
  Frage: {question}
  Antwort:
fewshot:
- question: Wie weit?
  trace: So weit.
  final_answer: 5
grader: number
subject: Mathematik
"""


def test_a_definition_is_read() -> None:
    """Every key is read; numbers become text where text is expected."""
    benchmark = read_definition("x", DEFINITION.encode(), where="x/benchmark.yaml")
    assert benchmark.question_template == "Frage: {question}\nAntwort:"
    assert (benchmark.grader, benchmark.subject, benchmark.default_shots) == ("number", "Mathematik", 1)
    assert isinstance(benchmark.fewshot, tuple)
    assert benchmark.fewshot[0].answer == "5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("template: x", "the key 'template'"),
        ("grader: maths", "no grader 'maths' (did you mean math?)"),
        ("question_template: none", "has no {question}"),
        ("fewshot: yes", "neither a number of traces nor a list"),
        ("fewshot: -1", "give a number from 0"),
        ("fewshot: [{question: q, answer: a}]", "example 1 has the key 'answer'"),
        ("fewshot: [{question: q}]", "its trace is a NoneType"),
        ("- a", "is a list; expected the keys"),
        ("a: [", "is not YAML"),
        ("subject: 2024-99-99", "is not YAML (month must be in"),
        ("[" * 5000, "is not YAML"),
        ("subject: 3", "subject is 3; expected text"),
    ],
)
def test_a_bad_definition_names_file_and_key(text: str, expected: str) -> None:
    """The one-line error has the file, the key, and the expected value."""
    message = complaint(read_definition, "x", text.encode(), where="here/benchmark.yaml")
    assert message.startswith("here/benchmark.yaml")
    assert expected in message


def test_a_definition_is_replaced_only_when_asked() -> None:
    """Equal options change nothing, different ones need ``replace``, and shipped definitions are fixed."""
    definition = defined(Benchmark(name="x"), grader="text")
    assert redefined(definition) is None
    assert redefined(definition, grader="text") is None
    assert "is defined in another way" in complaint(redefined, definition, grader="math")
    changed = redefined(definition, grader="math", replace=True)
    assert changed is not None
    assert changed.grader == "math"
    for benchmark in SHIPPED.values():
        assert "rbridge_fewshot" in complaint(redefined, benchmark, fewshot="3")


def test_a_shipped_benchmark_ignores_a_definition(tmp_path: Path) -> None:
    """A definition file in the cache does not affect the six shipped benchmarks."""
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "benchmark.yaml").write_text("grader: text")
    assert TraceCache(str(tmp_path)).definition("gsm8k") is SHIPPED["gsm8k"]


def test_examples_from_traces_leave_out_the_scored_item_and_wrong_ones(tmp_path: Path) -> None:
    """The examples are the first traces that have an answer, are not graded wrong and are not the scored item."""
    rows = "\n".join(f"q{n},t{n},{n},{n != 1}" for n in range(6))
    (tmp_path / "t.csv").write_text(f"question,trace,gold,correct\n{rows}\n")
    traces = import_traces(str(tmp_path / "t.csv"), benchmark="x").traces
    examples = examples_of(Benchmark(name="x", fewshot=3), traces)
    assert (examples.default_shots, examples.available) == (3, 4)
    assert [each.question for each in examples.before(traces[0], 3)] == ["q2", "q3", "q4"]
    assert [each.question for each in examples.before(traces[1], 3)] == ["q0", "q2", "q3"]
    assert examples_of(Benchmark(name="x", fewshot=0), []).available == 0
    assert "has 5 traces that can be worked examples" in complaint(examples_of, Benchmark(name="x", fewshot=5), traces)


def test_a_definition_travels_with_the_traces(tmp_path: Path) -> None:
    """A definition is exported and imported; a target with a different definition is not overwritten."""
    (tmp_path / "t.csv").write_text("question,trace\nq,t\n")
    cache, exported, imported = (TraceCache(str(tmp_path / name)) for name in ("cache", "exported", "imported"))
    cache.write(import_traces(str(tmp_path / "t.csv"), benchmark="x").traces, benchmark="x", source="made")
    cache.define(defined(Benchmark(name="x"), grader="text"))
    export(publication(cache).sources, exported)
    import_export(exported.root, imported)
    assert imported.definition("x").grader == "text"
    conflicting = TraceCache(str(tmp_path / "conflicting"))
    conflicting.define(defined(Benchmark(name="x"), grader="math"))
    with pytest.raises(TraceError, match="in another way"):
        import_export(exported.root, conflicting)
    assert conflicting.sources("x") == []


@pytest.mark.parametrize(
    ("answer", "gold", "settings", "right"),
    [
        ("The answer is 1,204.", "1204", {}, True),
        ("12", "1204", {}, False),
        ("  Paris. ", "paris", {}, True),
        ("Paris", "London", {}, False),
        ("서울", "서울", {}, True),
        ("\\boxed{-3}", "-3", {}, True),
        ("3", "-3", {"grader": "text"}, False),
        ("3", "3", {"grader": "none"}, None),
    ],
)
def test_answers_are_graded_by_the_item(answer: str, gold: str, settings: dict[str, Any], right: bool | None) -> None:
    """A numeric gold answer is compared by value, any other by its words, unless the definition sets the grader."""
    assert grade(Benchmark(name="x", **settings), answer, gold) is right


def test_questions_of_ones_own_are_read(tmp_path: Path) -> None:
    """``traces build`` accepts a file of questions for a benchmark of the user's."""
    (tmp_path / "q.csv").write_text('id,question,choices,answer\n7,Which?,"[""x"", ""y""]",y\n')
    (question,) = load_questions("x", path=str(tmp_path / "q.csv"))
    assert (question.item_id, question.question, question.gold) == ("7", "Which?", "B")
    assert "give its questions with --questions FILE" in complaint(load_questions, "x")
