"""With ``rbridge_compile`` the layers are compiled, the scores do not change, and the model is restored."""

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

#: Warnings of torch's compiler about torch itself.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{start}") for start in (".*torch.jit", "Dynamo")]
needs_compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler here")


def model_of(family: str, **options: Any) -> HFLM:
    """A random model of a family, wrapped by lm-eval."""
    tokenizer = TOKENIZERS["bos"]()
    return harness_model(tiny_model(family, len(tokenizer), **options), tokenizer, batch_size=3)


def compiled_runs(monkeypatch: pytest.MonkeyPatch, compile_: Callable[..., Any]) -> list[int]:
    """Replace ``torch.compile``; return a list that collects the number of tokens of each pass through a layer."""
    token_counts: list[int] = []

    def watched(function: Any, **options: Any) -> Any:
        compiled = compile_(function, **options)

        def run(*args: Any, **named: Any) -> Any:
            token_counts.append(args[0].shape[1])
            return compiled(*args, **named)

        return run

    monkeypatch.setattr(torch, "compile", watched)
    return token_counts


@pytest.mark.slow
@needs_compiler
def test_compiled_layers_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """All four columns agree to rounding; every pass goes through compiled layers; the model is restored."""
    lm, pairs = model_of("llama"), mixed_pairs()
    labels = [str(i) for i in range(len(pairs))]
    expected = hf.score(lm, pairs, labels)
    token_counts = compiled_runs(monkeypatch, torch.compile)
    scores = hf.score(lm, pairs, labels, compiled=True)
    assert sum(token_counts) >= 2 * sum(score.logprob.size for score in expected)  # two layers
    for score, reference in zip(scores, expected, strict=True):
        bound = model_bound(reference.logprob)
        assert_within(score.logprob, reference.logprob, bound)
        # Errors of d in the logits change the entropy by at most d ln V.
        assert_within(score.entropy, reference.entropy, bound * np.log(700))
        assert_within(score.max_logprob, reference.max_logprob, bound)
        np.testing.assert_allclose(score.rank, reference.rank, atol=1)
    assert not [module for module in lm.model.modules() if "forward" in vars(module)]


def test_state_space_models_are_not_compiled(caplog: pytest.LogCaptureFixture) -> None:
    """Compiling a state-space model's layers would take minutes and save no time; a warning says that it is skipped."""
    lm, pairs = model_of("mamba"), mixed_pairs()[:3]
    with caplog.at_level(logging.WARNING):
        hf.score(lm, pairs, list("abc"), compiled=True)
    assert "the layers of MambaForCausalLM are not compiled" in caplog.text


@pytest.mark.slow
@needs_compiler
def test_the_compiled_reduction_gives_the_same_statistics() -> None:
    """Log-probability, rank, entropy and maximum of the compiled kernel equal those of the plain one."""
    torch.manual_seed(0)
    logits = torch.randn(40, 3000) * 5
    logits[3, 7] = torch.nan
    logits[4, :2000] = -torch.inf
    logits[5] = 1.0
    targets = torch.randint(2000, 3000, (40,))
    columns = statistics._compiled_reduce()(logits, targets).numpy()
    expected = token_statistics(logits, targets, torch.clone).numpy()
    assert np.isnan(columns[3]).all()
    finite = np.arange(40) != 3
    np.testing.assert_array_equal(columns[finite][:, statistics.RANK], expected[finite][:, statistics.RANK])
    bounded = (statistics.LOGPROB, statistics.ENTROPY, statistics.MAX_LOGPROB)
    for column, bound in zip(bounded, softmax_bounds(logits[finite], targets[finite]), strict=True):
        assert_within(columns[finite][:, column], expected[finite][:, column], 2 * bound)


@pytest.mark.slow
def test_the_option_reaches_the_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Through lm-eval's evaluator. Cached scores with and without compilation are separate; bad options are refused."""
    lm = model_of("llama")

    def trace_nll(model: Any, **options: Any) -> float:
        metadata = {"rbridge_cache": "sample", "rbridge_weights": "none"} | options
        results = simple_evaluate(
            model, tasks=["rbridge_gsm8k"], num_fewshot=0, limit=2, bootstrap_iters=0, metadata=metadata,
            use_cache=str(tmp_path / "kept"),
            task_manager=TaskManager(metadata=metadata, include_path=str(TASKS_PATH), include_defaults=False),
        )  # fmt: skip
        value: float = results["results"]["rbridge_gsm8k"]["trace_nll,none"]
        return value

    plain = trace_nll(lm)
    token_counts = compiled_runs(monkeypatch, lambda function, **_: function)  # records the call, compiles nothing
    assert trace_nll(lm, rbridge_compile=True) == pytest.approx(plain, abs=model_bound())
    assert token_counts  # the scores do not come from the plain run's cache
    scopes = [json.loads(path.read_text()) for path in tmp_path.rglob("scope.json")]
    assert sorted(scope.get("compiled", False) for scope in scopes) == [False, True]
    with pytest.raises(TaskOptionError, match="rbridge_compile is 1; write true or false"):
        trace_nll(lm, rbridge_compile=1)
    with pytest.raises(TaskOptionError, match="rbridge_slow and rbridge_compile exclude each other"):
        trace_nll(lm, rbridge_compile=True, rbridge_slow=True)
    with pytest.raises(UnservedModelError, match="OfIds; use --model hf"):
        trace_nll(OfIds(lm), rbridge_compile=True)
