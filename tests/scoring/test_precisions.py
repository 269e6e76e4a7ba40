"""One model in two precisions under one name is refused; standard errors written as text are read or counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rbridge_tasks.tables.collect import Collected, collect
from rbridge_tasks.tables.rows import CollectError
from rbridge_tasks.tables.score_table import ScoreTableError, checked_scores, read_scores

from ..harness.lm_eval_files import early, modern, write_json

NAME = "ckpts/dclm-1b/step1-tokens2B"
DATED = "results_2024-05-01T10-00-00.000000.json"


def loaded(
    folder: Path, value: float, arguments: dict[str, Any], *, dtype: str | None = None, date: float = 1e9
) -> Path:
    """Write results of one model with more arguments; ``dtype`` is the model dtype that lm-eval reports."""
    data = modern(NAME, {"t": {"acc,none": value}}, date=date)
    data["config"]["model_args"] |= arguments
    if dtype:
        data["config"]["model_dtype"] = dtype
    return write_json(folder / DATED, data)


def note(collected: Collected, kind: str) -> str:
    """Return the text of the only note of a kind."""
    (text,) = (entry.text for entry in collected.notes if entry.kind == kind)
    return text


@pytest.mark.parametrize(
    ("arguments_a", "arguments_b", "values"),
    [
        ({}, {"load_in_4bit": True}, ("none", "load_in_4bit=True")),
        ({}, {"load_in_8bit": "True"}, ("none", "load_in_8bit=True")),
        ({"load_in_8bit": True}, {"load_in_4bit": True}, ("load_in_8bit=True", "load_in_4bit=True")),
        ({"autogptq": "model.safetensors"}, {"gptqmodel": True}, ("autogptq=model.safetensors", "gptqmodel=True")),
        ({"quantization": "awq"}, {"quantization": "fp8"}, ("quantization=awq", "quantization=fp8")),
        ({"gguf_file": "q4.gguf"}, {"gguf_file": "q8.gguf"}, ("gguf_file=q4.gguf", "gguf_file=q8.gguf")),
        (
            {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
            {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
            ("bnb_4bit_quant_type=nf4", "bnb_4bit_quant_type=fp4"),
        ),
        ({"dtype": "float32"}, {"dtype": "bfloat16"}, ("float32", "bfloat16")),
        ({}, {"kv_cache_dtype": "fp8"}, ("none", "kv_cache_dtype=fp8")),
    ],
)
def test_two_precisions_under_one_name_are_refused(
    tmp_path: Path, arguments_a: dict[str, Any], arguments_b: dict[str, Any], values: tuple[str, str]
) -> None:
    """The error names both values, both files and the option that names runs; with that option both scores are kept."""
    files = loaded(tmp_path / "a", 0.5, arguments_a), loaded(tmp_path / "b", 0.4, arguments_b, date=2e9)
    with pytest.raises(CollectError) as refused:
        collect([tmp_path])
    for text in (*values, *map(str, files), "--runs FILE", "path"):
        assert text in str(refused.value)
    assert "\n" not in str(refused.value)
    runs = tmp_path / "runs.csv"
    runs.write_text(f"path,run\n{files[0]},dclm\n{files[1].parent},dclm-other\n")
    collected = collect([tmp_path], runs=runs)
    assert [*zip(collected.table["run"], collected.table["value"], strict=True)] == [("dclm", 0.5), ("dclm-other", 0.4)]
    assert any("differs" in text.text for text in collected.notes)
    assert [*collect([files[1]]).table["value"]] == [0.4]


@pytest.mark.parametrize(
    ("arguments_a", "arguments_b"),
    [
        ({"dtype": "auto"}, {"dtype": "bfloat16"}),
        ({"dtype": "half"}, {"dtype": "torch.float16"}),
        ({"load_in_4bit": False}, {}),
        ({"load_in_4bit": "False", "quantization": None}, {"load_in_8bit": "false"}),
        ({"batch_size": 1, "device": "cuda:0"}, {"parallelize": True}),
    ],
)
def test_one_precision_written_in_two_ways_is_accepted(
    tmp_path: Path, arguments_a: dict[str, Any], arguments_b: dict[str, Any]
) -> None:
    """Options that are off, automatic or aliases do not change the precision; the later result wins."""
    loaded(tmp_path / "a", 0.5, arguments_a)
    loaded(tmp_path / "b", 0.4, arguments_b, date=2e9)
    assert [*collect([tmp_path]).table["value"]] == [0.4]


def test_the_dtype_that_lm_eval_reports_wins_over_the_argument(tmp_path: Path) -> None:
    """``auto`` that resolves to float32 differs from bfloat16; ``auto`` that resolves to bfloat16 does not."""
    loaded(tmp_path / "a", 0.5, {"dtype": "auto"}, dtype="torch.float32")
    loaded(tmp_path / "b", 0.4, {"dtype": "bfloat16"}, date=2e9)
    with pytest.raises(CollectError, match=r"dtype float32 .* and bfloat16"):
        collect([tmp_path])
    loaded(tmp_path / "a", 0.5, {"dtype": "auto"}, dtype="torch.bfloat16")
    assert [*collect([tmp_path]).table["value"]] == [0.4]


def test_arguments_written_as_text(tmp_path: Path) -> None:
    """lm-eval before 0.4.9 wrote the arguments as one string."""
    for number, more in enumerate(("", ",load_in_4bit=True")):
        data = early(f"pretrained={NAME}{more}", {"t": {"acc,none": 0.5}})
        write_json(tmp_path / str(number) / "results.json", data)
    with pytest.raises(CollectError, match=r"quantisation none .* and load_in_4bit=True"):
        collect([tmp_path])


def test_different_scores_of_one_model_may_have_different_precisions(tmp_path: Path) -> None:
    """Neither replaces the other: proxy scores in float32 and generation in 4 bits are both kept."""
    loaded(tmp_path / "a", 0.5, {"dtype": "float32"})
    data = modern(NAME, {"u": {"acc,none": 0.3}})
    data["config"]["model_args"] |= {"load_in_4bit": True}
    write_json(tmp_path / "b" / DATED, data)
    assert [*collect([tmp_path]).table["value"]] == [0.5, 0.3]


def test_a_note_says_which_score_is_replaced(tmp_path: Path) -> None:
    """It names both values, both files, and the settings that changed."""
    old = loaded(tmp_path / "a", 0.5, {})
    data = modern(NAME, {"t": {"acc,none": 0.25}}, date=2e9, **{"n-shot": {"t": 0}})
    new = write_json(tmp_path / "b" / DATED, data)
    text = note(collect([tmp_path]), "replaced")
    assert text.startswith("1 score replaced by later ones, such as t acc of ckpts/dclm-1b/step1-tokens2B: 0.5 (")
    assert f"{old}) by 0.25 ({new}); n-shot was 5 and is 0" in text


class TestStandardErrorsAsText:
    """Numeric text is a number, a word for "missing" is NaN, and other text is counted and shown."""

    @pytest.mark.parametrize(
        ("stderr", "expected"),
        [("0.012", 0.012), (" 1.2e-2 ", 0.012), (0.012, 0.012), ("0", 0.0), ("+.5", 0.5), (1, 1.0)],
    )
    def test_numbers(self, tmp_path: Path, stderr: object, expected: float) -> None:
        result = self.collected(tmp_path, stderr)
        assert [*result.table["stderr"]] == [expected]
        assert result.notes == []

    @pytest.mark.parametrize("stderr", ["N/A", "n/a", "nan", "NaN", "", "None", None, math.nan])
    def test_nothing(self, tmp_path: Path, stderr: object) -> None:
        result = self.collected(tmp_path, stderr)
        assert result.table["stderr"].isna().all()
        assert result.notes == []

    @pytest.mark.parametrize(
        "stderr", ["1.2%", "0,012", "±0.01", "0.01 (boot)", "inf", "1_0", "٠", "-0.1", -0.1, math.inf, [0.1], True, {}]
    )
    def test_anything_else_is_counted(self, tmp_path: Path, stderr: object) -> None:
        result = self.collected(tmp_path, stderr)
        assert result.table["stderr"].isna().all()
        text = note(result, "no standard error")
        assert text.startswith("1 standard error left out")
        assert "t acc" in text
        assert DATED in text

    def collected(self, tmp_path: Path, stderr: object) -> Collected:
        data = modern(NAME, {"t": {"acc,none": 0.5, "acc_stderr,none": stderr}})
        return collect([write_json(tmp_path / DATED, data)])


@pytest.mark.parametrize(("value", "expected"), [("0.25", [0.25]), ("25 %", []), ("N/A", []), (math.nan, [])])
def test_values_as_text(tmp_path: Path, value: object, expected: list[float]) -> None:
    """Numeric text is read; a percentage is not converted but counted."""
    collected = collect([write_json(tmp_path / DATED, modern(NAME, {"t": {"acc,none": value, "f1,none": 1.0}}))])
    assert [*collected.table[collected.table["metric"] == "acc"]["value"]] == expected
    assert [entry.kind for entry in collected.notes] == ([] if expected else ["no number"])


def test_counts_as_text(tmp_path: Path) -> None:
    """Parameter counts and dates written as text are read."""
    data = modern("ckpts/dclm/step1-tokens2B", {"t": {"acc,none": 0.5}}, date="1700000000.5")
    data["config"]["model_num_parameters"] = "1480000000"
    assert [*collect([write_json(tmp_path / DATED, data)]).table["params"]] == [1.48e9]


@pytest.mark.parametrize("nothing", ["N/A", "", "nan", None])
def test_a_table_with_words_for_missing_values(tmp_path: Path, nothing: str | None) -> None:
    """Standard errors as text are read from Parquet and CSV files; the error for a percentage names column and row."""
    frame = pd.DataFrame({"run": ["a", "b"], "benchmark": "t", "metric": "acc", "value": [0.5, 0.4]})
    frame["stderr"] = pd.Series(["0.012", nothing], dtype=object)
    for name in ("t.parquet", "t.csv"):
        path = tmp_path / name
        frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
        np.testing.assert_array_equal(read_scores(path)["stderr"], [0.012, math.nan])
    with pytest.raises(ScoreTableError, match=r"'1\.2%' in the column stderr, row 1"):
        checked_scores(frame.assign(stderr=["1.2%", "0.1"]))
