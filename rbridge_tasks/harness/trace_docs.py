"""Base of all our tasks: the traces of one benchmark as lm-eval documents, with worked examples."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from lm_eval.api.task import ConfigurableTask

from rbridge_tasks.harness import patches
from rbridge_tasks.harness.command_process import prepare_lm_eval_command
from rbridge_tasks.harness.lm_eval_versions import QUALIFIED_NAME
from rbridge_tasks.harness.task_options import TaskOptionError, task_options
from rbridge_tasks.scoring.benchmark_traces import benchmark_traces
from rbridge_tasks.scoring.chat_template import VERSION_OF_HEADERS, AssistantHeader, assistant_header
from rbridge_tasks.scoring.prompts import document
from rbridge_traces import Trace

logger = logging.getLogger(__name__)

_GIVE_EXAMPLES = """give examples with --metadata '{"rbridge_fewshot": "FILE"}'"""


class TraceDocsTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval is not typed
    """A task over the items of one benchmark that have traces. Its options are those of ``task_options``."""

    #: Whether the scored text can follow the question directly.
    accepts_bare_prompt = False

    def __init__(self, config: dict[str, Any]) -> None:
        patches.apply("task")
        prepare_lm_eval_command()
        config = {key: value for key, value in config.items() if key not in ("class", QUALIFIED_NAME)}
        self.options = task_options(config.get("metadata"))
        self._read_traces(config["dataset_name"])
        if self.examples.origin != "shipped":
            config["num_fewshot"] = self.examples.default_shots
        given = dict(config.get("metadata") or {})
        given |= {name: value for name, value in self.options.items() if name in given}
        config["metadata"] = given | {"rbridge_traces": self.provenance}
        if self.is_sample:
            config["task_alias"] = f"{config.get('task_alias') or config['task']} (sample)"
        self._header: AssistantHeader | None = None
        super().__init__(config=config)

    def needs(self) -> Literal["confidence", "spans"] | None:
        """Data that a trace must have beside its text; sources that lack it are passed over."""
        return None

    def check_traces(self, traces: list[Trace], where: str) -> None:
        """Raise an ``RBridgeError`` where the traces found lack what the task needs."""

    def _read_traces(self, benchmark: str) -> None:
        if self.options["rbridge_prompt"] == "bare" and not self.accepts_bare_prompt:
            raise TaskOptionError(
                f"rbridge_prompt is bare, and this task of {benchmark} is not defined without a prompt; score "
                f"rbridge_{benchmark}, or leave rbridge_prompt out"
            )
        source = benchmark_traces(
            benchmark,
            cache=self.options["rbridge_cache"],
            source=self.options["rbridge_source"],
            only_correct=self.options["rbridge_only_correct"],
            needs=self.needs(),
            fewshot=self.options["rbridge_fewshot"],
            prompt=self.options["rbridge_prompt"],
        )
        self.check_traces([*source.traces], source.location)
        manifest = source.manifest
        self.is_sample: bool = manifest.sample
        self.traces: dict[str, Trace] = {trace.item_id: trace for trace in source.traces}
        self.provenance = source.provenance
        self.benchmark, self.examples, self.question_prompt = source.benchmark, source.examples, source.prompt
        if source.tokens_unknown and self.needs() == "confidence":
            self.provenance["tokens_unknown"] = source.tokens_unknown
        logger.info(
            "rbridge_%s: %d traces%s by %s, confidences of %s, from %s (%s)",
            benchmark, len(source.traces), " OF THE SAMPLE, not of the benchmark," if manifest.sample else "",
            manifest.frontier_model or "an unnamed model", manifest.confidence_model or "no model",
            source.location, source.origin,
        )  # fmt: skip
        if not self.examples.pool and self.question_prompt.delimiter:
            logger.info("rbridge_%s: 0-shot, since the benchmark has no worked examples; %s", benchmark, _GIVE_EXAMPLES)

    def download(self, *_args: Any, **_kwargs: Any) -> None:
        """Lay the traces out as a data set. Confidences stay here: samples carry them per proxy token."""
        import datasets

        self.dataset = {
            "test": datasets.Dataset.from_list(
                [document(trace, self.question_prompt) for trace in self.traces.values()]
            )
        }

    def fewshot_docs(self) -> list[dict[str, Any]]:
        """The worked examples of the benchmark."""
        return [document(trace, self.question_prompt) for trace in self.examples.pool]

    def fewshot_context(self, doc: dict[str, Any], num_fewshot: int, **kwargs: Any) -> str:
        available = self.examples.available
        if num_fewshot > available:
            raise TaskOptionError(
                f"--num_fewshot {num_fewshot} asks for more worked examples than {self.config.task} has "
                f"({available}); use a number from 0 to {available}, or {_GIVE_EXAMPLES}"
            )
        shots = self.examples.before(self.traces[doc["item_id"]], num_fewshot)
        self.sampler.df = [document(example, self.question_prompt) for example in shots]
        num_fewshot = len(shots)
        context: str = super().fewshot_context(doc, num_fewshot=num_fewshot, **kwargs)
        return context

    def build_all_requests(self, **kwargs: Any) -> None:
        if kwargs.get("cache_requests"):
            logger.info("--cache_requests does nothing here: lm-eval's key for it does not know the trace cache")
            kwargs["cache_requests"] = kwargs["rewrite_requests_cache"] = False
        self._header = None
        super().build_all_requests(**kwargs)

    def scored_context(self, context: Any, delimiter: str, how: Mapping[str, Any]) -> str:
        """What is read before a scored text.

        Args:
            context: as lm-eval built it.
            delimiter: stands between a question and its answer where no chat template is applied. A template puts
                there what it puts before an assistant message.
            how: the arguments of ``construct_requests``, with the chat template if one is applied.

        Raises:
            TaskOptionError: the model's chat template gives messages in the place of a text.
        """
        if not isinstance(context, str):
            raise TaskOptionError(
                f"--apply_chat_template gives {type(context).__name__} for this model, and {self.config.task} needs "
                "text; leave --apply_chat_template out, or add tokenizer_backend=huggingface,tokenized_requests=True "
                "to --model_args"
            )
        plain = context if context[-1:].isspace() else context + delimiter
        if not how.get("apply_chat_template"):
            return plain
        self._header = self._header or assistant_header(how["chat_template"])
        scored = self._header.before_answer(context)
        if scored != plain:
            self.VERSION = VERSION_OF_HEADERS
        return scored
