"""Scores from a vLLM engine are kept under ``--use_cache`` and told apart by the files that the engine read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed here; make test-vllm runs this file where it is")

from rbridge_tasks.backends import vllm
from rbridge_tasks.resume.identity import digest_of, scope_of
from rbridge_tasks.resume.weights import UnidentifiedModelError

from ..error_bounds import assert_within, model_bound
from ..resume.test_resume import ask
from ..resume.test_resume_store import bits_of
from .test_engine import PAIRS, engine, save  # noqa: F401  # a fixture is used by its name

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.torch.distributed.reduce_op. is deprecated:FutureWarning"),  # vLLM asks for it
]

BACKEND = vllm.BACKEND


def test_an_engine_is_asked_for_what_is_missing(
    engine: Callable[..., Any],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Known scores come back bit by bit, the others as without a cache; replaced files are another model."""
    caplog.set_level(logging.INFO, logger="rbridge_tasks")
    folder = save(tmp_path / "checkpoint")
    lm = engine(folder)
    with pytest.raises(UnidentifiedModelError, match="changed after this process began"):
        scope_of(lm, BACKEND)  # this very process wrote them
    written = time.time() + 60
    monkeypatch.setattr("rbridge_tasks.resume.model_files._process_start", lambda: written)
    expected = ask(lm, None, PAIRS)
    some = ask(lm, tmp_path / "cache", PAIRS[1::2])
    found = ask(lm, tmp_path / "cache", PAIRS)
    assert f"{len(some)} of {len(PAIRS)} traces are taken from" in caplog.text
    assert [bits_of(scores) for scores in found[1::2]] == [bits_of(scores) for scores in some]
    for one, other in zip(found, expected, strict=True):
        assert_within(one.logprob, other.logprob, model_bound(other.logprob, width=128, inner=256))
    before = digest_of(scope_of(lm, BACKEND))
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert digest_of(scope_of(lm, BACKEND)) != before
