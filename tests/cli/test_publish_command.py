"""``rbridge traces export``, ``rm`` and ``ls``, and wrong input to ``push``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from rbridge_traces import TraceCache

from ..traces.published import assert_equal, make_cache
from ..traces.support import version, words, write

Rbridge = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cache(tmp_path: Path) -> TraceCache:
    """A cache of two sources, one without a licence."""
    return make_cache(tmp_path / "cache")


@pytest.fixture
def rbridge(monkeypatch: pytest.MonkeyPatch, run: Rbridge, cache: TraceCache) -> Rbridge:
    """Run ``rbridge traces ARGUMENTS`` on that cache; return exit code, output and errors."""
    monkeypatch.setenv("RBRIDGE_CACHE", cache.root)
    return functools.partial(run, "traces")


def test_export_copies_the_cache_and_shows_how_to_use_it(rbridge: Rbridge, cache: TraceCache, tmp_path: Path) -> None:
    """Every source has a line, a missing licence has a warning, and the copy equals the cache."""
    code, out, err = rbridge("export", str(tmp_path / "to"))
    assert code == 0
    assert "gsm8k from gpt-4o: 3 traces, 4 tokens with confidences" in out
    assert f"exported to {tmp_path}/to" in out
    assert f"rbridge traces pull --from {tmp_path}/to" in out
    assert err == "warning: csqa from mine has no licence; nobody knows what they may do with it\n"
    assert_equal(cache, TraceCache(str(tmp_path / "to")))
    assert "nothing to do" in rbridge("export", str(tmp_path / "to"))[1]
    assert rbridge("verify", "--cache", str(tmp_path / "to"))[0] == 0


def test_export_can_be_limited(rbridge: Rbridge, cache: TraceCache, tmp_path: Path) -> None:
    """Options select benchmark, source and correct traces; a warning names a local path that would be published."""
    assert rbridge("export", str(tmp_path / "a"), "-b", "csqa")[0] == 0
    assert rbridge("export", str(tmp_path / "b"), "--source", "gpt-4o", "--only-correct")[0] == 0
    assert [held.benchmark for held in TraceCache(str(tmp_path / "a")).manifests()] == ["csqa"]
    assert [held.rows for held in TraceCache(str(tmp_path / "b")).manifests()] == [2]
    write(cache, version("x"), source="x", confidence_model="/home/me/ckpt", licence="MIT")
    assert "names the local path /home/me/ckpt" in rbridge("export", str(tmp_path / "c"), "--source", "x")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "{to}", "-b", "gsm9k"], "gsm9k"),
        (["export", "{to}", "-b", "humaneval"], "no traces of humaneval"),
        (["export", "{to}", "--source", "gpt4"], "did you mean gpt-4o?"),
        (["export", "{to}", "--cache", "sample"], "--include-sample"),
        (["export", "{to}", "-b", "csqa", "--only-correct"], "no trace in"),
        (["export", "nosuch://place"], "fsspec knows"),
        (["export", "sample"], "shipped sample"),
        (["export", "hf://datasets/me/traces"], "rbridge traces push"),
        (["export", "{taken}"], "--replace"),
        (["push", "no-owner"], "OWNER/NAME"),
        (["push", "a/b/c"], "OWNER/NAME"),
        (["push", "me/traces"], "HF_TOKEN"),
        (["rm", "gsm8k", "gpt4o", "--yes"], "did you mean gpt-4o?"),
        (["rm", "gsm9k", "gpt-4o"], "gsm9k"),
        (["rm", "gsm8k", "../csqa/mine", "--yes"], "cannot name a source"),
        (["rm", "gsm8k", "sample", "--cache", "sample"], "cannot be written"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(
    rbridge: Rbridge,
    cache: TraceCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """Each wrong input is named in one line with exit code 2."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    write(TraceCache(str(tmp_path / "taken")), version("theirs"))
    places = {"{to}": str(tmp_path / "to"), "{taken}": str(tmp_path / "taken")}
    code, _, err = rbridge(*(places.get(argument, argument) for argument in arguments))
    lines = [line for line in err.splitlines() if not line.startswith("warning")]
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "to").exists()
    assert words(TraceCache(str(tmp_path / "taken")).load("gsm8k").traces) == {"theirs"}
    assert len(cache.manifests()) == 2


def test_rm_asks_first(rbridge: Rbridge, cache: TraceCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without consent nothing is removed; with "y" or --yes only the named source is removed."""
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, _ = rbridge("rm", "gsm8k", "gpt-4o")
    assert (code, len(cache.manifests())) == (130, 2)
    assert f"remove gsm8k from gpt-4o in {cache.root}?" in out
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert rbridge("rm", "gsm8k", "gpt-4o")[0] == 0
    assert [held.benchmark for held in cache.manifests()] == ["csqa"]
    assert rbridge("rm", "csqa", "mine", "--yes")[1] == f"removed csqa from mine in {cache.root}\n"
    assert cache.manifests() == []


def test_ls_shows_the_known_facts(rbridge: Rbridge, cache: TraceCache) -> None:
    """Correct traces, spans and the origin have columns; markup and control characters in names are printed as text."""
    about = {"origin": f"hf://datasets/me/traces@{'0123456789' * 4}", "frontier_model": "[red]x[/red]\x1b[31m"}
    write(cache, version("x"), source="x", **about)
    out = rbridge("ls")[1]
    (known,) = [line.split("│") for line in out.splitlines() if "gpt-4o " in line and "gsm8k" in line]
    assert [cell.strip() for cell in known[3:7]] == ["3", "2", "2", "1"]
    (unknown,) = [line.split("│") for line in out.splitlines() if "csqa" in line]
    assert [cell.strip() for cell in unknown[3:7]] == ["1", "0", "?", "-"]
    assert "me/traces@0123456 " in out
    assert "[red]x[/red]\\x1b[31m" in out
    assert "\x1b" not in out
