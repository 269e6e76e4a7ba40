"""Score tables: writing and reading, and one-line errors for what cannot be a score."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_tasks.tables.score_table import (
    COLUMNS,
    ScoreTableError,
    checked_scores,
    read_scores,
    read_table,
    write_scores,
)
from rbridge_traces.files import OutputError, write_file

from ..metrics.strategies import cases

names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12) | st.sampled_from(
    ["NA", "007", "nan", "null", "a,b", 'say "x"', "1e5", "a b", "-"]
)
counts = st.floats(1, 1e15) | st.just(math.nan)
rows = st.tuples(
    names, names, counts, counts, names, names, st.floats(-1e6, 1e6), st.floats(0, 9) | st.just(math.nan),
    st.integers(1, 10**6) | st.just(math.nan),
)  # fmt: skip


def table(**changes: object) -> pd.DataFrame:
    """Two good rows, with columns changed."""
    columns = {
        "run": ["dclm", "c4"],
        "model": ["a", "b"],
        "params": [1e9, 1e9],
        "tokens": [4e9, math.nan],
        "benchmark": ["gsm8k", "gsm8k"],
        "metric": ["acc", "acc"],
        "value": [0.5, 0.25],
        "stderr": [0.01, math.nan],
        "n": [1319, math.nan],
    }
    return pd.DataFrame(columns | changes)


@cases(30)
@given(data=st.lists(rows, min_size=1, max_size=6), suffix=st.sampled_from([".csv", ".parquet"]))
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, data: list, suffix: str) -> None:
    """Names keep every character and numbers every bit, in both formats, also names that look like numbers or NaN."""
    frame = pd.DataFrame(data, columns=[*COLUMNS]).drop_duplicates(["run", "model", "benchmark", "metric"])
    path = tmp_path_factory.mktemp("scores") / f"scores{suffix}"
    write_scores(frame, path)
    back = read_scores(path)
    assert [*back.columns] == [*COLUMNS]
    for column in ("run", "model", "benchmark", "metric"):
        assert [*back[column]] == [*frame[column]]
    for column in ("params", "tokens", "value", "stderr", "n"):
        np.testing.assert_array_equal(back[column].to_numpy(), frame[column].to_numpy(dtype=float))


def test_counts_are_written_as_whole_numbers(tmp_path: Path) -> None:
    """A person who opens the file sees 1319 items, not 1319.0."""
    write_scores(table(), tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text().splitlines()[1].endswith(",1319")


def test_unknown_columns_may_be_missing_and_further_columns_are_kept(tmp_path: Path) -> None:
    """A handmade table needs four columns; further columns are kept, and separators may be tabs."""
    (tmp_path / "hand.tsv").write_text(
        "run\tbenchmark\tmetric\tvalue\tseed\ttokens\n007\tgsm8k\tacc\t0.5\t3\t\nNA\tgsm8k\tacc\t1\t4\t5e9\n"
    )
    frame = read_scores(tmp_path / "hand.tsv")
    assert [*frame["run"]] == ["007", "NA"]
    assert [*frame.columns] == [*COLUMNS, "seed"]
    assert math.isnan(frame["tokens"][0])
    assert frame["tokens"][1] == 5e9
    assert frame["params"].isna().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": [0.5, math.nan]}, "NaN or infinite in row 2"),
        ({"value": [math.inf, 1.0]}, "row 1"),
        ({"value": ["0.5", "fifty"]}, "'fifty'"),
        ({"value": [True, False]}, "true and false"),
        ({"value": pd.Series([True, False], dtype=object)}, "true and false"),
        ({"value": pd.Series([0.5, True], dtype=object)}, "'True' in the column value, row 2"),
        ({"value": [0.5 + 1j, 0.25]}, "'(0.5+1j)' in the column value, row 1"),
        ({"tokens": pd.to_datetime([None, "2026-01-02"])}, "'2026-01-02 00:00:00' in the column tokens, row 2"),
        ({"tokens": pd.to_timedelta(["1D", None])}, "'1 days 00:00:00' in the column tokens, row 1"),
        ({"tokens": pd.period_range("2026", periods=2, freq="Y")}, "'2026' in the column tokens, row 1"),
        ({"run": ["", "c4"]}, "empty run in row 1"),
        ({"metric": ["acc", None]}, "empty metric in row 2"),
        ({"params": [0, 1]}, "params that are not positive"),
        ({"tokens": [-1, 1]}, "negative tokens"),
        ({"stderr": [0.1, -0.1]}, "negative stderr"),
        ({"n": [1.5, 2]}, "whole number"),
        ({"n": [0, 2]}, "whole number"),
        ({"n": [1, 1e20]}, "an n beyond 2^63 in row 2"),
        ({"params": [math.inf, 1]}, "infinite params"),
        ({"run": ["a", "a"], "model": ["m", "m"], "tokens": [1, 1]}, "rows 1 and 2"),
        ({"run": ["a", "a"], "model": ["m", "m"], "tokens": [math.nan, math.nan]}, "rows 1 and 2"),
    ],
)
def test_what_cannot_be_a_score_is_named(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    """The message says where the wrong cell is; nothing is written."""
    with pytest.raises(ScoreTableError) as error:
        write_scores(table(**changes), tmp_path / "scores.csv")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "missing"),
        ("a.csv", b"run,benchmark,metric,value\n", "no rows"),
        ("a.csv", b"run,metric,value\na,acc,1\n", "no column benchmark"),
        ("a.csv", b"run;benchmark;metric;value\na;b;c;1\n", "separated by"),
        ("a.csv", b"run,run,benchmark,metric,value\na,b,c,d,1\n", "more than once"),
        ("a.csv", b"run,benchmark,metric,value\na,b,c,1,9\n", "line 2 has 5 cells and the header 4"),
        ("a.csv", b"run,benchmark,metric,value\na,b,c,1\na,b,c,1,9\n", "line 3 has 5 cells"),
        ("a.csv", b"run,benchmark,metric,value\na,b,c\n", "line 2 has 3 cells"),
        ("a.csv", b"run,benchmark,metric,value\na,b,c," + b"9" * 400 + b"\n", "NaN or infinite in row 1"),
        ("a.csv", b'run,benchmark,metric,value\na,b,c,"1\n', "cannot read"),
        ("a.csv", b"\xff\xfe\x00", "cannot read"),
        ("a.parquet", b"PAR1 not really", "cannot read"),
        ("a.csv.gz", b"run,benchmark,metric,value\na,b,c,1\n", "cannot read"),
        ("a.csv.gz", gzip.compress(b"run,benchmark,metric,value\na,b,c,1\n")[:-12], "cannot read"),
        ("a.xlsx", b"", ".csv, .tsv"),
        ("a.parquet.gz", b"", ".csv, .tsv"),
    ],
)
def test_files_that_are_no_tables_are_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    """A file that is empty, cut off or of another kind: the message names the file and the problem."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ScoreTableError, match=message) as error:
        read_scores(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_column_that_is_there_twice_is_refused() -> None:
    """A join of two DataFrames can leave it; neither of the two is known to be the right one."""
    with pytest.raises(ScoreTableError, match="has the column value more than once"):
        checked_scores(pd.concat([table(), table()[["value"]]], axis=1))


def test_lone_surrogates_are_spelled_out() -> None:
    """JSON may contain them, and neither CSV nor Parquet can hold them."""
    runs = pd.Series(["a\ud800", "b"], dtype=object)
    assert [*checked_scores(table().assign(run=runs))["run"]] == ["a\\ud800", "b"]


def test_gzipped_tables_are_read(tmp_path: Path) -> None:
    """The same rows as from the plain file."""
    write_scores(table(), tmp_path / "scores.csv")
    (tmp_path / "scores.csv.gz").write_bytes(gzip.compress((tmp_path / "scores.csv").read_bytes()))
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.csv.gz"), read_scores(tmp_path / "scores.csv"))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """A file that does not exist, or a folder in its place."""
    with pytest.raises(ScoreTableError, match="there is no file"):
        read_table(tmp_path / "scores.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ScoreTableError, match="cannot read"):
        read_table(tmp_path / "folder.csv")


def test_a_refused_table_leaves_the_old_file(tmp_path: Path) -> None:
    """The old table does not change when the new one is refused."""
    path = tmp_path / "deep" / "scores.csv"
    write_scores(table(), path)
    before = path.read_bytes()
    with pytest.raises(ScoreTableError):
        write_scores(table(value=[1.0, math.nan]), path)
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]
    with pytest.raises(OutputError, match=r"'\.xlsx'"):
        write_scores(table(), tmp_path / "scores.xlsx")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A folder in place of the file, or a file in place of its folder."""
    (tmp_path / "scores.csv").mkdir()
    (tmp_path / "file").write_text("")
    for place in ("scores.csv", "file/scores.csv"):
        with pytest.raises(Exception, match=f"cannot write .*{place}") as error:
            write_file(tmp_path / place, b"x")
        assert "\n" not in str(error.value)


def test_checking_twice_changes_nothing() -> None:
    """Checking a checked table returns an equal table."""
    checked = checked_scores(table())
    pd.testing.assert_frame_equal(checked_scores(checked), checked)
