"""Questions of the six benchmarks, from local files in every published form and from the Hub."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbridge_traces import BENCHMARKS, Choice, TraceImportError
from rbridge_traces.errors import TraceError
from rbridge_traces.questions import Question, load_questions, questions_origin

from .hub_server import HubServer
from .support import complaint, jsonl

AB = (Choice("A", "ice"), Choice("B", "iron"))
#: Rows of the Hub's data sets, and the questions expected from them.
ROWS: dict[str, list[dict[str, Any]]] = {
    "math500": [
        {"problem": "Add 1/2 and 1/3.", "solution": "...", "answer": "\\frac{5}{6}", "subject": "Algebra", "level": 1}
        | {"unique_id": "test/algebra/1.json"}
    ],
    "mmlu_pro_stem": [
        {"question_id": 70, "question": "Who pays?", "options": ["a", "b"], "answer": "A", "answer_index": 0}
        | {"cot_content": "", "category": "business", "src": ""},
        {"question_id": 71, "question": "What melts?", "options": ["ice", "iron", "N/A"], "answer": "B"}
        | {"answer_index": 1, "cot_content": "", "category": "physics", "src": ""},
    ],
    "gsm8k": [
        {"question": "How many?", "answer": "He has <<2*500=1000>>1000.\n#### 1,000"},
        {"question": "And then?", "answer": "#### -3"},
    ],
    "arc_challenge": [
        {"id": "M_1", "question": "What melts?", "choices": {"text": ["ice", "iron"], "label": ["1", "2"]}}
        | {"answerKey": "1"}
    ],
    "csqa": [
        {"id": "0a", "question": "What melts?", "question_concept": "melt", "answerKey": "B"}
        | {"choices": {"label": ["A", "B"], "text": ["ice", "iron"]}}
    ],
    "humaneval": [
        {"task_id": "HumanEval/0", "prompt": "def f():\n", "canonical_solution": "    return 1\n", "test": "assert f()"}
        | {"entry_point": "f"}
    ],
}
EXPECTED = {
    "math500": [Question("math500", "test/algebra/1.json", "Add 1/2 and 1/3.", None, "\\frac{5}{6}")],
    "mmlu_pro_stem": [Question("mmlu_pro_stem", "71", "What melts?", AB, "B")],
    "gsm8k": [
        Question("gsm8k", "0", "How many?", None, "1000"),
        Question("gsm8k", "1", "And then?", None, "-3"),
    ],
    "arc_challenge": [Question("arc_challenge", "M_1", "What melts?", (Choice("1", "ice"), Choice("2", "iron")), "1")],
    "csqa": [Question("csqa", "0a", "What melts?", AB, "B")],
    "humaneval": [Question("humaneval", "HumanEval/0", "def f():\n", None, "    return 1\n")],
}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_fields_of_the_hub_are_read_from_a_local_copy(tmp_path: Path, benchmark: str) -> None:
    """A file with the Hub's rows gives ids, texts, choices and gold answers; of MMLU-Pro, only STEM."""
    assert load_questions(benchmark, path=jsonl(tmp_path / "q.jsonl", ROWS[benchmark])) == EXPECTED[benchmark]


@pytest.mark.parametrize("benchmark", ["arc_challenge", "csqa"])
def test_choices_inside_the_question_are_read_too(tmp_path: Path, benchmark: str) -> None:
    """The authors' own files, with nested stem, choices and concept, give the same questions."""
    row = ROWS[benchmark][0]
    pairs = zip(row["choices"]["label"], row["choices"]["text"], strict=True)
    inner = {"stem": row["question"], "choices": [{"label": label, "text": text} for label, text in pairs]}
    inner |= {"question_concept": "melt"} if benchmark == "csqa" else {}
    nested = {"id": row["id"], "answerKey": row["answerKey"], "question": inner}
    assert load_questions(benchmark, path=jsonl(tmp_path / "q.jsonl", [nested])) == EXPECTED[benchmark]


def test_ids_are_row_numbers_from_0_where_the_data_set_has_none(tmp_path: Path) -> None:
    """A copy of MATH-500 without ids can be used."""
    rows = [{"problem": "1 + 1?", "answer": "2"}, {"problem": "1 + 2?", "answer": "3"}]
    questions = load_questions("math500", path=jsonl(tmp_path / "q.jsonl", rows))
    assert [question.item_id for question in questions] == ["0", "1"]


