"""Item scores from the files of ``lm_eval --log_samples``, and from files of token scores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics import RBridgeError, TraceMoments, weighted_nats_over_test_set
from rbridge_tasks.tables.lm_eval_results import benchmark_of, with_filter
from rbridge_tasks.tables.token_scores_file import SUFFIX, token_score_rows
from rbridge_traces.files import exists

#: Metrics that are bits per byte of a corpus, and the sign of the log-likelihood in their pairs.
_RATIOS = {"rbridge_bits_per_byte": 1.0, "trace_bits_per_byte": 1.0, "bits_per_byte": -1.0}
_CLOSE = 1e-4  # relative; a results file rounds nothing, a table edited by hand may


class SamplesError(RBridgeError, ValueError):
    """Samples files that cannot be read or do not belong together. The message is always one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True)
class ItemScores:
    """The items of one samples file.

    Attributes:
        path: of the file.
        ids: of the items, sorted.
        hashes: lm-eval's hash of each item's content, "" where the file has none.
        prompts: lm-eval's hash of each item's prompt, "" where the file has none.
        numerator: shape (items,), the score of each item, or its bits.
        denominator: shape (items,), 1, or the bytes of each item.
    """

    path: Path
    ids: tuple[str, ...]
    hashes: tuple[str, ...]
    prompts: tuple[str, ...]
    numerator: npt.NDArray[np.float64]
    denominator: npt.NDArray[np.float64]

    @property
    def score(self) -> float:
        """Mean over the items, or ratio over the corpus: what lm-eval reports."""
        return float(self.numerator.sum() / self.denominator.sum())


def read_items(path: str | Path, metric: str) -> ItemScores:
    """Read the items of one metric from a samples file.

    Args:
        path: ``samples_<task>_<date>.jsonl`` or ``.parquet``.
        metric: as in a score table: ``rbridge_nll``, or with lm-eval's filter ``exact_match,strict-match``.

    Raises:
        SamplesError: no such file, not a samples file, no such metric in it, or a score that is no finite number.
    """
    name, _, filter_name = metric.partition(",")
    ids, hashes, prompts, values, others = [], [], [], [], set()
    for number, row in sample_rows(Path(path), tokens=False):
        if row.get("filter", "none") != (filter_name or "none") or name not in row:
            others |= {with_filter(present, row.get("filter", "none")) for present in row.get("metrics") or ()}
            continue
        doc = row.get("doc")
        item = doc.get("item_id") if isinstance(doc, dict) else None
        ids.append(str(item if item is not None else row.get("doc_id", number)))
        hashes.append(str(row.get("doc_hash", "")))
        prompts.append(str(row.get("prompt_hash", "")))
        values.append(row[name])
    if not ids:
        present = f"it has {', '.join(sorted(others))}" if others else "it has no rows"
        raise SamplesError(f"no item scores of {metric} in {path}; {present}")
    if len(set(ids)) < len(ids):
        twice = next(item for item in ids if ids.count(item) > 1)
        raise SamplesError(f"item {twice} stands twice in {path}; give a file of a single evaluation")
    numerator, denominator = _numbers(values, name, path)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return ItemScores(
        path=Path(path),
        ids=tuple(ids[at] for at in order),
        hashes=tuple(hashes[at] for at in order),
        prompts=tuple(prompts[at] for at in order),
        numerator=numerator[order],
        denominator=denominator[order],
    )


def check_against_table(name: str, items: ItemScores, value: float, metric: str) -> None:
    """Refuse a samples file whose score is not the one in the score table.

    Raises:
        SamplesError: it is the file of another run or checkpoint, or the metric is no mean over items.
    """
    if not math.isclose(items.score, value, rel_tol=_CLOSE, abs_tol=1e-9):
        raise SamplesError(
            f"{items.path} has a {metric} of {items.score:.6g} over its {len(items.ids)} items, but the score table "
            f"has {value:.6g} for {name}; give the samples file of that evaluation (a metric that is no mean over "
            "items has no item bootstrap)"
        )


