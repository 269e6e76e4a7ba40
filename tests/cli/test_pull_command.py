"""``rbridge traces pull`` from files and from a Hub, and a score of the pulled traces."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rbridge_traces import Trace, TraceCache

from ..traces.answers import assert_confidence, confidence_of
from ..traces.hub_server import HubServer
from ..traces.published import assert_equal, make_cache
from ..traces.releases import as_json, as_lines, items, plain, shuffled

Rbridge = Callable[..., tuple[int, str, str]]

BIN = Path(sys.executable).parent
ITEMS = items()


@pytest.fixture
def rbridge(monkeypatch: pytest.MonkeyPatch, run: Rbridge, tmp_path: Path) -> Rbridge:
    """Run ``rbridge traces ARGUMENTS`` with an empty cache; return exit code, output and errors."""
    monkeypatch.setenv("RBRIDGE_CACHE", str(tmp_path / "cache"))
    return functools.partial(run, "traces")


@pytest.fixture
def release(tmp_path: Path) -> str:
    """A release of three benchmarks on disk."""
    for name in ("gsm8k", "math500", "cqa"):
        plain(tmp_path / "release" / "traces" / name, ITEMS)
    return str(tmp_path / "release")


@pytest.fixture
def mask(tmp_path: Path) -> str:
    """A data set of marked traces on disk."""
    for name in ("gsm8k", "mmlu_pro_physics", "squad"):
        as_lines(tmp_path / "mask" / f"{name}.jsonl", [{"question": "?", "reasoning": "so <span>4</span>"}] * 2)
    return str(tmp_path / "mask")


def cache_of(tmp_path: Path) -> TraceCache:
    return TraceCache(str(tmp_path / "cache"))


def test_a_release_on_disk_becomes_a_cache(rbridge: Rbridge, release: str, tmp_path: Path) -> None:
    """Each benchmark has a line with traces, tokens, mean confidence and drops; manifests describe the source."""
    code, out, err = rbridge("pull", "--from", release)
    assert (code, err) == (0, "reading math500 ...\nreading gsm8k ...\nreading csqa ...\n")
    cache = cache_of(tmp_path)
    traces = cache.load("gsm8k").traces
    logprobs = np.concatenate([trace.token_logprob for trace in traces if trace.token_logprob is not None])
    rows = sum(len(item.cut.pieces) for item in ITEMS)
    assert (
        f"gsm8k: 6 traces, {logprobs.size} tokens (cut from {rows} of the completions), mean confidence "
        f"{np.exp(logprobs).mean():.3f} over tokens, dropped 0; in {cache.root} as rbridge-gpt-4o\n"
    ) in out
    assert "the answer choices of csqa are not among them; add them with --questions FILE" in out
    assert [held.benchmark for held in cache.manifests()] == ["math500", "gsm8k", "csqa"]
    manifest = cache.load("gsm8k").manifest
    assert (manifest.frontier_model, manifest.confidence_model, manifest.decoding) == ("gpt-4o", "gpt-4o", "greedy")
    assert (manifest.licence, manifest.origin, manifest.sample) == ("Apache-2.0", None, False)
    assert "arXiv 2509.21013" in (manifest.prompt or "")
    assert manifest.rows_with_confidence == manifest.rows_correct == 6
    assert rbridge("verify")[0] == 0


def test_existing_traces_are_not_replaced(rbridge: Rbridge, release: str, tmp_path: Path) -> None:
    """A second pull stops before it reads, names the other benchmarks, and works with --replace or --source."""
    rbridge("pull", "gsm8k", "--from", release)
    code, out, err = rbridge("pull", "--from", release)
    assert (code, out) == (2, "")
    assert "already holds gsm8k from rbridge-gpt-4o; write under another --source, or over it with --replace" in err
    assert "pull only the others with: rbridge traces pull math500 csqa" in err
    assert rbridge("pull", "--from", release, "--replace")[0] == 0
    code, out, _ = rbridge("pull", "gsm8k", "--from", release, "--source", "again")
    assert code == 0
    assert "the cache also holds gsm8k from rbridge-gpt-4o; choose with --source NAME, or --metadata '" in out
    assert '{"rbridge_source": "again"}' in out


def test_a_damaged_benchmark_does_not_affect_the_others(rbridge: Rbridge, release: str, tmp_path: Path) -> None:
    """Benchmarks written before the error stay; the error names them and those still to be pulled."""
    part = Path(release) / "traces" / "gsm8k" / "tokens-00002-of-00003.jsonl"
    part.unlink()
    code, out, err = rbridge("pull", "--from", release)
    assert code == 2
    assert "math500: 6 traces" in out
    assert "it has no token rows, as 2 of 6 completions" in err
    assert "(now in the cache: math500; still to be pulled: gsm8k csqa)" in err
    assert [held.benchmark for held in cache_of(tmp_path).manifests()] == ["math500"]
    code, out, _ = rbridge("pull", "gsm8k", "cqa", "--from", release, "--skip-mismatched")
    assert code == 0
    assert "dropped 3 (2 without tokens, 1 tokens of another text)" in out


def test_marked_traces(rbridge: Rbridge, mask: str, tmp_path: Path) -> None:
    """--spans reads each subset as a benchmark; the manifest records that there are no confidences."""
    code, out, _ = rbridge("pull", "--spans", "--from", mask)
    assert code == 0
    assert "squad: 2 traces, 2 marked spans, dropped 0; in" in out
    assert "gsm8k: 2 traces, 2 marked spans, dropped 0; in" in out
    manifest = cache_of(tmp_path).load("mmlu_pro_stem").manifest
    assert (manifest.source, manifest.licence, manifest.rows_with_spans) == ("rbridge-mask", "MIT", 2)
    assert (manifest.confidence_model, manifest.rows_with_confidence) == (None, 0)
    options = ["--spans", "--from", mask, "--subset", "squad=csqa", "--source", "named"]
    assert "csqa: 2 traces" in rbridge("pull", "csqa", *options)[1]


def test_questions_add_missing_choices(rbridge: Rbridge, release: str, tmp_path: Path) -> None:
    """--questions adds the choices that the release does not have."""
    choices = {"label": ["A", "B"], "text": ["ice", "fire"]}
    asked = [
        {"id": item.number, "question": item.question, "question_concept": "x", "choices": choices, "answerKey": "B"}
        for item in ITEMS
    ]
    as_lines(tmp_path / "csqa.jsonl", asked)
    code, out, err = rbridge("pull", "cqa", "--from", release, "--questions", str(tmp_path / "csqa.jsonl"))
    assert code == 0, err
    assert "add them" not in out
    assert {len(trace.choices or ()) for trace in cache_of(tmp_path).load("csqa").traces} == {2}


def test_an_exported_cache_is_read_back(rbridge: Rbridge, tmp_path: Path) -> None:
    """--from with the folder of an export gives the same cache, including checksums."""
    exported = make_cache(tmp_path / "exported")
    code, out, err = rbridge("pull", "--from", exported.root)
    assert code == 0, err
    assert "gsm8k: 3 traces in" in out
    assert_equal(exported, cache_of(tmp_path))


USAGE = [
    (["gsm9k"], "'gsm9k' is none of the benchmarks that come with this package (did you mean gsm8k?)"),
    (["a/b", "c/d"], "a/b and c/d are two data sets"),
    (["a/b", "--repo", "c/d"], "c/d and a/b are two data sets"),
    (["a/b", "--from", "x"], "--from DIR reads files on disk"),
    (["--from", "x", "--revision", "v1"], "--from DIR reads files on disk"),
    (["--from", "x"], "there is no folder x"),
    (["--from", "x" * 300], "there is no folder x"),
    (["--field", "tokens.logprob"], "--field 'tokens.logprob' is not NAME=VALUE"),
    (["--field", "token.logprob=lp"], "no target 'token.logprob' (did you mean tokens.logprob?)"),
    (["--questions", "q.jsonl"], "--questions FILE is the test set of one benchmark"),
    (["gsm8k", "csqa", "--questions", "q.jsonl"], "--questions FILE is the test set of one benchmark"),
    (["--subset", "a=gsm8k"], "--subset NAME=BENCHMARK is for --spans"),
    (["--cache", "sample", "--from", "x"], "the sample cannot be written to"),
    (["humaneval", "--from", "{release}"], "has no humaneval; it holds math500, gsm8k, csqa"),
    (["{release}/traces"], "traces is a folder; read it with --from"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE, ids=[" ".join(case[0]) for case in USAGE])
def test_wrong_arguments_are_one_line(rbridge: Rbridge, release: str, arguments: list[str], message: str) -> None:
    """Contradictory arguments are refused before anything is fetched, read or written."""
    code, out, err = rbridge("pull", *(argument.replace("{release}", release) for argument in arguments))
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


# ---------------------------------------------------------------- the real command with a server


@pytest.fixture
def hub(tmp_path: Path, mask: str) -> Iterator[HubServer]:
    """A server with the authors' two data sets and an exported cache."""
    for name in ("gsm8k", "math500"):
        shuffled(tmp_path / "hub" / "traces" / name, ITEMS)
    exported = make_cache(tmp_path / "exported")
    repos = {"trillionlabs/rBridge": tmp_path / "hub", "trillionlabs/rbridge-mask": Path(mask)}
    with HubServer(repos | {"someone/cache": Path(exported.root)}) as hub:
        yield hub


