"""What a gate says to machines and reviewers: a Markdown summary and JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from rbridge_tasks.gating.judgement import Judged, Settings
from rbridge_tasks.scores.directions import Metric


def verdict(judged: Sequence[Judged], settings: Settings) -> str:
    """One sentence on all benchmarks.

    >>> verdict([], Settings())
    'passed: none of 0 benchmarks is significantly worse than the baseline'
    """
    beyond = f" by more than {settings.max_regression:.2%}" if settings.max_regression else ""
    worse = [one.benchmark for one in judged if one.regressed]
    if not worse:
        return f"passed: none of {len(judged)} benchmarks is significantly worse than the baseline{beyond}"
    return f"failed: significantly worse than the baseline{beyond}: {', '.join(worse)}"


def row(one: Judged) -> list[str]:
    """Cells of a table: see ``COLUMNS``."""
    change = one.change
    interval = f"{change.low / abs(change.baseline):+.2%} to {change.high / abs(change.baseline):+.2%}"
    return [
        one.benchmark,
        str(change.items),
        f"{change.baseline:.5g}",
        f"{change.current:.5g}",
        f"{change.relative:+.2%}",
        interval if change.baseline else "-",
        f"{one.p_value:.4f}",
        f"{one.detectable:+.2%}",
        "regressed" if one.regressed else "passed",
    ]


def columns(settings: Settings) -> list[str]:
    """Heads of the cells of ``row``. Changes are for the worse, as shares of the baseline."""
    return [
        "benchmark", "items", "baseline", "current", "worse by", f"{settings.level:.0%} interval", "p, corrected",
        f"detectable ({settings.power:.0%})", "",
    ]  # fmt: skip


def markdown(judged: Sequence[Judged], metric: Metric, settings: Settings, *, names: tuple[str, str]) -> str:
    """A summary for a pull request, ending in a line break.

    Args:
        judged: every benchmark.
        metric: that was compared.
        settings: of the test.
        names: of the checkpoint and the baseline.
    """
    heads = columns(settings)
    lines = [
        f"### rBridge gate: {verdict(judged, settings)}",
        "",
        f"`{names[0]}` against `{names[1]}`, {metric.name} ({metric.direction}), paired over items; false alarms at "
        f"most {settings.alpha:.0%} over all benchmarks (Holm).",
        "",
        f"| {' | '.join(heads)} |",
        f"|---|{'---:|' * (len(heads) - 2)}---|",
        *(f"| {' | '.join(row(one))} |" for one in judged),
    ]
    return "\n".join(lines) + "\n"


def junit(judged: Sequence[Judged], metric: Metric, settings: Settings) -> bytes:
    """A JUnit test suite with a case for each benchmark, UTF-8 XML."""
    failures = sum(one.regressed for one in judged)
    suite = ET.Element("testsuite", name="rbridge gate", tests=str(len(judged)), failures=str(failures), errors="0")
    heads = columns(settings)
    for one in judged:
        case = ET.SubElement(suite, "testcase", classname=f"rbridge.{metric.name}", name=one.benchmark)
        text = ", ".join(f"{head}: {cell}" for head, cell in zip(heads[1:-1], row(one)[1:-1], strict=True))
        if one.regressed:
            ET.SubElement(case, "failure", message=f"{metric.name} worse by {row(one)[4]}").text = text
        else:
            ET.SubElement(case, "system-out").text = text
    ET.indent(suite)
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))
