"""Reading traces with marked key steps from the subsets of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rbridge_traces import TraceImportError
from rbridge_traces.release.mask import mask_readers, mask_subsets, subsets_of_benchmarks
from rbridge_traces.release.report import ReleaseReport

from ..releases import as_lines, as_parquet
from ..support import complaint

ROWS = [
    {"question": "2 + 2?", "reasoning": "So <span>2 + 2</span> is <span>4</span>."},
    {"question": "1 + 1?", "reasoning": "<span>2</span>"},
]


def read(root: Path, benchmark: str = "gsm8k", **options: Any) -> ReleaseReport:
    """Read the marked traces of a benchmark."""
    return mask_readers(root, options.pop("given", {}), options.pop("overrides", {}), **options)[0][benchmark]()


@pytest.mark.parametrize(
    "path",
    [
        "gsm8k/train-00000-of-00001.parquet",
        "data/gsm8k-00000-of-00001.parquet",
        "data/gsm8k/test-00000-of-00002-0123abcd.parquet",
        "gsm8k.jsonl",
        "gsm8k_train.jsonl.gz",
        "gsm8k/mask.jsonl",
        "GSM8K/default/train/0000.parquet",
    ],
)
def test_a_subset_is_told_by_folder_or_file(tmp_path: Path, path: str) -> None:
    """In every layout of a subset, marks become spans, in characters of the text without marks."""
    (as_parquet if path.endswith("parquet") else as_lines)(tmp_path / path, ROWS)
    report = read(tmp_path)
    assert [(t.item_id, t.question, t.trace, t.spans) for t in report.traces] == [
        ("0", "2 + 2?", "So 2 + 2 is 4.", ((3, 8), (12, 13))),
        ("1", "1 + 1?", "2", ((0, 1),)),
    ]
    assert not report.dropped
    assert not any(trace.has_confidence for trace in report.traces)


def test_subsets_go_to_benchmarks_by_their_names() -> None:
    """Known names map to their benchmark, MMLU-Pro's STEM categories to one benchmark, other names to themselves."""
    names = ["arc-challenge", "commonsense_qa", "gsm8k", "human_eval", "MATH-500", "mmlu_pro_physics", "biology"]
    subsets, unknown = subsets_of_benchmarks([*names, "mmlu_pro_computer_science", "kmmlu", "arena-hard", "the rest"])
    assert subsets == {
        "math500": ["MATH-500"],
        "mmlu_pro_stem": ["mmlu_pro_physics", "biology", "mmlu_pro_computer_science"],
        "gsm8k": ["gsm8k"],
        "arc_challenge": ["arc-challenge"],
        "csqa": ["commonsense_qa"],
        "humaneval": ["human_eval"],
        "kmmlu": ["kmmlu"],
        "arena-hard": ["arena-hard"],
    }
    assert unknown == ["the rest"]


@pytest.mark.parametrize(
    ("names", "benchmark"),
    [
        (["math"], "math500"),
        (["math", "physics"], "math500"),
        (["math", "math500"], "math500"),
        (["math", "math500", "physics"], "mmlu_pro_stem"),
    ],
)
def test_math_is_a_benchmark_unless_it_must_be_a_category(names: list[str], benchmark: str) -> None:
    """``math`` is MMLU-Pro's category only if MATH500 and other categories are present."""
    subsets, _ = subsets_of_benchmarks(names)
    assert "math" in subsets[benchmark]


def test_subsets_can_be_named(tmp_path: Path) -> None:
    """--subset assigns names that are not recognised, and is validated."""
    assert subsets_of_benchmarks(["maths", "gsm"], {"gsm": "gsm8k"}) == ({"gsm8k": ["gsm"], "maths": ["maths"]}, [])
    assert "no subset 'gsm8' (did you mean gsm8k?); there are gsm8k" in complaint(
        subsets_of_benchmarks, ["gsm8k"], {"gsm8": "gsm8k"}
    )
    assert "another name of csqa" in complaint(subsets_of_benchmarks, ["gsm8k"], {"gsm8k": "cqa"})


def test_merged_subsets_keep_their_items_apart(tmp_path: Path) -> None:
    """Rows without ids are numbered within their subset; given ids are kept unless two subsets share one."""
    for name in ("mmlu_pro_physics", "mmlu_pro_math"):
        as_lines(tmp_path / f"{name}.jsonl", ROWS)
    numbered = ["mmlu_pro_math/0", "mmlu_pro_math/1", "mmlu_pro_physics/0", "mmlu_pro_physics/1"]
    assert [trace.item_id for trace in read(tmp_path, "mmlu_pro_stem").traces] == numbered
    for n, name in enumerate(("mmlu_pro_physics", "mmlu_pro_math")):
        as_lines(tmp_path / f"{name}.jsonl", [{"question_id": 10 * n + m} | row for m, row in enumerate(ROWS)])
    assert [trace.item_id for trace in read(tmp_path, "mmlu_pro_stem").traces] == ["10", "11", "0", "1"]


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("a <span>b", "the <span> at character 2 is never closed"),
        ("a </span>b", "a </span> at character 2 closes nothing"),
        ("a <span></span>b", "the <span></span> at character 2 holds nothing"),
    ],
)
def test_broken_marks_are_named_or_counted(tmp_path: Path, marked: str, expected: str) -> None:
    """The row is named, or counted with --skip-mismatched. Rows without reasoning or marks are always counted."""
    unmarked = [{"question": "?", "reasoning": None}, {"question": "?", "reasoning": "no marks"}]
    as_lines(tmp_path / "gsm8k.jsonl", [*ROWS, {"question": "?", "reasoning": marked}, *unmarked])
    message = complaint(read, tmp_path, error=TraceImportError)
    assert message.startswith(f"{tmp_path}/gsm8k.jsonl, line 3: {expected}")
    report = read(tmp_path, skip_mismatched=True)
    assert report.dropped == {"broken marks": 1, "empty reasoning": 1, "without marks": 1}
    assert [trace.item_id for trace in report.traces] == ["0", "1"]


def test_data_sets_that_are_none_are_refused(tmp_path: Path) -> None:
    """No folder, no files, no reasoning and no marks each give a one-line error."""
    assert "there is no folder" in complaint(mask_subsets, tmp_path / "no", error=TraceImportError)
    assert "expected some of each subset" in complaint(mask_subsets, tmp_path, error=TraceImportError)
    as_lines(tmp_path / "gsm8k.jsonl", [{"question": "?", "text_": "a"}])
    assert "no field for the reasoning in the completions; the rows have question, text_" in complaint(
        read, tmp_path, error=TraceImportError
    )
    assert len(read_named(tmp_path).traces) == 1
    as_lines(tmp_path / "gsm8k.jsonl", [{"question": "?", "reasoning": "a"}])
    assert "no row of gsm8k is a trace with marks" in complaint(read, tmp_path, error=TraceImportError)


def read_named(root: Path) -> ReleaseReport:
    """Read marks from a field that needs --field."""
    as_lines(root / "gsm8k.jsonl", [{"question": "?", "text_": "<span>a</span>"}])
    return read(root, overrides={"completions.reasoning": "text_"})
