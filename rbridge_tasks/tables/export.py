"""``rbridge export``: results of lm-eval in formats of other places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from rbridge_tasks.tables.every_eval_ever import write_every_eval_ever
from rbridge_tasks.tables.exported_scores import Exported, ExportError, exported_scores
from rbridge_tasks.tables.hub_eval_results import write_eval_results

Format = Literal["every-eval-ever", "eval-results"]


def export(
    paths: str | Path | Sequence[str | Path],
    folder: str | Path,
    *,
    to: Format,
    metrics: Sequence[str] = (),
    developer: str | None = None,
    organization: str | None = None,
    relationship: str | None = None,
    datasets: Mapping[str, str] | None = None,
    source_url: str | None = None,
    include_sample: bool = False,
) -> Exported:
    """Write results of lm-eval in another format. What a results file does not state is left out.

    Args:
        paths: results files, and folders to search for them.
        folder: where files are written.
        to: ``"every-eval-ever"`` or ``"eval-results"`` (the Hub's ``.eval_results/*.yaml``).
        metrics: only these, with or without a filter; all if empty.
        developer: organisation of models that were given as a path.
        organization: who provides the results; every-eval-ever requires it.
        relationship: of the organization to the models: first_party, third_party, collaborative or other;
            every-eval-ever requires it.
        datasets: the Hub's benchmark, ``OWNER/NAME:TASK``, of each benchmark; for eval-results.
        source_url: address that entries of eval-results name as their source.
        include_sample: keep scores on the sample traces that ship with this package.

    Raises:
        CollectError: a path does not exist or holds no results.
        ExportError: nothing is left, or an option is missing or cannot be used.
        ResultsError: a file that was named holds no results.
    """
    if to not in get_args(Format):
        raise ExportError(f"{to!r} is no format of an export; choose {' or '.join(get_args(Format))}")
    scores, left_out = exported_scores(paths, metrics=metrics, developer=developer, include_sample=include_sample)
    if to == "every-eval-ever":
        done = write_every_eval_ever(scores, folder, organization=organization, relationship=relationship)
    else:
        done = write_eval_results(scores, folder, datasets=datasets or {}, source_url=source_url)
    return replace(done, left_out=left_out + done.left_out)
