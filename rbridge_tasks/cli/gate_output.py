"""What a gate says to machines and reviewers: a Markdown summary and JUnit XML."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

from rbridge_metrics.forecast_gate import ForecastChange
from rbridge_tasks.decisions.gate_judgement import Judged, Judgement, Settings
from rbridge_tasks.tables.directions import Metric
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.visible_text import visible


def verdict(judgement: Judgement, settings: Settings) -> str:
    """One sentence on all benchmarks.

    >>> verdict(Judgement((), "out/step2000", "out/step1000", "baseline", "items"), Settings())
    'passed: none of 0 benchmarks is significantly worse than the baseline'
    """
    beyond = f" by more than {settings.max_regression:.2%}" if settings.max_regression else ""
    worse = judgement.regressed
    if worse:
        return f"failed: significantly worse than the {judgement.reference}{beyond}: {', '.join(worse)}"
    compared = counted(len(judgement.benchmarks), "benchmark")
    return f"passed: none of {compared} is significantly worse than the {judgement.reference}{beyond}"


def row(one: Judged) -> list[str]:
    """Cells of a table: see ``columns``."""
    change = one.change
    count = change.checkpoints if isinstance(change, ForecastChange) else change.items
    base = abs(change.baseline)
    return [
        one.benchmark,
        str(count),
        f"{change.baseline:.5g}",
        f"{change.current:.5g}",
        f"{change.relative:+.2%}" if base else f"{change.change:+.4g}",
        _interval(change.low, change.high, base),
        f"{one.p_value:.4f}" if one.p_value >= 1e-4 else "<0.0001",
        f"{one.detectable:+.2%}" if math.isfinite(one.detectable) else "-",
        "regressed" if one.regressed else "passed",
    ]


def _interval(low: float, high: float, base: float) -> str:
    """An interval as shares of the baseline, or in the unit of the score where that is 0; ``-`` where not defined."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "-"
    return f"{low / base:+.2%} to {high / base:+.2%}" if base else f"{low:+.4g} to {high:+.4g}"


def columns(judgement: Judgement, settings: Settings) -> list[str]:
    """Heads of the cells of ``row``. Changes are for the worse, as shares of the baseline or forecast."""
    return [
        "benchmark", judgement.unit, judgement.reference, "current", "worse by", f"{settings.level:.0%} interval",
        "p, corrected", f"detectable ({settings.power:.0%})", "",
    ]  # fmt: skip


def markdown(judgement: Judgement, metric: Metric, settings: Settings) -> str:
    """A summary for a pull request, ending in a line break.

    Args:
        judgement: on the checkpoint.
        metric: that was compared.
        settings: of the test.
    """
    heads = columns(judgement, settings)
    how = "paired over items" if judgement.reference == "baseline" else "one-sided against the prediction interval"
    lines = [
        f"### rBridge gate: {verdict(judgement, settings)}",
        "",
        f"{_code(judgement.current)} against {_code(judgement.against)}, {metric.name} ({metric.direction}), {how}; "
        f"false alarms at most {settings.alpha:.0%} over all benchmarks (Holm).",
        "",
        _line(heads),
        f"|---|{'---:|' * (len(heads) - 2)}---|",
        *(_line(row(one)) for one in judgement.benchmarks),
        *([""] if judgement.notes else []),
        *(f"- {' '.join(note.split())}" for note in judgement.notes),
    ]
    return "\n".join(lines) + "\n"


def junit(judgement: Judgement, metric: Metric, settings: Settings) -> bytes:
    """A JUnit test suite with a case for each benchmark, UTF-8 XML."""
    cases = judgement.benchmarks
    failures = str(len(judgement.regressed))
    suite = ET.Element("testsuite", name="rbridge gate", tests=str(len(cases)), failures=failures, errors="0")
    heads = columns(judgement, settings)
    for one in cases:
        case = ET.SubElement(suite, "testcase", classname=f"rbridge.{metric.name}", name=one.benchmark)
        text = ", ".join(f"{head}: {cell}" for head, cell in zip(heads[1:-1], row(one)[1:-1], strict=True))
        if one.regressed:
            ET.SubElement(case, "failure", message=f"{metric.name} worse by {row(one)[4]}").text = text
        else:
            ET.SubElement(case, "system-out").text = text
    if judgement.notes:
        ET.SubElement(suite, "system-out").text = "\n".join(map(visible, judgement.notes))
    ET.indent(suite)
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def _line(cells: list[str]) -> str:
    r"""A row of a Markdown table.

    >>> _line(["a|b", "c"])
    '| a\\|b | c |'
    """
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: str) -> str:
    """Text as Markdown shows it unchanged, on one line."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