def find_samples(path: str | Path, benchmark: str, metric: str | None = None) -> Path | None:
    """The samples file of a benchmark: the file itself, or the one in a folder. None if a file is of another.

    Args:
        path: of the file or folder.
        benchmark: as in a score table.
        metric: where a folder holds files of several tasks over the benchmark, take those that have it.

    Raises:
        SamplesError: no such path, or a folder that holds none or several.
    """
    place = Path(path)
    files = samples_in(place)
    if place.is_dir():
        files = [file for file in files if _benchmark(file) == benchmark]
        if metric is not None and len(files) > 1:
            files = [file for file in files if _has(file, metric)] or files
        if len(files) > 1:
            raise SamplesError(
                f"{place} holds {len(files)} samples files of {benchmark}, such as {files[0].name} and "
                f"{files[1].name}; name one of them"
            )
        return files[0] if files else None
    return place if _benchmark(place) in (benchmark, None) else None


def sampled_benchmarks(path: str | Path, metric: str) -> list[str]:
    """The benchmarks whose items have a metric in a folder of samples files, sorted; or in a single file.

    Raises:
        SamplesError: no such path, or a file that is not named as lm-eval names it.
    """
    files = samples_in(Path(path))
    return sorted({name for file in files if (name := _benchmark(file)) is not None and _has(file, metric)})


def _has(file: Path, metric: str) -> bool:
    """Whether the first item of a samples file has a metric."""
    _, first = next(sample_rows(file, tokens=False), (0, {}))
    return metric.partition(",")[0] in (first.get("metrics") or ())


def _benchmark(file: Path) -> str | None:
    """The benchmark in the name of a samples file; None where the file is not named as lm-eval names it."""
    stem, separator, _ = file.stem.rpartition("_")
    return benchmark_of(stem.removeprefix("samples_")) if separator and stem.startswith("samples_") else None


def samples_in(place: Path) -> list[Path]:
    """The samples files in a folder and below it, sorted, or a file itself.

    Where an evaluation wrote both kinds into the folder, its token scores.

    Raises:
        SamplesError: no such path.
    """
    if not exists(place):
        raise SamplesError(f"there is no file or folder {str(place)!r}; give what lm_eval --log_samples wrote")
    if not place.is_dir():
        return [place]
    files = [*place.rglob("samples_*.jsonl"), *place.rglob(f"samples_*{SUFFIX}")]
    return sorted({file.with_suffix(""): file for file in files}.values())


def sample_rows(path: Path, *, tokens: bool = True) -> Iterator[tuple[int, dict[str, Any]]]:
    """The samples of a file in turn, each with the number of its line or row, from 0.

    Args:
        path: a samples file of lm-eval, or a file of token scores.
        tokens: also the responses of a file of token scores; a samples file is always read whole.

    Raises:
        SamplesError: no such file, or a line is no JSON object.
        TokenScoresFileError: a file of token scores is damaged or another one.
    """
    rows = enumerate(token_score_rows(path, tokens=tokens)) if path.suffix == SUFFIX else _json_lines(path)
    for number, row in rows:
        if not isinstance(row, dict):
            raise SamplesError(f"line {number + 1} of {path} is no JSON object; it should be one of lm-eval's samples")
        yield number, row


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from ((number, json.loads(line)) for number, line in enumerate(lines) if line.strip())
    except OSError as error:
        raise SamplesError(
            f"cannot read {path}: {error.strerror or error}; give a file of lm_eval --log_samples"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SamplesError(f"{path} is no samples file of lm-eval, or was cut off ({error})") from error


def _numbers(values: list[Any], name: str, path: str | Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Numerators and denominators: scores and ones, or bits and bytes."""
    try:
        table = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise SamplesError(f"{name} in {path} is not a number for every item, such as {values[0]!r:.60}") from error
    if not np.isfinite(table).all():
        at = int(np.argmax(~np.isfinite(table.reshape(len(values), -1)).all(axis=1)))
        raise SamplesError(f"{name} of item {at + 1} in {path} is {values[at]!r:.60}; a finite number is needed")
    if table.ndim == 1:
        return table, np.ones(len(table))
    if table.ndim == 2 and table.shape[1] == len(TraceMoments._fields):  # weights over the whole test set
        moments = [TraceMoments(*row) for row in table.tolist()]
        nats = weighted_nats_over_test_set(moments)
        sizes = np.array([moment.n_bytes if name in _RATIOS else moment.tokens for moment in moments], dtype=np.float64)
        return (nats / math.log(2), sizes) if name in _RATIOS else (nats / sizes, np.ones(len(nats)))
    if table.ndim == 2 and table.shape[1] == 2 and name in _RATIOS:
        return _RATIOS[name] * table[:, 0] / math.log(2), table[:, 1]
    raise SamplesError(f"{name} in {path} is {values[0]!r:.60} for an item; a number, or (nats, bytes), is needed")
