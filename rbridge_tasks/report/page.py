"""The page: sections put into the templates beside this file; one file without scripts, links or anything to fetch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_tasks.report import cells, coloured_tokens
from rbridge_tasks.report.every_metric import metrics_section
from rbridge_tasks.report.frontier import frontier_section
from rbridge_tasks.report.head import contents, findings
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.predictions import prediction_section
from rbridge_tasks.report.ranking import ranking_section
from rbridge_tasks.report.run_lines import lines_of
from rbridge_tasks.report.sections import Section
from rbridge_tasks.report.traces import KEY, NO_SAMPLES, TITLE, traced_benchmarks
from rbridge_tasks.report.training import training_section
from rbridge_tasks.tables.rows import counted
from rbridge_traces.files import write_file

if TYPE_CHECKING:
    from jinja2 import Environment


def report_page(inputs: Inputs) -> tuple[str, list[Section]]:
    """The whole page as HTML, the same for the same inputs, and its sections.

    Raises:
        SamplesError: a samples file is damaged.
    """
    lines = lines_of(inputs.scores, inputs.metric)
    ranking, rankings = ranking_section(inputs, lines)
    accuracy, latest = prediction_section(inputs, lines)
    traced = traced_benchmarks(inputs, lines)
    sections = [
        training_section(inputs, lines),
        accuracy,
        ranking,
        frontier_section(inputs),
        metrics_section(inputs, lines),
        Section(KEY, TITLE, missing="" if traced else NO_SAMPLES),
    ]
    page = (
        _environment()
        .get_template("page.html")
        .render(
            inputs=inputs,
            contents=contents(inputs),
            findings=findings(inputs, lines, rankings, latest, accuracy.remarks),
            lines=[line for line in lines if line.look is not None],
            sections=sections,
            traced=traced,
            shades=coloured_tokens.SHADES,
        )
    )
    return page, sections


def write_report(inputs: Inputs, path: str | Path) -> list[Section]:
    """Write the page atomically; the sections that were made.

    Raises:
        SamplesError: a samples file is damaged.
        OutputError: the file cannot be written.
    """
    page, sections = report_page(inputs)
    write_file(path, page.encode())
    return sections


def unfilled(sections: list[Section]) -> list[str]:
    """A line for each section that its inputs did not fill."""
    return [f"{section.title}: {section.missing}" for section in sections if section.missing]


def _environment() -> Environment:
    """Templates that escape whatever is put into them, and refuse names they were not given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    helpers: dict[str, Any] = {"cells": cells, "counted": counted, "shade_of": coloured_tokens.shade_of}
    environment.globals.update(helpers)
    return environment
