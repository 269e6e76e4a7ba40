"""What all our tasks share: the items of one benchmark's traces as documents, and the worked examples before them."""

from __future__ import annotations

import logging
from typing import Any, Literal

from lm_eval.api.task import ConfigurableTask

from rbridge_metrics import RBridgeError
from rbridge_tasks.harness.metrics import use_closed_form_stderrs
from rbridge_tasks.harness.requests import attach
from rbridge_tasks.item_metrics import WEIGHTINGS
from rbridge_tasks.prompts import document
from rbridge_traces import Trace, unknown_tokens

logger = logging.getLogger(__name__)

OPTIONS = (
    "rbridge_cache", "rbridge_source", "rbridge_weights", "rbridge_only_correct", "rbridge_frequencies",
    "rbridge_humaneval_tests", "rbridge_slow", "rbridge_compile",
)  # fmt: skip


class TaskOptionError(RBridgeError):
    """A value in --metadata or --num_fewshot that our tasks do not know."""


class TraceDocsTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval is not typed
    """A task over the items of one benchmark that have traces.

    Options come from ``--metadata``: ``rbridge_cache`` (folder or URL of a trace cache, or "sample"),
    ``rbridge_source`` (which of several sources in it), ``rbridge_weights`` (see ``WEIGHTINGS``),
    ``rbridge_only_correct`` (true: only traces that came to the right answer), ``rbridge_frequencies`` (file of
    ``rbridge frequencies``, for the tasks ``rbridge_proxies_*``), ``rbridge_humaneval_tests`` (a
    local copy of HumanEval, for ``rbridge_humaneval_gen``), ``rbridge_slow`` (true: score through lm-eval's own
    ``loglikelihood``, one token at a time, which serves every model class), ``rbridge_compile`` (true: with layers
    compiled by torch.compile, under ``--model hf``).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        attach()
        use_closed_form_stderrs()
        config = {key: value for key, value in config.items() if key != "class"}
        options = dict(config.get("metadata") or {})
        if unknown := [key for key in options if key.startswith("rbridge_") and key not in OPTIONS]:
            raise TaskOptionError(f"unknown option {unknown[0]!r} in --metadata; known are {', '.join(OPTIONS)}")
        self.benchmark: str = config["dataset_name"]
        self.weighting: str = options.get("rbridge_weights", "confidence")
        if self.weighting not in WEIGHTINGS:
            raise TaskOptionError(f"rbridge_weights is {self.weighting!r}; choose one of {', '.join(WEIGHTINGS)}")
        only_correct = _switch(options, "rbridge_only_correct")
        self.slow, self.compiled = _switch(options, "rbridge_slow"), _switch(options, "rbridge_compile")
        if self.slow and self.compiled:
            raise TaskOptionError("rbridge_slow and rbridge_compile exclude each other; leave one out")
        self._read_traces(options.get("rbridge_cache"), options.get("rbridge_source"), only_correct=only_correct)
        config["metadata"] = options | {"rbridge_traces": self.provenance}
        if self.is_sample:
            config["task_alias"] = f"{config.get('task_alias') or config['task']} (sample)"
        super().__init__(config=config)

    def needs(self) -> Literal["confidence", "spans"] | None:
        """What a trace has to have beside its text; sources that lack it are passed over."""
        return None

    def check_traces(self, traces: list[Trace], where: str) -> None:
        """Raise an ``RBridgeError`` where the traces found lack what the task needs."""

    def _read_traces(self, cache: str | None, source: str | None, *, only_correct: bool) -> None:
        from rbridge_traces import resolve_cache

        resolved = resolve_cache(cache)
        traces = resolved.cache.load(self.benchmark, source, needs=self.needs())
        if only_correct:
            traces = traces.only_correct()
        self.check_traces(traces.traces, traces.location)
        manifest = traces.manifest
        self.is_sample: bool = manifest.sample
        self.traces: dict[str, Trace] = {trace.item_id: trace for trace in traces.traces}
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
        unknown = unknown_tokens(traces.traces)
        if unknown and self.needs() == "confidence":
            self.provenance["tokens_unknown"] = unknown.tokens
            logger.warning("rbridge_%s: %s", self.benchmark, unknown)
        logger.info(
            "rbridge_%s: %d traces%s by %s, confidences of %s, from %s (%s)",
            self.benchmark, len(traces.traces), " OF THE SAMPLE, not of the benchmark," if manifest.sample else "",
            manifest.frontier_model or "an unnamed model", manifest.confidence_model or "no model",
            traces.location, resolved.origin,
        )  # fmt: skip

    def download(self, *_args: Any, **_kwargs: Any) -> None:
        """Lay the traces out as a data set. Confidences stay here: samples carry them per proxy token."""
        import datasets

        self.dataset = {"test": datasets.Dataset.from_list([document(trace) for trace in self.traces.values()])}

    def fewshot_docs(self) -> list[dict[str, Any]]:
        """The worked examples that come with the package."""
        from rbridge_traces import few_shot_examples

        return [document(trace) for trace in few_shot_examples(self.benchmark)]

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int, **kwargs: Any) -> str:
        available = len(self.sampler.df)
        if num_fewshot > available:
            raise TaskOptionError(
                f"--num_fewshot {num_fewshot} asks for more worked examples than {self.config.task} has "
                f"({available}); use a number from 0 to {available}"
            )
        context: str = super().fewshot_context(doc, num_fewshot=num_fewshot, **kwargs)
        return context

    def build_all_requests(self, **kwargs: Any) -> None:
        if kwargs.get("cache_requests"):
            logger.info("--cache_requests does nothing here: lm-eval's key for it does not know the trace cache")
            kwargs["cache_requests"] = kwargs["rewrite_requests_cache"] = False
        super().build_all_requests(**kwargs)


def _switch(options: dict[str, Any], name: str) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise TaskOptionError(f"{name} is {value!r}; write true or false")
    return value
