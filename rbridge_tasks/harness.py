"""Every contact with lm-eval's internals: our task folder, metrics, request type, standard errors, and the task class.

Written against lm-eval 0.4.13. What its main branch moves is mended here and nowhere else. Metrics and aggregations are
registered under their names when this module is imported, which is also what lm-eval's entry points ask for.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_aggregation, register_metric
from lm_eval.api.task import ConfigurableTask

from rbridge_metrics import (
    RBridgeError,
    TokenScores,
    TraceMoments,
    bits_per_byte,
    bits_per_byte_stderr,
    weighted_nats_over_test_set,
)
from rbridge_tasks.item_metrics import WEIGHTINGS, item_metrics, needs_of, require_weights
from rbridge_tasks.prompts import DELIMITER, document
from rbridge_traces import Trace

logger = logging.getLogger(__name__)

TASKS_PATH = Path(__file__).parent / "tasks"
REQUEST_TYPE = "rbridge_token_scores"

#: Back end module by the lm-eval model class it serves; subclasses are served too.
BACKENDS = {"lm_eval.models.huggingface.HFLM": "rbridge_tasks.backends.hf"}

_OPTIONS = ("rbridge_cache", "rbridge_source", "rbridge_weights", "rbridge_only_correct")


class TaskOptionError(RBridgeError):
    """A value in --metadata or --num_fewshot that our tasks do not know, or a model that they cannot use."""


# ---------------------------------------------------------------- tasks


def add_tasks_to(tasks_module: ModuleType) -> None:
    """Make ``lm_eval.tasks.TaskManager`` index our folder after the built-in tasks and before ``--include_path``."""
    manager = tasks_module.TaskManager
    if hasattr(manager, "rbridge_tasks_path"):
        return
    original_init, original_load = manager.__init__, manager.load

    @functools.wraps(original_init)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        call = inspect.signature(original_init).bind(self, *args, **kwargs)
        call.apply_defaults()
        given = call.arguments["include_path"]
        if call.arguments["include_defaults"]:
            folders = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
            others = [folder for folder in folders if Path(folder).resolve() != TASKS_PATH.resolve()]
            call.arguments["include_path"] = [TASKS_PATH, *others]
        original_init(*call.args, **call.kwargs)
        self.include_path = given

    @functools.wraps(original_load)
    def load(self: Any, *args: Any, **kwargs: Any) -> Any:
        loaded = original_load(self, *args, **kwargs)
        for group in loaded.get("groups", {}).values():
            if any(isinstance(task, TraceTask) and task.is_sample for task in group.get_all_tasks()):
                group.alias = f"{group.alias or group.name} (sample)"
        return loaded

    manager.__init__, manager.load = init, load
    manager.rbridge_tasks_path = TASKS_PATH


class TraceTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval is not typed
    """Scores the traces of one benchmark. Named by the YAML files beside this module.

    Options come from ``--metadata``: ``rbridge_cache`` (folder or URL of a trace cache, or "sample"),
    ``rbridge_source`` (which of several sources in it), ``rbridge_weights`` (see ``WEIGHTINGS``),
    ``rbridge_only_correct`` (true: only traces that came to the right answer).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        _attach()
        config = {key: value for key, value in config.items() if key != "class"}
        options = dict(config.get("metadata") or {})
        if unknown := [key for key in options if key.startswith("rbridge_") and key not in _OPTIONS]:
            raise TaskOptionError(f"unknown option {unknown[0]!r} in --metadata; known are {', '.join(_OPTIONS)}")
        self.benchmark: str = config["dataset_name"]
        self.weighting: str = options.get("rbridge_weights", "confidence")
        if self.weighting not in WEIGHTINGS:
            raise TaskOptionError(f"rbridge_weights is {self.weighting!r}; choose one of {', '.join(WEIGHTINGS)}")
        only_correct = options.get("rbridge_only_correct", False)
        if not isinstance(only_correct, bool):
            raise TaskOptionError(f"rbridge_only_correct is {only_correct!r}; write true or false")
        self._read_traces(options.get("rbridge_cache"), options.get("rbridge_source"), only_correct=only_correct)
        config["metadata"] = options | {"rbridge_traces": self.provenance}
        if self.is_sample:
            config["task_alias"] = f"{config.get('task_alias') or config['task']} (sample)"
        super().__init__(config=config)
        self.OUTPUT_TYPE = REQUEST_TYPE
        if self.weighting == "confidence_test_set":
            self._aggregation_list["rbridge_nll"] = test_set_rbridge_nll
            self._aggregation_list["rbridge_bits_per_byte"] = test_set_rbridge_bits_per_byte

    def _read_traces(self, cache: str | None, source: str | None, *, only_correct: bool) -> None:
        from rbridge_traces import resolve_cache

        resolved = resolve_cache(cache)
        traces = resolved.cache.load(self.benchmark, source, needs=needs_of(self.weighting))
        if only_correct:
            traces = traces.only_correct()
        require_weights(traces.traces, self.weighting, traces.location)
        manifest = traces.manifest
        self.is_sample: bool = manifest.sample
        self.has_spans = all(trace.spans for trace in traces.traces)
        self._traces: dict[str, Trace] = {trace.item_id: trace for trace in traces.traces}
        self.provenance = {
            "location": traces.location,
            "origin": resolved.origin,
            "source": manifest.source,
            "sample": manifest.sample,
            "traces": len(traces.traces),
            "only_correct": only_correct,
            "frontier_model": manifest.frontier_model,
            "confidence_model": manifest.confidence_model,
            "files": manifest.files,
        }
        logger.info(
            "rbridge_%s: %d traces%s by %s, confidences of %s, from %s (%s)",
            self.benchmark, len(traces.traces), " OF THE SAMPLE, not of the benchmark," if manifest.sample else "",
            manifest.frontier_model or "an unnamed model", manifest.confidence_model or "no model",
            traces.location, resolved.origin,
        )  # fmt: skip

    def download(self, *_args: Any, **_kwargs: Any) -> None:
        """Lay the traces out as a data set. Confidences stay here: samples carry them per proxy token."""
        import datasets

        self.dataset = {"test": datasets.Dataset.from_list([document(trace) for trace in self._traces.values()])}

    def fewshot_docs(self) -> list[dict[str, Any]]:
        """The worked examples that come with the package."""
        from rbridge_traces import few_shot_examples

        return [document(trace) for trace in few_shot_examples(self.benchmark)]

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int, **kwargs: Any) -> str:
        available = len(self.sampler.df)
        if num_fewshot > available:
            raise TaskOptionError(
                f"--num_fewshot {num_fewshot} asks for more worked examples than rbridge_{self.benchmark} has "
                f"({available}); use a number from 0 to {available}"
            )
        context: str = super().fewshot_context(doc, num_fewshot=num_fewshot, **kwargs)
        return context

    def build_all_requests(self, **kwargs: Any) -> None:
        if kwargs.get("cache_requests"):
            logger.info("--cache_requests does nothing here: lm-eval's key for it does not know the trace cache")
            kwargs["cache_requests"] = kwargs["rewrite_requests_cache"] = False
        super().build_all_requests(**kwargs)

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> Instance:
        delimiter = "" if ctx[-1:].isspace() else DELIMITER
        return Instance(
            request_type=REQUEST_TYPE,
            doc=doc,
            arguments=(ctx + delimiter, doc["trace"]),
            idx=0,
            metadata=kwargs["metadata"],
        )

    def apply_filters(self) -> None:
        for instance in self._instances:
            del instance.resps[1:]  # copies with which lm-eval evens out the ranks of a distributed run
            instance.filtered_resps["none"] = _Response(instance.resps[0])

    def process_results(self, doc: dict[str, Any], results: Sequence[_Response]) -> dict[str, Any]:
        metrics = item_metrics(results[0].scores, self._traces[doc["item_id"]], self.weighting, spans=self.has_spans)
        return {} if "bypass" in self._metric_fn_list else metrics  # bypass: lm_eval --predict_only


