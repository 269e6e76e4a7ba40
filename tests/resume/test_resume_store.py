"""Scores on disk are read bit for bit after kills, damage, a full disk, and simultaneous writes."""

from __future__ import annotations

import logging
import multiprocessing
import resource
import signal
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbridge_metrics import TokenScores
from rbridge_tasks.resume.store import SUFFIX, ScoreStore, key_of

from ..metrics.strategies import cases


def made_scores(tokens: int, seed: int = 0, *, entropy: bool = True) -> TokenScores:
    """Scores of random bits: floats include NaN with payloads, infinities, negative zeros and subnormal numbers."""
    bits = np.random.default_rng(seed).integers(0, 2**32, size=(7, tokens), dtype=np.uint32)
    integers, floats = bits[:4].view(np.int32), bits[4:].view(np.float32)
    return TokenScores(
        *integers[:3], floats[0], integers[3], floats[1] if entropy else None, floats[2], 50_000 + seed,
        context_tokens_cut=seed % 3, windows=1 + seed % 2, confidence=np.ones(tokens, dtype=np.float32),
    )  # fmt: skip


def bits_of(scores: TokenScores) -> dict[str, Any]:
    """Comparable bits of all fields except the confidence, which the task sets."""
    values = {field.name: getattr(scores, field.name) for field in fields(scores) if field.name != "confidence"}
    return {
        name: (value.dtype.str, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }


def batches(count: int, size: int = 2) -> list[dict[bytes, TokenScores]]:
    """Batches of ``size`` pairs."""
    return [
        {key_of("context", f"{batch} {i}"): made_scores(3 + i, seed=batch * size + i) for i in range(size)}
        for batch in range(count)
    ]


def written(folder: Path, parts: list[dict[bytes, TokenScores]]) -> Path:
    """The one file of a store to which the batches were appended."""
    store = ScoreStore(folder)
    for part in parts:
        store.append(part)
    store.close()
    (file,) = folder.glob(f"*{SUFFIX}")
    return file


def keys_of(parts: list[dict[bytes, TokenScores]]) -> list[bytes]:
    return [key for part in parts for key in part]


@cases(40)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10**6), st.booleans()), min_size=1, max_size=5))
def test_scores_are_read_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, parameters: list[tuple[int, int, bool]]
) -> None:
    """Every array with its dtype and every number, without the confidence, which the task sets."""
    folder = tmp_path_factory.mktemp("store")
    expected = {key_of("c", str(i)): made_scores(n, s, entropy=e) for i, (n, s, e) in enumerate(parameters)}
    written(folder, [expected])
    stored = ScoreStore(folder).read([*expected, key_of("c", "another")])
    assert {key: bits_of(scores) for key, scores in stored.items()} == {key: bits_of(s) for key, s in expected.items()}
    for scores in stored.values():
        assert scores.confidence is None
        scores.logprob[:] = 0.0  # the arrays belong to the caller


def test_keys_depend_on_the_split_into_context_and_trace() -> None:
    """The same characters split at another place are another pair."""
    pairs = [("", "ab"), ("a", "b"), ("ab", ""), ("a", "b "), ("\ud800", "")]
    assert len({key_of(*pair) for pair in pairs}) == len(pairs)


