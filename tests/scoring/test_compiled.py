"""With ``rbridge_compile`` the layers are compiled, the numbers stay, and nothing is left on the model."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from rbridge_tasks.backends import hf
from rbridge_tasks.harness.requests import UnservedModelError
from rbridge_tasks.harness.task_folder import TASKS_PATH
from rbridge_tasks.harness.trace_docs import TaskOptionError
from rbridge_tasks.scoring import token_statistics as statistics
from rbridge_tasks.scoring.token_statistics import token_statistics

from ..backends.test_stock_backend import OfIds
from ..error_bounds import assert_within, model_bound
from ..support import TOKENIZERS, harness_model, mixed_pairs, tiny_model
from ..tensor_bounds import softmax_bounds

#: Of torch's compiler about torch itself.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{start}") for start in (".*torch.jit", "Dynamo")]
needs_compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler here")


def model_of(family: str, **options: Any) -> HFLM:
    """A random model of a family, as lm-eval holds it."""
    tokenizer = TOKENIZERS["bos"]()
    return harness_model(tiny_model(family, len(tokenizer), **options), tokenizer, batch_size=3)


def compiled_runs(monkeypatch: pytest.MonkeyPatch, compile_: Callable[..., Any]) -> list[int]:
    """Fills with the number of tokens of each pass through a layer as ``compile_`` makes it."""
    seen: list[int] = []

    def watched(function: Any, **options: Any) -> Any:
        made = compile_(function, **options)

        def run(*args: Any, **named: Any) -> Any:
            seen.append(args[0].shape[1])
            return made(*args, **named)

        return run

    monkeypatch.setattr(torch, "compile", watched)
    return seen


@pytest.mark.slow
@needs_compiler
def test_the_numbers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """All four columns, to rounding; every pass goes through compiled layers; and the model is as before."""
    lm, pairs = model_of("llama"), mixed_pairs()
    labels = [str(i) for i in range(len(pairs))]
    expected = hf.score(lm, pairs, labels)
    seen = compiled_runs(monkeypatch, torch.compile)
    found = hf.score(lm, pairs, labels, compiled=True)
    assert sum(seen) >= 2 * sum(score.logprob.size for score in expected)  # two layers
    for one, other in zip(found, expected, strict=True):
        bound = model_bound(other.logprob)
        assert_within(one.logprob, other.logprob, bound)
        assert_within(one.entropy, other.entropy, bound * np.log(700))  # logits off by d move it by at most d ln V
        assert_within(one.max_logprob, other.max_logprob, bound)
        np.testing.assert_allclose(one.rank, other.rank, atol=1)
    assert not [module for module in lm.model.modules() if "forward" in vars(module)]


def test_what_is_read_slowly_is_not_compiled(caplog: pytest.LogCaptureFixture) -> None:
    """Compiling a state-space model's layers would take minutes and gain nothing; the log says it was left out."""
    lm, pairs = model_of("mamba"), mixed_pairs()[:3]
    with caplog.at_level(logging.WARNING):
        hf.score(lm, pairs, list("abc"), compiled=True)
    assert "the layers of MambaForCausalLM are not compiled" in caplog.text


@pytest.mark.slow
@needs_compiler
def test_the_reduction_of_a_gpu_gives_the_same() -> None:
    """Log-probability, rank, entropy and maximum of the compiled kernel are those of the plain one."""
    torch.manual_seed(0)
    logits = torch.randn(40, 3000) * 5
    logits[3, 7] = torch.nan
    logits[4, :2000] = -torch.inf
    logits[5] = 1.0
    targets = torch.randint(2000, 3000, (40,))
    found = statistics._compiled_reduce()(logits, targets).numpy()
    expected = token_statistics(logits, targets, torch.clone).numpy()
    assert np.isnan(found[3]).all()
    finite = np.arange(40) != 3
    np.testing.assert_array_equal(found[finite][:, statistics.RANK], expected[finite][:, statistics.RANK])
    columns = (statistics.LOGPROB, statistics.ENTROPY, statistics.MAX_LOGPROB)
    for column, bound in zip(columns, softmax_bounds(logits[finite], targets[finite]), strict=True):
        assert_within(found[finite][:, column], expected[finite][:, column], 2 * bound)


@pytest.mark.slow
def test_the_option_reaches_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Through lm-eval's evaluator; kept scores of the two ways are kept apart; bad combinations are refused."""
    lm = model_of("llama")

    def trace_nll(model: Any, **options: Any) -> float:
        metadata = {"rbridge_cache": "sample", "rbridge_weights": "none"} | options
        found = simple_evaluate(
            model, tasks=["rbridge_gsm8k"], num_fewshot=0, limit=2, bootstrap_iters=0, metadata=metadata,
            use_cache=str(tmp_path / "kept"),
            task_manager=TaskManager(metadata=metadata, include_path=str(TASKS_PATH), include_defaults=False),
        )  # fmt: skip
        value: float = found["results"]["rbridge_gsm8k"]["trace_nll,none"]
        return value

    plain = trace_nll(lm)
    seen = compiled_runs(monkeypatch, lambda function, **_: function)  # whether it is asked for, not what it does
    assert trace_nll(lm, rbridge_compile=True) == pytest.approx(plain, abs=model_bound())
    assert seen  # not taken from what the plain run kept
    scopes = [json.loads(path.read_text()) for path in tmp_path.rglob("scope.json")]
    assert sorted(scope.get("compiled", False) for scope in scopes) == [False, True]
    with pytest.raises(TaskOptionError, match="rbridge_compile is 1; write true or false"):
        trace_nll(lm, rbridge_compile=1)
    with pytest.raises(TaskOptionError, match="rbridge_slow and rbridge_compile exclude each other"):
        trace_nll(lm, rbridge_compile=True, rbridge_slow=True)
    with pytest.raises(UnservedModelError, match="OfIds; use --model hf"):
        trace_nll(OfIds(lm), rbridge_compile=True)
