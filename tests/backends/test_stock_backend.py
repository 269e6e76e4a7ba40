"""The slow path gives the model's log-probabilities for any model class of lm-eval, and refuses unsupported ones."""

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

from rbridge_metrics import RBridgeError, TokenScores
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
    """A user's model class that takes token ids and returns the log-likelihoods of the model inside it."""

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
    """A user's model class that takes only text."""

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
    """An HF model; the model classes of this file compute their scores with it."""
    return harness_model(tiny_model("llama", len(tokenizers["bos"])), tokenizers["bos"], batch_size=16)


@pytest.fixture(scope="module")
def expected(inner: HFLM) -> list[TokenScores]:
    """Scores of the inner model by the HF back end."""
    return hf.score(inner, PAIRS, LABELS)


def assert_same(
    scores: Sequence[TokenScores],
    expected: Sequence[TokenScores],
    bounds: Callable[[npt.ArrayLike], npt.ArrayLike] = model_bound,
) -> None:
    for score, reference in zip(scores, expected, strict=True):
        np.testing.assert_array_equal(score.token_id, reference.token_id)
        assert_within(score.logprob, reference.logprob, bounds(reference.logprob))
        total, expected_total = (each.logprob.astype(float).sum() for each in (score, reference))
        assert_within(total, expected_total, model_sum_bound(reference.logprob))
        assert score.rank is None
        assert score.max_logprob is None
        assert score.entropy is None


def test_each_token_is_scored_as_the_model_scores_it(inner: HFLM, expected: list[TokenScores]) -> None:
    """By token ids, also for empty contexts and characters of several tokens; each pair is reported once."""
    finished: list[int] = []
    assert_same(stock.score(OfIds(inner), PAIRS, LABELS, done=lambda pairs, _: finished.extend(pairs)), expected)
    assert sorted(finished) == list(range(len(PAIRS)))


def test_text_is_enough_if_prefixes_keep_their_tokens(inner: HFLM, expected: list[TokenScores]) -> None:
    """Differences of the float32 sums that ``loglikelihood`` returns for growing prefixes of the trace."""
    supported = [0, 2, 3, 5]
    scores = stock.score(OfText(inner), [PAIRS[i] for i in supported], [LABELS[i] for i in supported])
    assert_same(scores, [expected[i] for i in supported], telescoped_bounds)


def test_text_is_refused_if_a_character_has_several_tokens(inner: HFLM) -> None:
    """A text cannot end inside a character."""
    with pytest.raises(TokenizationError, match=r"gsm8k/4 is split into other tokens.*takes only text"):
        stock.score(OfText(inner), [PAIRS[4]], [LABELS[4]])


def test_a_trace_longer_than_the_window_is_scored_in_parts(inner: HFLM) -> None:
    """With the scores of the HF back end under the same window."""
    short = harness_model(inner.model, inner.tokenizer, max_length=30)
    assert_same(stock.score(OfIds(short), [PAIRS[3]], [LABELS[3]]), hf.score(short, [PAIRS[3]], [LABELS[3]]))


def test_classes_without_log_likelihoods_are_refused(inner: HFLM) -> None:
    """A class that returns random numbers, a chat API that returns none, and a class without a tokenizer."""

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
    lm = OfText(inner)
    lm.tokenizer = None
    with pytest.raises(TokenizationError, match="has no tokenizer"):
        stock.score(lm, pairs, labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda answers: answers[:-1], "answers 94 requests with 93 pairs"),
        (lambda answers: [answers[0], *answers], "answers 94 requests with 95 pairs"),
        (lambda answers: [total for total, _ in answers], "answers 94 requests with 0 pairs"),
        (lambda answers: [(None, False) for _ in answers], "answers 94 requests with 0 pairs"),
        (lambda answers: [(3.0, False) for _ in answers], r"token 0 of trace gsm8k/3 .* 3, which is above 0"),
    ],
    ids=["one too few", "one too many", "numbers", "no numbers", "above 0"],
)
def test_answers_that_are_no_log_likelihoods_are_refused(inner: HFLM, change: Any, message: str) -> None:
    """One answer too many would give every token the score of the token before it."""

    class Faulty(OfIds):
        def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
            answers: list[tuple[float, bool]] = change(super()._loglikelihood_tokens(requests, **kwargs))
            return answers

    with pytest.raises(RBridgeError, match=message) as error:
        stock.score(Faulty(inner), [PAIRS[3]], [LABELS[3]])
    assert "\n" not in str(error.value)


def test_unknown_classes_are_refused_without_the_option(inner: HFLM, expected: list[TokenScores]) -> None:
    """The one-line error names the supported models and the option; with the option, scores are the model's."""
    lm = OfIds(inner)

    def ask(*, slow: bool) -> list[TokenScores]:
        docs = [{"benchmark": "gsm8k", "item_id": str(i)} for i in range(len(PAIRS))]
        kind = requests.REQUEST_TYPE
        instances: list[Instance] = [
            TraceRequest(request_type=kind, doc=doc, arguments=pair, idx=0, task_name="", doc_id=0, slow=slow)
            for doc, pair in zip(docs, PAIRS, strict=True)
        ]
        return requests.token_scores(lm, instances)

    with pytest.raises(UnservedModelError, match=r"from OfIds; use --model hf, vllm, local-.*\"rbridge_slow\": true"):
        ask(slow=False)
    assert_same(ask(slow=True), expected)


@pytest.mark.slow
def test_the_option_reaches_the_model() -> None:
    """``--metadata`` with rbridge_slow, through lm-eval's own evaluator, for a user's model class."""
    tokenizer = TOKENIZERS["bos"]()
    inner = harness_model(tiny_model("llama", len(tokenizer)), tokenizer, batch_size=16)

    def trace_nll(lm: LM, **options: Any) -> float:
        metadata = {"rbridge_cache": "sample", "rbridge_weights": "none"} | options
        results = simple_evaluate(
            lm, tasks=["rbridge_gsm8k"], num_fewshot=0, limit=2, bootstrap_iters=0, metadata=metadata,
            task_manager=TaskManager(metadata=metadata, include_path=str(TASKS_PATH), include_defaults=False),
        )  # fmt: skip
        value: float = results["results"]["rbridge_gsm8k"]["trace_nll,none"]
        return value

    assert trace_nll(OfIds(inner), rbridge_slow=True) == pytest.approx(trace_nll(inner), abs=model_bound())
    with pytest.raises(TaskOptionError, match="rbridge_slow is 'yes'; write true or false"):
        trace_nll(inner, rbridge_slow="yes")
