"""The result of a gate as a table on the terminal, a Markdown summary for reviewers, and JUnit XML for CI."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

from rbridge_tasks.cli.output import print_table, say
from rbridge_tasks.decisions.gate_result import BenchmarkChange, GateError, GateResult
from rbridge_tasks.visible_text import visible


def print_gate(result: GateResult) -> None:
    """Print a row per benchmark and the verdict."""
    title = f"{result.metric.name} ({result.metric.direction}) of {result.current} against {result.against}"
    print_table(title, _columns(result), [_cells(row) for row in result.benchmarks])
    say(result.verdict)


def append_summary(result: GateResult, path: str) -> None:
    """Append the Markdown summary to a file.

    Raises:
        GateError: the file cannot be written.
    """
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(visible(markdown(result)))
    except OSError as error:
        reason = error.strerror or error
        raise GateError(f"cannot write the summary {path}: {reason}; give another file") from error


def markdown(result: GateResult) -> str:
    """A summary for a pull request, ending in a line break."""
    heads = _columns(result)
    test = "paired over items" if result.reference == "baseline" else "one-sided against the prediction interval"
    lines = [
        f"### rBridge gate: {result.verdict}",
        "",
        f"{_code(result.current)} against {_code(result.against)}, {result.metric.name} ({result.metric.direction}), "
        f"{test}; false alarms at most {result.settings.alpha:.0%} over all benchmarks (Holm).",
        "",
        _line(heads),
        f"|---|{'---:|' * (len(heads) - 2)}---|",
        *(_line(_cells(row)) for row in result.benchmarks),
        *([""] if result.notes else []),
        *(f"- {' '.join(text.split())}" for text in result.notes),
    ]
    return "\n".join(lines) + "\n"


def junit_xml(result: GateResult) -> bytes:
    """A JUnit test suite with a case for each benchmark, UTF-8 XML."""
    suite = ET.Element(
        "testsuite", name="rbridge gate", tests=str(len(result.benchmarks)), failures=str(len(result.regressed)),
        errors="0",
    )  # fmt: skip
    heads = _columns(result)
    for row in result.benchmarks:
        case = ET.SubElement(suite, "testcase", classname=f"rbridge.{result.metric.name}", name=visible(row.benchmark))
        cells = _cells(row)
        text = ", ".join(f"{head}: {cell}" for head, cell in zip(heads[1:-1], cells[1:-1], strict=True))
        if row.regressed:
            ET.SubElement(case, "failure", message=f"{result.metric.name} worse by {cells[4]}").text = text
        else:
            ET.SubElement(case, "system-out").text = text
    if result.notes:
        ET.SubElement(suite, "system-out").text = "\n".join(map(visible, result.notes))
    ET.indent(suite)
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def _columns(result: GateResult) -> list[str]:
    """Heads of the cells of ``_cells``. Changes are for the worse, as shares of the baseline or forecast."""
    unit = "items" if result.reference == "baseline" else "checkpoints"
    return [
        "benchmark", unit, result.reference, "current", "worse by", f"{result.settings.level:.0%} interval",
        "p, corrected", f"detectable ({result.settings.power:.0%})", "",
    ]  # fmt: skip


def _cells(row: BenchmarkChange) -> list[str]:
    change, base = row.change, abs(row.change.baseline)
    interval = "-"
    if math.isfinite(change.low) and math.isfinite(change.high):
        ends = (f"{end / base:+.2%}" if base else f"{end:+.4g}" for end in (change.low, change.high))
        interval = " to ".join(ends)
    return [
        row.benchmark,
        str(row.count),
        f"{change.baseline:.5g}",
        f"{change.current:.5g}",
        f"{change.relative:+.2%}" if base else f"{change.change:+.4g}",
        interval,
        f"{row.p_value:.4f}" if row.p_value >= 1e-4 else "<0.0001",
        f"{row.detectable:+.2%}" if math.isfinite(row.detectable) else "-",
        "regressed" if row.regressed else "passed",
    ]


def _line(cells: list[str]) -> str:
    r"""A row of a Markdown table.

    >>> _line(["a|b", "c"])
    '| a\\|b | c |'
    """
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: str) -> str:
    """Text as inline code on one line."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"
