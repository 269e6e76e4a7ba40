"""The journal of a build keeps every complete entry, whatever interrupts the writer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rbridge_traces.generation.journal import Journal, JournalError, read_journal

from ..support import complaint

SETTINGS = {"model": "gpt-4o", "logprobs": True}


def entry(number: int) -> dict[str, Any]:
    """An answer that contains characters of every kind."""
    return {"item_id": str(number), "digest": "0", "turn": 1, "attempt": 1, "choice": {"text": "é😀\n\ud800" * 20}}


def written(path: Path, count: int = 3) -> Path:
    """Write a journal with some answers and return its path."""
    with Journal(read_journal(path)) as journal:
        journal.begin(SETTINGS)
        for number in range(count):
            journal.append(entry(number))
    return path


def items(path: Path) -> list[str]:
    """Return the ids of the answers in a journal."""
    return [line["item_id"] for line in read_journal(path).entries()]


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    """Entries, including half a surrogate pair, are read in order and complete, with the settings and the id."""
    path = written(tmp_path / "deep" / "a.jsonl")
    recorded = read_journal(path)
    assert recorded.settings == SETTINGS
    assert len(recorded.id) == 12
    for number, line in enumerate(recorded.entries()):
        assert line.pop("at") > "2020"
        assert line == entry(number)


def test_a_journal_cut_at_any_byte_keeps_every_whole_line(tmp_path: Path) -> None:
    """Complete lines are read, an incomplete last line is ignored, and the next entry overwrites it."""
    path = written(tmp_path / "a.jsonl", 2)
    data = path.read_bytes()
    for length in range(0, len(data) + 1, 7):
        path.write_bytes(data[:length])
        whole = data[:length].count(b"\n") - (length > 0 and data[:length].count(b"\n") > 0)
        recorded = read_journal(path)
        assert len(list(recorded.entries())) == whole
        with Journal(recorded) as journal:
            if not journal.id and not recorded.id:
                journal.begin(SETTINGS)
            journal.append(entry(9))
        assert items(path) == [*map(str, range(whole)), "9"]


def test_a_line_that_lacks_only_its_end_was_paid_for_and_counts(tmp_path: Path) -> None:
    """A complete answer without its line break is used and not requested again."""
    path = written(tmp_path / "a.jsonl")
    path.write_bytes(path.read_bytes()[:-1])
    assert items(path) == ["0", "1", "2"]
    with Journal(read_journal(path)) as journal:
        journal.append(entry(3))
    assert items(path) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("line", "damage", "expected"),
    [
        (3, b"{\n", "line 3 is broken"),
        (2, b"[]\n", "line 2 is a JSON list"),
        (2, b'{"item_id": "1"}\n', "line 2 lacks digest, turn, attempt"),
        (1, b'{"journal": 7}\n', "line 1 is not the head of a journal"),
        (1, b"\0\0\n", "line 1 is broken"),
    ],
)
def test_damage_in_the_middle_is_named_and_not_skipped(tmp_path: Path, line: int, damage: bytes, expected: str) -> None:
    """The message names the file, the line and the remedy."""
    path = written(tmp_path / "a.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: line - 1], damage, *lines[line:]]))
    message = complaint(lambda: items(path), error=JournalError)
    assert expected in message
    assert str(path) in message
    assert "--replace" in message


def test_only_one_process_has_it_open(tmp_path: Path) -> None:
    """A second writer is refused while the first one runs; afterwards it continues where the first ended."""
    path = written(tmp_path / "a.jsonl")
    known = read_journal(path)
    code = (
        "import sys; from pathlib import Path\n"
        "from rbridge_traces.generation.journal import Journal\n"
        "from rbridge_traces.generation.journal import read_journal\n"
        "with Journal(read_journal(Path(sys.argv[1]))): print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        assert "another build is writing to" in complaint(Journal, known, error=JournalError)
        writer.kill()
    with Journal(known) as journal:
        journal.append(entry(3))


def test_what_another_has_written_meanwhile_is_not_overlooked(tmp_path: Path) -> None:
    """A writer that read the journal before another one appended is refused: it would repeat paid questions."""
    path = written(tmp_path / "a.jsonl")
    known = read_journal(path)
    with Journal(known) as journal:
        journal.append(entry(3))
    assert "run the same command again" in complaint(Journal, known, error=JournalError)


def test_starting_over_keeps_what_was_paid_for(tmp_path: Path) -> None:
    """Every replaced set of answers is kept in a file with its own name."""
    path = tmp_path / "gpt-4.1.jsonl"
    for _ in range(3):
        with Journal(read_journal(path), start_over=True) as journal:
            journal.begin(SETTINGS)
            journal.append(entry(0))
    assert sorted(journal_file.name for journal_file in tmp_path.glob("*.jsonl")) == [
        "gpt-4.1.jsonl",
        "gpt-4.1.replaced-1.jsonl",
        "gpt-4.1.replaced-2.jsonl",
    ]


FULL_DISK = """
import json, resource, sys
from pathlib import Path
from rbridge_traces.generation.journal import Journal
from rbridge_traces.generation.journal import JournalError, read_journal

path = Path(sys.argv[1])
with Journal(read_journal(path)) as journal:
    size = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))
    kept, refused = 0, None
    try:
        for number in range(100):
            journal.append({"item_id": f"new{number}", "digest": "0", "turn": 1, "attempt": 1, "choice": "x" * 300})
            kept += 1
    except JournalError as error:
        refused = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.append({"item_id": "last", "digest": "0", "turn": 1, "attempt": 1})
print(json.dumps([kept, refused]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are of POSIX systems")
def test_a_disk_that_fills_up_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    """A line that did not fit leaves no partial text; once there is space, the next line is written."""
    path = written(tmp_path / "a.jsonl")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    kept, refused = json.loads(done.stdout)
    assert 0 < kept < 100
    assert f"cannot write {path}: File too large" in refused
    assert items(path) == ["0", "1", "2", *(f"new{number}" for number in range(kept)), "last"]


def test_a_place_that_cannot_hold_a_journal_is_one_line(tmp_path: Path) -> None:
    """A file in place of the folder, and a folder in place of the file, give a one-line error."""
    (tmp_path / "file").write_text("")
    (tmp_path / "b.jsonl").mkdir()
    for path in (tmp_path / "file" / "a.jsonl", tmp_path / "b.jsonl"):
        assert f"cannot read {path}" in complaint(read_journal, path, error=JournalError)
