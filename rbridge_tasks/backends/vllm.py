"""Back end for lm-eval's ``vllm`` models: token ids in, log-probabilities of prompts out.

vLLM returns no distribution, so there is no entropy. Its rank counts the tokens that are at least as probable: tokens
of equal log-probability all get the largest rank of the tie, where ours orders them by id.

The prefix cache is not read: a token in it has no log-probability. Speculative decoding drafts generated tokens, and
none are generated. Probes check both before the first score is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from rbridge_metrics import TokenScores
from rbridge_tasks.backends.base import Backend, BackendError
from rbridge_tasks.backends.prompts.probes import RefusedSourceError, make_probes
from rbridge_tasks.backends.prompts.tokenizers import readable_tokenizer
from rbridge_tasks.scoring.collector import Done, LogProbabilities, ScoringError, TraceCollector, ignore_finished
from rbridge_tasks.scoring.tokenization import PairEncoder
from rbridge_tasks.scoring.windows import Window

logger = logging.getLogger(__name__)

#: Prompt tokens in one call; their results take some hundred bytes each.
_TOKENS_AT_ONCE = 1 << 18
#: With data parallelism lm-eval restarts its engines for every call.
_TOKENS_AT_ONCE_DATA_PARALLEL = 1 << 22
#: Bytes of logits in a step above which the log names the setting that reduces them.
_LARGE_STEP = 8 << 30
#: Positions whose logits vLLM's model runner V2 makes at once, whatever the step.
_ROWS_OF_RUNNER_V2 = 1024


def score(
    lm: Any,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    *,
    done: Done = ignore_finished,
) -> list[TokenScores]:
    """Score (context, trace) pairs under an ``lm_eval.models.vllm_causallms.VLLM``; arguments as of ``Backend``.

    Returns:
        One ``TokenScores`` per pair, in the order given, without entropy.

    Raises:
        BackendError: a subclass that overrides the forward pass, or an engine that gives logits.
        RefusedSourceError: the engine's log-probabilities violate an identity.
        ScoringError: a log-probability that is NaN or infinite, or the engine died.
        TokenizationError: see ``PairEncoder``.
    """
    from lm_eval.models.vllm_causallms import VLLM

    if type(lm)._model_generate is not VLLM._model_generate:
        raise BackendError(f"{type(lm).__name__} overrides the forward pass (_model_generate); use --model vllm")
    if not pairs:
        return []
    _check_engine(lm)
    tokenizer = readable_tokenizer(lm.tokenizer, "leave tokenizer_mode out of --model_args")
    encoder = PairEncoder(tokenizer, lm.add_bos_token, lm.prefix_token_id)
    encoded = encoder.encode(pairs, labels)
    # The window also holds the last token, which is no input, and one token that is generated.
    collector = TraceCollector(encoded, labels, max_length=lm.max_length - 2, vocab_size=_vocab_size(lm), done=done)
    logger.info("vLLM returns no distributions: no entropy, and no score that needs one")
    probes = make_probes(encoder, text_only=False, longest=lm.max_length - 1)
    _warn_of_memory(lm, max(window.inputs for window in collector.windows))
    quiet = lm.rank != 0 or lm.batch_size == "auto"  # vLLM itself draws a bar then
    with tqdm(total=len(collector.windows), desc="Scoring traces", unit="trace", disable=quiet) as bar:
        for number, chunk in enumerate(_chunks(lm, collector)):
            prompts = [collector.ids(window).tolist() for window in chunk]
            if number == 0:
                prompts = [list(ids) for ids in probes.prompts] + prompts
            answers = _ask(lm, prompts)
            if number == 0:
                probes.check(answers[: len(probes.prompts)], "vLLM")
                answers = answers[len(probes.prompts) :]
            collector.add_prompts(zip(chunk, answers, strict=True))
            bar.update(len(chunk))
    return collector.scores()


def identity(lm: Any) -> dict[str, Any]:
    """Files of the model, arguments of the engine and its version."""
    from rbridge_tasks.resume.model_files import served_by_vllm

    return served_by_vllm(lm)


BACKEND = Backend(__name__, score, identity)


def _check_engine(lm: Any) -> None:
    """Log which settings have no effect on scoring, and refuse one that gives wrong numbers."""
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


def _ask(lm: Any, prompts: list[list[int]]) -> list[LogProbabilities]:
    """Scores of every token of the prompts, from one call of the engine, or of all engines under data parallelism."""
    import torch
    from vllm import SamplingParams
    from vllm.v1.engine.exceptions import EngineDeadError

    options: dict[str, Any] = {"temperature": 0, "prompt_logprobs": 1, "max_tokens": 1, "detokenize": False}
    # Versions without the first option never read the cache for a prompt whose log-probabilities are asked for.
    names = frozenset(getattr(SamplingParams, "__struct_fields__", ()) or SamplingParams.__dataclass_fields__)
    options |= {name: True for name in ("skip_reading_prefix_cache", "flat_logprobs") if name in names}
    parameters = [SamplingParams(**options) for _ in prompts]
    try:
        outputs = lm._model_generate(prompts, generate=True, sampling_params=parameters)
    except (MemoryError, torch.OutOfMemoryError, EngineDeadError) as error:
        raise ScoringError(
            f"vLLM stopped while it scored ({' '.join(str(error).split())[:160] or type(error).__name__}); if it ran "
            "out of memory, give max_num_batched_tokens=2048 or a smaller gpu_memory_utilization in --model_args"
        ) from error
    return [_read(ids, output.prompt_logprobs) for ids, output in zip(prompts, outputs, strict=True)]


def _read(ids: list[int], entries: Any) -> LogProbabilities:
    """Read vLLM's answer for one prompt: for each token but the first a table by token id that includes the token."""
    count = 0 if entries is None else len(entries)
    if count != len(ids):
        raise RefusedSourceError(
            f"vLLM gives {count} log-probabilities for a prompt of {len(ids)} tokens; add "
            "enable_prefix_caching=False to --model_args"
        )
    logprob = np.full(len(ids), np.nan)
    highest = np.full(len(ids), np.nan)
    rank = np.zeros(len(ids), dtype=np.int64)
    for at in range(1, len(ids)):
        entry = entries[at]
        token = entry.get(ids[at]) if entry else None
        if token is None:
            raise RefusedSourceError(f"vLLM gives no log-probability for token {at} of a prompt of {len(ids)} tokens")
        logprob[at], rank[at] = token.logprob, token.rank
        highest[at] = max(alternative.logprob for alternative in entry.values())
    return LogProbabilities(logprob, highest, rank)


def _vocab_size(lm: Any) -> int:
    """Number of logits, padding rows of the embedding included."""
    config = lm._config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(text.vocab_size)


def _warn_of_memory(lm: Any, longest: int) -> None:
    """Warn where the logits of one step are large: a running engine cannot be told to take smaller steps."""
    step = longest
    if lm.data_parallel_size <= 1:
        config = lm.model.llm_engine.vllm_config
        step = min(longest, config.scheduler_config.max_num_batched_tokens)
        if getattr(config, "use_v2_model_runner", False):
            step = min(step, _ROWS_OF_RUNNER_V2)
    needed = step * _vocab_size(lm) * 4 * 2  # float32, as logits and as log-probabilities
    if needed > _LARGE_STEP:
        logger.warning(
            "vLLM may make logits of %.0f GiB at once for prompts of %d tokens and a vocabulary of %d; if it runs out "
            "of memory, give max_num_batched_tokens=2048 in --model_args",
            needed / 2**30, longest, _vocab_size(lm),
        )  # fmt: skip
