"""Build processes that are killed, interrupted or out of disk space: no answer is paid for twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rbridge_traces import TraceCache
from rbridge_traces.generation.journal import read_journal

from ..chat_server import ChatServer
from ..support import jsonl
from .support import journal

ITEMS = 40
CONCURRENCY = 4

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals are of POSIX systems")]


def command(folder: Path, server: ChatServer, *options: str) -> list[str]:
    """Return the ``rbridge traces build`` command for a server and a cache below a folder."""
    rows = [{"question": f"What is number {n}.", "answer": f"#### {n % 3}"} for n in range(ITEMS)]
    folder.mkdir(exist_ok=True)
    questions = jsonl(folder / "q.jsonl", rows)
    given = ["-b", "gsm8k", "--model", "gpt-4o", "--base-url", server.url, "--questions", questions]
    more = ["--cache", str(folder / "cache"), "--concurrency", str(CONCURRENCY), *options]
    return [str(Path(sys.executable).with_name("rbridge")), "traces", "build", *given, *more]


def run(folder: Path, server: ChatServer, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a build to its end."""
    return subprocess.run(command(folder, server, *options), capture_output=True, text=True)


def checksum(folder: Path) -> dict[str, str]:
    """Return the checksums of the traces in the cache."""
    return TraceCache(str(folder / "cache")).load("gsm8k").manifest.files


def kept(folder: Path) -> set[str]:
    """Return the questions whose answers are in the journal."""
    return {f"What is number {line['item_id']}." for line in read_journal(journal(folder)).entries()}


def kill_at(process: subprocess.Popen[str], answers: int, delay: float) -> Callable[[int], None]:
    """Return a callback that kills a process shortly after the given number of further answers."""
    left = answers

    def watch(_: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)

    return watch


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_build_resumes_to_the_identical_cache(tmp_path: Path, seed: int) -> None:
    """A build killed four times at random points gives the same bytes, and no kept answer is requested again."""
    chance = random.Random(seed)
    with ChatServer(latency=0.02) as server:
        assert run(tmp_path / "whole", server).returncode == 0
        whole = checksum(tmp_path / "whole")
        server.asked.clear()
        for _ in range(4):
            known = kept(tmp_path / "parts") if (tmp_path / "parts").exists() else set()
            asked_before = len(server.asked)
            with subprocess.Popen(
                command(tmp_path / "parts", server), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
            ) as process:
                left = ITEMS - len(known)
                server.on_answer = kill_at(process, chance.randint(1, max(1, left // 2)), chance.uniform(0, 0.02))
                assert process.wait(timeout=60) == -signal.SIGKILL
            server.on_answer = lambda _: None
            assert not known & set(server.questions[asked_before:])
            assert not list((tmp_path / "parts" / "cache").rglob("*.parquet"))
        known, asked_before = kept(tmp_path / "parts"), len(server.asked)
        assert run(tmp_path / "parts", server).returncode == 0
        assert not known & set(server.questions[asked_before:])
    assert checksum(tmp_path / "parts") == whole
    times_asked = Counter(server.questions)
    assert len(times_asked) == ITEMS
    assert len(server.questions) - ITEMS <= 4 * CONCURRENCY


def test_a_build_killed_while_it_writes_the_cache_is_finished_for_nothing(tmp_path: Path) -> None:
    """After a kill at any moment after the last answer, the next run sends no request and writes the same bytes."""
    with ChatServer() as server:
        assert run(tmp_path / "whole", server).returncode == 0
        for number, delay in enumerate((0.0, 0.05, 0.1, 0.2)):
            folder = tmp_path / str(number)
            server.asked.clear()
            with subprocess.Popen(command(folder, server), stdout=subprocess.DEVNULL, text=True) as process:
                server.on_answer = kill_at(process, ITEMS, delay)
                process.wait(timeout=60)
            server.on_answer = lambda _: None
            known, asked_before = kept(folder), len(server.asked)
            assert run(folder, server).returncode == 0
            assert len(server.asked) - asked_before == ITEMS - len(known) <= CONCURRENCY
            assert checksum(folder) == checksum(tmp_path / "whole")


def test_ctrl_c_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    """Ctrl-C prints one line and exits with 130; answers in flight are kept, and the next run asks the rest."""
    with ChatServer(latency=0.3) as server:
        with subprocess.Popen(
            command(tmp_path, server), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            while len(server.asked) < 6:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        answered = len(server.asked)
        assert process.returncode == 130
        assert err == (
            f"rbridge: interrupted: {answered} of {ITEMS} answered and kept; run the same command again to continue\n"
        )
        assert len(kept(tmp_path)) == answered < ITEMS
        server.latency = 0.0
        assert run(tmp_path, server).returncode == 0
    assert len(server.asked) == ITEMS


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    """A second Ctrl-C loses only the answers in flight."""
    with ChatServer(latency=60) as server:
        with subprocess.Popen(
            command(tmp_path, server), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            while not server.asked:
                time.sleep(0.01)
            started = time.monotonic()
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                time.sleep(0.5)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err.startswith("rbridge: interrupted: 0 of")
        assert time.monotonic() - started < 20


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from rbridge_tasks.cli import main
sys.argv[1:] = sys.argv[2:]
main()
"""


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """The build stops and reports what is kept; with free space it asks only what is missing."""
    with ChatServer(latency=0.01) as server:
        arguments = [sys.executable, "-c", FULL_DISK, "40000", *command(tmp_path, server)[1:]]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert f"cannot write {journal(tmp_path)}: File too large" in done.stderr
        known, asked_before = kept(tmp_path), len(server.asked)
        lost = asked_before - len(known)
        assert 0 < len(known) < ITEMS
        assert f"{len(known)} of {ITEMS} answered and kept, {lost} in hand could not be" in done.stderr
        assert run(tmp_path, server).returncode == 0
    assert len(server.asked) - asked_before == ITEMS - len(known)


def test_the_command_needs_no_hub_and_no_key(tmp_path: Path) -> None:
    """A local file and a local server are enough; the summary reports the cost and the number of right answers."""
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    with ChatServer() as server:
        done = subprocess.run(command(tmp_path, server), capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    right = sum(bool(trace.correct) for trace in TraceCache(str(tmp_path / "cache")).load("gsm8k").traces)
    assert f"{right} of {ITEMS} correct" in done.stdout
    tokens = [json.loads(line)["usage"]["completion_tokens"] for line in journal(tmp_path).read_text().splitlines()[1:]]
    assert f"this run: {100 * ITEMS:,} + {sum(tokens):,} tokens" in done.stdout