def test_a_truncated_file_gives_its_complete_batches(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file cut at any byte gives the batches before the cut, without a warning."""
    parts = batches(3, size=1)
    file = written(tmp_path, parts)
    data, ends = file.read_bytes(), []
    for count in (1, 2, 3):
        ends.append(written(tmp_path / str(count), parts[:count]).stat().st_size)
    for size in range(len(data) + 1):
        file.write_bytes(data[:size])
        stored = ScoreStore(tmp_path).read(keys_of(parts))
        assert list(stored) == keys_of(parts[: sum(end <= size for end in ends)])
    assert not caplog.records


def test_damage_loses_one_batch_and_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong byte anywhere loses one of three batches, and no batch is read with other numbers."""
    parts = batches(3, size=1)
    expected = {key: bits_of(scores) for part in parts for key, scores in part.items()}
    file = written(tmp_path, parts)
    data = file.read_bytes()
    first_two = written(tmp_path / "2", parts[:2]).stat().st_size
    for position in range(len(data)):
        caplog.clear()
        file.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        stored = ScoreStore(tmp_path).read(list(expected))
        assert {key: bits_of(scores) for key, scores in stored.items()}.items() <= expected.items()
        assert len(stored) == 2
        assert ("damaged" in caplog.text) == (position < first_two)


@pytest.mark.parametrize("content", [b"something else" * 10, b"\nrbridge token scores 9\n" + bytes(100)])
def test_a_file_with_other_content_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """The other files are read."""
    (kept,) = batches(1)
    written(tmp_path, [kept])
    (tmp_path / f"other{SUFFIX}").write_bytes(content)
    assert ScoreStore(tmp_path).read(list(kept)).keys() == kept.keys()
    assert f"{len(content)} bytes of {tmp_path}/other{SUFFIX} are damaged" in caplog.text


def _append_all(folder: Path, parts: list[dict[bytes, TokenScores]], barrier: Any) -> None:
    store = ScoreStore(folder)
    barrier.wait()
    for part in parts:
        store.append(part)
        assert store.read(list(part)).keys() == part.keys()


def test_many_processes_write_and_read_at_once(tmp_path: Path) -> None:
    """Four processes append common and different batches to one folder while all of them read it."""
    context = multiprocessing.get_context("fork")
    barrier, parts = context.Barrier(4), batches(40)
    started = [
        context.Process(target=_append_all, args=(tmp_path, parts[i * 5 : i * 5 + 25], barrier)) for i in range(4)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    stored = ScoreStore(tmp_path).read(keys_of(parts))
    assert {key: bits_of(stored[key]) for key in keys_of(parts)} == {
        key: bits_of(scores) for part in parts for key, scores in part.items()
    }
    assert len(list(tmp_path.glob(f"*{SUFFIX}"))) == 4


def _append_with_little_room(folder: Path, parts: list[dict[bytes, TokenScores]], room: int, log: Path) -> None:
    logging.basicConfig(filename=log, force=True)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # like a full disk: one write is cut, the next fails
    store = ScoreStore(folder)
    for part in parts:
        store.append(part)
    store.close()


def test_a_full_disk_loses_neither_the_run_nor_stored_scores(tmp_path: Path) -> None:
    """Complete batches stay, a partial batch is removed, and one warning says that the rest is not stored."""
    parts = batches(6)
    two = written(tmp_path / "two", parts[:2]).stat().st_size
    process = multiprocessing.get_context("fork").Process(
        target=_append_with_little_room, args=(tmp_path / "full", parts, two + 50, tmp_path / "log")
    )
    process.start()
    process.join(60)
    assert process.exitcode == 0
    (file,) = (tmp_path / "full").glob(f"*{SUFFIX}")
    assert file.stat().st_size == two
    assert list(ScoreStore(tmp_path / "full").read(keys_of(parts))) == keys_of(parts[:2])
    (warning,) = (tmp_path / "log").read_text().splitlines()
    assert "File too large" in warning
    assert "the run goes on" in warning


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Here a file is in place of the folder; no exception is raised."""
    (tmp_path / "taken").write_text("")
    store = ScoreStore(tmp_path / "taken" / "scores")
    for part in batches(3):
        store.append(part)
    store.close()
    assert store.read(keys_of(batches(3))) == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot keep scores" in caplog.text


def test_compressed_scores_are_small(tmp_path: Path) -> None:
    """At most 28 bytes a token, seven columns of four, for arrays like real ones."""
    tokens = 300
    random = np.random.default_rng(0)
    ends = np.cumsum(random.integers(1, 8, tokens)).astype(np.int32)
    scores = TokenScores(
        random.integers(0, 50_000, tokens).astype(np.int32), ends - 3, ends,
        -random.gamma(1.0, 2.0, tokens).astype(np.float32), random.integers(1, 50, tokens).astype(np.int32),
        random.random(tokens, dtype=np.float32), -random.random(tokens, dtype=np.float32), 50_000,
    )  # fmt: skip
    file = written(tmp_path, [{key_of("", str(i)): scores} for i in range(4)])
    assert file.stat().st_size < 28 * 4 * tokens
