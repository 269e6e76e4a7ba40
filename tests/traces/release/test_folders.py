"""Locations of the benchmarks in a release, and the kinds of its files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from rbridge_traces import BENCHMARKS, TraceImportError
from rbridge_traces.release.folders import release_files, release_folders

from ..releases import as_json, as_lines, as_parquet, items, plain, record, rows_of
from ..support import complaint

ROW = [{"id": 1, "token": "a", "logprob": -1.0}]


@pytest.mark.parametrize(
    "names",
    [
        ["math500", "mmlu_pro", "gsm8k", "arc_challenge", "cqa", "humaneval"],
        ["MATH-500", "MMLU-Pro", "GSM8K", "ARC-Challenge", "commonsense_qa", "human_eval"],
        ["math", "mmlu_pro_stem", "gsm8k", "arc-c", "csqa", "openai_humaneval"],
    ],
)
@pytest.mark.parametrize("parent", ["", "traces"])
def test_benchmarks_go_by_many_names(tmp_path: Path, names: list[str], parent: str) -> None:
    """The release's config names and other usual names are recognised, in traces/ or beside it."""
    for name in [*names, "squad", "empty"]:
        as_json(tmp_path / parent / name / "a.json", ROW)
    folders = release_folders(tmp_path)
    assert list(folders) == list(BENCHMARKS)
    assert [folder.name for folder in folders.values()] == names


def test_the_folder_of_one_benchmark_is_a_release_of_it(tmp_path: Path) -> None:
    """--from accepts traces/gsm8k itself; a folder of several benchmarks is not identified by its own name."""
    as_json(tmp_path / "gsm8k" / "a.json", ROW)
    assert list(release_folders(tmp_path / "gsm8k")) == ["gsm8k"]
    as_json(tmp_path / "math" / "csqa" / "a.json", ROW)
    assert list(release_folders(tmp_path / "math")) == ["csqa"]


def test_no_folder_and_an_empty_one_are_named(tmp_path: Path) -> None:
    """The message lists what the folder contains instead."""
    assert "there is no folder" in complaint(release_folders, tmp_path / "no", error=TraceImportError)
    assert "holds no benchmark (it holds nothing)" in complaint(release_folders, tmp_path, error=TraceImportError)
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "README.md").write_text("nothing here")
    assert "holds no benchmark (it holds gsm8k)" in complaint(release_folders, tmp_path, error=TraceImportError)


def test_json_beside_other_files_is_the_completions(tmp_path: Path) -> None:
    """The release's layout is read; parts are in the order of their numbers, and hidden files are ignored."""
    as_json(tmp_path / "a.json.gz", ROW)
    for name in ("p-10.jsonl", "p-9.jsonl.gz", "sub/p-1.jsonl"):
        as_lines(tmp_path / name, ROW)
    (tmp_path / "p-11.jsonl.zst").write_bytes(pa.compress((tmp_path / "p-10.jsonl").read_bytes(), "zstd", asbytes=True))
    as_lines(tmp_path / ".cache" / "x.jsonl", ROW)
    files = release_files(tmp_path, {})
    assert [Path(path).name for path in files.completions] == ["a.json.gz"]
    assert [Path(path).name for path in files.tokens] == ["p-9.jsonl.gz", "p-10.jsonl", "p-11.jsonl.zst", "p-1.jsonl"]


@pytest.mark.parametrize("write", [as_json, as_lines, as_parquet])
def test_files_of_one_form_are_told_by_their_fields(tmp_path: Path, write: object) -> None:
    """If all files have the same format, those with tokens and log-probabilities are the token rows."""
    assert callable(write)
    (item,) = items(1)
    write(tmp_path / "z", [record(item)])
    suffix = {as_json: ".json", as_lines: ".jsonl", as_parquet: ".parquet"}[write]
    (tmp_path / "z").rename(tmp_path / f"z{suffix}")
    write(
        tmp_path / f"a{suffix}", [{k: v for k, v in row.items() if k != "top_logprobs"} for row in rows_of(item, x=1)]
    )
    files = release_files(tmp_path, {})
    assert [Path(path).name for path in files.completions] == [f"z{suffix}"]
    assert [Path(path).name for path in files.tokens] == [f"a{suffix}"]


def test_named_fields_tell_files_too(tmp_path: Path) -> None:
    """The field that --field names identifies the token rows."""
    as_lines(tmp_path / "a.jsonl", [{"id": 1, "reasoning": "a"}])
    as_lines(tmp_path / "b.jsonl", [{"id": 1, "token": "a", "nats": -1.0}])
    assert release_files(tmp_path, {"tokens.logprob": "nats"}).tokens == [str(tmp_path / "b.jsonl")]


def test_completions_of_several_files(tmp_path: Path) -> None:
    """A benchmark with categories has one file of completions for each category."""
    plain(tmp_path, items(2))
    as_json(tmp_path / "more.json", [record(item) for item in items(3)[2:]])
    assert [Path(path).name for path in release_files(tmp_path, {}).completions] == ["completions.json", "more.json"]
