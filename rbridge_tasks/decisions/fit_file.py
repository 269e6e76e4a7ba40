"""A fit: curves from proxy score to accuracy, by group; and ``fit.json``, the file that holds one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy.typing as npt
import pandas as pd
from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, TypeAdapter, ValidationError

from rbridge_metrics.errors import FitError, RBridgeError
from rbridge_metrics.regression import ProxyRegressor
from rbridge_tasks.decisions.decision import Decision
from rbridge_tasks.decisions.pairing import PairsSource, ScoresSource, group_name
from rbridge_tasks.decisions.prediction import Predictions, predict_rows
from rbridge_tasks.tables.comparable import Measured
from rbridge_traces.files import check_suffix, write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = {"format": "rbridge-fit", "version": 1}

#: A number that may be undefined: NaN here, null in the file.
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


class FitFileError(RBridgeError):
    """A file that is no fit, or a fit that lacks the curve asked for."""


@dataclass(frozen=True)
class FitPoint:
    """A point that was fitted: score, accuracy in percent, and what is known of its checkpoint (see ``Group``)."""

    x: float
    y: float
    order: float | None = None
    run: str | None = None
    interpolated: bool = False


@dataclass(frozen=True)
class LeftOut:
    """What the curve fitted without a fold predicted at a point of that fold; undefined values are NaN."""

    point: int
    fold: int
    prediction: Number
    low: Number
    high: Number


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A cross-validation, see ``rbridge_metrics.CrossValidation``. Errors are in percentage points."""

    scheme: str
    folds: int
    skipped: list[str] = field(default_factory=list)
    train_r2: Number
    test_mae_pct: Number
    level: float
    coverage: Number
    functions: list[str] = field(default_factory=list)
    unconverged: dict[str, int] = field(default_factory=dict)
    baseline_mae_pct: dict[str, Number]
    verdict: str
    left_out: list[LeftOut] = field(default_factory=list)


def _read_model(saved: Any) -> ProxyRegressor:
    if isinstance(saved, ProxyRegressor):
        return saved
    if not isinstance(saved, Mapping):
        raise FitError("a saved fit is no object; expected what ProxyRegressor.to_dict gives")
    return ProxyRegressor.from_dict(saved)


def _known_values(point: FitPoint) -> dict[str, Any]:
    return {name: value for name, value in asdict(point).items() if value is not None and value is not False}


@dataclass(frozen=True)
class FittedGroup:
    """One curve.

    Attributes:
        key: value by column, such as ``{"benchmark": "gsm8k"}``.
        points: that the curve was fitted to.
        notes: doubts about the curve.
        model: the curve with its intervals.
        cross_validation: None if there were too few points.
    """

    key: Annotated[dict[str, str], Field(alias="group")]
    points: list[Annotated[FitPoint, PlainSerializer(_known_values)]]
    notes: list[str]
    model: Annotated[ProxyRegressor, BeforeValidator(_read_model), PlainSerializer(ProxyRegressor.to_dict)]
    cross_validation: Validation | None
    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    @property
    def name(self) -> str:
        """The values of the key."""
        return group_name(self.key)

    @property
    def runs(self) -> frozenset[str]:
        """Runs of the points, as far as they are known."""
        return frozenset(point.run for point in self.points if point.run is not None)


