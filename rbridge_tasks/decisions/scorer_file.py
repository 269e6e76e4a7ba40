"""``scorer.json``: a scorer with the names of its proxies, plain and versioned; it ranks other populations."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydantic

from rbridge_metrics.errors import RBridgeError, SelectionError
from rbridge_metrics.selection.results import Trial
from rbridge_metrics.selection.scorers import Scorer
from rbridge_traces.files import write_json


class ScorerFileError(RBridgeError):
    """A file that is not one of ``rbridge select --save``."""


@dataclass(frozen=True)
class SavedScorer:
    """A scorer, its proxies by name, and the benchmarks it was trained on."""

    scorer: Scorer
    metrics: list[str]
    benchmarks: list[str]


class _ScorerContent(pydantic.BaseModel):
    name: str
    weights: list[float]
    support: list[list[float]] | None
    width: float | None


class _ScorerFile(pydantic.BaseModel):
    """The content of the file. The last four are for people."""

    format: Literal["rbridge-scorer"]
    version: Literal[1]
    scorer: _ScorerContent
    metrics: list[str]
    benchmarks: list[str]
    target_metrics: list[str] = []
    left_out_spearman: float | None = None
    new_models_spearman: float | None = None
    p_corrected: float | None = None


def write_scorer(
    trial: Trial, metrics: Sequence[str], benchmarks: Sequence[str], targets: Sequence[str], path: str | Path
) -> None:
    """Write the scorer of a trial atomically, as JSON, with its results on tasks left out.

    ``metrics`` are the names of all proxies of the population; those that the scorer needs are written.
    """
    content = _ScorerFile(
        format="rbridge-scorer",
        version=1,
        scorer=_ScorerContent(**trial.scorer.to_dict()),
        metrics=[metrics[at] for at in trial.scorer.proxies],
        benchmarks=[*benchmarks],
        target_metrics=[*targets],
        left_out_spearman=trial.mean,
        new_models_spearman=trial.new_models,
        p_corrected=trial.p_corrected,
    )
    write_json(path, content.model_dump())


def read_scorer(path: str | Path) -> SavedScorer:
    """Read what ``write_scorer`` wrote.

    Raises:
        ScorerFileError: it is missing, damaged, something else, or of a later version.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ScorerFileError(f"there is no file {str(path)!r}; write one with rbridge select --save {path}") from error
    except OSError as error:
        raise ScorerFileError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    try:
        content = _ScorerFile.model_validate_json(data)
        scorer = Scorer.from_dict(content.scorer.model_dump())
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = " ".join(["at", *map(str, first["loc"])]) if first["loc"] else "in it"
        value = reprlib.repr(first["input"])
        raise ScorerFileError(
            f"{path} is not a scorer of this release, or damaged: {first['msg']} {where}, it has {value}; write one "
            "with rbridge select --save"
        ) from error
    except SelectionError as error:
        raise ScorerFileError(f"{path}: {error}") from error
    if len(content.metrics) != len(scorer.proxies) or len(set(content.metrics)) < len(content.metrics):
        raise ScorerFileError(
            f"{path} is damaged: {len(content.metrics)} metrics for {len(scorer.proxies)} proxies; save it again"
        )
    return SavedScorer(scorer, content.metrics, content.benchmarks)
