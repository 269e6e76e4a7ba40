"""The head of the page: its content and its main results in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rbridge_tasks.charts.texts import number_text
from rbridge_tasks.decisions.size_ranking import SizeRanking
from rbridge_tasks.report.elements import Remark
from rbridge_tasks.report.inputs import Inputs
from rbridge_tasks.report.predictions import Latest
from rbridge_tasks.report.run_lines import RunLine
from rbridge_tasks.tables.catalogue import axis_label
from rbridge_tasks.tables.names import listed
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.sizes import count_text

_CLEAR = 0.9  # probability from which one run is called better than the next


def contents(inputs: Inputs) -> str:
    """The content of the table, in a sentence."""
    scores = inputs.scores
    checkpoints = len(scores[["run", "model", "params", "tokens"]].drop_duplicates())
    tokens = scores["tokens"].dropna()
    along = ""
    if len(tokens):
        low, high = count_text(float(tokens.min())), count_text(float(tokens.max()))
        along = f" at {high} training tokens" if low == high else f" from {low} to {high} training tokens"
    whole = f"{len(scores):,} score{'s' if len(scores) > 1 else ''}"
    return (
        f"{whole} of {counted(scores['run'].nunique(), 'run')} and {counted(checkpoints, 'checkpoint')}{along}, on "
        f"{counted(len(inputs.benchmarks), 'benchmark')} by {counted(scores['metric'].nunique(), 'metric')}."
    )


def findings(
    inputs: Inputs,
    lines: Sequence[RunLine],
    rankings: Sequence[SizeRanking],
    latest: Sequence[Latest],
    order: Sequence[Remark],
    verdicts: Sequence[Remark],
) -> list[Remark]:
    """Settings that differ, what is best, how well runs are ordered, how they changed, predictions, trust in them."""
    return [
        *(Remark("Settings differ", f"{text}.", "doubt") for text in inputs.doubts),
        _best(inputs, lines, rankings),
        *order,
        *_training(inputs, lines),
        *_predicted(latest, inputs.level_text),
        *_trust(verdicts),
    ]


def _best(inputs: Inputs, lines: Sequence[RunLine], rankings: Sequence[SizeRanking]) -> Remark:
    metric = inputs.metric
    if rankings:
        wins: dict[str, list[str]] = {}
        for ranking in rankings:
            run = ranking.candidates.runs[int(ranking.summary.order[0])]
            wins.setdefault(run, []).append(ranking.candidates.benchmark)
        parts = [
            f"{run} on {_names(names, len(rankings))}" for run, names in sorted(wins.items(), key=lambda w: -len(w[1]))
        ]
        sure = _lead(rankings, "its" if len(wins) == 1 else "the")
        return Remark("Best run", f"{'; '.join(parts)}, by {axis_label(metric.name)}, {inputs.way}; {sure}.", "good")
    rows = lines[0].along(inputs.headline)
    ends = [part.iloc[-1] for _, part in rows.groupby("benchmark", sort=False)]
    values = listed((f"{number_text(float(end['value']))} on {end['benchmark']}" for end in ends), 6)
    alone = len(inputs.headline[["run", "params"]].drop_duplicates()) == 1
    label = "Last checkpoint" if alone else "Best last checkpoint"
    return Remark(label, f"{lines[0].name}: {axis_label(metric.name)} {values}; {inputs.way}.", "good")


def _lead(rankings: Sequence[SizeRanking], whose: str) -> str:
    """How clear the lead of the best run over the next is."""
    chances = [float(ranking.summary.ordered_right[0]) for ranking in rankings]
    clear = sum(chance >= _CLEAR for chance in chances)
    space = "\N{NO-BREAK SPACE}"
    if all(map(math.isnan, chances)):
        return "without standard errors nothing says how clear the lead is"
    if len(rankings) > 1:
        return (
            f"{whose} lead over the next run is clear (P{space}≥{space}{_CLEAR:g}) on {clear} of "
            f"{counted(len(rankings), 'benchmark')}"
        )
    return (
        f"{whose} lead over the next run is {'' if clear else 'not '}clear (P{space}{'≥<'[not clear]}{space}{_CLEAR:g})"
    )


def _names(names: Sequence[str], of: int) -> str:
    """Benchmarks in words."""
    if len(names) == of and of > 1:
        return "both benchmarks" if of == 2 else f"all {of} benchmarks"
    return listed(names, 6)


def _training(inputs: Inputs, lines: Sequence[RunLine]) -> list[Remark]:
    """How many scores got better from the first to the last checkpoint."""
    better = total = 0
    for line in lines:
        rows = line.of(inputs.headline)
        for _, part in rows[rows["tokens"].notna()].groupby("benchmark"):
            if len(part) > 1:
                change = part["value"].iloc[-1] - part["value"].iloc[0]
                better += bool(change < 0 if inputs.metric.lower_is_better else change > 0)
                total += 1
    if not total:
        return []
    text = (
        f"{inputs.metric.name} got better from the first to the last checkpoint in {better} of {total} pairs of run "
        "and benchmark."
    )
    return [Remark("Over training", text, "good" if better == total else "doubt" if better < total / 2 else "plain")]


def _predicted(latest: Sequence[Latest], level: str) -> list[Remark]:
    """The highest prediction of each benchmark."""
    best: dict[str, Latest] = {}
    for row in latest:
        if row.benchmark not in best or row.predicted > best[row.benchmark].predicted:
            best[row.benchmark] = row
    if not best:
        return []
    by_line: dict[str, list[str]] = {}
    for name, row in [*best.items()][:6]:
        where = row.line + ("" if math.isnan(row.tokens) else f" at {count_text(row.tokens)} tokens")
        text = f"{row.predicted:.1f}\N{NO-BREAK SPACE}% ({row.low:.1f} to {row.high:.1f}) on {name}"
        by_line.setdefault(where, []).append(text + (", beyond the fitted scores" if row.outside else ""))
    parts = [f"{where}, {', '.join(texts)}" for where, texts in by_line.items()]
    more = f"; and {counted(len(best) - 6, 'benchmark')} more" if len(best) > 6 else ""
    return [Remark("Predicted target accuracy", f"Highest, with {level} intervals: {'; '.join(parts)}{more}.")]


def _trust(verdicts: Sequence[Remark]) -> list[Remark]:
    """Benchmarks on which the proxy beats predictions without it, and those on which it does not."""
    if not verdicts:
        return []
    wins = sum(verdict.tone == "good" for verdict in verdicts)
    if wins == len(verdicts):
        text = "The proxy beats every baseline"
        text += "." if wins == 1 else f" on {_names([verdict.label for verdict in verdicts], wins)}."
        return [Remark("Is the proxy worth it?", text, "good")]
    lacking = [verdict for verdict in verdicts if verdict.tone != "good"]
    text = "; ".join(f"{verdict.label}: {verdict.text}" for verdict in lacking[:3])
    more = f"; and {len(lacking) - 3} more" if len(lacking) > 3 else ""
    count = (
        f"it beats every baseline on {wins} of {counted(len(verdicts), 'benchmark')}; not on the rest. " if wins else ""
    )
    return [Remark("Is the proxy worth it?", f"{count}{text}{more}.", "doubt")]
