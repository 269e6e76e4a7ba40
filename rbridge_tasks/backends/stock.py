"""Back end for any model that lm-eval supports, through its own ``loglikelihood``: exact, one token at a time, slow.

Where the model class takes token ids (lm-eval's ``TemplateLM``), each token of a trace is one request, after all tokens
before it. Where it takes only text, each prefix of the trace that ends with a token is one request, and a token's
log-probability is the difference between two of them; that needs a trace whose prefixes are tokenised as they are
within the whole.

``loglikelihood`` says only whether a token is the most probable one: no rank, no maximum, no entropy.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from rbridge_metrics import TokenScores
from rbridge_tasks.backends.base import Backend, BackendError
from rbridge_tasks.backends.prompts.tokenizers import readable_tokenizer
from rbridge_tasks.scoring.collector import (
    ROUNDING,
    Done,
    LogProbabilities,
    ScoringError,
    TraceCollector,
    ignore_finished,
)
from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizationError, TokenizedPair
from rbridge_tasks.scoring.windows import Window

logger = logging.getLogger(__name__)

#: Traces whose tokens are requested in one call.
_TRACES_AT_ONCE = 8


def score(
    lm: Any,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    *,
    done: Done = ignore_finished,
) -> list[TokenScores]:
    """Score (context, trace) pairs under any ``lm_eval.api.model.LM`` that has a tokenizer of transformers or tiktoken.

    Args:
        lm, pairs, labels, done: as of ``Backend``.

    Returns:
        One ``TokenScores`` per pair, in the order given, with log-probabilities only.

    Raises:
        BackendError: the model gives no log-likelihoods, or is an encoder-decoder model.
        TokenizationError: the model has no tokenizer, or tokenises a text in another way than its tokenizer does.
        ScoringError: what it gives cannot be log-likelihoods.
    """
    if getattr(lm, "backend", "causal") != "causal":
        raise BackendError(f"{type(lm).__name__} holds an encoder-decoder model; rBridge scores need a causal one")
    tokenizer = readable_tokenizer(
        getattr(lm, "tokenizer", None), "use a model class of lm-eval that loads one, such as --model hf"
    )
    encoder = PairEncoder(tokenizer, getattr(lm, "add_bos_token", None), getattr(lm, "prefix_token_id", None))
    encoded = encoder.encode(pairs, labels)
    longest = getattr(lm, "max_length", None)
    longest = longest if isinstance(longest, int) else max((pair.ids.size for pair in encoded), default=2)
    collector = TraceCollector(encoded, labels, max_length=longest, vocab_size=len(tokenizer), done=done)
    by_ids = _takes_ids(lm)
    logger.warning(
        "the slow path: %d requests to %s, one for each token; no rank, no entropy, and no score that needs them",
        sum(window.stop - window.first for window in collector.windows), type(lm).__name__,
    )  # fmt: skip
    with tqdm(total=len(collector.windows), desc="Scoring traces", unit="trace", disable=lm.rank != 0) as bar:
        for at in range(0, len(collector.windows), _TRACES_AT_ONCE):
            chunk = collector.windows[at : at + _TRACES_AT_ONCE]
            if by_ids:
                answers = _ask_ids(lm, chunk, [pairs[window.pair] for window in chunk], encoded)
            else:
                answers = _ask_text(lm, encoder, chunk, pairs, encoded, collector)
            collector.add(zip(chunk, answers, strict=True))
            bar.update(len(chunk))
    return collector.scores()


def identity(lm: Any) -> dict[str, Any]:
    """The identity of the model inside, of lm-eval's own classes; a class of unknown code has none.

    Raises:
        UnidentifiedModelError: the class is not lm-eval's.
    """
    from rbridge_tasks.backends import hf, vllm
    from rbridge_tasks.resume.weights import UnidentifiedModelError

    name = f"{type(lm).__module__}.{type(lm).__qualname__}"
    if name == "lm_eval.models.huggingface.HFLM":
        return hf.identity(lm)
    if name == "lm_eval.models.vllm_causallms.VLLM":
        return vllm.identity(lm)
    raise UnidentifiedModelError(f"{type(lm).__name__} does not say which weights it scores with")


BACKEND = Backend(__name__, score, identity)


def _takes_ids(lm: Any) -> bool:
    from lm_eval.api.model import TemplateLM

    return isinstance(lm, TemplateLM) and getattr(lm, "tokenized_requests", True)


def _ask_ids(
    lm: Any, chunk: Sequence[Window], pairs: Sequence[tuple[str, str]], encoded: Sequence[TokenizedPair]
) -> Iterator[LogProbabilities]:
    """One request for each token, with the tokens before it as context."""
    requests: list[tuple[None, list[int], list[int]]] = []
    for window, (context, trace) in zip(chunk, pairs, strict=True):
        ids = encoded[window.pair].ids.tolist()
        if context and list(lm.tok_encode(context + trace)) != ids:
            raise TokenizationError(
                f"{type(lm).__name__} splits {trace[:30]!r}... into other tokens than its tokenizer does; its "
                "scores cannot be aligned with traces"
            )
        requests += [(None, ids[window.start : at], [ids[at]]) for at in range(window.first, window.stop)]
    totals = iter(_log_likelihoods(lm, "_loglikelihood_tokens", requests))
    for window in chunk:
        yield LogProbabilities(np.array([next(totals) for _ in range(window.first, window.stop)]))


def _ask_text(
    lm: Any,
    encoder: PairEncoder,
    chunk: Sequence[Window],
    pairs: Sequence[tuple[str, str]],
    encoded: Sequence[TokenizedPair],
    collector: TraceCollector,
) -> Iterator[LogProbabilities]:
    """One request for each prefix of a trace that ends with a token."""
    from lm_eval.api.instance import Instance

    requests = []
    for window in chunk:
        context, trace = pairs[window.pair]
        whole = encoded[window.pair]
        if window.start > 0 or window.stop < whole.ids.size:
            raise BackendError(
                f"the prompt of trace {collector.label(window)} has {whole.ids.size} tokens, and {type(lm).__name__}, "
                f"which takes only text, {window.inputs}; use fewer shots (--num_fewshot) or a larger max_length"
            )
        before = context.rstrip() or context  # lm-eval, too, scores the space before a trace with the trace
        prefixes = [(before, context[len(before) :] + trace[:end]) for end in whole.token_end.tolist()]
        for number, part in enumerate(encoder.encode(prefixes)):
            if not np.array_equal(part.ids, whole.ids[: whole.first + number + 1]):
                raise TokenizationError(
                    f"trace {collector.label(window)} is split into other tokens up to {prefixes[number][1][-20:]!r} "
                    f"than as a whole, and {type(lm).__name__} takes only text; use a model class that takes token ids"
                )
        of_no_task: dict[str, Any] = {"doc": {}, "idx": 0, "task_name": "", "doc_id": 0, "metadata": ("", 0, 1)}
        requests += [Instance(request_type="loglikelihood", arguments=prefix, **of_no_task) for prefix in prefixes]
    totals = iter(_log_likelihoods(lm, "loglikelihood", requests))
    for window in chunk:
        steps = np.diff([0.0, *(next(totals) for _ in range(window.stop - window.first))])
        if (steps > ROUNDING).any():
            raise ScoringError(
                f"{type(lm).__name__} gives a longer prefix of trace {collector.label(window)} a higher "
                "log-likelihood than a shorter one: these are no log-likelihoods of a language model"
            )
        yield LogProbabilities(np.minimum(steps, 0.0))


def _log_likelihoods(lm: Any, method: str, requests: Sequence[Any]) -> list[float]:
    try:
        answers = getattr(lm, method)(requests, disable_tqdm=True)
    except NotImplementedError as error:
        message = " ".join(str(error).split())
        raise BackendError(
            f"{type(lm).__name__} gives no log-likelihoods ({message[:160] or 'not implemented'}); use another class"
        ) from error
    try:
        totals = [float(total) for total, _ in answers]
    except (TypeError, ValueError):
        totals = []
    if len(totals) != len(requests):
        raise BackendError(
            f"{type(lm).__name__}.{method} answers {len(requests)} requests with {len(totals)} pairs of a "
            "log-likelihood and whether the text is the most probable one; every request needs one pair"
        )
    return totals
