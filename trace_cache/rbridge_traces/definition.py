"""How a benchmark is defined beside its traces, in ``<cache>/<benchmark>/benchmark.yaml``.

Every key is optional:

    question_template: |-      # {question}, {code} and {choices}; see ``rbridge_traces.benchmark``
      Frage: {question}
      {choices}
      Antwort:
    fewshot: 3                 # taken from the traces; or a list of {question, choices, trace, final_answer}
    grader: number             # choice, number, math, text or none
    subject: mathematics       # in the prompt that asks a frontier model for traces
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from rbridge_traces.benchmark import SHIPPED, Benchmark, Grader, benchmark_named
from rbridge_traces.errors import TraceError, did_you_mean
from rbridge_traces.field_values import as_choices, as_text
from rbridge_traces.importer import import_traces
from rbridge_traces.schema import Trace

DEFINITION = "benchmark.yaml"

GRADERS = tuple(grader for grader in get_args(Grader) if grader != "code")
"""Graders that a definition can name. Code is graded by the tests of HumanEval only."""

_KEYS = ("question_template", "fewshot", "grader", "subject")
_EXAMPLE_FIELDS = ("question", "choices", "trace", "final_answer", "gold")


def defined(
    benchmark: Benchmark,
    *,
    question_template: str | None = None,
    fewshot: Sequence[Trace] | int | None = None,
    grader: str | None = None,
    subject: str | None = None,
) -> Benchmark:
    """A benchmark with some of its settings replaced.

    Raises:
        TraceError: a value cannot be used, or the benchmark comes with this package: its prompts are fixed.
    """
    if benchmark.name in SHIPPED:
        raise TraceError(
            f"the prompts of {benchmark.name} come with this package; import the traces under a name of your own, or "
            """score with other examples by --metadata '{"rbridge_fewshot": "FILE"}'"""
        )
    if question_template is not None and "{question}" not in question_template and "{code}" not in question_template:
        raise TraceError(f"the question template {question_template[:60]!r} has no {{question}}")
    if isinstance(fewshot, int) and fewshot < 0:
        raise TraceError(f"{fewshot} worked examples cannot be taken from the traces; give a number from 0")
    if grader is not None and grader not in GRADERS:
        raise TraceError(f"no grader {grader!r}{did_you_mean(grader, GRADERS)}; choose one of {', '.join(GRADERS)}")
    examples = fewshot if fewshot is None or isinstance(fewshot, int) else tuple(fewshot)
    changes = {"question_template": question_template, "fewshot": examples, "grader": grader, "subject": subject}
    given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(benchmark, **given)


def redefined(
    held: Benchmark,
    *,
    question_template: str | None = None,
    fewshot: str | None = None,
    mapping: Mapping[str, str] | None = None,
    grader: str | None = None,
    replace: bool = False,
) -> Benchmark | None:
    """A benchmark with some of its settings replaced; None where nothing changes.

    Args:
        held: as the cache defines it.
        question_template: see ``rbridge_traces.benchmark``.
        fewshot: a number of examples to take from the traces, or a file that ``import_traces`` reads.
        mapping: fields of that file.
        grader: one of ``GRADERS``.
        replace: change a benchmark that has a definition already.

    Raises:
        TraceError: a value cannot be used, or the benchmark has another definition.
    """
    if question_template is None and fewshot is None and grader is None:
        return None
    counted = fewshot is not None and fewshot.isdecimal()
    new = defined(
        held, question_template=question_template, fewshot=int(fewshot or 0) if counted else None, grader=grader
    )
    if fewshot is not None and not counted:
        new = defined(new, fewshot=import_traces(fewshot, benchmark=held.name, mapping=mapping).traces)
    if definition_text(new) == definition_text(held):
        return None
    if not (is_default(held) or replace):
        raise TraceError(f"{held.name} is defined in another way in the cache; change that with --replace")
    return new


def read_definition(name: str, document: bytes, *, where: str) -> Benchmark:
    """A benchmark from the text of its ``benchmark.yaml``.

    Raises:
        TraceError: it is not YAML, or a key or value cannot be used; names the file.
    """
    import yaml

    try:
        values = yaml.safe_load(document)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise TraceError(f"{where} is not YAML ({reason[:120]}); correct it") from error
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise TraceError(f"{where} is a {type(values).__name__}; expected the keys {', '.join(_KEYS)}")
    for key, value in values.items():
        if key not in _KEYS:
            raise TraceError(
                f"{where} has the key {key!r}{did_you_mean(str(key), _KEYS)}; known are {', '.join(_KEYS)}"
            )
        if key != "fewshot" and not isinstance(value, str):
            raise TraceError(f"{where}: {key} is {value!r}; expected text")
    try:
        return defined(benchmark_named(name), **{**values, "fewshot": _examples(name, values.get("fewshot"))})
    except TraceError as error:
        raise TraceError(f"{where}: {error}") from error


def is_default(benchmark: Benchmark) -> bool:
    """Whether a benchmark needs no ``benchmark.yaml``: it comes with this package, or all its settings are defaults."""
    return benchmark.name in SHIPPED or benchmark == Benchmark(name=benchmark.name)


def definition_text(benchmark: Benchmark) -> str:
    """The ``benchmark.yaml`` of a benchmark, with the settings that are not the defaults."""
    import yaml

    default = Benchmark(name=benchmark.name)
    values = {key: getattr(benchmark, key) for key in _KEYS if getattr(benchmark, key) != getattr(default, key)}
    if isinstance(benchmark.fewshot, tuple) and benchmark.fewshot:
        values["fewshot"] = [_fields(example) for example in benchmark.fewshot]
    text: str = yaml.safe_dump(values, allow_unicode=True, sort_keys=False, width=1000)
    return text


def _examples(name: str, given: object) -> Sequence[Trace] | int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    if not isinstance(given, list) or not all(isinstance(example, Mapping) for example in given):
        raise TraceError("fewshot is neither a number of traces nor a list of examples with question, trace and answer")
    examples = []
    for number, example in enumerate(given, start=1):
        if unknown := [key for key in example if key not in _EXAMPLE_FIELDS]:
            raise TraceError(f"example {number} has the key {unknown[0]!r}; known are {', '.join(_EXAMPLE_FIELDS)}")
        texts = {field: as_text(field, example.get(field)) for field in _EXAMPLE_FIELDS if field != "choices"}
        choices = as_choices(example.get("choices"))
        examples.append(Trace(benchmark=name, item_id=f"example {number}", choices=choices, **texts))  # type: ignore[arg-type]  # Trace refuses null
    return examples


def _fields(example: Trace) -> dict[str, Any]:
    fields = {field: getattr(example, field) for field in _EXAMPLE_FIELDS if getattr(example, field) is not None}
    if example.choices:
        fields["choices"] = [{"label": choice.label, "text": choice.text} for choice in example.choices]
    return fields
