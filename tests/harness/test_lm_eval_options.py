"""Options of the real ``lm_eval`` command on the sample as shipped, which has no confidences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .lm_eval_command import Run, results_of, samples_of, the_error

pytestmark = pytest.mark.slow(seconds=30)


@pytest.mark.parametrize("shots", [0, 3])
def test_num_fewshot_sets_the_number_of_worked_examples(
    checkpoint: Path, lm_eval: Run, home: Path, tmp_path: Path, shots: int
) -> None:
    """--num_fewshot N puts N worked examples before the question, 0 included."""
    options = ["--metadata", '{"rbridge_weights": "none", "rbridge_cache": "sample"}', "--limit", "2"]
    result = lm_eval(
        checkpoint, "rbridge_math500", *options, "--num_fewshot", str(shots), "--output_path", str(tmp_path),
        "--log_samples", cwd=home,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for sample in samples_of(tmp_path, "rbridge_math500"):
        context = sample["arguments"]["gen_args_0"]["arg_0"]
        assert context.count("Question:") == shots + 1
        assert context.count("Final answer:") == shots
        assert context.endswith("Answer: ")
        assert sample["arguments"]["gen_args_0"]["arg_1"] == sample["doc"]["trace"]
        assert not {"rbridge_nll", "rbridge_bits_per_byte"} & set(sample["metrics"])


def test_traces_without_confidences_are_one_line_with_the_remedy(
    checkpoint: Path, lm_eval: Run, home: Path, tmp_path: Path
) -> None:
    """The shipped sample has no confidences: the error says how to get them, and no results are written."""
    result = lm_eval(checkpoint, "rbridge_gsm8k", "--output_path", str(tmp_path), cwd=home)
    assert "no token confidences" in the_error(result)
    assert "rbridge traces score" in the_error(result)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--metadata", '{"rbridge_wieghts": "none"}'], "rbridge_wieghts"),
        (["--metadata", '{"rbridge_weights": "magic"}'], "magic"),
        (["--metadata", '{"rbridge_only_correct": "yes"}'], "rbridge_only_correct is 'yes'; write true or false"),
        (["--metadata", '{"rbridge_only_correct": true}'], "says whether its answer is correct"),
        (["--metadata", '{"rbridge_cache": "/nowhere/at/all"}'], "/nowhere/at/all"),
        (["--metadata", '{"rbridge_weights": "none"}', "--num_fewshot", "9"], "--num_fewshot 9"),
    ],
)
def test_wrong_options_are_one_line(
    checkpoint: Path, lm_eval: Run, home: Path, arguments: list[str], named: str
) -> None:
    """The error names the wrong option or value."""
    assert named in the_error(lm_eval(checkpoint, "rbridge_gsm8k", *arguments, cwd=home))


def test_a_run_without_a_compiler_continues(checkpoint: Path, lm_eval: Run, home: Path) -> None:
    """Without a C++ compiler rbridge_compile logs one line, and the numbers are those of a plain run."""
    without_compiler = {"CXX": str(home / "g++"), "TORCHINDUCTOR_CACHE_DIR": str(home / "inductor")}
    values = []
    for name, extra, environment in (("plain", {}, {}), ("compiled", {"rbridge_compile": True}, without_compiler)):
        metadata = json.dumps({"rbridge_cache": "sample", "rbridge_weights": "none", **extra})
        result = lm_eval(
            checkpoint, "rbridge_gsm8k", "--limit", "2", "--metadata", metadata, "--output_path", str(home / name),
            cwd=home, **environment,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        values.append(results_of(home / name)["results"]["rbridge_gsm8k"]["trace_nll,none"])
    assert values[0] == values[1]
    assert "compiled layers does not work with LlamaForCausalLM (InvalidCxxCompiler: No" in result.stderr
