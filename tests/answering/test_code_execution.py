"""Running generated code: it is stopped in time, exiting early fails, and every item has its HumanEval tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rbridge_tasks.answering.code_execution import passes
from rbridge_tasks.answering.humaneval import checks_of, program_of
from rbridge_traces import Trace, TraceError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(0)",
        "import os; os._exit(0)",
        "import sys; sys.exit()",
        "assert False",
        "x = (",
        "1 / 0",
        "\ud800",
    ],
)
def test_only_programs_that_reach_their_end_pass(program: str) -> None:
    """Exiting early with status 0 fails, and so do errors and invalid programs."""
    assert passes("x = 1")
    assert not passes(program)


def test_endless_programs_are_stopped_with_their_child_processes(tmp_path: Path) -> None:
    """The program is stopped after the given time; so is a process that it started."""
    alive = tmp_path / "alive"
    child = f"import time\nwhile True:\n    open({str(alive)!r}, 'a').write('x')\n    time.sleep(0.02)"
    program = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\nwhile True: pass"
    assert not passes(program, seconds=2)
    time.sleep(0.2)
    size = alive.stat().st_size if alive.exists() else 0
    time.sleep(0.3)
    assert (alive.stat().st_size if alive.exists() else 0) == size


def test_waiting_time_is_not_counted() -> None:
    """Time in which a program does not run, as on a busy machine, is not counted, up to ten times the limit."""
    assert passes("import time; time.sleep(1.5)", seconds=1)
    assert not passes("import time; time.sleep(3600)", seconds=1)


def test_memory_is_limited() -> None:
    """A program that allocates 100 GiB fails."""
    assert not passes("x = bytearray(100 << 30)")


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory")
def test_a_lower_limit_of_the_user_does_not_lift_the_other_limits() -> None:
    """With half of the memory, large files are still refused and an endless program ends after its processor time."""
    code = """if True:
        import resource
        from rbridge_tasks.answering.code_execution import passes
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        assert passes("x = 1")
        assert not passes("open('file', 'wb').write(bytes(1 << 25))")
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_programs_do_not_see_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """API keys are not passed on; the working directory holds only the program."""
    monkeypatch.setenv("SOME_API_KEY", "secret")
    assert passes("import os\nassert 'SOME_API_KEY' not in os.environ\nassert os.listdir() == ['program.py']")


def item(item_id: str, question: str = "def two():\n    '''2'''\n") -> Trace:
    return Trace("humaneval", item_id, question, "Two is two.")


def rows(*ids: int) -> list[dict[str, Any]]:
    return [
        {
            "task_id": f"HumanEval/{number}",
            "prompt": f"def f{number}():\n    '''{number}'''\n",
            "entry_point": f"f{number}",
            "canonical_solution": f"    return {number}\n",
            "test": f"def check(candidate):\n    assert candidate() == {number}\n",
        }
        for number in ids
    ]


def written(path: Path, content: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return str(path)


def test_tests_are_found_by_id_or_by_question(tmp_path: Path) -> None:
    """From the file that the authors publish; the correct body passes and a wrong one fails."""
    file = written(tmp_path / "HumanEval.jsonl", rows(0, 1))
    checks = checks_of([item("HumanEval/0"), item("mine", "def f1():\n    '''1'''\n")], path=file)
    assert checks["mine"] == "def check(candidate):\n    assert candidate() == 1\n\ncheck(f1)\n"
    assert passes(program_of("def f1():\n    '''1'''\n", "    return 1", checks["mine"]))
    assert not passes(program_of("def f1():\n    '''1'''\n", "    return 2", checks["mine"]))


def test_items_without_tests_are_an_error(tmp_path: Path) -> None:
    """They do not count as wrong answers; the error names and counts them."""
    with pytest.raises(TraceError, match=r"1 of 2 items have no tests in .*HumanEval.jsonl, such as HumanEval/9"):
        checks_of([item("HumanEval/0"), item("HumanEval/9")], path=written(tmp_path / "HumanEval.jsonl", rows(0)))
    with pytest.raises(TraceError, match=r"no field 'test' .*it has task_id"):
        checks_of([item("HumanEval/0")], path=written(tmp_path / "other.jsonl", [{"task_id": "HumanEval/0"}]))


def test_without_the_hub_the_error_says_how_to_name_a_copy() -> None:
    """The Hub is offline and the data set is in no local cache."""
    assert os.environ["HF_DATASETS_OFFLINE"] == "1"
    with pytest.raises(
        TraceError, match=r"openai/openai_humaneval.*--metadata '\{\"rbridge_humaneval_tests\": FILE\}'"
    ):
        checks_of([item("HumanEval/0")])
