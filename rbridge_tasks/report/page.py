"""The page: sections in the templates beside this file; one file without scripts, links or anything to fetch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_tasks.atomic import write_file
from rbridge_tasks.charts.style import PALETTE
from rbridge_tasks.charts.texts import number_text
from rbridge_tasks.report.coloured_tokens import SHADES, shade_of
from rbridge_tasks.report.elements import PageSection, token_number, whole
from rbridge_tasks.report.every_metric import metrics_section
from rbridge_tasks.report.frontier import frontier_section
from rbridge_tasks.report.head import contents, findings
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.predictions import prediction_section
from rbridge_tasks.report.ranking import ranking_section
from rbridge_tasks.report.run_lines import lines_of
from rbridge_tasks.report.traces import KEY, NO_SAMPLES, TITLE, traced_benchmarks
from rbridge_tasks.report.training import training_section
from rbridge_tasks.tables.rows import counted

if TYPE_CHECKING:
    from jinja2 import Environment


def report_page(inputs: Inputs) -> tuple[str, list[PageSection]]:
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
        PageSection(KEY, TITLE, missing="" if traced else NO_SAMPLES),
    ]
    page = (
        _environment()
        .get_template("page.html")
        .render(
            inputs=inputs,
            contents=contents(inputs),
            findings=findings(inputs, lines, rankings, latest, accuracy.remarks),
            sections=sections,
            traced=traced,
            shades=SHADES,
            palette=PALETTE,
        )
    )
    return page, sections


def write_report(inputs: Inputs, path: str | Path) -> list[PageSection]:
    """Write the page atomically; the sections that were made.

    Raises:
        SamplesError: a samples file is damaged.
        OutputError: the file cannot be written.
    """
    page, sections = report_page(inputs)
    write_file(path, page.encode())
    return sections


def unfilled(sections: list[PageSection]) -> list[str]:
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
    helpers: tuple[Any, ...] = (counted, number_text, shade_of, token_number, whole)
    environment.globals.update({helper.__name__: helper for helper in helpers})
    return environment