class _Response:
    """A response where lm-eval would write it a second time: the arrays stand under ``resps`` only."""

    def __init__(self, scores: TokenScores) -> None:
        self.scores = scores

    def __str__(self) -> str:
        return f"{self.scores.logprob.size} tokens, see resps"


# ---------------------------------------------------------------- metrics, aggregations and their standard errors


@register_aggregation("corpus_bits_per_byte")
def corpus_bits_per_byte(items: Sequence[tuple[float, int]]) -> float:
    """Bits per byte of all traces together, from (nats, bytes) of each."""
    nats, n_bytes = zip(*items, strict=True)
    return bits_per_byte(nats, n_bytes)


def _corpus_bits_per_byte_stderr(items: Sequence[tuple[float, int]]) -> float:
    nats, n_bytes = zip(*items, strict=True)
    return bits_per_byte_stderr(nats, n_bytes)


def _test_set_items(items: Sequence[TraceMoments]) -> list[tuple[float, int, int]]:
    weighted = weighted_nats_over_test_set(items)
    return [(float(nats), item.tokens, item.n_bytes) for nats, item in zip(weighted, items, strict=True)]


@register_aggregation("test_set_rbridge_nll")
def test_set_rbridge_nll(items: Sequence[TraceMoments]) -> float:
    """Mean over traces of the rBridge NLL, weights normalised over all of them."""
    scores = [nats / tokens for nats, tokens, _ in _test_set_items(items)]
    return math.fsum(scores) / len(scores)