def command(name: str, *arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run an installed command with an empty user cache and an empty Hub cache."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("RBRIDGE", "HF_"))}
    env |= {"XDG_CACHE_HOME": str(home / "user-cache"), "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [str(BIN / name), *arguments], cwd=home, env=env | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_pulled_from_a_hub_and_scored_without_a_flag(hub: HubServer, tmp_path: Path, checkpoint: Path) -> None:
    """One command fetches a benchmark and records the revision; lm_eval then reads it without an option."""
    run = command("rbridge", "traces", "pull", "gsm8k", home=tmp_path, HF_ENDPOINT=hub.url)
    assert run.returncode == 0, run.stderr
    assert "gsm8k: 6 traces" in run.stdout
    assert not any("math500" in request for request in hub.requests)
    cache = TraceCache(str(tmp_path / "user-cache" / "rbridge-tasks"))
    held = cache.load("gsm8k")
    assert held.manifest.origin == f"hf://datasets/trillionlabs/rBridge@{hub.sha('trillionlabs/rBridge')}"
    for trace, item in zip(held.traces, ITEMS, strict=True):
        assert_confidence(trace.token_end, trace.token_logprob, confidence_of(item.answer, item.cut))
    out = tmp_path / "out"
    options = [
        "--model",
        "hf",
        "--model_args",
        f"pretrained={checkpoint}",
        "--num_fewshot",
        "0",
        "--output_path",
        str(out),
    ]
    scored = command("lm_eval", *options, "--tasks", "rbridge_gsm8k", home=tmp_path, HF_HUB_OFFLINE="1")
    assert scored.returncode == 0, scored.stderr
    assert f"from {cache.root}/gsm8k/rbridge-gpt-4o (user cache)" in scored.stderr
    (results,) = out.rglob("results_*.json")
    values = json.loads(results.read_text())["results"]["rbridge_gsm8k"]
    assert 0 < values["rbridge_nll,none"] < values["trace_nll,none"]
    assert "sample" not in values["alias"]


@pytest.mark.slow
def test_pulled_again_offline_and_by_revision(hub: HubServer, tmp_path: Path) -> None:
    """--revision takes a commit; a fetched revision needs no Hub the next time; an unknown revision is an error."""
    sha = hub.sha("trillionlabs/rBridge")
    pull = ["traces", "pull", "math500", "--replace"]
    assert command("rbridge", *pull, "--revision", sha, home=tmp_path, HF_ENDPOINT=hub.url).returncode == 0
    hub.down = True
    run = command("rbridge", *pull, "--revision", sha, home=tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert run.returncode == 0, run.stderr
    run = command("rbridge", *pull, home=tmp_path, HF_ENDPOINT=hub.url)
    assert run.returncode == 2
    assert run.stderr == f"rbridge: error: {hub.url} answers 503 for trillionlabs/rBridge; try again later\n"
    hub.down = False
    as_json(tmp_path / "hub" / "traces" / "gsm8k" / "completions.json", [{"changed": True}])
    run = command("rbridge", *pull, "--revision", "f" * 40, home=tmp_path, HF_ENDPOINT=hub.url)
    assert run.returncode == 2
    assert f"the data set trillionlabs/rBridge has no revision {'f' * 40}" in run.stderr.splitlines()[-1]


@pytest.mark.slow
def test_marked_traces_and_an_exported_cache_from_a_hub(hub: HubServer, tmp_path: Path) -> None:
    """--spans fetches marked traces; OWNER/NAME of an export is read back, verified, and records its origin."""
    run = command("rbridge", "traces", "pull", "--spans", "gsm8k", home=tmp_path, HF_ENDPOINT=hub.url)
    assert run.returncode == 0, run.stderr
    run = command("rbridge", "traces", "pull", "someone/cache", home=tmp_path, HF_ENDPOINT=hub.url)
    assert run.returncode == 0, run.stderr
    cache = TraceCache(str(tmp_path / "user-cache" / "rbridge-tasks"))
    origins = {held.source: held.origin for held in cache.manifests("gsm8k")}
    assert origins["rbridge-mask"] == f"hf://datasets/trillionlabs/rbridge-mask@{hub.sha('trillionlabs/rbridge-mask')}"
    assert origins["gpt-4o"] == f"hf://datasets/someone/cache@{hub.sha('someone/cache')}"
    assert [problem.problem for problem in cache.verify()] == [None] * 3


def test_shuffled_files_give_the_same_traces(rbridge: Rbridge, release: str, tmp_path: Path) -> None:
    """Shuffled, gzipped parts give the same traces as ordered ones."""
    shuffled(tmp_path / "other" / "gsm8k", ITEMS)
    rbridge("pull", "gsm8k", "--from", release, "--source", "a")
    rbridge("pull", "gsm8k", "--from", str(tmp_path / "other"), "--source", "b")
    ordered, from_shuffled = (cache_of(tmp_path).load("gsm8k", source).traces for source in "ab")
    assert [plain_values(trace) for trace in ordered] == [plain_values(trace) for trace in from_shuffled]


def plain_values(trace: Trace) -> tuple[object, ...]:
    """Return the fields of a trace as plain values."""
    assert trace.token_end is not None
    assert trace.token_logprob is not None
    return trace.item_id, trace.question, trace.trace, trace.token_end.tolist(), trace.token_logprob.tolist()