@dataclass(frozen=True)
class SkippedGroup:
    """A group that could not be fitted, with the reason."""

    group: dict[str, str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class CurveSettings:
    """How curves are fitted and validated, see ``fit``."""

    recipe: str = "robust"
    cv: str = "blocked"
    folds: int = 5
    min_train: int = 4
    level: Annotated[float, Field(gt=0, lt=1)] = 0.9
    seed: int = 42
    direction: str | None = None


@dataclass(frozen=True, kw_only=True)
class Fit(CurveSettings, Decision):
    """Accuracy of a target as a function of a proxy's score: a curve per group, cross-validated.

    Attributes:
        source: where the pairs come from.
        notes: rows left out and assumptions made.
        groups: the curves.
        skipped: groups that could not be fitted.
        path: of the file it was read from.
    """

    source: Annotated[PairsSource | ScoresSource, Field(discriminator="kind")]
    notes: list[str] = field(default_factory=list)
    groups: Annotated[list[FittedGroup], Field(alias="fits", min_length=1)]
    skipped: list[SkippedGroup] = field(default_factory=list)
    path: Annotated[str, Field(exclude=True)] = "the fit"

    @property
    def columns(self) -> list[str]:
        """Columns that define the groups."""
        return [*self.groups[0].key]

    @property
    def measured(self) -> list[Measured]:
        """Settings of the fitted proxy scores by benchmark, as far as they are known."""
        settings, metric = self.source.proxy_settings, self.source.score_name
        return [Measured(benchmark, metric, self.path, values) for benchmark, values in settings.items()]

    @property
    def baselines(self) -> list[str]:
        """Names of the baselines of any group."""
        validations = [group.cross_validation for group in self.groups if group.cross_validation]
        return [*dict.fromkeys(name for validation in validations for name in validation.baseline_mae_pct)]

    def group(self, *values: str) -> FittedGroup:
        """The group with these values, such as ``"gsm8k"``, in the order of ``columns``.

        Raises:
            FitFileError: there is none; lists the groups.
        """
        for group in self.groups:
            if (*group.key.values(),) == values:
                return group
        names = "; ".join(group.name for group in self.groups)
        raise FitFileError(f"{self.path} has no fit of {', '.join(values)}; it has: {names}")

    def predict(
        self,
        table: pd.DataFrame | str | Path | npt.ArrayLike,
        *,
        x: str | None = None,
        y: str | None = None,
        use: str | tuple[str, ...] = (),
        level: float | None = None,
        unit: str = "auto",
        allow_incomparable: bool = False,
    ) -> Predictions:
        """Predict an accuracy for every score that this fit has a curve for.

        Args:
            table: like the table fitted: pairs, or a score table; a DataFrame or the path of a file. Or a score, or an
                array of scores, for a fit with a single group or with ``use``.
            x: column of the proxy score; by default that of the fit.
            y: column of known accuracies to compare with.
            use: values of the one group whose curve is used for every row, such as ``"gsm8k"``.
            level: of the intervals; by default that of the fit.
            unit: of the accuracies in ``y``: percent, fraction or auto.
            allow_incomparable: predict from scores of other settings than those fitted, and note it.

        Raises:
            PredictionError: a column is missing, or no row can be predicted.
            IncomparableError: a row's settings differ from those of the scores fitted, such as other shots.
            FitFileError: ``use`` names no group.
        """
        names = [name.strip() for name in use.split(",") if name.strip()] if isinstance(use, str) else [*use]
        return predict_rows(
            self, table, x=x, y=y, use=names, level=level, unit=unit, allow_incomparable=allow_incomparable
        )

    def save(self, path: str | Path) -> None:
        """Write the fit atomically, as ``.json``; ``load_fit`` reads it.

        Raises:
            OutputError: another suffix.
        """
        check_suffix(path, (".json",), "a fit")
        write_json(path, self.to_dict())

    def _content(self) -> dict[str, Any]:
        return {**FORMAT, **TypeAdapter(Fit).dump_python(self, by_alias=True)}

    def to_frame(self) -> pd.DataFrame:
        """A row per group: key, points, function, R2, and errors in points: of the proxy and of each baseline."""
        rows = []
        for group in self.groups:
            row = {**group.key, "points": len(group.points), "function": group.model.function_}
            if validation := group.cross_validation:
                row |= {name: getattr(validation, name) for name in ("train_r2", "test_mae_pct", "coverage")}
                row |= validation.baseline_mae_pct
            rows.append(row)
        return pd.DataFrame(rows)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw each group's points, curve and interval; with a path, also write it as ``.svg`` or ``.png``."""
        from rbridge_tasks.charts.fit import draw_fits

        return draw_fits(self, path)


def load_fit(path: str | Path) -> Fit:
    """Read a fit from the file that ``Fit.save`` or ``rbridge fit -o`` wrote.

    Raises:
        FitFileError: it is missing, damaged, something else, or of a later version.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise FitFileError(f"there is no file {str(path)!r}; write one with rbridge fit ... -o {path}") from error
    except OSError as error:
        raise FitFileError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except ValueError as error:
        raise FitFileError(f"{path} is not JSON ({error}); expected a file of rbridge fit") from error
    header = {name: content.get(name) if isinstance(content, dict) else None for name in FORMAT}
    if header != FORMAT:
        raise FitFileError(
            f"{path} has format {header['format']!r}, version {header['version']!r}; expected {FORMAT['format']!r}, "
            f"version {FORMAT['version']}, as rbridge fit of this release writes it"
        )
    try:
        fit = TypeAdapter(Fit).validate_python({**content, "path": str(path)})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FitFileError(f"{path} is damaged: {where}: {first['msg']}; write it again with rbridge fit") from error
    if any([*group.key] != fit.columns for group in fit.groups):
        raise FitFileError(f"{path} is damaged: its groups have different columns; write it again with rbridge fit")
    return fit


def predict(fit: Fit | str | Path, table: pd.DataFrame | str | Path | npt.ArrayLike, **options: Any) -> Predictions:
    """Predict accuracies with a fit or the file of one; see ``Fit.predict`` for the options."""
    return (fit if isinstance(fit, Fit) else load_fit(fit)).predict(table, **options)
