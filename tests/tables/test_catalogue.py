"""Task files, entry points, registrations and docs agree with the metric catalogue."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import rbridge_tasks
from rbridge_metrics.cloze import CLOZE_METRICS
from rbridge_metrics.proxy_names import PROXIES
from rbridge_tasks.tables.catalogue import METRICS, REPORTED_PROXIES, axis_label, metric_info

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[2]
TASKS = Path(rbridge_tasks.__file__).parent / "tasks"
REGISTERED = {
    name
    for name, metric in METRICS.items()
    if (metric.kind != "lm_eval" and metric.kind != "proxy") or name in REPORTED_PROXIES
}


class _Loader(yaml.SafeLoader):
    """Reads ``!function`` as text."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def _metric_lists() -> list[dict[str, Any]]:
    files = [path for path in TASKS.iterdir() if path.is_file() and (path.suffix == ".yaml" or path.name[0] == "_")]
    tasks = [yaml.load(path.read_text(), _Loader) for path in files]  # noqa: S506  # a subclass of SafeLoader
    return [entry for task in tasks for entry in task.get("metric_list", ())]


def test_every_name_has_one_entry() -> None:
    """The cloze and proxy names are those that ``rbridge_metrics`` computes."""
    assert {name for name, metric in METRICS.items() if metric.kind == "cloze"} == {*CLOZE_METRICS}
    assert {name for name, metric in METRICS.items() if metric.kind == "proxy"} == {*PROXIES}
    assert all(METRICS[name].needs == proxy.needs for name, proxy in PROXIES.items())


def test_task_files_agree() -> None:
    """Direction and aggregation in each YAML file are those of the catalogue."""
    entries = _metric_lists()
    assert {entry["metric"] for entry in entries} == REGISTERED & {
        name for name, metric in METRICS.items() if metric.kind in ("trace", "proxy")
    }
    for entry in entries:
        metric = METRICS[entry["metric"]]
        assert entry["higher_is_better"] is not metric.lower_is_better
        assert entry["aggregation"] == metric.aggregation


def test_entry_points_agree() -> None:
    """``pyproject.toml`` declares every metric that the tasks report and every aggregation of rbridge-tasks."""
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert {*entry_points["lm_eval.metrics"]} == REGISTERED
    aggregations = {metric.aggregation for metric in METRICS.values()} - {"mean"}
    assert aggregations <= {*entry_points["lm_eval.aggregations"]}


def test_registrations_agree() -> None:
    """lm-eval has the same directions and aggregations."""
    from lm_eval.api.registry import get_aggregation, get_metric_aggregation, is_higher_better

    from rbridge_tasks.harness import comparator_metrics, proxy_metrics  # noqa: F401  # they register

    for name in sorted(REGISTERED):
        assert is_higher_better(name) is not METRICS[name].lower_is_better
        assert get_metric_aggregation(name) is get_aggregation(METRICS[name].aggregation)


def test_docs_name_every_metric_and_its_direction() -> None:
    """The docs name each metric of the tasks; the table of statistics also has the direction."""
    text = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in ("tasks", "method", "comparators", "proxies"))
    names = {name for name in REGISTERED if not name.endswith(("_per_char", "_per_byte"))}
    assert {name for name in names if f"`{name}`" not in text} <= {*REPORTED_PROXIES}
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| (lower|higher) \|$", (ROOT / "docs/proxies.md").read_text(), re.M)
    directions = {name: direction for cell, direction in rows for name in re.findall(r"`(\w+)`", cell)}
    assert directions == {
        name: "lower" if METRICS[name].lower_is_better else "higher"
        for name, proxy in PROXIES.items()
        if proxy.weighting == "uniform"
    }


def test_units_and_filters() -> None:
    """A filter does not change the metric's properties; labels have a unit if the metric has one."""
    assert metric_info("exact_match,strict-match") is METRICS["exact_match"]
    assert metric_info("my_metric") is None
    assert axis_label("trace_bits_per_byte") == "trace_bits_per_byte (bits per byte)"
    assert axis_label("my_metric") == "my_metric"


def test_it_loads_without_numpy() -> None:
    """Names of metrics are needed by ``--help`` and by errors."""
    code = "import sys, rbridge_tasks.tables.catalogue; print({'numpy', 'lm_eval', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
