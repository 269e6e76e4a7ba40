"""Section: candidate data sets in the order of the headline metric, at the largest size that several share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.charts.interval_charts import interval_chart
from rbridge_tasks.report.cells import Cell, interval_text, number, number_text
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.run_lines import Line, by_look
from rbridge_tasks.report.sections import Panel, Remark, Section, Table
from rbridge_tasks.tables.catalogue import axis_label

if TYPE_CHECKING:
    from rbridge_tasks.decisions.candidate_ranking import Ranking, Settings
    from rbridge_tasks.decisions.candidates import Candidates
    from rbridge_tasks.tables.joined_items import JoinedItems

KEY, TITLE = "ranking", "Ranking of data sets"
_MOST_DRAWN = 40  # the table has all
ALONE = (
    "Every run stands alone at its size, so there is nothing to rank. Scores of several runs at equal params and "
    "tokens fill this section."
)


def ranking_section(inputs: Inputs, lines: Sequence[Line]) -> tuple[Section, list[Ranking]]:
    """Runs in order with the uncertainty of that order, a chart for each benchmark; and the rankings themselves."""
    from rbridge_tasks.decisions.candidate_ranking import PAIRED, UNPAIRED, Settings, rank_candidates
    from rbridge_tasks.decisions.candidates import CandidatesError, candidates_by_size

    settings = Settings(level=inputs.level)
    try:
        groups, _ = candidates_by_size(inputs.scores, inputs.metric)
    except CandidatesError as error:
        return Section(KEY, TITLE, missing=f"No ranking: {error}."), []
    chosen = sorted(_largest(groups), key=lambda group: inputs.benchmarks.index(group.benchmark))
    if not chosen:
        return Section(KEY, TITLE, missing=ALONE), []
    rankings, notes = [], []
    for group in chosen:
        items, doubt = _items(group, inputs)
        notes += [doubt] if doubt else []
        rankings.append(rank_candidates(group, items, settings))
    methods = {ranking.method for ranking in rankings}
    if UNPAIRED in methods:
        notes.append(
            "Intervals that rest on standard errors take the runs as independent, which overstates how unsure the "
            "order is; with the samples of all runs (--samples) they are paired item by item."
        )
    if PAIRED in methods:
        notes.append("Paired intervals resample traces, the same draw for all runs.")
    looks = by_look(lines)
    section = Section(
        KEY,
        TITLE,
        lede=(
            f"Runs at the largest equal size, best first, by {axis_label(inputs.metric.name)}. Bars are "
            f"{inputs.level_text} intervals; the table adds how far a rank may move and how probable it is that a run "
            "is better than the next. In the lines below, > stands where that is at least nine chances in ten, ≥ where "
            "it is less."
        ),
        remarks=[Remark(ranking.candidates.benchmark, _order(ranking)) for ranking in rankings],
        panels=[_panel(f"ranking-{at}", ranking, settings, looks) for at, ranking in enumerate(rankings)],
        notes=notes,
    )
    return section, rankings


def _largest(groups: Sequence[Candidates]) -> list[Candidates]:
    """Of each benchmark the group of several runs at the most compute; unknown compute only where nothing else is."""
    best: dict[str, Candidates] = {}
    for group in groups:  # the cheapest first, unknown compute last
        several, held = len(group.runs) > 1, best.get(group.benchmark)
        if several and (held is None or not math.isnan(group.flops)):
            best[group.benchmark] = group
    return [*best.values()]


def _items(group: Candidates, inputs: Inputs) -> tuple[JoinedItems | None, str]:
    """Item scores of all candidates where there are samples of each, else None and why not where some are given."""
    from rbridge_tasks.tables.joined_items import join_items
    from rbridge_tasks.tables.samples import check_against_table, read_items

    rows = inputs.headline
    same = (rows["benchmark"] == group.benchmark) & _equal(rows["params"], group.params)
    rows = rows[same & _equal(rows["tokens"], group.tokens)]
    models = dict(zip(rows["run"], rows["model"], strict=True))
    files = {}
    for one in inputs.evaluations:
        if one.benchmark == group.benchmark:
            named = [path for task, path in one.files.items() if task == f"rbridge_{one.benchmark}"]
            files[one.results.model.label] = next(iter(named or one.files.values()))
    if not files or any(models[run] not in files for run in group.runs):
        return None, ""
    found = {}
    try:
        for run, value in zip(group.runs, group.value, strict=True):
            found[run] = read_items(files[models[run]], group.metric.name)
            check_against_table(run, found[run], float(value), group.metric.name)
        joined = join_items(found, prompts="report")  # settings were compared as the inputs were read
        return joined, "".join(f"{group.benchmark}: {text}." for text in joined.notes)
    except RBridgeError as error:
        return None, f"{group.benchmark}: no paired intervals, {error}."


def _equal(column: object, value: float) -> object:
    import pandas as pd

    series = pd.Series(column)
    return series.isna() if math.isnan(value) else series == value


def _order(ranking: Ranking) -> str:
    """The order in a line: ``>`` where a run is better than the next with nine chances in ten, else ``≥``."""
    candidates, summary = ranking.candidates, ranking.summary
    names = [candidates.runs[at] for at in summary.order[:8].tolist()]
    text = names[0]
    for at, name in enumerate(names[1:]):
        probability = float(summary.ordered_right[at])
        text += f" {'?' if math.isnan(probability) else '>' if probability >= 0.9 else '≥'} {name}"
    more = len(candidates.runs) - len(names)
    return f"{text}{f' and {more} more' if more else ''}"


def _panel(key: str, ranking: Ranking, settings: Settings, looks: object) -> Panel:
    candidates, summary = ranking.candidates, ranking.summary
    low, high = ranking.score_interval
    drawn, rows = [], []
    for at, index in enumerate(summary.order.tolist()):
        run, value = candidates.runs[index], float(candidates.value[index])
        line = looks.get((run, repr(candidates.params)))  # type: ignore[attr-defined]
        drawn.append((run, line.look if line else None, value, float(low[at]), float(high[at])))
        following = float(summary.ordered_right[at]) if at < len(summary.ordered_right) else math.nan
        sure = math.isfinite(float(low[at]))
        rows.append(
            [
                Cell(f"{summary.rank[at]:g}", repr(float(summary.rank[at]))),
                Cell(run),
                number(value),
                Cell(interval_text(float(low[at]), float(high[at]))) if sure else Cell("–", None, "g"),
                Cell(f"{summary.rank_interval.low[at]:g} to {summary.rank_interval.high[at]:g}")
                if sure
                else Cell("–", None, "g"),
                Cell(
                    "last" if at + 1 == len(summary.order) else "–", None, None if at + 1 == len(summary.order) else "g"
                )
                if math.isnan(following)
                else Cell(f"{following:.3f}", repr(following)),
            ]
        )
    percent = f"{100 * settings.level:g} %"
    columns = ["rank", "run", candidates.metric.name, f"score, {percent}", f"rank, {percent}", "P(better than next)"]
    chart = interval_chart(
        key,
        drawn[:_MOST_DRAWN],
        title=f"Runs on {candidates.benchmark} by {candidates.metric.name}, best first",
        description=" ".join(
            f"{at}: {name}, {number_text(value)}." for at, (name, _, value, *_) in enumerate(drawn[:_MOST_DRAWN], 1)
        ),
        x_name=f"{axis_label(candidates.metric.name)}, {'lower' if candidates.metric.lower_is_better else 'higher'} "
        "is better",
    )
    caption = f"Runs on {candidates.benchmark} in order; {ranking.method}"
    return Panel(
        candidates.benchmark,
        candidates.size,
        chart,
        Table(caption, columns, rows, headers=2, folded="Ranks and numbers"),
    )
