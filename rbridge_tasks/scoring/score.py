"""``rbridge_tasks.score``: the numbers of ``lm_eval --tasks rbridge_*`` from Python, without lm-eval."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from rbridge_metrics import RBridgeError, TokenScores
from rbridge_tasks.scoring.aggregation import aggregate
from rbridge_tasks.scoring.benchmark_traces import BenchmarkTraces, benchmark_traces
from rbridge_tasks.scoring.chat_template import ChatTemplate
from rbridge_tasks.scoring.contexts import Contexts
from rbridge_tasks.scoring.item_metrics import item_metrics, needs_of, require_weights
from rbridge_tasks.scoring.load import context_length, load_model, prefix_token_id
from rbridge_tasks.scoring.prompts import PROMPTS
from rbridge_tasks.scoring.scores import Scores
from rbridge_tasks.scoring.weightings import WEIGHTINGS
from rbridge_tasks.tables.settings import EXAMPLES, PROMPT, examples_setting

if TYPE_CHECKING:
    import torch

    from rbridge_tasks.scoring.engine import Scorer
    from rbridge_traces import Trace


class ScoreUsageError(RBridgeError, ValueError):
    """An argument of ``score`` that cannot be used."""


def score(
    model: Any,
    tokenizer: Any = None,
    benchmark: str = "gsm8k",
    *,
    num_fewshot: int | None = None,
    apply_chat_template: bool = False,
    fewshot_as_multiturn: bool = True,
    system_instruction: str | None = None,
    fewshot: str | None = None,
    prompt: Literal["default", "bare"] = "default",
    weights: str = "confidence",
    cache: str | None = None,
    source: str | None = None,
    only_correct: bool = False,
    limit: int | None = None,
    batch_size: int | Literal["auto"] = 1,
    max_length: int | None = None,
    add_bos_token: bool | None = None,
    autocast_dtype: torch.dtype | None = None,
    device: str | None = None,
    progress: bool = False,
) -> Scores:
    """Score a model on the traces of a benchmark.

    The numbers are those of ``lm_eval --model hf --tasks rbridge_<benchmark>`` with the same settings, to the last bit.
    The model is left as it was: device, dtype, mode, gradients and random states. Nothing else in the process changes.

    Args:
        model: a transformers causal LM; or the folder or Hub name of one; or a callable that takes token ids (a
            LongTensor of shape (texts, tokens)) and returns logits of shape (texts, tokens, vocabulary), causal: a
            logit may depend only on the tokens up to its own. A torch module is scored in evaluation mode; a function
            around one has to see to that itself.
        tokenizer: a transformers tokenizer, or the name of one; may be left out where ``model`` is a name.
        benchmark: whose traces to score: ``math500``, ``mmlu_pro_stem``, ``gsm8k``, ``arc_challenge``, ``csqa`` or
            ``humaneval``, or any other that the cache holds.
        num_fewshot: worked examples before each question; None for the benchmark's default, 5 for those named above.
        apply_chat_template: write the context as messages, under the default chat template of the tokenizer.
        fewshot_as_multiturn: under a chat template, write each worked example as a user and an assistant message; False
            writes all of the context into one user message.
        system_instruction: text before everything else; a system message under a chat template.
        fewshot: file of worked examples, or "traces" to take them from the traces, never the scored one; None for those
            of the benchmark.
        prompt: "default", or "bare": the question alone, without examples and with nothing between it and the trace.
        weights: "confidence", "confidence_test_set", "spans" or "none"; see ``rbridge_weights`` in docs/tasks.md.
        cache: folder or URL of a trace cache, or "sample"; None for ``$RBRIDGE_CACHE``, else the user's cache.
        source: which source of traces, where the cache holds several.
        only_correct: leave out traces whose final answer is wrong.
        limit: score only the first traces.
        batch_size: texts read at once, as lm-eval's ``--batch_size``. "auto" keeps the device busy and halves the batch
            when memory runs out; numbers then differ from those of batch size 1 in the last digits.
        max_length: longest input in tokens; None takes it from the model's configuration.
        add_bos_token: whether to put special tokens before each text; None leaves it to the tokenizer.
        autocast_dtype: run the model under ``torch.autocast`` with this dtype.
        device: where to load a model that is given by name, and where a callable takes its input; None takes a GPU if
            there is one.
        progress: draw a progress bar.

    Returns:
        The metrics with standard errors, and the token scores of each trace.

    Raises:
        ScoreUsageError, FewShotError: an argument cannot be used.
        ChatTemplateError: the tokenizer has no default chat template.
        TraceError, MissingWeightsError, ModelLoadError, TokenizationError, ScoringError: the cache, its traces, the
            model, its tokenizer or its numbers are not usable; the message says how to go on.

    >>> scores = score("sshleifer/tiny-gpt2", None, "gsm8k", cache="sample", weights="spans")  # doctest: +SKIP
    >>> scores.metrics["rbridge_nll"], scores.stderr["rbridge_nll"]  # doctest: +SKIP
    (1.8764, 0.0917)
    """
    _check_arguments(
        num_fewshot=num_fewshot, weights=weights, limit=limit, batch_size=batch_size, prompt=prompt,
        max_length=max_length, autocast_dtype=autocast_dtype,
    )  # fmt: skip
    source_traces = benchmark_traces(
        benchmark,
        cache=cache,
        source=source,
        only_correct=only_correct,
        needs=needs_of(weights),
        fewshot=fewshot,
        prompt=prompt,
    )
    traces = source_traces.traces[:limit]
    require_weights([*traces], weights, source_traces.location)
    shots = source_traces.shots(num_fewshot)
    model, tokenizer, name = _model_and_tokenizer(model, tokenizer, device)
    template = ChatTemplate(tokenizer) if apply_chat_template else None
    contexts = Contexts(
        source_traces.examples, shots, template, fewshot_as_multiturn, system_instruction, source_traces.prompt
    )
    compared = contexts.settings | {"task version": contexts.task_version(traces[0])}
    pairs = [(contexts.of(trace), trace.trace) for trace in traces]
    scorer = _scorer(
        model, tokenizer, max_length=max_length, batch_size=batch_size, autocast_dtype=autocast_dtype, device=device,
        progress=progress,
    )  # fmt: skip
    token_scores = _token_scores(scorer, tokenizer, add_bos_token, pairs, traces)
    has_spans = all(trace.spans for trace in source_traces.traces)
    items = {
        trace.item_id: item_metrics(token_scores[trace.item_id], trace, weights, spans=has_spans) for trace in traces
    }
    metrics, stderr = aggregate([*items.values()], over_test_set=weights == "confidence_test_set")
    return Scores(
        benchmark=benchmark,
        metrics=metrics,
        stderr=stderr,
        token_scores=token_scores,
        items=items,
        traces={trace.item_id: trace for trace in traces},
        provenance=source_traces.provenance,
        weights=weights,
        model=name,
        params=_parameter_count(model),
        settings=compared | _settings(source_traces, weights, model, shots),
    )


def _check_arguments(
    *,
    num_fewshot: int | None,
    weights: str,
    limit: int | None,
    batch_size: int | str,
    prompt: str,
    max_length: int | None,
    autocast_dtype: torch.dtype | None,
) -> None:
    import torch

    for name, choice, choices in (("weights", weights, [*WEIGHTINGS]), ("prompt", prompt, PROMPTS)):
        if choice not in choices:
            raise ScoreUsageError(f"{name} is {choice!r}; choose one of {', '.join(choices)}")
    numbers: tuple[tuple[str, int | str | None, str | None, int, str], ...] = (
        ("num_fewshot", num_fewshot, None, 0, "from 0"),
        ("limit", limit, None, 1, "of at least 1, or None for all traces"),
        ("batch_size", batch_size, "auto", 1, 'of at least 1, or "auto"'),
        ("max_length", max_length, None, 1, "of at least 1, or None for the model's own limit"),
    )
    for name, number, special, least, expected in numbers:
        if number != special and (not isinstance(number, int) or number < least):
            raise ScoreUsageError(f"{name} is {number!r}; give a whole number {expected}")
    if not isinstance(autocast_dtype, torch.dtype | None):
        raise ScoreUsageError(f"autocast_dtype is {autocast_dtype!r}; give a dtype of torch, such as torch.bfloat16")


def _model_and_tokenizer(model: Any, tokenizer: Any, device: str | None) -> tuple[Any, Any, str]:
    """The model, its tokenizer, and a name for the model."""
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        model, own_tokenizer = load_model(name, device=device)
        tokenizer = own_tokenizer if tokenizer is None else tokenizer
    else:
        model = _unwrapped(model)
        config = getattr(model, "config", None)
        name = str(getattr(config, "_name_or_path", "") or type(model).__name__)
    if isinstance(tokenizer, (str, os.PathLike)):
        from rbridge_tasks.scoring.tokenization import load_tokenizer

        tokenizer = load_tokenizer(os.fspath(tokenizer))
    if tokenizer is None:
        raise ScoreUsageError(f"tokenizer is None, and {name} does not name one; give the tokenizer of the model")
    if not hasattr(tokenizer, "bos_token_id"):
        raise ScoreUsageError(
            f"tokenizer is of the type {type(tokenizer).__name__}; give a tokenizer of transformers or the name of one "
            "(transformers.PreTrainedTokenizerFast(tokenizer_object=...) makes one from a tokenizers.Tokenizer)"
        )
    if not callable(model):
        raise ScoreUsageError(
            f"model is of the type {type(model).__name__}; give a transformers model, the name of one, or a callable "
            "from token ids to logits"
        )
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise ScoreUsageError(f"{name} is an encoder-decoder model; rBridge scores need a causal (decoder-only) one")
    return model, tokenizer, name


def _unwrapped(model: Any) -> Any:
    """The model inside ``torch.compile`` and ``DistributedDataParallel``."""
    from torch.nn.parallel import DistributedDataParallel

    model = getattr(model, "_orig_mod", model)
    return model.module if isinstance(model, DistributedDataParallel) else model


def _scorer(
    model: Any,
    tokenizer: Any,
    *,
    max_length: int | None,
    batch_size: int | Literal["auto"],
    autocast_dtype: torch.dtype | None,
    device: str | None,
    progress: bool,
) -> Scorer:
    import torch
    from transformers import PreTrainedModel

    config = getattr(model, "config", None)
    length = max_length or context_length(config, tokenizer)
    if isinstance(model, PreTrainedModel) or hasattr(model, "get_base_model"):  # the second: an adapter of peft
        from rbridge_tasks.scoring.causal_lm import CausalScorer

        return CausalScorer(
            model=model, device=model.device, max_length=length, batch_size=batch_size,
            autocast_dtype=autocast_dtype, show_progress=progress,
        )  # fmt: skip
    if autocast_dtype is not None:
        raise ScoreUsageError("autocast_dtype is for transformers models; let the callable enter torch.autocast itself")
    from rbridge_tasks.scoring.callable_lm import CallableScorer

    parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
    first = next(parameters, torch.empty(0))
    try:
        first = torch.empty(0, device=device) if device else first
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ScoreUsageError(f"device is {device!r} ({reason}); give a device that exists, such as cpu") from error
    return CallableScorer(
        forward=model, device=first.device, max_length=length, batch_size=batch_size, show_progress=progress
    )  # fmt: skip


def _token_scores(
    scorer: Scorer,
    tokenizer: Any,
    add_bos_token: bool | None,
    pairs: Sequence[tuple[str, str]],
    traces: Sequence[Trace],
) -> dict[str, TokenScores]:
    """Token scores by item; a pair that several items share is scored once, as under lm-eval."""
    from rbridge_tasks.scoring.score_pairs import score_pairs
    from rbridge_tasks.scoring.tokenization import PairEncoder

    labels: dict[tuple[str, str], str] = {}
    for pair, trace in zip(pairs, traces, strict=True):
        labels.setdefault(pair, trace.name)
    encoder = PairEncoder(tokenizer, add_bos_token, prefix_token_id(tokenizer))
    by_pair = dict(zip(labels, score_pairs(scorer, encoder, [*labels], [*labels.values()]), strict=True))
    return {trace.item_id: replace(by_pair[pair]) for pair, trace in zip(pairs, traces, strict=True)}


def _parameter_count(model: Any) -> int | None:
    count: Callable[[], int] | None = getattr(model, "num_parameters", None)
    if count is not None:
        return int(count())
    parameters = getattr(model, "parameters", None)
    return sum(parameter.numel() for parameter in parameters()) if callable(parameters) else None


def _settings(source: BenchmarkTraces, weights: str, model: Any, shots: int) -> dict[str, str]:
    """Settings of the model and the traces that other scores must share, as ``rbridge collect`` notes them."""
    dtype = getattr(model, "dtype", None)
    checksums = ", ".join(sorted(str(checksum)[:12] for checksum in source.manifest.files.values()))
    settings = {
        "dtype": str(dtype).removeprefix("torch.") if dtype is not None else "",
        "traces": checksums,
        "only correct traces": str(source.only_correct),
        "confidence model": str(source.manifest.confidence_model or "none"),
        "weights": weights,
        PROMPT: source.prompt.record or "",
        EXAMPLES: examples_setting(record) if shots and (record := source.examples.record) else "",
    }
    return {name: value for name, value in settings.items() if value}
