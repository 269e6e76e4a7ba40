"""Tasks of the benchmarks that only the trace cache holds: ``rbridge_<name>`` and its variants.

They are found when lm-eval builds its index of tasks, from the manifests and ``benchmark.yaml`` files in the cache; no
trace is read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.harness.generation_tasks import GenerationTask, MathGenerationTask
from rbridge_tasks.harness.task_options import TaskOptionError
from rbridge_traces import SHIPPED, Benchmark, Manifest, resolve_cache

logger = logging.getLogger(__name__)

TASKS_PATH = Path(__file__).parent.parent / "tasks"
_GROUPS = {"rbridge": "rbridge_{}", "rbridge_proxies": "rbridge_proxies_{}"}


def cached_entries(location: str | None) -> dict[str, Any]:
    """lm-eval's index entries of the tasks that only the cache defines, by name.

    A cache that cannot be read gives none, with a warning: tasks of lm-eval do not depend on it.

    Args:
        location: of the cache; None for the default of ``rbridge_traces.resolve_cache``.
    """
    entries: dict[str, Any] = {}
    try:
        cache = resolve_cache(location).cache
        names = [name for name in cache.benchmarks() if name not in SHIPPED]
    except RBridgeError as error:
        logger.warning("no tasks of the trace cache: %s", error)
        return entries
    for name in names:
        try:
            variants = [*_variants(cache.definition(name), cache.manifests(name))]
        except RBridgeError as error:
            logger.warning("no tasks of %s: %s", name, error)
            continue
        entries |= {task: _entry(task, name, common, changes) for task, common, changes in variants}
    return entries


def with_groups(index: dict[str, Any], benchmarks: Sequence[str] | None) -> dict[str, Any]:
    """The index with the groups ``rbridge`` and ``rbridge_proxies`` of these benchmarks; None leaves them as they are.

    Raises:
        TaskOptionError: a benchmark has no task.
    """
    if benchmarks is None:
        return index
    from lm_eval.tasks._yaml_loader import load_yaml

    groups = {}
    for group, name_of in _GROUPS.items():
        members = [name_of.format(benchmark) for benchmark in dict.fromkeys(benchmarks)]
        if lacking := [member for member in members if member not in index]:
            known = sorted(
                name.removeprefix("rbridge_proxies_") for name in index if name.startswith("rbridge_proxies_")
            )
            raise TaskOptionError(f"rbridge_group: there is no task {lacking[0]!r}; benchmarks are {', '.join(known)}")
        if group in index:
            config = load_yaml(TASKS_PATH / f"{group}.yaml", resolve_func=True) | {"task": members}
            groups[group] = _new_entry(group, config)
    return index | groups


def _variants(benchmark: Benchmark, manifests: Sequence[Manifest]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Name, common settings and own settings of the tasks that the traces of one benchmark allow."""
    task = f"rbridge_{benchmark.name}"
    yield task, "_rbridge_common", {}
    yield f"rbridge_proxies_{benchmark.name}", "_rbridge_proxies_common", {}
    if _any_complete(manifests, "rows_with_gold"):
        yield f"{task}_gold", "_rbridge_gold_common", {}
    if _any_complete(manifests, "rows_with_final_answer"):
        yield f"{task}_scb", "_rbridge_scb_common", {}
    if _any_complete(manifests, "rows_with_choices", "rows_with_gold"):
        yield f"{task}_cf", "_rbridge_cf_common", {}
    if benchmark.grader not in ("none", "code") and _any_complete(manifests, "rows_with_gold"):
        grading = MathGenerationTask if benchmark.grader == "math" else GenerationTask
        yield f"{task}_gen", "_rbridge_gen_common", {"class": grading}


def _any_complete(manifests: Sequence[Manifest], *counts: str) -> bool:
    """Whether a source has something in every row, or its manifest is too old to say."""
    return any(all(getattr(manifest, count) in (None, manifest.rows) for count in counts) for manifest in manifests)


def _entry(task: str, benchmark: str, common: str, changes: Mapping[str, Any]) -> Any:
    from lm_eval.tasks._yaml_loader import load_yaml

    own = {"task": task, "dataset_name": benchmark, "metadata": {"version": 1.0}}
    return _new_entry(task, {**load_yaml(TASKS_PATH / common, resolve_func=True), **own, **changes})


def _new_entry(name: str, config: dict[str, Any]) -> Any:
    from lm_eval.tasks._index import Entry, TaskIndex

    return Entry(name=name, kind=TaskIndex._kind_of(config), yaml_path=None, cfg=config)
