"""The settings of an evaluation that decide whether its scores compare with others, from its results file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from rbridge_tasks.tables.catalogue import metric_info
from rbridge_tasks.tables.lm_eval_results import ResultsFile, Score

#: The setting that names what token frequencies were counted over.
TOKEN_COUNTS = "token frequencies"

#: The checksums of the trace files; the special tokens of the tokenizer.
TRACES, TOKENIZER = "traces", "tokenizer"

#: How a question is written, and worked examples that do not come with this package.
PROMPT, EXAMPLES = "prompt", "few-shot examples"

#: Values that our tasks leave unstated.
UNSTATED = {PROMPT: "default", EXAMPLES: "those of this package"}

#: The number of items; score tables hold it in the column ``n``.
ITEMS = "number of items"

#: How a model was loaded. Two precisions of one model compare; the difference is reported.
DTYPE, QUANTISATION = "dtype", "quantisation"
MODEL_ARGUMENTS = "model arguments"
ITEMS_AND_PROMPTS = "items and prompts"

#: Values that are not worth a column of a score table by themselves.
DEFAULTS = {QUANTISATION: "none", MODEL_ARGUMENTS: "default"}

#: Settings whose difference is reported and never refused.
REPORTED_ONLY = frozenset((DTYPE, QUANTISATION, MODEL_ARGUMENTS, ITEMS_AND_PROMPTS))


def settings_of(score: Score, results: ResultsFile) -> dict[str, str]:
    """Values of the settings of a score by name; a setting that the file does not state is left out."""
    members = results.members(score.task)
    settings: dict[str, object] = {
        "n-shot": _of_tasks({member: _shots(member, results) for member in members}),
        ITEMS: None if math.isnan(score.n) else f"{score.n:g}",
        "task version": _versions(score.task, members, results),
        "generation": _of_tasks({member: _generation(member, results) for member in members}),
        ITEMS_AND_PROMPTS: _of_tasks({member: _checksum(member, results) for member in members}),
        **results.model.precision,
    }
    for name, key in (("chat template", "chat_template_sha"), ("system instruction", "system_instruction_sha")):
        if key in results.data:
            settings[name] = str(results.data[key] or "none")[:12]
    if results.data.get("chat_template_sha") and settings["n-shot"] != "0":
        settings["few-shot examples as turns"] = results.data.get("fewshot_as_multiturn")
    if results.model.arguments is not None:
        given = ", ".join(f"{name}={value}" for name, value in results.model.arguments.items())
        settings[MODEL_ARGUMENTS] = given or "default"
    traces = {member: results.traces(member) for member in members}
    if all(traces.values()):
        settings |= _of_traces(score, results, traces)
    return {name: " ".join(str(value).split()) for name, value in settings.items() if value is not None}


def _of_traces(score: Score, results: ResultsFile, traces: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    """Settings of our own tasks."""
    files = [origin["files"] if isinstance(origin.get("files"), dict) else {} for origin in traces.values()]
    settings: dict[str, object] = {
        TRACES: _distinct(str(sha)[:12] for checksums in files for sha in checksums.values()),
        "only correct traces": _of_tasks({task: origin.get("only_correct", False) for task, origin in traces.items()}),
    }
    settings |= _prompts(traces, shots=_of_tasks({task: _shots(task, results) for task in traces}))
    options = {task: results.metadata(task) for task in traces}
    metric = metric_info(score.metric)
    if metric is not None and "confidences" in metric.needs:
        models = {task: origin.get("confidence_model") or "none" for task, origin in traces.items()}
        settings["confidence model"] = _of_tasks(models)
        weights = {task: given.get("rbridge_weights", "confidence") for task, given in options.items()}
        settings["weights"] = _of_tasks(weights)
    if metric is not None and "counts" in metric.needs:
        settings[TOKEN_COUNTS] = _of_tasks({task: given.get("rbridge_token_counts") for task, given in options.items()})
    if metric is not None and metric.per_token:
        special = [results.data.get(f"tokenizer_{kind}_token") for kind in ("bos", "eos", "pad")]
        settings[TOKENIZER] = None if None in special else " ".join(map(str, special))
    return settings


def _prompts(traces: Mapping[str, Mapping[str, Any]], shots: str | None) -> dict[str, object]:
    """Prompts and worked examples that are not those of this package; nothing where all are."""
    prompts = {task: origin.get("prompt") or UNSTATED[PROMPT] for task, origin in traces.items()}
    examples = {
        task: examples_setting(given) if isinstance(given := origin.get("fewshot"), dict) else UNSTATED[EXAMPLES]
        for task, origin in traces.items()
    }
    settings = {PROMPT: prompts, EXAMPLES: {} if shots == "0" else examples}
    return {name: _of_tasks(values) for name, values in settings.items() if {*values.values()} - {UNSTATED[name]}}


def examples_setting(record: Mapping[str, Any]) -> str:
    """Worked examples as a setting: their checksum, or that they are taken from the traces.

    >>> examples_setting({"origin": "mine.jsonl", "sha256": "0123456789abcdef"}), examples_setting({"origin": "traces"})
    ('0123456789ab', 'traces')
    """
    return str(record.get("sha256") or record.get("origin"))[:12]


def _versions(task: str, members: Iterable[str], results: ResultsFile) -> str | None:
    """Version of a task, or of a group and the tasks in it; None where the file gives none."""
    versions = results.section("versions")
    known = (versions.get(name) for name in dict.fromkeys([task, *members]))
    return _distinct(str(version) for version in known if version is not None) or None


def _shots(task: str, results: ResultsFile) -> object:
    """Number of worked examples in the prompt; each version of lm-eval writes it to another place."""
    places = (
        results.section("n-shot").get(task),
        results.section("configs", task).get("num_fewshot"),
        results.section("config").get("num_fewshot"),
    )
    return next((shots for shots in places if shots is not None), None)


def _checksum(task: str, results: ResultsFile) -> str | None:
    """lm-eval's hash over items, prompts and targets, written with --log_samples."""
    checksum = results.section("task_hashes").get(task)
    return None if checksum is None else str(checksum)[:12]


def _generation(task: str, results: ResultsFile) -> str | None:
    """Generation options of a task that generates: temperature, stop strings, ..."""
    if results.section("configs", task).get("output_type") != "generate_until":
        return None
    options = results.section("configs", task).get("generation_kwargs")
    return json.dumps(options, sort_keys=True, ensure_ascii=False) if isinstance(options, dict) else None


def _of_tasks(values: Mapping[str, object]) -> str | None:
    """The value that all tasks of a group share, else the value of each; None where one is unknown."""
    if None in values.values():
        return None
    texts = {task: str(value) for task, value in values.items()}
    return next(iter(texts.values())) if len({*texts.values()}) == 1 else ", ".join(map(": ".join, texts.items()))


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))
