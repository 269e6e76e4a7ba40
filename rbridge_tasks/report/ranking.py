"""Section: candidate data sets in the order of the headline metric, at the largest size that several share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.charts.intervals import IntervalRow
from rbridge_tasks.charts.page_charts import interval_chart
from rbridge_tasks.charts.texts import number_text
from rbridge_tasks.decisions.candidates import Candidates, CandidatesError, candidates_by_size, largest
from rbridge_tasks.decisions.size_ranking import PAIRED, UNPAIRED, BootstrapSettings, SizeRanking, rank_candidates
from rbridge_tasks.report.elements import Cell, PageSection, PageTable, Panel, Remark, dash, interval, number
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.run_lines import RunLine
from rbridge_tasks.tables.averaging import noise_of_mean
from rbridge_tasks.tables.catalogue import axis_label
from rbridge_tasks.tables.joined_items import JoinedItems, join_items
from rbridge_tasks.tables.samples import check_against_table, read_items

KEY, TITLE = "ranking", "Ranking of data sets"
_MOST_DRAWN = 40  # the table has all
_SURE = 0.9  # probability of being better than the next from which the order is written with >
ALONE = (
    "Every run stands alone at its size, so there is nothing to rank. Scores of several runs at equal params and "
    "tokens fill this section."
)


def ranking_section(inputs: Inputs, lines: Sequence[RunLine]) -> tuple[PageSection, list[SizeRanking]]:
    """Runs in order with the uncertainty of that order, a chart for each benchmark; and the rankings themselves."""
    try:
        groups, _ = candidates_by_size(inputs.scores, inputs.metric)
    except CandidatesError as error:
        return PageSection(KEY, TITLE, missing=f"No ranking: {error}."), []
    chosen = largest(group for group in groups if len(group.runs) > 1)
    chosen.sort(key=lambda group: inputs.benchmarks.index(group.benchmark))
    if not chosen:
        return PageSection(KEY, TITLE, missing=ALONE), []
    rankings, notes = [], []
    for group in chosen:
        items, doubt = _items(group, inputs)
        notes += [doubt] if doubt else []
        training_noise = noise_of_mean(inputs.noise, inputs.counts, *group.key)
        rankings.append(rank_candidates(group, items, BootstrapSettings(level=inputs.level), training_noise))
    methods = {ranking.method for ranking in rankings}
    if UNPAIRED in methods:
        notes.append(
            "Intervals that rest on standard errors take the runs as independent, which overstates how unsure the "
            "order is; with the samples of all runs (--samples) they are paired item by item."
        )
    if any(math.isfinite(ranking.noise_share) for ranking in rankings):
        notes.append("Intervals include the noise of training, estimated from the last checkpoints of the runs.")
    if PAIRED in methods:
        notes.append("Paired intervals resample traces, the same draw for all runs.")
    looks = {line.key: line.look for line in lines}
    section = PageSection(
        KEY,
        TITLE,
        lede=(
            f"Runs at the largest equal size, best first, by {axis_label(inputs.metric.name)}. Bars are "
            f"{inputs.level_text} intervals; the table adds how far a rank may move and how probable it is that a run "
            "is better than the next. In the lines below, > stands where that is at least nine chances in ten, ≥ where "
            "it is less."
        ),
        remarks=[Remark(ranking.candidates.benchmark, _order(ranking)) for ranking in rankings],
        panels=[_panel(f"ranking-{at}", ranking, inputs, looks) for at, ranking in enumerate(rankings)],
        notes=notes,
    )
    return section, rankings


def _items(group: Candidates, inputs: Inputs) -> tuple[JoinedItems | None, str]:
    """Item scores of all candidates where there are samples of each, else None and why not where some are given."""
    rows = inputs.headline
    rows = rows[rows["benchmark"] == group.benchmark]
    for name, value in (("params", group.params), ("tokens", group.tokens)):
        rows = rows[rows[name].isna() if math.isnan(value) else rows[name] == value]
    models = dict(zip(rows["run"], rows["model"], strict=True))
    task = f"rbridge_{group.benchmark}"
    files = {
        evaluation.results.model.label: evaluation.files.get(task) or next(iter(evaluation.files.values()))
        for evaluation in inputs.evaluations
        if evaluation.benchmark == group.benchmark
    }
    if not files or any(models[run] not in files for run in group.runs):
        return None, ""
    items = {}
    try:
        for run, value in zip(group.runs, group.value, strict=True):
            items[run] = read_items(files[models[run]], group.metric.name)
            check_against_table(run, items[run], float(value), group.metric.name)
        joined = join_items(items, prompts="report")  # settings were compared as the inputs were read
        return joined, "".join(f"{group.benchmark}: {text}." for text in joined.notes)
    except RBridgeError as error:
        return None, f"{group.benchmark}: no paired intervals, {error}."


def _order(ranking: SizeRanking) -> str:
    """The order in a line: ``>`` where a run is better than the next with nine chances in ten, else ``≥``."""
    candidates, summary = ranking.candidates, ranking.summary
    names = [candidates.runs[at] for at in summary.order[:8].tolist()]
    text = names[0]
    for name, probability in zip(names[1:], summary.ordered_right.tolist(), strict=False):
        text += f" {'?' if math.isnan(probability) else '>' if probability >= _SURE else '≥'} {name}"
    more = len(candidates.runs) - len(names)
    return f"{text}{f' and {more} more' if more else ''}"


def _panel(key: str, ranking: SizeRanking, inputs: Inputs, looks: dict[tuple[str, str], int | None]) -> Panel:
    candidates, summary = ranking.candidates, ranking.summary
    benchmark, metric = candidates.benchmark, candidates.metric.name
    following = [*(_probability(value) for value in summary.ordered_right.tolist()), Cell("last")]
    drawn, rows = [], []
    for at, index in enumerate(summary.order.tolist()):
        run, value = candidates.runs[index], float(candidates.value[index])
        low, high = (float(end[at]) for end in ranking.score_interval)
        drawn.append(IntervalRow.of_look(run, value, low, high, looks.get((run, repr(candidates.params)))))
        rank = float(summary.rank[at])
        low_rank, high_rank = (float(end[at]) for end in summary.rank_interval)
        cells = [interval(low, high, "g"), interval(low_rank, high_rank, "g", "g"), following[at]]
        rows.append([Cell(f"{rank:g}", repr(rank)), Cell(run), number(value), *cells])
    percent = f"{100 * inputs.level:g} %"
    columns = ["rank", "run", metric, f"score, {percent}", f"rank, {percent}", "P(better than next)"]
    chart = interval_chart(
        key,
        drawn[:_MOST_DRAWN],
        title=f"Runs on {benchmark} by {metric}, best first",
        description=" ".join(
            f"{place}: {row.name}, {number_text(row.value)}." for place, row in enumerate(drawn[:_MOST_DRAWN], 1)
        ),
        x_name=f"{axis_label(metric)}, {inputs.way}",
    )
    caption = f"Runs on {benchmark} in order; {ranking.method}"
    table = PageTable(caption, columns, rows, headers=2, folded="Ranks and numbers")
    return Panel(benchmark, candidates.size, chart, table)


def _probability(value: float) -> Cell:
    """A probability with three decimals, exact for machines."""
    return dash("g") if math.isnan(value) else Cell(f"{value:.3f}", repr(value))
