"""The page: sections in the templates beside this file; one file without scripts, links or anything to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbridge_tasks.charts.style import PALETTE
from rbridge_tasks.charts.texts import number_text
from rbridge_tasks.report.coloured_tokens import SHADES, shade_of
from rbridge_tasks.report.elements import PageSection, token_number, whole
from rbridge_tasks.report.every_metric import metrics_section
from rbridge_tasks.report.frontier import frontier_section
from rbridge_tasks.report.head import contents, findings
from rbridge_tasks.report.inputs import read_inputs
from rbridge_tasks.report.ladder import ladder_section
from rbridge_tasks.report.noise import noise_section
from rbridge_tasks.report.predictions import prediction_section
from rbridge_tasks.report.ranking import ranking_section
from rbridge_tasks.report.run_lines import lines_of
from rbridge_tasks.report.traces import KEY, NO_SAMPLES, TITLE, traced_benchmarks
from rbridge_tasks.report.training import training_section
from rbridge_tasks.tables.rows import counted
from rbridge_traces.files import check_suffix, write_file

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Template

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class Report:
    """A page, made.

    Attributes:
        html: the whole file.
        sections: as they stand on the page.
        doubts: settings in which the scores differ, a line each.
    """

    html: str
    sections: Sequence[PageSection]
    doubts: Sequence[str]

    @property
    def notes(self) -> list[str]:
        """The doubts, and a line for each section that the inputs did not fill."""
        return [*self.doubts, *(f"{part.title}: {part.missing}" for part in self.sections if part.missing)]

    def save(self, path: str | Path) -> None:
        """Write the page atomically.

        Raises:
            OutputError: the file cannot be written, or is no ``.html``.
        """
        check_suffix(path, SUFFIXES, "a report")
        write_file(path, self.html.encode())


def make_report(scores: pd.DataFrame | str | Path, fit: str | Path | None = None, **options: Any) -> Report:
    """Make the page of a score table: the same bytes for the same inputs.

    Args:
        scores: score table, as a DataFrame or a file.
        fit: file of ``rbridge fit``.
        options: see ``read_inputs``.

    Raises:
        RBridgeError: as ``read_inputs`` raises; or a samples file is damaged.
    """
    inputs = read_inputs(scores, fit, **options)
    lines = lines_of(inputs.scores, inputs.metric)
    ranking, rankings = ranking_section(inputs, lines)
    accuracy, latest = prediction_section(inputs, lines)
    frontier = frontier_section(inputs)
    traced = traced_benchmarks(inputs, lines)
    sections = [
        training_section(inputs, lines),
        accuracy,
        ladder_section(inputs),
        ranking,
        frontier,
        metrics_section(inputs, lines),
        noise_section(inputs),
        PageSection(KEY, TITLE, missing="" if traced else NO_SAMPLES),
    ]
    html = _template().render(
        inputs=inputs,
        contents=contents(inputs),
        findings=findings(inputs, lines, rankings, latest, frontier.remarks, accuracy.remarks),
        sections=sections,
        traced=traced,
        shades=SHADES,
        palette=PALETTE,
    )
    return Report(html, sections, inputs.doubts)


def _template() -> Template:
    """The page's template; it escapes whatever is put into it, and refuses names it was not given."""
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
    return environment.get_template("page.html")
