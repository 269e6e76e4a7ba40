"""The slow path gives the model's own log-probabilities for any model class of lm-eval, and says what it cannot do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, TemplateLM
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from rbridge_metrics import TokenScores
from rbridge_tasks.backends import hf, stock
from rbridge_tasks.backends.base import BackendError
from rbridge_tasks.harness import requests
from rbridge_tasks.harness.requests import TraceRequest, UnservedModelError
from rbridge_tasks.harness.task_folder import TASKS_PATH
from rbridge_tasks.harness.trace_docs import TaskOptionError
from rbridge_tasks.scoring.collector import ScoringError
from rbridge_tasks.scoring.tokenization import TokenizationError

from ..error_bounds import assert_within, model_bound, model_sum_bound, telescoped_bounds
from ..support import TOKENIZERS, harness_model, mixed_pairs, tiny_model

PAIRS = mixed_pairs()[:6]
LABELS = [f"gsm8k/{number}" for number in range(len(PAIRS))]


class OfIds(TemplateLM):
    """A model class of somebody's own: it takes token ids and gives log-likelihoods, as the model inside it does."""

    def __init__(self, inner: HFLM) -> None:
        super().__init__()
        self.inner, self.tokenizer, self.max_length = inner, inner.tokenizer, inner.max_length

    @property
    def eot_token_id(self) -> int:
        return self.inner.eot_token_id

    @property
    def prefix_token_id(self) -> int:
        return self.inner.prefix_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return self.inner.tok_encode(string, add_special_tokens=add_special_tokens, **kwargs)

    def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        return self.inner._loglikelihood_tokens(requests, **kwargs)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError


class OfText(LM):
    """A model class that takes only text."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.tokenizer = inner, inner.tokenizer

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        answers: list[tuple[float, bool]] = self.inner.loglikelihood(requests, disable_tqdm=disable_tqdm)
        return answers

    def loglikelihood_rolling(self, requests: Any) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: Any) -> list[str]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def inner(tokenizers: dict[str, Any]) -> HFLM:
    """The model that all classes here speak for."""
    return harness_model(tiny_model("llama", len(tokenizers["bos"])), tokenizers["bos"], batch_size=16)


@pytest.fixture(scope="module")
def expected(inner: HFLM) -> list[TokenScores]:
    """Its scores by the HF back end."""
    return hf.score(inner, PAIRS, LABELS)


def assert_same(
    found: Sequence[TokenScores],
    expected: Sequence[TokenScores],
    bounds: Callable[[npt.ArrayLike], npt.ArrayLike] = model_bound,
) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.token_id, other.token_id)
        assert_within(one.logprob, other.logprob, bounds(other.logprob))
        total, expected_total = (scores.logprob.astype(float).sum() for scores in (one, other))
        assert_within(total, expected_total, model_sum_bound(other.logprob))
        assert one.rank is None
        assert one.max_logprob is None
        assert one.entropy is None


def test_each_token_is_scored_as_the_model_scores_it(inner: HFLM, expected: list[TokenScores]) -> None:
    """By token ids, empty contexts and letters of several tokens included; each pair is done once."""
    finished: list[int] = []
    assert_same(stock.score(OfIds(inner), PAIRS, LABELS, done=lambda pairs, _: finished.extend(pairs)), expected)
    assert sorted(finished) == list(range(len(PAIRS)))


def test_text_alone_is_enough_where_beginnings_keep_their_tokens(inner: HFLM, expected: list[TokenScores]) -> None:
    """Growing beginnings of the trace, through the public ``loglikelihood``: differences of its float32 sums."""
    whole = [0, 2, 3, 5]
    found = stock.score(OfText(inner), [PAIRS[i] for i in whole], [LABELS[i] for i in whole])
    assert_same(found, [expected[i] for i in whole], telescoped_bounds)


def test_text_is_refused_where_a_character_is_several_tokens(inner: HFLM) -> None:
    """Half a letter cannot be asked for."""
    with pytest.raises(TokenizationError, match=r"gsm8k/4 is split into other tokens.*takes only text"):
        stock.score(OfText(inner), [PAIRS[4]], [LABELS[4]])


def test_a_trace_longer_than_the_window_is_scored_in_parts(inner: HFLM) -> None:
    """As every other back end does it."""
    short = harness_model(inner.model, inner.tokenizer, max_length=30)
    assert_same(stock.score(OfIds(short), [PAIRS[3]], [LABELS[3]]), hf.score(short, [PAIRS[3]], [LABELS[3]]))


def test_what_is_no_language_model_is_refused(inner: HFLM) -> None:
    """A class that gives random numbers; a chat API gives none; without a tokenizer there are no tokens."""

    class Random(OfText):
        def loglikelihood(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            rng = np.random.default_rng(0)
            return [(-float(rng.random()), False) for _ in requests]

    class Chat(OfText):
        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            raise NotImplementedError("Loglikelihood is not supported\nfor chat")

    pairs, labels = [PAIRS[3]], [LABELS[3]]
    with pytest.raises(ScoringError, match="no log-likelihoods of a language model"):
        stock.score(Random(inner), pairs, labels)
    with pytest.raises(BackendError, match=r"Chat gives no log-likelihoods .*supported for chat"):
        stock.score(Chat(inner), pairs, labels)
    without = OfText(inner)
    without.tokenizer = None
    with pytest.raises(TokenizationError, match="has no tokenizer"):
        stock.score(without, pairs, labels)


def test_other_classes_are_refused_unless_asked_for(inner: HFLM, expected: list[TokenScores]) -> None:
    """One line that names what is served and the option; with the option, the slow scores."""
    lm = OfIds(inner)

    def ask(*, slow: bool) -> list[TokenScores]:
        docs = [{"benchmark": "gsm8k", "item_id": str(i)} for i in range(len(PAIRS))]
        kind = requests.REQUEST_TYPE
        asked: list[Instance] = [
            TraceRequest(request_type=kind, doc=doc, arguments=pair, idx=0, task_name="", doc_id=0, slow=slow)
            for doc, pair in zip(docs, PAIRS, strict=True)
        ]
        return requests.token_scores(lm, asked)

    with pytest.raises(UnservedModelError, match=r"from OfIds; use --model hf, vllm, local-.*\"rbridge_slow\": true"):
        ask(slow=False)
    assert_same(ask(slow=True), expected)


@pytest.mark.slow
def test_the_option_reaches_the_model() -> None:
    """``--metadata`` with rbridge_slow, through lm-eval's own evaluator, under a model class of somebody's own."""
    tokenizer = TOKENIZERS["bos"]()
    inner = harness_model(tiny_model("llama", len(tokenizer)), tokenizer, batch_size=16)

    def trace_nll(lm: LM, **options: Any) -> float:
        metadata = {"rbridge_cache": "sample", "rbridge_weights": "none"} | options
        found = simple_evaluate(
            lm, tasks=["rbridge_gsm8k"], num_fewshot=0, limit=2, bootstrap_iters=0, metadata=metadata,
            task_manager=TaskManager(metadata=metadata, include_path=str(TASKS_PATH), include_defaults=False),
        )  # fmt: skip
        value: float = found["results"]["rbridge_gsm8k"]["trace_nll,none"]
        return value

    assert trace_nll(OfIds(inner), rbridge_slow=True) == pytest.approx(trace_nll(inner), abs=model_bound())
    with pytest.raises(TaskOptionError, match="rbridge_slow is 'yes'; write true or false"):
        trace_nll(inner, rbridge_slow="yes")
