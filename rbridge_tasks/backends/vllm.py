"""Back end for lm-eval's ``vllm`` models: token ids in, prompt log-probabilities out.

vLLM keeps no distribution, so there is no entropy. Its rank counts the tokens that are at least as probable: where
several tokens have equal log-probabilities it gives each of them the largest rank of the tie, ours orders them by id.

The cache of shared prefixes is not read: a token found there has no log-probability. Speculative decoding has nothing
to do: it drafts what is generated after a prompt, and nothing is. Both are checked before the first score is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from rbridge_metrics import TokenScores
from rbridge_tasks.backends.hf import BackendError
from rbridge_tasks.backends.identities import Probes, RefusedSourceError, make_probes
from rbridge_tasks.backends.prompt_scores import Done, PromptScores, PromptScoresError, TraceCollector
from rbridge_tasks.backends.tokenizers import readable_tokenizer
from rbridge_tasks.scoring.tokenization import PairEncoder
from rbridge_tasks.scoring.windows import Window

logger = logging.getLogger(__name__)

#: Prompt tokens in one call: what their results take here is some hundred bytes each.
_TOKENS_AT_ONCE = 1 << 18
#: With data parallelism lm-eval starts its engines anew for every call.
_TOKENS_AT_ONCE_DATA_PARALLEL = 1 << 22
#: Logits of a step, in bytes, above which the log names the setting that makes it smaller.
_MUCH = 8 << 30


def score(
    lm: Any,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    *,
    done: Done = lambda _pairs, _scores: None,
) -> list[TokenScores]:
    """Score (context, trace) pairs under an ``lm_eval.models.vllm_causallms.VLLM``.

    Args:
        lm: the loaded model.
        pairs: (context, trace) texts.
        labels: what to call each pair in an error.
        done: called after each call of the engine with the indices of the pairs that it completed and their scores.

    Returns:
        One ``TokenScores`` per pair, in the order given, without entropy.

    Raises:
        BackendError: a subclass with a forward pass of its own, or an engine that gives logits.
        RefusedSourceError: the engine's log-probabilities break an identity.
        PromptScoresError: a log-probability that is NaN or infinite, or the engine died.
        TokenizationError: see ``PairEncoder``.
    """
    from lm_eval.models.vllm_causallms import VLLM

    if type(lm)._model_generate is not VLLM._model_generate:
        raise BackendError(f"{type(lm).__name__} runs its model in a way of its own; use --model vllm")
    if not pairs:
        return []
    _check_engine(lm)
    tokenizer = readable_tokenizer(lm.tokenizer, "leave tokenizer_mode out of --model_args")
    encoder = PairEncoder(tokenizer, lm.add_bos_token, lm.prefix_token_id)
    encoded = encoder.encode(pairs, labels)
    # One token is generated after the prompt, for which the window has to have room.
    collector = TraceCollector(encoded, labels, max_prompt=lm.max_length - 1, vocab_size=_vocab_size(lm), done=done)
    logger.info("vLLM keeps no distributions: no entropy, and no score that needs one")
    probes = make_probes(encoder, text_only=False, longest=lm.max_length - 1)
    _warn_of_memory(lm, max(window.inputs for window in collector.windows))
    quiet = lm.rank != 0 or lm.batch_size == "auto"  # vLLM draws a bar of its own then
    with tqdm(total=len(collector.windows), desc="Scoring traces", unit="trace", disable=quiet) as bar:
        for number, chunk in enumerate(_chunks(lm, collector)):
            prompts = [collector.prompt(window) for window in chunk]
            if number == 0:
                prompts = [list(ids) for ids in probes.prompts] + prompts
            answers = _ask(lm, prompts)
            if number == 0:
                answers = _believe(answers, probes)
            collector.add(zip(chunk, answers, strict=True))
            bar.update(len(chunk))
    return collector.scores()


def _believe(answers: list[PromptScores], probes: Probes) -> list[PromptScores]:
    """The answers that follow those to the probes, once these hold."""
    count = len(probes.prompts)
    probes.check(answers[:count], "vLLM")
    return answers[count:]


def _check_engine(lm: Any) -> None:
    """Log which of the user's settings do not apply to scoring, and refuse one that cannot be worked around."""
    arguments = lm.model_args
    if str(arguments.get("logprobs_mode") or "").endswith("logits"):
        raise BackendError(
            f"vLLM was started with logprobs_mode={arguments['logprobs_mode']}, so that it gives logits instead of "
            "log-probabilities; leave it out of --model_args"
        )
    if arguments.get("enable_prefix_caching", True) is not False:
        logger.info("vLLM: the prefix cache is not read for scoring")
    if arguments.get("speculative_config"):
        logger.info("vLLM: speculative decoding is not used for scoring, which generates nothing")
    if lm.data_parallel_size > 1:
        logger.info("vLLM: %d engines are started for each call of lm-eval", lm.data_parallel_size)


