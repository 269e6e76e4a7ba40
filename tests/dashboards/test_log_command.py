"""``rbridge log`` to files, and its errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.score_table import read_table

from ..tables.made_scores import as_json, invoke, row, table
from .readers import PROJECT, TensorBoard, scores

METRICS = ("rbridge_nll", "acc", "exact_match,strict-match")


def test_a_wide_table_is_extended_and_keeps_its_rows(tmp_path: Path) -> None:
    """Each run, model and token count has a row with exact numbers; rows may have no tokens."""
    wide = tmp_path / "wide.csv"
    rows = scores(("web",), (1, 2), METRICS)
    assert "12 new values in 1 run" in invoke("log", table(tmp_path / "a.csv", rows), "--to", f"csv={wide}").stdout
    first = wide.read_bytes()
    assert "0 new values, 12 there" in invoke("log", tmp_path / "a.csv", "--to", f"csv={wide}").stdout
    assert wide.read_bytes() == first
    more = [*scores(("books",), (1,), ("acc",)), row("web", 0.25, size=(97.9e6, None))]
    invoke("log", table(tmp_path / "b.csv", more), "--to", f"csv={wide}")
    wide_table = read_table(wide)
    assert wide_table["run"].to_list() == ["books", "web", "web", "web"]
    for score in rows + more:
        cell = wide_table[(wide_table["run"] == score["run"]) & (wide_table["model"] == score["model"])].iloc[0]
        assert cell[f"gsm8k/{score['metric']}"] == score["value"]
    assert wide_table["tokens"].isna().to_list() == [False, False, False, True]
    assert wide_table[wide_table["run"] == "books"].iloc[0].drop(["run", "model"]).notna().sum() == 4


def test_a_changed_number_is_reported_and_replaced_only_with_the_option(tmp_path: Path) -> None:
    """The JSON lists each changed number of the wide table; --replace writes the new ones."""
    wide = tmp_path / "wide.csv"
    rows = scores(("web",), (1, 2))
    invoke("log", table(tmp_path / "a.csv", rows), "--to", f"csv={wide}")
    before = wide.read_bytes()
    table(tmp_path / "a.csv", [row | {"value": row["value"] + 1, "stderr": 0.5} for row in rows[:1]])
    (logged,) = as_json("log", tmp_path / "a.csv", "--to", f"csv={wide}")["logged"]
    assert (logged["added"], logged["known"], len(logged["changed"])) == (0, 0, 2)
    assert wide.read_bytes() == before
    output = invoke("log", tmp_path / "a.csv", "--to", f"csv={wide}", "--replace").output
    assert "2 logged values differ from the table and are written over, such as gsm8k/rbridge_nll of web" in output
    assert pd.read_csv(wide)["gsm8k/rbridge_nll"].to_list() == [rows[0]["value"] + 1, rows[1]["value"]]


def test_markdown_marks_the_best_and_the_direction(tmp_path: Path) -> None:
    """Metrics of unknown direction have no mark; pipes in names are escaped."""
    rows = [
        row("web|1", 0.7), row("books", 0.6), row("web|1", 0.1, metric="acc"), row("books", 0.2, metric="acc"),
        row("web|1", 12.0, metric="secret"), row("books", 13.0, metric="secret", stderr=None),
        row("books", 0.5, benchmark="csqa", size=(16e6, None)),
    ]  # fmt: skip
    file = tmp_path / "scores.md"
    printed = invoke("log", table(tmp_path / "a.csv", rows), "--to", "markdown").stdout
    invoke("log", tmp_path / "a.csv", "--to", f"markdown={file}")
    assert file.read_text() == printed
    assert [line for line in printed.splitlines() if line] == [
        "### acc ↑", "| run | tokens | gsm8k |", "|---|--:|--:|",
        "| books-16M | 1.6B | **0.2000 ± 0.01** |", "| web\\|1-16M | 1.6B | 0.1000 ± 0.01 |",
        "### rbridge_nll ↓", "| run | tokens | csqa | gsm8k |", "|---|--:|--:|--:|",
        "| books-16M | 1.6B |  | **0.6000 ± 0.01** |", "| books-16M | ? | 0.5000 ± 0.01 |  |",
        "| web\\|1-16M | 1.6B |  | 0.7000 ± 0.01 |",
        "### secret", "| run | tokens | gsm8k |", "|---|--:|--:|",
        "| books-16M | 1.6B | 13.00 |", "| web\\|1-16M | 1.6B | 12.00 ± 0.01 |",
    ]  # fmt: skip
    assert invoke("log", tmp_path / "a.csv", "--to", "markdown", "--last").stdout.count("| books-16M |") == 3


def test_one_call_writes_to_several_dashboards(tmp_path: Path) -> None:
    """A call with several destinations writes all of them and reports each dashboard."""
    path = table(tmp_path / "a.csv", scores(("web",), (1,)))
    result = as_json("log", path, "--to", f"csv={tmp_path}/wide.csv", "--to", f"markdown={tmp_path}/a.md")
    assert [entry["added"] for entry in result["logged"]] == [2]
    assert "### rbridge_nll" in (tmp_path / "a.md").read_text()
    json.dumps(result)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "neptune"], "--to 'neptune' is no dashboard; expected one of tensorboard, mlflow, wandb"),
        (["--to", "csv="], "--to 'csv=' names no place"),
        (["--to", "csv=wide.txt"], "has the suffix '.txt'"),
        (["--to", "markdown=wide.txt"], "has the suffix '.txt'"),
        (["--to", "csv=FOLDER/new.csv", "--to", "markdown=wide.txt"], "has the suffix '.txt'"),
        (["--to", "markdown", "--json"], "give the latter a file"),
        (["--to", "csv=FOLDER/a.csv"], "is no wide table of rbridge log"),
        (["--to", "markdown", "--only", "nll"], "--only 'nll' fits none of the table's scores"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(options: list[str], message: str, tmp_path: Path) -> None:
    """The error is one line with what was found and what to do."""
    path = table(tmp_path / "a.csv", scores(("web",), (1,)))
    with pytest.raises(RBridgeError) as error:
        invoke("log", path, *(text.replace("FOLDER", str(tmp_path)) for text in options))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new.csv").exists()


@pytest.mark.parametrize("library", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_missing_library_is_named_with_its_remedy(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries are optional; the error has the command that installs the missing one."""
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    path = table(tmp_path / "a.csv", scores(("web",), (1,)))
    message = f"--to {library} needs {library}, which is not installed; pip install --upgrade {library}$"
    with pytest.raises(RBridgeError, match=message):
        invoke("log", path, "--to", f"{library}={tmp_path}")


