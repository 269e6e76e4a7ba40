"""``rbridge traces build``: what it prints, what it asks before it spends, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rbridge_tasks.cli import main
from rbridge_traces import TraceCache

from ..traces.chat_server import ChatServer, completion, error
from ..traces.support import jsonl

Build = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A server with known answers."""
    with ChatServer() as running:
        yield running


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Build:
    """Run ``rbridge traces build`` over six questions, without a key; return exit code, output and errors."""
    monkeypatch.setenv("RBRIDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(sys, "stdin", (tmp_path / "nothing").open("w+"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rbridge", "traces", "build", *build_arguments(tmp_path), *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    yield run
    sys.stdin.close()


def build_arguments(folder: Path) -> list[str]:
    """Return the options for benchmark, model and questions."""
    rows = [{"question": f"What is number {n}.", "answer": f"#### {n % 3}"} for n in range(6)]
    return ["-b", "gsm8k", "--model", "gpt-4o", "--questions", jsonl(folder / "q.jsonl", rows)]


def test_a_build_prints_its_estimate_and_its_result(build: Build, server: ChatServer, tmp_path: Path) -> None:
    """It prints items, tokens and dollars first, and finally the traces, their place, grades, confidence and cost."""
    code, out, err = build("--base-url", server.url)
    assert (code, err) == (0, "")
    before, after = out.split("6 traces of gsm8k in ")
    assert f"gsm8k: 6 questions, 0 answered, 6 to ask gpt-4o at {server.url}" in before
    assert "about $0.01, at most $" in before
    assert after.startswith(f"{tmp_path / 'cache'} as gpt-4o\n")
    assert "correct, mean confidence 0." in after
    assert "this run: 600 + " in after
    assert build("--base-url", server.url)[1].count("unchanged") == 1
    assert len(server.asked) == 6


def test_a_dry_run_makes_no_request_and_writes_no_file(build: Build, tmp_path: Path) -> None:
    """Neither a server nor a key is needed to see what a build would cost."""
    code, out, err = build("--dry-run", "--limit", "4", "--price", "100,1000")
    assert (code, err) == (0, "")
    assert "4 questions, 0 answered, 4 to ask gpt-4o at https://api.openai.com/v1" in out
    assert "about $0.72" in out
    assert not (tmp_path / "cache").exists()


def test_above_the_limit_nothing_is_spent_without_consent(build: Build, server: ChatServer) -> None:
    """Without a terminal the command fails and names --yes and --max-cost; either of them is consent."""
    expensive = ["--base-url", server.url, "--price", "1000,10000"]
    code, _, err = build(*expensive)
    assert code == 2
    for part in ("$10.8", "above $10.00", "--yes", "--max-cost"):
        assert part in err
    assert server.asked == []
    assert build(*expensive, "--limit", "2", "--max-cost", "20")[0] == 0
    assert len(server.asked) == 2
    assert build(*expensive, "--yes")[0] == 0
    assert len(server.asked) == 6


def test_the_estimate_counts_remaining_questions_only(build: Build, server: ChatServer) -> None:
    """A resumed build estimates the cost of the remaining questions only."""
    build("--base-url", server.url, "--limit", "5")
    out = build("--base-url", server.url, "--dry-run")[1]
    assert "6 questions, 5 answered, 1 to ask" in out
    assert "and 175 of answers" in out


def test_an_unknown_price_is_reported_and_does_not_stop_the_build(build: Build, server: ChatServer) -> None:
    """A model that the user serves has no price for tokens."""
    server.models = ("my-llama",)
    code, out, _ = build("--base-url", server.url, "--model", "my-llama", "--max-cost", "0")
    assert code == 0
    assert "the price of my-llama is not known" in out
    assert "at an unknown price" in out
    assert TraceCache(os.environ["RBRIDGE_CACHE"]).sources("gsm8k") == ["my-llama"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX systems")
@pytest.mark.parametrize("consent", ["y", "n"])
def test_in_a_terminal_it_asks_and_shows_a_bar(server: ChatServer, tmp_path: Path, consent: str) -> None:
    """In a real terminal the command asks; "n" spends nothing, "y" continues and shows a bar with tokens and cost."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = [str(Path(sys.executable).with_name("rbridge")), "traces", "build", *build_arguments(tmp_path)]
    options = ["--base-url", server.url, "--price", "1000,10000", "--cache", str(tmp_path / "cache")]
    with subprocess.Popen([*command, *options], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        os.write(ours, f"{consent}\n".encode())
        shown = b""
        try:
            while piece := os.read(ours, 1000):
                shown += piece
        except OSError:  # the terminal closes with the process
            pass
    os.close(ours)
    assert b"is above $10.00. Go on?" in shown
    assert (process.returncode, len(server.asked)) == ((0, 6) if consent == "y" else (130, 0))
    assert (b"6/6" in shown and b"tokens, $" in shown) is (consent == "y")


def test_failed_items_are_listed_with_the_remedy(build: Build, server: ChatServer) -> None:
    """A warning lists failures by kind with their ids; the other traces are written and the exit code is 0."""
    server.faults["number 1."] = [completion('{"rea', [(b'{"rea', -0.1)], finish_reason="length")]
    server.faults["number 4."] = [error(400, "content_filter")]
    code, out, err = build("--base-url", server.url, "--concurrency", "1")
    assert code == 0
    assert "4 traces of gsm8k" in out
    warning, *lines = err.splitlines()
    assert warning == "warning: 2 items failed and are left out; ask them again with --retry-failed"
    assert lines[0].startswith("  1 truncated: 1 (")
    assert "--max-tokens" in lines[0]
    assert lines[1].startswith("  1 filtered: 4 (")
    code, out, err = build("--base-url", server.url, "--retry-failed")
    assert (code, err) == (0, "")
    assert "6 traces of gsm8k" in out


def test_without_log_probabilities_the_next_step_is_named(build: Build, server: ChatServer) -> None:
    """The output gives the command that adds confidences to the traces."""
    code, out, _ = build("--base-url", server.url, "--no-logprobs")
    assert code == 0
    assert "rbridge traces score -b gsm8k --source gpt-4o --model STRONG_LOCAL_MODEL" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "set OPENAI_API_KEY"),
        (["--base-url", "localhost:1"], "no address"),
        (["-b", "gsm-8k"], "gsm8k"),
        (["-b", "csqa"], "it looks like gsm8k"),
        (["--questions", "missing.jsonl"], "missing.jsonl"),
        (["--limit", "0"], "--limit"),
        (["--price", "1"], "2.5,10"),
        (["--source", "GPT 4o"], "cannot name a source"),
        (["--cache", "sample"], "cannot be written"),
        (["--concurrency", "many"], "--concurrency"),
    ],
)
def test_bad_input_is_one_line_and_writes_no_file(
    build: Build, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Each wrong argument is named, with exit code 2, before any request and before anything is written."""
    code, _, err = build(*arguments)
    assert code == 2
    assert err.startswith("rbridge: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("missing", "benchmark"), [("openai", "gsm8k"), ("math_verify", "math500")])
def test_a_missing_package_is_named_before_anything_is_paid_for(
    server: ChatServer, tmp_path: Path, missing: str, benchmark: str
) -> None:
    """The client and the grader are optional extras; the error says how to install them."""
    rows = {"gsm8k": {"question": "?", "answer": "#### 1"}, "math500": {"problem": "?", "answer": "1"}}
    questions = jsonl(tmp_path / "q.jsonl", [rows[benchmark]])
    code = f"import sys; sys.modules['{missing}'] = None; from rbridge_tasks.cli import main; main()"
    arguments = ["traces", "build", "-b", benchmark, "--model", "gpt-4o", "--questions", questions]
    where = ["--base-url", server.url, "--cache", str(tmp_path / "cache")]
    done = subprocess.run([sys.executable, "-c", code, *arguments, *where], capture_output=True, text=True)
    assert done.returncode == 2
    assert 'pip install "rbridge-tasks[api]"' in done.stderr
    assert done.stderr.count("\n") == 1
    assert server.asked == []


def test_math_is_graded_by_meaning(build: Build, server: ChatServer, tmp_path: Path) -> None:
    """An answer that equals the gold answer in another notation is graded right."""
    rows = [{"problem": "Halve one.", "answer": "\\frac{1}{2}"}, {"problem": "Halve two.", "answer": "1"}]
    text = '{"reasoning": "so", "final_answer": "0.5"}'
    server.answer = lambda _: completion(text, [(text.encode(), -0.1)])
    code, out, _ = build("-b", "math500", "--questions", jsonl(tmp_path / "m.jsonl", rows), "--base-url", server.url)
    assert code == 0
    assert "1 of 2 correct" in out


def test_latex_is_repaired_and_thinking_removed(build: Build, server: ChatServer, tmp_path: Path) -> None:
    """Backslashes that the model does not escape are repaired, graded and counted; thinking is left out."""
    draft = '<think>In the form {"reasoning": "a draft", "final_answer": "0"}.</think>\n'
    right = r'{"reasoning": "It is \frac{4}{2} \neq \sqrt{3}.", "final_answer": "\boxed{2}"}'
    text = draft + right
    server.answer = lambda _: completion(text, [(text[:90].encode(), -0.1), (text[90:].encode(), -0.2)])
    code, out, err = build("--base-url", server.url)
    assert (code, err) == (0, "")
    assert "2 of 6 correct" in out
    assert "24 unescaped backslashes of LaTeX repaired in 6 answers" in out
    held = TraceCache(str(tmp_path / "cache")).load("gsm8k", "gpt-4o")
    assert {(trace.trace, trace.final_answer) for trace in held.traces} == {
        (r"It is \frac{4}{2} \neq \sqrt{3}.", r"\boxed{2}")
    }
    assert "24 unescaped backslashes of LaTeX repaired in 6 answers" in (held.manifest.note or "")
    assert build("--base-url", server.url, "--no-logprobs", "--source", "plain")[0] == 0
    plain = TraceCache(str(tmp_path / "cache")).load("gsm8k", "plain")
    assert [trace.trace for trace in plain.traces] == [trace.trace for trace in held.traces]


def test_thinking_that_is_cut_off_is_a_failure_with_its_reason(build: Build, server: ChatServer) -> None:
    """A draft within unfinished thinking is not taken as the answer."""
    text = '<think>Perhaps {"reasoning": "a draft", "final_answer": "0"}, or'
    server.answer = lambda _: completion(text, [(text.encode(), -0.1)])
    code, _, err = build("--base-url", server.url)
    assert code != 0
    assert "malformed" in err
    assert "its thinking" in err


def test_the_trace_may_be_the_models_thinking_and_the_answer_plain_text(
    build: Build, server: ChatServer, tmp_path: Path
) -> None:
    """Each combination of trace and format has its own source name; a source with other settings is refused."""
    tokens = [(b"<think>", -9.0), (b"One and", -0.5), (b" one.", -0.25), (b"</think>", -9.0)]
    text = "It is two.\nFinal answer: 2"
    server.answer = lambda _: completion(text, [*tokens, (text.encode(), -0.1)], reasoning="One and one.")
    code, out, err = build("--base-url", server.url, "--trace", "thinking", "--format", "text", "--price", "0,0")
    assert (code, err) == (0, "")
    assert "as gpt-4o-text-thinking" in out
    assert "2 of 6 correct" in out
    held = TraceCache(str(tmp_path / "cache")).load("gsm8k", "gpt-4o-text-thinking")
    assert {trace.trace for trace in held.traces} == {"One and one."}
    assert held.traces[0].token_end is not None
    assert held.traces[0].token_end.tolist() == [7, 12]
    again = ["--base-url", server.url, "--format", "text", "--source", "gpt-4o-text-thinking"]
    code, _, err = build(*again)
    assert code == 2
    assert "begun with trace thinking, now it is reasoning" in err
    code, _, err = build("--base-url", server.url, "--trace", "thinkin")
    assert code == 2
    assert "did you mean thinking" in err
    code, _, err = build("--base-url", server.url, "--format", "xml")
    assert code == 2
    assert "say json or text" in err
