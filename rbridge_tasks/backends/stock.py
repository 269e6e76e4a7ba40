"""Any model that lm-eval knows, through its own ``loglikelihood``, one token at a time: exact and very slow.

Where the model class takes token ids (lm-eval's ``TemplateLM``), each token of a trace is asked for by itself after
all tokens before it. Where it takes only text, the log-likelihood of ever longer beginnings of the trace is asked for,
and a token's log-probability is the difference between two of them; that needs a trace whose beginnings are tokenised
as they are within the whole.

``loglikelihood`` says of a token only whether it is the most probable one: no rank, no maximum, no entropy.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from rbridge_metrics import TokenScores
from rbridge_tasks.backends.hf import BackendError
from rbridge_tasks.backends.prompt_scores import Done, PromptScores, PromptScoresError, TraceCollector
from rbridge_tasks.backends.tokenizers import readable_tokenizer
from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizationError, TokenizedPair
from rbridge_tasks.scoring.windows import Window

logger = logging.getLogger(__name__)

#: Traces whose tokens are asked for in one call.
_TRACES_AT_ONCE = 8
#: How far rounding may raise the log-likelihood of a longer text above that of a shorter one, in nats.
_ROUNDING = 1e-2


def score(
    lm: Any,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    *,
    done: Done = lambda _pairs, _scores: None,
) -> list[TokenScores]:
    """Score (context, trace) pairs under any ``lm_eval.api.model.LM`` that has a tokenizer of transformers or tiktoken.

    Args:
        lm: the model as lm-eval holds it.
        pairs: (context, trace) texts.
        labels: what to call each pair in an error.
        done: called after each call of the model with the indices of the pairs that it completed and their scores.

    Returns:
        One ``TokenScores`` per pair, in the order given, with log-probabilities only.

    Raises:
        BackendError: the model gives no log-likelihoods, or is an encoder-decoder model.
        TokenizationError: the model has no tokenizer, or cuts a text into other tokens than its tokenizer does.
        PromptScoresError: what it gives cannot be log-likelihoods.
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
    collector = TraceCollector(encoded, labels, max_prompt=longest + 1, vocab_size=len(tokenizer), done=done)
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


def _takes_ids(lm: Any) -> bool:
    from lm_eval.api.model import TemplateLM

    return isinstance(lm, TemplateLM) and getattr(lm, "tokenized_requests", True)


def _ask_ids(
    lm: Any, chunk: Sequence[Window], pairs: Sequence[tuple[str, str]], encoded: Sequence[TokenizedPair]
) -> Iterator[PromptScores]:
    """One request for each token, the tokens before it as its context."""
    requests: list[tuple[None, list[int], list[int]]] = []
    for window, (context, trace) in zip(chunk, pairs, strict=True):
        ids = encoded[window.pair].ids.tolist()
        if context and list(lm.tok_encode(context + trace)) != ids:
            raise TokenizationError(
                f"{type(lm).__name__} cuts {trace[:30]!r}... into other tokens than its tokenizer does; traces cannot "
                "be aligned with its scores"
            )
        requests += [(None, ids[window.start : at], [ids[at]]) for at in range(window.first, window.stop)]
    found = iter(_log_likelihoods(lm, "_loglikelihood_tokens", requests))
    for window in chunk:
        logprob = np.full(window.stop - window.start, np.nan)
        for at in range(window.first, window.stop):
            logprob[at - window.start] = next(found)
        yield PromptScores(logprob, None, None)


def _ask_text(
    lm: Any,
    encoder: PairEncoder,
    chunk: Sequence[Window],
    pairs: Sequence[tuple[str, str]],
    encoded: Sequence[TokenizedPair],
    collector: TraceCollector,
) -> Iterator[PromptScores]:
    """One request for each beginning of a trace that ends with a token."""
    from rbridge_tasks.harness.lm_eval_versions import new_request

    requests = []
    for window in chunk:
        context, trace = pairs[window.pair]
        whole = encoded[window.pair]
        if window.start > 0 or window.stop < whole.ids.size:
            raise BackendError(
                f"the prompt of trace {collector.label(window)} has {whole.ids.size} tokens, and {type(lm).__name__}, "
                f"which takes only text, {window.inputs}; use fewer shots (--num_fewshot) or a larger max_length"
            )
        before = context.rstrip() or context  # lm-eval too has the space before a trace scored with it
        beginnings = [(before, context[len(before) :] + trace[:end]) for end in whole.token_end.tolist()]
        for number, part in enumerate(encoder.encode(beginnings)):
            if not np.array_equal(part.ids, whole.ids[: whole.first + number + 1]):
                raise TokenizationError(
                    f"trace {collector.label(window)} is cut into other tokens up to {beginnings[number][1][-20:]!r} "
                    f"than as a whole, and {type(lm).__name__} takes only text; use a model class that takes token ids"
                )
        requests += [new_request("loglikelihood", {}, beginning) for beginning in beginnings]
    found = iter(_log_likelihoods(lm, "loglikelihood", requests))
    for window in chunk:
        steps = np.diff([0.0, *(next(found) for _ in range(window.stop - window.first))])
        if (steps > _ROUNDING).any():
            raise PromptScoresError(
                f"{type(lm).__name__} gives a longer beginning of trace {collector.label(window)} a higher "
                "log-likelihood than a shorter one: these are no log-likelihoods of a language model"
            )
        yield PromptScores(np.concatenate((np.full(window.first, np.nan), np.minimum(steps, 0.0))), None, None)


def _log_likelihoods(lm: Any, method: str, requests: Sequence[Any]) -> list[float]:
    try:
        answers = getattr(lm, method)(requests, disable_tqdm=True)
    except NotImplementedError as error:
        said = " ".join(str(error).split())
        raise BackendError(
            f"{type(lm).__name__} gives no log-likelihoods ({said[:160] or 'not implemented'}); use another model class"
        ) from error
    return [float(total) for total, _ in answers]
