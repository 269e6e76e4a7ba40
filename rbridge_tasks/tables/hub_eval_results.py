"""Write results as ``.eval_results/*.yaml``, which the Hugging Face Hub shows on the page of a model.

Format: https://huggingface.co/docs/hub/eval-results
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from rbridge_tasks.tables.exported_scores import Exported, ExportedScore, ExportError
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.visible_text import encodable
from rbridge_traces.files import write_file

_BENCHMARK = re.compile(r"(?P<id>[^:@\s]+/[^:@\s]+):(?P<task_id>[^:@\s]+)(?:@(?P<revision>[^:@\s]+))?")
_NOTED = ("n-shot", "confidence model", "weights", "traces", "prompt", "chat template", "dtype", "quantisation")


def hub_benchmark(text: str) -> dict[str, str]:
    """A data set of the Hub that is registered as a benchmark, as an entry names it.

    Args:
        text: ``OWNER/NAME:TASK`` or ``OWNER/NAME:TASK@REVISION``, with the task's id in the data set's ``eval.yaml``.

    Raises:
        ExportError: another text.

    >>> hub_benchmark("openai/gsm8k:gsm8k")
    {'id': 'openai/gsm8k', 'task_id': 'gsm8k'}
    """
    match = _BENCHMARK.fullmatch(text.strip())
    if match is None:
        raise ExportError(
            f"{text!r} names no benchmark of the Hub; write OWNER/NAME:TASK, with the task's id in the data set's "
            "eval.yaml, such as openai/gsm8k:gsm8k"
        )
    return {name: part for name, part in match.groupdict().items() if part is not None}


def write_eval_results(
    scores: Sequence[ExportedScore],
    folder: str | Path,
    *,
    datasets: Mapping[str, str],
    source_url: str | None = None,
) -> Exported:
    """Write ``MODEL/.eval_results/BENCHMARK.yaml`` for each model and benchmark, the latest evaluation of each.

    An entry has one value and no name of its metric, which is therefore in the notes, with its direction.

    Args:
        scores: what to write, one metric for each benchmark.
        folder: where a folder for each model is made, ``ORGANISATION/NAME`` or ``ORGANISATION/NAME@REVISION``.
        datasets: see ``hub_benchmark``; benchmarks without one are left out.
        source_url: see ``export``.

    Raises:
        ExportError: a data set is misspelt; a benchmark has several metrics; nothing is left.
    """
    benchmarks = {name: hub_benchmark(text) for name, text in datasets.items()}
    entries: dict[tuple[str, str], ExportedScore] = {}
    for score in sorted(scores, key=lambda score: score.results.date):
        if score.benchmark not in benchmarks:
            continue
        revision = score.results.model.revision
        key = (f"{score.model_id}@{revision}" if revision else score.model_id, score.benchmark)
        metrics = {entries.get(key, score).score.metric, score.score.metric}
        if len(metrics) > 1:
            raise ExportError(
                f"{score.benchmark} has several metrics, such as {' and '.join(sorted(metrics))}, and an entry of "
                ".eval_results holds one value; choose one with --metric"
            )
        entries[key] = score
    absent = [score.benchmark for score in scores if score.benchmark not in benchmarks]
    names = ", ".join(sorted({*absent}))
    left_out = (
        [f"{counted(len(absent), 'score')} of {names} left out, for which no --dataset was given"] if absent else []
    )
    if not entries:
        raise ExportError(
            f"nothing to export: {'; '.join(left_out)}; give --dataset BENCHMARK=OWNER/NAME:TASK for one of them"
        )
    files = []
    for (model, benchmark), score in entries.items():
        name = re.sub(r"[^\w.-]+", "_", benchmark)
        file = Path(folder) / model / ".eval_results" / f"{name}.yaml"
        entry = _entry(score, dict(benchmarks[benchmark]), source_url)
        write_file(file, yaml.safe_dump([entry], sort_keys=False, allow_unicode=True).encode())
        files.append(file)
    return Exported(files, len(entries), left_out)


def _entry(exported: ExportedScore, dataset: dict[str, str], source_url: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"dataset": dataset, "value": exported.score.value}
    if exported.results.stated_date is not None:
        moment = datetime.fromtimestamp(exported.results.stated_date, timezone.utc)
        entry["date"] = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    if source_url is not None:
        entry["source"] = {"url": source_url}
    return entry | {"notes": encodable(_notes(exported))}


def _notes(exported: ExportedScore) -> str:
    """Metric, direction, error, number of items and the settings that tell scores apart, in one line."""
    score = exported.score
    direction = "lower is better" if exported.lower_is_better else "higher is better"
    parts = [f"{score.metric} of lm-eval's task {score.task}, {direction}"]
    if not math.isnan(score.stderr):
        parts.append(f"standard error {score.stderr:.3g}")
    if not math.isnan(score.n):
        parts.append(f"{score.n:.0f} items")
    settings = {name: exported.settings[name] for name in _NOTED if exported.settings.get(name, "none") != "none"}
    return "; ".join([*parts, *(f"{name} {value}" for name, value in settings.items())])
