"""``rbridge proxies``: the 80 proxies of each evaluation, computed from samples files trace by trace."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics import PROXIES, ProxyParameters, ScoreError, TokenScores, proxy_scores, proxy_scores_of_traces
from rbridge_metrics.proxies import DEFAULTS, last_tokens
from rbridge_tasks.frequencies.frequency_file import TokenFrequencies, read_frequencies
from rbridge_tasks.tables.catalogue import REPORTED_PROXIES
from rbridge_tasks.tables.collect import Collected, one_table, rows_of_scores
from rbridge_tasks.tables.lm_eval_results import Score
from rbridge_tasks.tables.rows import Note, ScoreRow, counted
from rbridge_tasks.tables.runs_table import RunsTable
from rbridge_tasks.tables.samples import SamplesError
from rbridge_tasks.tables.settings import TOKEN_COUNTS
from rbridge_tasks.tables.trace_samples import Evaluation, ScoredTrace, evaluations
from rbridge_traces.files import plain

_TRACES_AT_ONCE = 256
_MISSING = {"entropy": "entropies", "max_logprob": "probabilities of the most probable token", "rank": "ranks"}


@dataclass(frozen=True)
class ProxyTable(Collected):
    """A score table of proxies.

    Attributes:
        traces: how many were scored.
        frequencies: what the token frequencies were counted over, in words.
        parameters: of the proxies.
    """

    traces: int
    frequencies: str
    parameters: ProxyParameters

    def evaluations(self) -> list[dict[str, Any]]:
        """A summary of each checkpoint and benchmark, with the proxies that the lm-eval tasks report."""
        lines = []
        key = ["run", "model", "params", "tokens", "benchmark"]
        for (run, _, params, tokens, benchmark), rows in self.table.groupby(key, dropna=False, sort=False):
            values = dict(zip(rows["metric"], rows["value"], strict=True))
            line = {"run": run, "params": params, "tokens": tokens, "benchmark": benchmark, "traces": rows["n"].max()}
            lines.append(line | {name: values.get(name) for name in REPORTED_PROXIES})
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The summary as values that JSON can hold: what ``--json`` prints, without the scores themselves."""
        summary: dict[str, Any] = plain(
            {
                "files": self.files,
                "traces": self.traces,
                "scores": len(self.table),
                "frequencies": self.frequencies,
                "parameters": asdict(self.parameters),
                "evaluations": self.evaluations(),
                "notes": [asdict(note) for note in self.notes],
            }
        )
        return summary


def proxies(
    paths: str | Path | Sequence[str | Path],
    *,
    frequencies: str | Path | None = None,
    runs: str | Path | None = None,
    parameters: ProxyParameters = DEFAULTS,
    include_sample: bool = False,
) -> ProxyTable:
    """Compute all proxies of every evaluation in samples files.

    Files are read line by line: memory holds 640 bytes a trace of one evaluation. Without ``frequencies`` each file is
    read twice, first to count tokens. A trace in the samples of two tasks of one evaluation counts once. Of two
    evaluations of one checkpoint and benchmark the later one counts.

    Args:
        paths: samples files, and folders to search for them; the results file of the evaluation lies beside each.
        frequencies: file of ``rbridge frequencies``; None counts over the traces of each evaluation.
        runs: table with the name, size and tokens of runs (see ``RunsTable``); it wins over what names say.
        parameters: what the definitions of the proxies leave open.
        include_sample: keep scores on the sample traces that ship with this package.

    Raises:
        SamplesError: a path does not exist, is of no task of ours, or is damaged; nothing is left.
        ResultsError: a results file is damaged, or two models claim to be one checkpoint.
        FrequencyFileError: ``frequencies`` cannot be used, or is of another tokenizer.
        ScoreTableError: ``runs`` cannot be used.
    """
    known = RunsTable(runs) if runs is not None else None
    counts = None if frequencies is None else read_frequencies(frequencies)
    every = evaluations([paths] if isinstance(paths, (str, Path)) else paths)
    kept = [
        evaluation
        for evaluation in every
        if include_sample or not any(evaluation.results.is_sample(task) for task in evaluation.files)
    ]
    notes: list[Note] = []
    if left_out := len(every) - len(kept):
        text = f"{counted(left_out, 'evaluation')} on sample traces left out (--include-sample keeps them)"
        notes.append(Note("sample", left_out, text))
    if not kept:
        raise SamplesError(f"nothing to score; {notes[0].text}")
    rows: list[ScoreRow] = []
    n_traces = 0
    missing: dict[str, list[str]] = defaultdict(list)
    for evaluation in kept:
        values, lacking = _values(evaluation, counts, parameters)
        for array in lacking:
            missing[array].append(f"{evaluation.benchmark} of {evaluation.results.model.label}")
        n_traces += len(values)
        rows += _rows(evaluation, values, known)
    for array, where in missing.items():
        undefined = sum(array in proxy.needs for proxy in PROXIES.values())
        text = f"{undefined} proxies left out of {counted(len(where), 'evaluation')}, such as {where[0]}, which has no "
        notes.append(Note("proxies left out", undefined, text + _MISSING[array]))
    table, table_notes = one_table(rows, known, runs)
    return ProxyTable(
        table,
        sum(len(evaluation.files) for evaluation in kept),
        notes + table_notes,
        n_traces,
        "the traces of each evaluation" if counts is None else f"{frequencies}, {int(counts.counts.sum())} tokens",
        parameters,
    )


