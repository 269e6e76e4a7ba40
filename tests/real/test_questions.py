"""The published files of the six benchmarks, read as questions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rbridge_traces.questions import STEM, load_questions

FILES = {
    "math500": ("math500/test.jsonl", 500),
    "mmlu_pro_stem": ("mmlu_pro/test.jsonl.gz", 5878),
    "gsm8k": ("gsm8k/test.jsonl", 1319),
    "arc_challenge": ("arc_challenge/test.jsonl", 1172),
    "csqa": ("csqa/dev.jsonl", 1221),
    "humaneval": ("humaneval/HumanEval.jsonl.gz", 164),
}


@pytest.mark.parametrize("benchmark", FILES)
def test_every_item_of_the_benchmark_is_a_question(data: Path, benchmark: str) -> None:
    """All items are read, of MMLU-Pro those of the six STEM categories; ids are unique, gold answers known."""
    file, count = FILES[benchmark]
    questions = load_questions(benchmark, path=str(data / "benchmarks" / file))
    assert len(questions) == len({question.item_id for question in questions}) == count
    assert all(question.gold and question.question.strip() for question in questions)
    multiple_choice = benchmark in ("mmlu_pro_stem", "arc_challenge", "csqa")
    assert all((question.choices is not None) is multiple_choice for question in questions)


def test_choices_have_the_numbers_and_labels_of_the_benchmark(data: Path) -> None:
    """MMLU-Pro has 3 to 10 choices; 22 items of ARC have numeric labels."""
    mmlu_pro = load_questions("mmlu_pro_stem", path=str(data / "benchmarks" / FILES["mmlu_pro_stem"][0]))
    sizes = Counter(len(question.choices or ()) for question in mmlu_pro)
    assert set(sizes) <= set(range(3, 11))
    assert sizes[10] > 4000
    assert len(STEM) == 6
    arc = load_questions("arc_challenge", path=str(data / "benchmarks" / FILES["arc_challenge"][0]))
    numbered = [question for question in arc if question.choices and question.choices[0].label == "1"]
    assert len(numbered) == 22
    assert all(question.gold in {choice.label for choice in question.choices or ()} for question in arc)


@pytest.mark.parametrize("benchmark", FILES)
def test_files_of_another_benchmark_are_refused(data: Path, benchmark: str) -> None:
    """The error says which benchmark the file looks like."""
    from rbridge_traces import TraceError

    for similar, (file, _) in FILES.items():
        if similar != benchmark:
            with pytest.raises(TraceError, match=f"it looks like {similar}"):
                load_questions(benchmark, path=str(data / "benchmarks" / file))