def _chunks(lm: Any, collector: TraceCollector) -> Iterator[list[Window]]:
    """Windows whose prompts go to the engine in one call."""
    most = _TOKENS_AT_ONCE_DATA_PARALLEL if lm.data_parallel_size > 1 else _TOKENS_AT_ONCE
    chunk: list[Window] = []
    tokens = 0
    for window in collector.windows:
        if chunk and tokens + window.inputs > most:
            yield chunk
            chunk, tokens = [], 0
        chunk.append(window)
        tokens += window.inputs + 1
    if chunk:
        yield chunk


def _ask(lm: Any, prompts: list[list[int]]) -> list[PromptScores]:
    """Scores of every token of the prompts, from one call of the engine, or of all engines under data parallelism."""
    import torch
    from vllm import SamplingParams
    from vllm.v1.engine.exceptions import EngineDeadError

    options: dict[str, Any] = {"temperature": 0, "prompt_logprobs": 1, "max_tokens": 1, "detokenize": False}
    known = _fields(SamplingParams)
    # Older versions never read the cache for a prompt whose log-probabilities are asked for, and have no such name.
    options |= {"skip_reading_prefix_cache": True} if "skip_reading_prefix_cache" in known else {}
    options |= {"flat_logprobs": True} if "flat_logprobs" in known else {}
    parameters = [SamplingParams(**options) for _ in prompts]
    try:
        outputs = lm._model_generate(prompts, generate=True, sampling_params=parameters)
    except (MemoryError, torch.OutOfMemoryError, EngineDeadError) as error:
        raise PromptScoresError(
            f"vLLM stopped while it scored ({' '.join(str(error).split())[:160] or type(error).__name__}); if it ran "
            "out of memory, give max_num_batched_tokens=2048 or a smaller gpu_memory_utilization in --model_args"
        ) from error
    return [_read(ids, output.prompt_logprobs) for ids, output in zip(prompts, outputs, strict=True)]


def _fields(cls: Any) -> frozenset[str]:
    return frozenset(getattr(cls, "__struct_fields__", ()) or getattr(cls, "__dataclass_fields__", ()))


def _read(ids: list[int], entries: Any) -> PromptScores:
    """What vLLM says of one prompt: for each token but the first a table by token id, the token's own entry in it."""
    found = 0 if entries is None else len(entries)
    if found != len(ids):
        raise RefusedSourceError(
            f"vLLM gives {found} log-probabilities for a prompt of {len(ids)} tokens; add "
            "enable_prefix_caching=False to --model_args"
        )
    logprob = np.full(len(ids), np.nan)
    highest = np.full(len(ids), np.nan)
    rank = np.zeros(len(ids), dtype=np.int64)
    for at in range(1, len(ids)):
        entry = entries[at]
        own = entry.get(ids[at]) if entry else None
        if own is None:
            raise RefusedSourceError(f"vLLM gives no log-probability for token {at} of a prompt of {len(ids)} tokens")
        logprob[at], rank[at] = own.logprob, own.rank
        highest[at] = max(one.logprob for one in entry.values())
    return PromptScores(logprob, highest, rank)


def _vocab_size(lm: Any) -> int:
    """Number of logits, padding rows of the embedding included."""
    config = lm._config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(text.vocab_size)


def _warn_of_memory(lm: Any, longest: int) -> None:
    """Say beforehand where the logits of one step are large: a running engine cannot be told to take smaller ones."""
    step = longest
    if lm.data_parallel_size <= 1:
        step = min(longest, lm.model.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens)
    needed = step * _vocab_size(lm) * 4 * 2  # float32, once as logits and once as log-probabilities
    if needed > _MUCH:
        logger.warning(
            "vLLM may make logits of %.0f GiB at once for prompts of %d tokens and a vocabulary of %d; if it runs out "
            "of memory, give max_num_batched_tokens=2048 in --model_args",
            needed / 2**30, longest, _vocab_size(lm),
        )  # fmt: skip