@pytest.mark.parametrize(
    ("benchmark", "rows", "expected"),
    [
        ("gsm8k", [{"question": "How many?"}], "row 1: no field answer (it has question)"),
        ("gsm8k", [{"question": "How many?", "answer": "three"}], "#### NUMBER"),
        ("gsm8k", ROWS["math500"], "it looks like math500"),
        ("math500", ROWS["gsm8k"], "it looks like gsm8k"),
        ("csqa", ROWS["arc_challenge"], "it looks like arc_challenge"),
        ("arc_challenge", ROWS["csqa"], "it looks like csqa"),
        ("humaneval", ROWS["csqa"], "no field canonical_solution"),
        ("mmlu_pro_stem", ROWS["mmlu_pro_stem"][:1], "no questions of mmlu_pro_stem (only business)"),
        ("mmlu_pro_stem", [ROWS["mmlu_pro_stem"][1] | {"answer": "K"}], "none of the labels A, B"),
        ("mmlu_pro_stem", [ROWS["mmlu_pro_stem"][1] | {"options": "ice"}], "2 to 26 texts"),
        ("arc_challenge", [ROWS["arc_challenge"][0] | {"choices": ["ice"]}], "not labels and texts"),
        ("math500", [{"problem": " ", "answer": "1"}], "its problem is empty"),
        ("math500", [{"problem": 3, "answer": "1"}], "its problem is int"),
        ("csqa", ROWS["csqa"] * 2, "the id 0a is that of row 1 too"),
        ("gsm 9k", ROWS["gsm8k"], "cannot name a benchmark"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(
    tmp_path: Path, benchmark: str, rows: list[dict[str, Any]], expected: str
) -> None:
    """The message has the file, the row, the missing field, and the benchmark that the file looks like."""
    path = jsonl(tmp_path / "q.jsonl", rows)
    kind = TraceError if benchmark == "gsm 9k" else TraceImportError
    message = complaint(load_questions, benchmark, path=path, error=kind)
    assert expected in message
    assert benchmark == "gsm 9k" or path in message


def test_where_questions_come_from_does_not_tell_on_the_user() -> None:
    """The manifest has the name of the file without the folders above it."""
    assert questions_origin("math500", None) == "HuggingFaceH4/MATH-500 (test)"
    assert questions_origin("math500", "/home/someone/secret/test.jsonl") == "test.jsonl"


REPOS = {
    "math500": ("HuggingFaceH4/MATH-500", "default", "test"),
    "mmlu_pro_stem": ("TIGER-Lab/MMLU-Pro", "default", "test"),
    "gsm8k": ("openai/gsm8k", "main", "test"),
    "arc_challenge": ("allenai/ai2_arc", "ARC-Challenge", "test"),
    "csqa": ("tau/commonsense_qa", "default", "validation"),
    "humaneval": ("openai/openai_humaneval", "default", "test"),
}
LOAD = """
import dataclasses, json, sys
from rbridge_traces.questions import load_questions
print("[[" + json.dumps({name: [dataclasses.asdict(q) for q in load_questions(name)] for name in sys.argv[1:]}))
"""


def publish(folder: Path, benchmark: str) -> tuple[str, Path]:
    """Write a data set as on the Hub: Parquet files by configuration and split, listed in the card."""
    repo, config, split = REPOS[benchmark]
    place = folder / repo.replace("/", "--")
    (place / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS[benchmark]), place / "data" / f"{split}-00000-of-00001.parquet")
    files = [{"split": split, "path": f"data/{split}-*"}]
    card = json.dumps({"configs": [{"config_name": config, "data_files": files}]})
    (place / "README.md").write_text(f"---\n{card}\n---\n")
    return repo, place


def load(names: list[str], home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Load questions in a separate process, because the Hub's client reads its environment only once."""
    online = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", **environment}
    command = [sys.executable, "-c", LOAD, *names]
    return subprocess.run(command, env=os.environ | online, capture_output=True, text=True)


@pytest.mark.slow
def test_questions_come_from_the_hub(tmp_path: Path) -> None:
    """All six data sets are read through the Hub's protocol, in the split and configuration of the paper."""
    with HubServer(dict(publish(tmp_path, benchmark) for benchmark in BENCHMARKS)) as hub:
        done = load(list(BENCHMARKS), tmp_path / "home", HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    rows_by_benchmark = json.loads(done.stdout.rpartition("[[")[2])
    for benchmark, expected in EXPECTED.items():
        questions = [
            Question(**{**row, "choices": row["choices"] and tuple(Choice(**choice) for choice in row["choices"])})
            for row in rows_by_benchmark[benchmark]
        ]
        assert questions == expected


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["offline", "gone", "nobody"])
def test_a_hub_that_does_not_deliver_is_one_line(tmp_path: Path, trouble: str) -> None:
    """Offline, an unknown data set and no Hub each give one line with the data set and --questions."""
    with HubServer({}) as hub:
        url = "http://127.0.0.1:9" if trouble == "nobody" else hub.url
        done = load(["gsm8k"], tmp_path / "home", HF_ENDPOINT=url, HF_HUB_OFFLINE="1" if trouble == "offline" else "0")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rbridge_traces.errors.TraceError: cannot load the data set openai/gsm8k from the Hub: ")
    assert "--questions FILE" in last


def test_options_that_are_all_padding_are_refused(tmp_path: Path) -> None:
    """A row of MMLU-Pro without one option is named."""
    row = {"question_id": 1, "question": "q", "category": "math", "options": ["N/A", "N/A"], "answer": "A"}
    message = complaint(
        load_questions, "mmlu_pro_stem", path=jsonl(tmp_path / "a.jsonl", [row]), error=TraceImportError
    )
    assert "row 1: its answer is 'A', which is none of the labels" in message


@pytest.mark.parametrize("missing", [None, math.nan])
def test_missing_values_are_no_text(tmp_path: Path, missing: float | None) -> None:
    """A null choice is refused, and a null id is the number of the row; neither becomes the text of a null."""
    rows = [{"id": missing, "question": "q", "question_concept": "c", "answerKey": "A"}]
    rows = [row | {"choices": {"label": ["A", "B"], "text": ["x", missing]}} for row in rows]
    path = jsonl(tmp_path / "csqa.jsonl", rows)
    assert "a choice is null" in complaint(load_questions, "csqa", path=path, error=TraceImportError)
    row = {"question_id": missing, "question": "q", "category": "math", "options": ["x", missing], "answer": "A"}
    path = jsonl(tmp_path / "mmlu.jsonl", [row])
    assert "a choice is null" in complaint(load_questions, "mmlu_pro_stem", path=path, error=TraceImportError)
    (question,) = load_questions("mine", path=jsonl(tmp_path / "mine.jsonl", [{"id": missing, "question": "q"}]))
    assert question.item_id == "0"
