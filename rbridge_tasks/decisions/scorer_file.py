"""``scorer.json``: a scorer with the names of its proxies, plain and versioned, enough to rank another population."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbridge_metrics.errors import RBridgeError, SelectionError
from rbridge_metrics.selection.results import Trial
from rbridge_metrics.selection.scorers import Scorer
from rbridge_traces.files import write_json

FORMAT = {"format": "rbridge-scorer", "version": 1}


class ScorerFileError(RBridgeError):
    """A file that is not one of ``rbridge select --save``."""


@dataclass(frozen=True)
class SavedScorer:
    """A scorer, its proxies by name, and the benchmarks it was trained on."""

    scorer: Scorer
    metrics: list[str]
    benchmarks: list[str]


def write_scorer(
    trial: Trial, metrics: Sequence[str], benchmarks: Sequence[str], targets: Sequence[str], path: str | Path
) -> None:
    """Write a scorer atomically, with how it did.

    Args:
        trial: of the scorer.
        metrics: names of all proxies of the population; those that it needs are written.
        benchmarks: it was trained on.
        targets: metrics of the accuracies.
        path: ``.json``.
    """
    write_json(
        path,
        {
            **FORMAT,
            "scorer": trial.scorer.to_dict(),
            "metrics": [metrics[at] for at in trial.scorer.proxies],
            "benchmarks": [*benchmarks],
            "target_metrics": [*targets],
            "left_out_spearman": trial.mean,
            "new_models_spearman": trial.new_models,
            "p_corrected": trial.p_corrected,
        },
    )


def read_scorer(path: str | Path) -> SavedScorer:
    """Read what ``write_scorer`` wrote.

    Raises:
        ScorerFileError: it is missing, damaged, something else, or of a later version.
    """
    try:
        content: Any = json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise ScorerFileError(f"there is no file {str(path)!r}; write one with rbridge select --save {path}") from error
    except OSError as error:
        raise ScorerFileError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except ValueError as error:
        raise ScorerFileError(f"{path} is not JSON ({error}); expected a file of rbridge select --save") from error
    found = (content.get("format"), content.get("version")) if isinstance(content, dict) else (None, None)
    if found != (FORMAT["format"], FORMAT["version"]):
        raise ScorerFileError(
            f"{path} has format {found[0]!r}, version {found[1]!r}; expected {FORMAT['format']!r}, version "
            f"{FORMAT['version']}, as rbridge select --save of this release writes it"
        )
    try:
        scorer = Scorer.from_dict(content["scorer"])
        metrics, benchmarks = ([str(name) for name in content[key]] for key in ("metrics", "benchmarks"))
    except SelectionError as error:
        raise ScorerFileError(f"{path}: {error}") from error
    except (KeyError, TypeError) as error:
        raise ScorerFileError(f"{path} is damaged: {error!r}; save it again with rbridge select --save") from error
    if len(metrics) != len(scorer.proxies) or len(set(metrics)) < len(metrics):
        raise ScorerFileError(
            f"{path} is damaged: {len(metrics)} metrics for {len(scorer.proxies)} proxies; save it again"
        )
    return SavedScorer(scorer, metrics, benchmarks)