def test_a_folder_of_a_trainer_is_refused(tmp_path: Path) -> None:
    """TensorBoard follows one event file in a folder: a second file would end the trainer's curves."""
    path = table(tmp_path / "a.csv", scores(("web",), (1,)))
    theirs = tmp_path / "runs" / "web-97.9M" / "events.out.tfevents.1700000000.host.1.0"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"")
    with pytest.raises(RBridgeError, match="was written by another program"):
        invoke("log", path, "--to", f"tensorboard={tmp_path}/runs")


def test_a_run_cannot_leave_the_folder(tmp_path: Path) -> None:
    """A run's name is a path below TensorBoard's folder, so ``..`` in it is refused."""
    path = table(tmp_path / "a.csv", scores(("../web",), (1,)))
    with pytest.raises(RBridgeError, match=r"\.\./web.*rename it"):
        invoke("log", path, "--to", f"tensorboard={tmp_path}/runs")


def test_names_that_the_disk_refuses_and_values_beyond_single_precision(tmp_path: Path) -> None:
    """A name over 255 bytes is refused in one line; a huge value is infinite, as TensorBoard shows it, and known."""
    path = table(tmp_path / "a.csv", [row("web", 1e300, size=(97.9e6, 1e9))])
    for output in ("2 new values", "0 new values, 2 there"):
        assert output in invoke("log", path, "--to", f"tensorboard={tmp_path}/runs").stdout
    path = table(tmp_path / "b.csv", scores(("x" * 300,), (1,)))
    with pytest.raises(RBridgeError, match=r"xxx.*' cannot have a folder in .*; rename it"):
        invoke("log", path, "--to", f"tensorboard={tmp_path}/runs")


def test_an_open_tensorboard_drops_replaced_values(tmp_path: Path) -> None:
    """TensorBoard reads on from its last position and drops a run's old events if the run is logged anew."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path)
    rows = scores(("web",), (2, 3))

    def log(*options: str) -> list[tuple[int, float]]:
        invoke("log", table(tmp_path / "a.csv", rows), "--to", board.to, "--project", PROJECT, *options)
        open_board.Reload()
        return [(event.step, event.value) for event in open_board.Scalars("gsm8k/rbridge_nll")]

    invoke("log", table(tmp_path / "a.csv", rows), "--to", board.to)
    open_board = EventAccumulator(str(board.folder / "web-97.9M"), size_guidance={"scalars": 0})
    for change in (
        rows,
        [rows[0] | {"value": 0.5}, rows[1]],
        [*scores(("web",), (1,)), rows[0] | {"value": 0.5}, rows[1]],
    ):
        rows = change
        assert log("--replace") == [(int(score["tokens"]), pytest.approx(score["value"])) for score in rows]
