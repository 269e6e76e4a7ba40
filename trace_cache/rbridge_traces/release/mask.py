"""Read data sets of several subsets with ``<span>`` marks in their reasoning."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rbridge_traces.benchmark import SHIPPED, benchmark_called, check_benchmark, is_benchmark_name, plain
from rbridge_traces.errors import NoTraceError, TraceError, TraceImportError, did_you_mean
from rbridge_traces.field_values import as_choices, as_text
from rbridge_traces.files import is_folder
from rbridge_traces.gold import gold_label_if_known
from rbridge_traces.questions import STEM
from rbridge_traces.release.fields import map_fields
from rbridge_traces.release.folders import table_files
from rbridge_traces.release.report import Readers, ReleaseReport
from rbridge_traces.rows import numbered_rows, unit
from rbridge_traces.schema import Trace
from rbridge_traces.spans import parse_spans

_SPLITS = ("train", "test", "validation", "valid", "dev", "val", "default", "data", "main", "traces")
_SHARD = re.compile(r"(-\d{5}-of-\d{5}(-[0-9a-f]+)?)?$")
_FIELDS = ("item_id", "question", "choices", "reasoning", "final_answer", "gold")
_STEM = {plain(prefix + category) for category in STEM for prefix in ("", "mmlu_pro_", "mmlu_pro_stem_", "mmlu_")}


def mask_subsets(root: Path) -> dict[str, list[str]]:
    """The files of each subset of a data set, named by folder or file.

    Raises:
        TraceImportError: there is no such folder, or no file of rows in it.
    """
    if not is_folder(root):
        raise TraceImportError(f"there is no folder {root}")
    subsets: dict[str, list[str]] = {}
    for path in table_files(root):
        subsets.setdefault(_subset(path.relative_to(root)), []).append(str(path))
    if not subsets:
        raise TraceImportError(f"{root} holds no JSON Lines, JSON or Parquet files; expected some of each subset")
    return subsets


def subsets_of_benchmarks(
    subsets: Iterable[str], given: Mapping[str, str] | None = None
) -> tuple[dict[str, list[str]], list[str]]:
    """Sort subsets by benchmark. The categories of MMLU-Pro that are STEM, each a subset, go together.

    Args:
        subsets: their names.
        given: benchmark of subsets with other names.

    Returns:
        Subsets by benchmark, those of this package first, and subsets whose name no benchmark can have.

    Raises:
        TraceError: a name in ``given`` is no subset, or the name of no benchmark.

    >>> subsets_of_benchmarks(["kmmlu", "physics", "mmlu_pro_math", "arc_c", "x_gold"])
    ({'mmlu_pro_stem': ['physics', 'mmlu_pro_math'], 'arc_challenge': ['arc_c'], 'kmmlu': ['kmmlu']}, ['x_gold'])
    """
    names, given = list(subsets), given or {}
    for name, benchmark in given.items():
        check_benchmark(benchmark)
        if name not in names:
            raise TraceError(f"no subset {name!r}{did_you_mean(name, names)}; there are {', '.join(names)}")
    # `math` alone is MATH500, unless that goes by another name here and other categories stand beside `math`.
    others = [name for name in names if plain(name) != "math"]
    math_is_category = "math500" in map(benchmark_called, others) and any(plain(name) in _STEM for name in others)
    named: dict[str | None, list[str]] = {}
    for name in names:
        is_category = plain(name) in _STEM and (plain(name) != "math" or math_is_category)
        other = name if is_benchmark_name(name) else None
        known = "mmlu_pro_stem" if is_category else benchmark_called(name) or other
        named.setdefault(given.get(name, known), []).append(name)
    refused = named.pop(None, [])
    ordered = [*(name for name in SHIPPED if name in named), *(name for name in named if name not in SHIPPED)]
    return {str(name): named[name] for name in ordered}, refused


def mask_readers(
    root: Path, given: Mapping[str, str], overrides: Mapping[str, str], *, skip_mismatched: bool = False
) -> tuple[Readers, list[str]]:
    """A reader for each benchmark of a data set in a folder, and the subsets of no known benchmark.

    The arguments are those of ``subsets_of_benchmarks`` and ``read_mask``, which also say what is raised.
    """
    paths = mask_subsets(root)
    named, unknown = subsets_of_benchmarks(paths, given)
    read = partial(read_mask, overrides=overrides, skip_mismatched=skip_mismatched)
    readers = {
        benchmark: partial(read, benchmark, {name: paths[name] for name in names}) for benchmark, names in named.items()
    }
    return readers, unknown


def read_mask(
    benchmark: str, subsets: Mapping[str, Sequence[str]], *, overrides: Mapping[str, str], skip_mismatched: bool
) -> ReleaseReport:
    """Read the traces of a benchmark with their marked regions. Rows without reasoning or marks are left out, counted.

    Args:
        benchmark: its name.
        subsets: files of each subset of this benchmark.
        overrides: fields of the rows, as ``map_fields`` takes them.
        skip_mismatched: leave out rows whose marks are broken too, and count them.

    Raises:
        TraceImportError: a file cannot be read, a field is missing, or the marks of a row are broken; names the row.
    """
    dropped: Counter[str] = Counter()
    rows_read: list[tuple[str, Trace]] = []
    has_ids = True
    for subset, paths in subsets.items():
        rows = [(f"{path}, {unit(path)} {number}", row) for path in paths for number, row in numbered_rows(path)]
        fields = map_fields("completions", (row for _, row in rows), overrides)
        for target in ("question", "reasoning"):
            if target not in fields.of:
                raise TraceImportError(f"{paths[0]}: {fields.missing(f'the {target}', target)}")
        has_ids = has_ids and "item_id" in fields.of
        get = {target: fields.getter(target) for target in _FIELDS}
        for number, (place, row) in enumerate(rows):
            try:
                trace = _trace(benchmark, number, {target: of_row(row) for target, of_row in get.items()})
            except NoTraceError as error:
                dropped[str(error)] += 1
                continue
            except TraceError as error:
                if not skip_mismatched:
                    raise TraceImportError(f"{place}: {error} (--skip-mismatched leaves such rows out)") from error
                dropped["broken marks"] += 1
                continue
            rows_read.append((subset, trace))
    if not rows_read:
        raise TraceImportError(
            f"no row of {', '.join(subsets)} is a trace with marks; expected <span>..</span> in the reasoning"
        )
    traces = [trace for _, trace in rows_read]
    if len(subsets) > 1 and not (has_ids and len({trace.item_id for trace in traces}) == len(traces)):
        traces = [dataclasses.replace(trace, item_id=f"{subset}/{trace.item_id}") for subset, trace in rows_read]
    return ReleaseReport(traces, dropped)


def _trace(benchmark: str, number: int, values: Mapping[str, Any]) -> Trace:
    marked = as_text("reasoning", values["reasoning"]) or ""
    if not marked.strip():
        raise NoTraceError("empty reasoning")
    text, spans = parse_spans(marked)
    if not spans:
        raise NoTraceError("without marks")
    choices, gold = as_choices(values["choices"]), as_text("gold", values["gold"])
    return Trace(
        benchmark=benchmark,
        item_id=as_text("item_id", values["item_id"]) or str(number),
        question=as_text("question", values["question"]) or "",
        trace=text,
        choices=choices,
        final_answer=as_text("final_answer", values["final_answer"]),
        gold=gold_label_if_known(gold, choices),
        spans=spans,
    )


def _subset(path: Path) -> str:
    """The subset of a file: its name, or its folder, without split and shard."""
    stem = re.split(r"\.(?:jsonl|ndjson|json|parquet)\b", path.name)[0]
    stem = _SHARD.sub("", stem)
    names = [re.sub(rf"[-_.]({'|'.join(_SPLITS)})$", "", stem), *reversed(path.parent.parts)]
    telling = [name for name in names if name not in _SPLITS and not name.isdigit()]
    known = [name for name in telling if benchmark_called(name) or plain(name) in _STEM]
    return (known or telling or names)[0]
