"""``rbridge proxies``: the 80 proxies of each evaluation, from samples files, trace by trace."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics import PROXIES, ProxyParameters, ScoreError, TokenScores, proxy_scores, proxy_scores_of_traces
from rbridge_metrics.proxies import DEFAULTS, last_tokens
from rbridge_tasks.frequencies.frequency_file import TokenFrequencies, read_frequencies
from rbridge_tasks.tables.collect import one_table, rows_of_scores
from rbridge_tasks.tables.comparable import Measured
from rbridge_tasks.tables.lm_eval_results import Score
from rbridge_tasks.tables.rows import Note, ScoreRow, counted
from rbridge_tasks.tables.runs_table import RunsTable
from rbridge_tasks.tables.samples import SamplesError
from rbridge_tasks.tables.settings import TOKEN_COUNTS
from rbridge_tasks.tables.trace_samples import Evaluation, ScoredTrace, evaluations

_TRACES_AT_ONCE = 256
_BY_TRACES = "the traces of each evaluation"
_MISSING = {"entropy": "entropies", "max_logprob": "probabilities of the most probable token", "rank": "ranks"}


@dataclass(frozen=True)
class ProxyTable:
    """A score table of proxies and what there is to say about it.

    Attributes:
        table: see ``rbridge_tasks.tables.score_table``.
        files: samples files that were read.
        traces: scored.
        frequencies: what the token frequencies were counted over, in words.
        notes: what was left out, is unknown, or in doubt.
    """

    table: pd.DataFrame
    files: int
    traces: int
    frequencies: str
    notes: list[Note]


@dataclass
class _Found:
    rows: list[ScoreRow] = field(default_factory=list)
    files: int = 0
    traces: int = 0
    missing: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def proxy_table(
    sources: Sequence[str | Path],
    *,
    frequencies: str | Path | None = None,
    runs: str | Path | None = None,
    parameters: ProxyParameters = DEFAULTS,
    include_sample: bool = False,
) -> ProxyTable:
    """Compute all proxies of every evaluation found.

    Files are read line by line, so memory does not grow with them: 640 bytes a trace of one evaluation are kept.
    Without ``frequencies`` each is read twice, first to count tokens. A trace that stands in the samples of two tasks
    of one evaluation counts once. Of two evaluations of one checkpoint and benchmark the later one counts.

    Args:
        sources: samples files, and folders to search for them; the results file of the evaluation lies beside each.
        frequencies: file of ``rbridge frequencies``; None counts over the traces of each evaluation.
        runs: table of what the user knows of runs (see ``RunsTable``); wins over names.
        parameters: what the definitions leave open.
        include_sample: keep scores on the sample traces that ship with this package.

    Raises:
        SamplesError: a source is not there, is of no task of ours, or is damaged; nothing is left.
        ResultsError: a results file is damaged, or two models claim to be one checkpoint.
        FrequencyFileError: ``frequencies`` cannot be used, or is of another tokenizer.
        ScoreTableError: ``runs`` cannot be used.
    """
    known = RunsTable(runs) if runs is not None else None
    counts = None if frequencies is None else read_frequencies(frequencies)
    found = _Found()
    notes: list[Note] = []
    every = evaluations(sources)
    kept = [one for one in every if include_sample or not any(one.results.is_sample(task) for task in one.files)]
    if len(kept) < len(every):
        left = counted(len(every) - len(kept), "evaluation")
        text = f"{left} on sample traces left out (--include-sample keeps them)"
        notes.append(Note("sample", len(every) - len(kept), text))
    if not kept:
        raise SamplesError(f"nothing to score; {notes[0].text}")
    for evaluation in kept:
        values, reasons = _values(evaluation, counts, parameters)
        for reason in reasons:
            found.missing[reason].append(f"{evaluation.benchmark} of {evaluation.results.model.label}")
        found.files += len(evaluation.files)
        found.traces += len(values)
        found.rows += _rows(evaluation, values, known)
    for reason, where in found.missing.items():
        proxies = sum(reason in proxy.needs for proxy in PROXIES.values())
        text = f"{proxies} proxies left out of {counted(len(where), 'evaluation')}, such as {where[0]}, which has no "
        notes.append(Note("proxies left out", proxies, text + _MISSING[reason]))
    table, more = one_table(found.rows, known, runs)
    words = _BY_TRACES if counts is None else f"{frequencies}, {int(counts.counts.sum())} tokens"
    return ProxyTable(table, found.files, found.traces, words, notes + more)


def _values(
    evaluation: Evaluation, frequencies: TokenFrequencies | None, parameters: ProxyParameters
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Proxies of every trace, shape (traces, 80), and which optional inputs some trace does not have."""
    if frequencies is None:
        counts = _count(evaluation, parameters)
    else:
        counts = frequencies.counts
        some = [*islice(evaluation.traces(), _TRACES_AT_ONCE)]
        spelled = ((token, letters) for trace in some for token, letters in trace.spelled())
        frequencies.check_texts(spelled, str(next(iter(evaluation.files.values()))))
    parts: list[npt.NDArray[np.float64]] = []
    missing: set[str] = set()
    traces = evaluation.traces()
    while batch := [*islice(traces, _TRACES_AT_ONCE)]:
        parts.append(_scored(batch, counts, parameters).reshape(len(batch), len(PROXIES)))
        missing |= {name for name in _MISSING for one in batch if getattr(one.scores, name) is None}
    if not parts:
        raise SamplesError(f"no traces in {', '.join(map(str, evaluation.files.values()))}; it has no rows")
    return np.concatenate(parts), sorted(missing)


def _count(evaluation: Evaluation, parameters: ProxyParameters) -> npt.NDArray[np.int64]:
    """How often each token id occurs in the traces, as far as they are scored."""
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
        for trace in batch:  # name the one
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
    rows = rows_of_scores(evaluation.results, scores, known)
    return [replace(row, task=f"rbridge_proxies_{evaluation.benchmark}", measured=_measured(row)) for row in rows]


def _measured(row: ScoreRow) -> Measured:
    """Without the count table that the task used: this command has one of its own, the same for every row."""
    settings = {name: value for name, value in row.measured.settings.items() if name != TOKEN_COUNTS}
    return replace(row.measured, settings=settings)
