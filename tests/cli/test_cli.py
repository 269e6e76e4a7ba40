"""The ``rbridge`` command, run in this process; what it prints and how it ends."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbridge_traces import SampleCache, TraceCache, few_shot_examples

from ..error_bounds import assert_within, model_bound

Rbridge = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rbridge(monkeypatch: pytest.MonkeyPatch, run: Rbridge, tmp_path: Path) -> Rbridge:
    """Run ``rbridge ARGUMENTS`` with an empty cache; return exit code, output and errors."""
    monkeypatch.setenv("RBRIDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return run


ROWS = [
    {"qid": 7, "question": {"stem": "1 + 1?"}, "response": "One and one make two.", "target": 2},
    {"qid": 8, "question": {"stem": "2 + 2?"}, "response": "Two and two make four.", "target": 4},
]
MAPS = ["--map", "trace=response", "--map", "question=question.stem", "--map", "gold=target", "--map", "item_id=qid"]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> str:
    if path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.jsonl.gz", "t.parquet"])
def test_import_takes_any_format_and_show_prints_it(rbridge: Rbridge, tmp_path: Path, name: str) -> None:
    """The same rows are imported from JSON, JSON Lines, gzip and Parquet, and ls, show and verify find them."""
    code, out, err = rbridge("traces", "import", write(tmp_path / name), "--benchmark", "gsm8k", *MAPS)
    assert (code, err) == (0, "")
    assert "2 traces of gsm8k" in out
    assert "rbridge traces score" in out
    traces = TraceCache(str(tmp_path / "cache")).load("gsm8k").traces
    assert [(t.item_id, t.question, t.gold) for t in traces] == [("7", "1 + 1?", "2"), ("8", "2 + 2?", "4")]
    assert "gsm8k" in rbridge("traces", "ls")[1]
    assert "Two and two make four." in rbridge("traces", "show", "gsm8k", "8")[1]
    assert rbridge("traces", "verify")[:2] == (0, "gsm8k/t: ok, 2 traces\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["traces", "import", "{file}", "-b", "gsm8k", "--map", "trace=respons"], "response"),
        (["traces", "import", "{file}", "-b", "gsm8k", "--map", "trace"], "FIELD=THEIRS"),
        (["traces", "import", "{file}", "-b", "gsm8k", "--map", "tracee=response"], "tracee"),
        (["traces", "import", "{file}", "-b", "gsm8k", *MAPS, "--map", "gold=qid"], "two values, 'target' and 'qid'"),
        (["traces", "import", "{file}", "-b", "gsm8k", *MAPS, "--cache", ""], "--cache"),
        (["traces", "rm", "gsm8k", "t", "-y", "--cache", " "], "it is empty"),
        (["traces", "import", "{text}", "-b", "gsm8k"], "not JSON"),
        (["traces", "import", "{missing}", "-b", "gsm8k"], "missing.json"),
        (["traces", "import", "{empty}", "-b", "gsm8k", *MAPS], "--skip-empty"),
        (["traces", "import", "{file}", "-b", "gsm-8k"], "gsm8k"),
        (["traces", "show", "gsm8k"], "no traces"),
        (["traces", "verify"], "no traces"),
        (["traces", "score", "-b", "gsm8k", "--model", "nowhere"], "no traces"),
        (["traces", "score", "-b", "gsm8k", "--from", "sample", "--model", "{missing}"], "cannot load"),
        (["traces", "score", "-b", "gsm8k", "--from", "sample", "--model", "x", "--batch-size", "0"], "--batch-size"),
        (["traces", "score", "-b", "gsm8k", "--from", "sample", "--model", "x", "--dtype", "int3"], "int3"),
        (["traces", "score", "-b", "gsm8k", "--model", "x", "--cache", "sample"], "cannot be written"),
        (["traces", "import", "{file}", "-b", "gsm8k", *MAPS, "--cache", "sample"], "cannot be written"),
        (["traces", "import", "{file}", "-b", "tides", *MAPS, "--fewshot", "99"], "99 beside the scored one"),
        (["trace", "ls"], "traces"),
        (["traces", "score", "-b", "gsm8k"], "--model"),
        (["traces", "score", "-b", "gsm8k", "--model", "x", "--num-fewshot", "many"], "--num-fewshot"),
        (["traces", "ls", "--cash", "x"], "--cash"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    rbridge: Rbridge, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Each wrong input gets one line that names it and exit code 2; no file is left behind."""
    (tmp_path / "text.md").write_text("# a heading\n")
    files = {
        "{file}": write(tmp_path / "file.json"),
        "{text}": str(tmp_path / "text.md"),
        "{missing}": str(tmp_path / "missing.json"),
        "{empty}": write(tmp_path / "empty.json", [*ROWS, ROWS[0] | {"qid": 9, "response": " "}]),
    }
    code, out, err = rbridge(*(files.get(argument, argument) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("rbridge: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list((tmp_path / "cache").rglob("*"))


def test_import_does_not_replace_existing_traces(rbridge: Rbridge, tmp_path: Path) -> None:
    """A second import under the same name needs --replace."""
    file = write(tmp_path / "t.json")
    assert rbridge("traces", "import", file, "-b", "gsm8k", *MAPS)[0] == 0
    code, _, err = rbridge("traces", "import", file, "-b", "gsm8k", *MAPS)
    assert code == 2
    assert "--replace" in err
    assert rbridge("traces", "import", file, "-b", "gsm8k", *MAPS, "--replace")[0] == 0


def test_score_gives_confidences_and_names_the_model(rbridge: Rbridge, tmp_path: Path, checkpoint: Path) -> None:
    """``score`` writes the probability of every token of every trace, in place, with the model's name."""
    rbridge("traces", "import", write(tmp_path / "t.json"), "-b", "gsm8k", *MAPS, "--frontier-model", "writer")
    code, out, _ = rbridge("traces", "score", "-b", "gsm8k", "--model", str(checkpoint), "--num-fewshot", "1")
    assert code == 0
    assert str(checkpoint) in out
    scores = TraceCache(str(tmp_path / "cache")).load("gsm8k")
    assert (scores.manifest.frontier_model, scores.manifest.confidence_model) == ("writer", str(checkpoint))
    assert scores.manifest.rows_with_confidence == 2
    for trace in scores.traces:
        assert trace.token_end is not None
        assert trace.token_end[-1] == len(trace.trace)
        assert np.all(trace.token_logprob < 0)
    code, _, err = rbridge("traces", "score", "-b", "gsm8k", "--model", str(checkpoint))
    assert code == 2
    assert "--replace" in err
    assert rbridge("traces", "score", "-b", "gsm8k", "--model", str(checkpoint), "--as", "again")[0] == 0
    code, _, err = rbridge("traces", "show", "gsm8k")
    assert code == 2
    assert "--source" in err


def test_a_name_that_is_taken_is_refused_before_any_model_is_loaded(rbridge: Rbridge, tmp_path: Path) -> None:
    """The command checks that the result can be written before it loads a model."""
    for name in ("one", "two"):
        rbridge("traces", "import", write(tmp_path / "t.json"), "-b", "gsm8k", *MAPS, "--source", name)
    for options in (["--source", "one", "--as", "two"], ["--source", "one", "--from", str(tmp_path / "cache")]):
        code, _, err = rbridge("traces", "score", "-b", "gsm8k", "--model", "there-is-none", *options)
        assert code == 2
        assert "--as NAME" in err
        assert "cannot load" not in err


def test_a_truncated_checkpoint_is_one_line(rbridge: Rbridge, tmp_path: Path, checkpoint: Path) -> None:
    """Weights that end too early are named; nothing is written."""
    shutil.copytree(checkpoint, tmp_path / "half")
    weights = tmp_path / "half" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    code, _, err = rbridge("traces", "score", "-b", "gsm8k", "--from", "sample", "--model", str(tmp_path / "half"))
    assert code == 2
    assert "cannot load" in err.splitlines()[-1]
    assert not list((tmp_path / "cache").rglob("*.parquet"))


@pytest.mark.parametrize("arguments", [[], ["traces"], ["--help"], ["traces", "score", "--help"]])
def test_help_is_printed_on_request_and_without_a_command(rbridge: Rbridge, arguments: list[str]) -> None:
    """Help goes to standard output with exit code 0."""
    code, out, err = rbridge(*arguments)
    assert (code, err) == (0, "")
    assert "Usage" in out


def test_confidences_equal_the_models_own_probabilities(rbridge: Rbridge, tmp_path: Path, checkpoint: Path) -> None:
    """The stored log-probabilities equal those of a plain forward pass over prompt and trace."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rbridge("traces", "import", write(tmp_path / "t.json"), "-b", "gsm8k", *MAPS)
    rbridge("traces", "score", "-b", "gsm8k", "--model", str(checkpoint), "--num-fewshot", "0")
    (trace, _) = TraceCache(str(tmp_path / "cache")).load("gsm8k").traces
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    encoded = tokenizer(f"Question: {trace.question}\nAnswer: {trace.trace}", return_offsets_mapping=True)
    with torch.no_grad():
        logits = model(torch.tensor([encoded["input_ids"]])).logits[0].log_softmax(-1)
    start = len(f"Question: {trace.question}\nAnswer: ")
    expected = [
        (end - start, float(logits[i - 1, token]))
        for i, (token, (_, end)) in enumerate(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
        if end > start
    ]
    assert trace.token_end is not None
    assert trace.token_end.tolist() == [end for end, _ in expected]
    logprobs = [logprob for _, logprob in expected]
    assert trace.token_logprob is not None
    assert_within(trace.token_logprob, logprobs, model_bound(logprobs))


def test_scoring_the_sample_keeps_it_a_sample(rbridge: Rbridge, tmp_path: Path, checkpoint: Path) -> None:
    """Sample traces with confidences are still labelled as sample wherever they are listed."""
    options = ["--from", "sample", "--model", str(checkpoint), "--num-fewshot", "0"]
    assert rbridge("traces", "score", "-b", "gsm8k", *options)[0] == 0
    manifest = TraceCache(str(tmp_path / "cache")).load("gsm8k").manifest
    assert manifest.sample
    assert manifest.frontier_model == SampleCache().load("gsm8k").manifest.frontier_model
    assert "sample traces" in rbridge("traces", "ls")[1]
    assert "SAMPLE" in rbridge("traces", "show", "gsm8k")[1]


def test_verify_reports_a_damaged_file_and_fails(rbridge: Rbridge, tmp_path: Path) -> None:
    """verify names the source that is damaged, checks the others, and ends with 1."""
    for name in ("good", "bad"):
        rbridge("traces", "import", write(tmp_path / "t.json"), "-b", "gsm8k", *MAPS, "--source", name)
    (file,) = (tmp_path / "cache" / "gsm8k" / "bad").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    code, out, _ = rbridge("traces", "verify")
    assert code == 1
    assert "gsm8k/good: ok" in out
    assert "gsm8k/bad: WRONG" in out


def test_verify_names_latex_that_became_control_characters(rbridge: Rbridge, tmp_path: Path) -> None:
    """An older cache is read; a warning counts the damaged texts, shows some and says what to do; exit code 0."""
    rows = [
        {"id": "1", "question": "?", "trace": "2 \times 3 and \frac{1}{2}", "final_answer": "\boxed{6}"},
        {"id": "2", "question": "?", "trace": "3 \neq 4, \beta", "final_answer": "4"},
        {"id": "3", "question": "?", "trace": "One.\nNow a\ttab, \\frac12\nu = 3", "final_answer": "4"},
    ]
    file = write(tmp_path / "t.json", rows)
    code, out, err = rbridge("traces", "import", file, "-b", "math500", "--source", "old")
    assert (code, out[:11]) == (0, "3 traces of")
    assert "2 traces and 1 final answers with control characters" in err
    code, out, err = rbridge("traces", "verify")
    assert (code, out) == (0, "math500/old: ok, 3 traces\n")
    assert "warning: math500/old: 2 traces and 1 final answers with control characters" in err
    assert "1 (trace: '2 \\times 3 and" in err
    assert "--replace" in err
    assert rbridge("traces", "verify", "math500", "--cache", "sample")[2] == ""


def test_import_reads_json_answers(rbridge: Rbridge, tmp_path: Path) -> None:
    """The reasoning in a column of JSON answers is the trace; repairs are counted; an answer field has priority."""
    raw = r'<think>{"reasoning": "a draft"}</think> {"reasoning": "\frac{4}{2} \times 1", "final_answer": "\theta"}'
    rows = [{"question": "?", "response": raw}, {"question": "?", "response": raw, "final_answer": "2"}]
    file = write(tmp_path / "t.json", [*rows, {"question": "?", "response": 'The set {"reasoning": 1} it is.'}])
    code, out, err = rbridge("traces", "import", file, "-b", "math500", "--map", "trace=response")
    assert (code, err) == (0, "")
    assert ", 2 read out of JSON answers, 6 unescaped backslashes of LaTeX repaired in 2 answers" in out
    held = TraceCache(str(tmp_path / "cache")).load("math500")
    assert [(trace.trace, trace.final_answer) for trace in held.traces] == [
        (r"\frac{4}{2} \times 1", r"\theta"),
        (r"\frac{4}{2} \times 1", "2"),
        ('The set {"reasoning": 1} it is.', None),
    ]
    assert "6 unescaped" in (held.manifest.note or "")
    broken = write(tmp_path / "b.json", [{"question": "?", "trace": '{"reasoning": "2 + 2'}])
    code, _, err = rbridge("traces", "import", broken, "-b", "gsm8k")
    assert code != 0
    assert "row 1: broken JSON" in err


@pytest.mark.slow
def test_doctor_finds_a_healthy_installation_and_a_damaged_cache(rbridge: Rbridge, tmp_path: Path) -> None:
    """doctor prints a line for each check, and ends with 1 when one fails."""
    rbridge("traces", "import", write(tmp_path / "t.json"), "-b", "gsm8k", *MAPS)
    code, out, _ = rbridge("doctor")
    assert code == 0, out
    for matter in ("python", "lm-eval", "torch", "lm-eval hook: active", "tasks: 6 built", "2 traces", "device"):
        assert matter in out
    (file,) = (tmp_path / "cache").rglob("*.parquet")
    file.write_bytes(b"PAR1")
    code, out, _ = rbridge("doctor")
    assert code == 1
    assert "WRONG" in out


@pytest.mark.slow
def test_doctor_reports_that_the_hook_is_off(rbridge: Rbridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """With RBRIDGE_AUTOLOAD=0 the remedy is --include_path."""
    monkeypatch.setenv("RBRIDGE_AUTOLOAD", "0")
    assert "--include_path" in rbridge("doctor")[1]


@pytest.mark.slow
def test_doctor_reports_why_tasks_cannot_be_built(
    rbridge: Rbridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If lm-eval lacks something that we use, one line gives the reason and a remedy; exit code 1."""
    import lm_eval

    stock = Path(lm_eval.__file__).parent
    shadow = tmp_path / "shadow" / "lm_eval"
    shutil.copytree(stock, shadow, ignore=lambda folder, names: names if Path(folder).parent.name == "tasks" else [])
    instance = shadow / "api" / "instance.py"
    instance.write_text(instance.read_text().replace("class Instance", "class Request"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shadow"))
    code, out, _ = rbridge("doctor")
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("WRONG tasks: ")]
    assert "cannot import name 'Instance'" in line
    assert "pip install 'lm-eval" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("requires", "line"),
    [
        ("transformers<5,>=4.56", "WRONG vllm 0.99.0 with transformers"),
        ("transformers>=4.56", "ok    vllm: 0.99.0, needs transformers>=4.56"),
    ],
)
def test_doctor_reports_packages_that_exclude_each_other(
    rbridge: Rbridge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, requires: str, line: str
) -> None:
    """The requirements of the installed vLLM are compared with the installed transformers."""
    info = tmp_path / "site" / "vllm-0.99.0.dist-info"
    info.mkdir(parents=True)
    extra = 'Requires-Dist: torch<1; extra == "other"'
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: 0.99.0\nRequires-Dist: {requires}\n{extra}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("RBRIDGE_CACHE", "sample")
    code, out, _ = rbridge("doctor")
    assert code == (1 if line.startswith("WRONG") else 0), out
    (shown_line,) = [text for text in out.splitlines() if text.startswith(line)]
    assert "torch" not in shown_line
    assert ("pip install 'transformers<5,>=4.56'" in shown_line) == line.startswith("WRONG")


def test_tasks_path_is_the_folder_of_task_files(rbridge: Rbridge) -> None:
    """The folder that tasks-path prints holds one YAML file for each task."""
    folder = Path(rbridge("tasks-path")[1].strip())
    assert {file.stem for file in folder.glob("*.yaml")} >= {"rbridge", "rbridge_gsm8k", "rbridge_humaneval"}


def test_few_shot_examples_are_not_among_the_items() -> None:
    """No worked example of the prompt is also asked."""
    for benchmark in ("math500", "mmlu_pro_stem", "gsm8k", "arc_challenge", "csqa", "humaneval"):
        shots = {trace.question for trace in few_shot_examples(benchmark)}
        assert len(shots) == 5
        items = SampleCache().load(benchmark).traces
        assert len(items) >= 8
        assert not shots & {trace.question for trace in items}