def _test_set_rbridge_nll_stderr(items: Sequence[TraceMoments]) -> float:
    from lm_eval.api.metrics import mean_stderr

    return float(mean_stderr([nats / tokens for nats, tokens, _ in _test_set_items(items)]))


@register_aggregation("test_set_rbridge_bits_per_byte")
def test_set_rbridge_bits_per_byte(items: Sequence[TraceMoments]) -> float:
    """rBridge bits per byte of all traces together, weights normalised over all of them."""
    return corpus_bits_per_byte([(nats, n_bytes) for nats, _, n_bytes in _test_set_items(items)])


def _test_set_rbridge_bits_per_byte_stderr(items: Sequence[TraceMoments]) -> float:
    return _corpus_bits_per_byte_stderr([(nats, n_bytes) for nats, _, n_bytes in _test_set_items(items)])


_STDERRS: dict[Callable[..., float], Callable[..., float]] = {
    corpus_bits_per_byte: _corpus_bits_per_byte_stderr,
    test_set_rbridge_nll: _test_set_rbridge_nll_stderr,
    test_set_rbridge_bits_per_byte: _test_set_rbridge_bits_per_byte_stderr,
}


@register_metric(metric="rbridge_nll", higher_is_better=False, output_type=REQUEST_TYPE, aggregation="mean")
def rbridge_nll(items: Any) -> Any:
    """Weighted NLL of a trace. ``TraceTask`` computes it; lm-eval wants a function under the name."""
    return items


@register_metric(metric="trace_nll", higher_is_better=False, output_type=REQUEST_TYPE, aggregation="mean")
def trace_nll(items: Any) -> Any:
    """Plain NLL of a trace, in nats per token; computed by ``TraceTask``."""
    return items


@register_metric(metric="rbridge_span_nll", higher_is_better=False, output_type=REQUEST_TYPE, aggregation="mean")
def rbridge_span_nll(items: Any) -> Any:
    """NLL of the tokens in marked spans, over all tokens of the trace; computed by ``TraceTask``."""
    return items


@register_metric(
    metric="rbridge_bits_per_byte",
    higher_is_better=False,
    output_type=REQUEST_TYPE,
    aggregation="corpus_bits_per_byte",
)
def rbridge_bits_per_byte(items: Any) -> Any:
    """(weighted nats, bytes) of a trace; computed by ``TraceTask``."""
    return items


@register_metric(
    metric="trace_bits_per_byte", higher_is_better=False, output_type=REQUEST_TYPE, aggregation="corpus_bits_per_byte"
)
def trace_bits_per_byte(items: Any) -> Any:
    """(nats, bytes) of a trace; computed by ``TraceTask``."""
    return items


# ---------------------------------------------------------------- the request type


def token_scores(lm: Any, requests: Sequence[Instance]) -> list[TokenScores]:
    """Answer our request type: per-token scores of each (context, trace), under whatever model lm-eval has loaded.

    Raises:
        TaskOptionError: a model class that no back end serves.
    """
    classes = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(lm).__mro__]
    backend = next((BACKENDS[name] for name in classes if name in BACKENDS), None)
    if backend is None:
        raise TaskOptionError(
            f"rBridge tasks cannot read token scores from {type(lm).__name__}; use --model hf with a causal LM"
        )
    pairs = [request.args for request in requests]
    labels = [f"{request.doc['benchmark']}/{request.doc['item_id']}" for request in requests]
    scores: list[TokenScores] = importlib.import_module(backend).score(lm, pairs, labels)
    return scores


@functools.cache
def _attach() -> None:
    """Teach lm-eval our request type and standard errors. Once, and only when one of our tasks is used."""
    import lm_eval.evaluator_utils as evaluator_utils

    setattr(LM, REQUEST_TYPE, token_scores)
    original = evaluator_utils.stderr_for_metric

    @functools.wraps(original)
    def stderr_for_metric(metric: Callable[..., float], bootstrap_iters: int) -> Any:
        closed_form = _STDERRS.get(metric)
        return closed_form if closed_form is not None and bootstrap_iters > 0 else original(metric, bootstrap_iters)

    evaluator_utils.stderr_for_metric = stderr_for_metric
    logging.getLogger("rbridge_tasks").parent = logging.getLogger("lm_eval")  # its level, format and handlers
    _show_errors_in_one_line()


def _show_errors_in_one_line() -> None:
    """Print our own errors without a traceback when they end a program; RBRIDGE_TRACEBACK=1 shows it."""
    previous = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RBridgeError) and not os.environ.get("RBRIDGE_TRACEBACK"):
            print(f"rbridge: error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    sys.excepthook = excepthook