def _values(
    evaluation: Evaluation, frequencies: TokenFrequencies | None, parameters: ProxyParameters
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Proxies of every trace, shape (traces, 80), and the optional arrays that some trace lacks."""
    if frequencies is None:
        counts = _count(evaluation, parameters)
    else:
        counts = frequencies.counts
        spelled = (token for trace in islice(evaluation.traces(), _TRACES_AT_ONCE) for token in trace.spelled())
        frequencies.check_texts(spelled, str(next(iter(evaluation.files.values()))))
    parts: list[npt.NDArray[np.float64]] = []
    missing: set[str] = set()
    traces = evaluation.traces()
    while batch := [*islice(traces, _TRACES_AT_ONCE)]:
        parts.append(_scored(batch, counts, parameters).reshape(len(batch), len(PROXIES)))
        missing |= {name for name in _MISSING for trace in batch if getattr(trace.scores, name) is None}
    if not parts:
        raise SamplesError(f"no traces in {', '.join(map(str, evaluation.files.values()))}; it has no rows")
    return np.concatenate(parts), sorted(missing)


def _count(evaluation: Evaluation, parameters: ProxyParameters) -> npt.NDArray[np.int64]:
    """How often each token id occurs among the scored tokens of the traces."""
    counts = np.zeros(0, dtype=np.int64)
    for trace in evaluation.traces():
        ids = last_tokens(trace.scores.token_id, parameters)
        size = trace.scores.vocab_size
        if ids.size and not 0 <= ids.min() <= ids.max() < size:
            raise SamplesError(f"{trace.where} has a token id outside 0 to {size - 1}, the vocabulary it names")
        if size > counts.size:
            counts = np.concatenate([counts, np.zeros(size - counts.size, dtype=np.int64)])
        unique, occurrences = np.unique(ids, return_counts=True)
        counts[unique] += occurrences
    return counts


def _scored(
    batch: list[ScoredTrace], counts: npt.NDArray[np.int64], parameters: ProxyParameters
) -> npt.NDArray[np.float64]:
    def score(scores: list[TokenScores]) -> npt.NDArray[np.float64]:
        return proxy_scores_of_traces(scores, counts=counts, parameters=parameters)

    try:
        return score([trace.scores for trace in batch])
    except ScoreError:
        for trace in batch:  # to name the trace that fails
            try:
                proxy_scores(trace.scores, counts=counts, parameters=parameters)
            except ScoreError as error:
                raise SamplesError(f"{trace.where}: {error}") from error
        raise


def _rows(evaluation: Evaluation, values: npt.NDArray[np.float64], known: RunsTable | None) -> list[ScoreRow]:
    """A row for each proxy that is defined for every trace."""
    n = len(values)
    task = next(iter(evaluation.files))
    means = values.mean(axis=0)
    stderrs = values.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(len(PROXIES), math.nan)
    scores = [
        Score(task, name, float(mean), float(stderr), float(n))
        for name, mean, stderr in zip(PROXIES, means, stderrs, strict=True)
        if not math.isnan(mean)
    ]
    rows = []
    for row in rows_of_scores(evaluation.results, scores, known):
        # The count table that the task used does not matter: this command has its own, the same for every row.
        settings = {name: value for name, value in row.measured.settings.items() if name != TOKEN_COUNTS}
        measured = replace(row.measured, settings=settings)
        rows.append(replace(row, task=f"rbridge_proxies_{evaluation.benchmark}", measured=measured))
    return rows
