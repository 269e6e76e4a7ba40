"""Scores from a vLLM engine are cached under ``--use_cache``, separately for each set of model files."""

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


def test_an_engine_scores_only_missing_pairs(
    engine: Callable[..., Any],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Known scores are returned bit for bit, others equal those without a cache; replaced files are another model."""
    caplog.set_level(logging.INFO, logger="rbridge_tasks")
    folder = save(tmp_path / "checkpoint")
    lm = engine(folder)
    with pytest.raises(UnidentifiedModelError, match="changed after this process began"):
        scope_of(lm, BACKEND)  # this process wrote them
    written = time.time() + 60
    monkeypatch.setattr("rbridge_tasks.resume.model_files._process_start", lambda: written)
    expected = ask(lm, None, PAIRS)
    half = ask(lm, tmp_path / "cache", PAIRS[1::2])
    resumed = ask(lm, tmp_path / "cache", PAIRS)
    assert f"{len(half)} of {len(PAIRS)} traces are taken from" in caplog.text
    assert [bits_of(scores) for scores in resumed[1::2]] == [bits_of(scores) for scores in half]
    for score, reference in zip(resumed, expected, strict=True):
        assert_within(score.logprob, reference.logprob, model_bound(reference.logprob, width=128, inner=256))
    before = digest_of(scope_of(lm, BACKEND))
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert digest_of(scope_of(lm, BACKEND)) != before
