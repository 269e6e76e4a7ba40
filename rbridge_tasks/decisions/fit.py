"""``fit``: the accuracy of a large model as a function of a small one's score, cross-validated beside baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import TypeAdapter

from rbridge_metrics.errors import FitError
from rbridge_metrics.folds import SCHEMES, neighbour_blocks
from rbridge_metrics.isotonic import shape_check
from rbridge_metrics.paper_recipe import MAX_EVALUATIONS
from rbridge_metrics.regression import RECIPES, ProxyRegressor
from rbridge_metrics.validation import cross_validate
from rbridge_tasks.decisions.candidates import as_names
from rbridge_tasks.decisions.decision import check_draws
from rbridge_tasks.decisions.fit_file import CurveSettings, Fit, FitPoint, FittedGroup, SkippedGroup, Validation
from rbridge_tasks.decisions.pairing import (
    Group,
    PairError,
    Pairs,
    PairsSource,
    ScoresSource,
    expected_direction,
    pairs_from_table,
)
from rbridge_tasks.decisions.score_pairs import pairs_from_scores
from rbridge_tasks.tables.averaging import average_last as mean_of_last
from rbridge_tasks.tables.averaging import checked_count
from rbridge_tasks.tables.rows import counted
from rbridge_tasks.tables.score_table import as_scores, read_table

PROXY_METRIC, TARGET_METRIC = "rbridge_nll", "acc"


def fit(
    table: pd.DataFrame | str | Path | tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    proxy: str | None = None,
    target: str | None = None,
    proxy_metric: str = PROXY_METRIC,
    target_metric: str | Sequence[str] = TARGET_METRIC,
    x: str | None = None,
    y: str | None = None,
    group: str | Sequence[str] = (),
    order: str | None = None,
    recipe: str = "robust",
    cv: str = "blocked",
    folds: int = 5,
    min_train: int = 4,
    level: float = 0.9,
    seed: int = 42,
    direction: str | None = None,
    unit: str = "auto",
    average_last: int | str | None = None,
    allow_incomparable: bool = False,
) -> Fit:
    """Fit the accuracy of a target model to the score of a proxy, and cross-validate it beside baselines.

    A group that cannot be fitted is skipped with its reason.

    Args:
        table: a score table (with ``proxy`` and ``target``) or a table of pairs (with ``x`` and ``y``), as a DataFrame
            or the path of a file; or two arrays, the scores and the accuracies.
        proxy, target: score table: size, model or run of the small and of the large model, such as ``"1b"``.
        proxy_metric: score table: metric of the proxy.
        target_metric: score table: accuracy of the target, or several: each benchmark takes the first it has.
        x, y: table of pairs: columns of the proxy score and of the target's accuracy.
        group: table of pairs: columns that define the groups; a curve is fitted to each.
        order: table of pairs: column that orders the checkpoints, usually training tokens.
        recipe: ``robust``, or ``paper`` for the published recipe, which also interpolates the target's accuracies at
            every checkpoint of the proxy.
        cv: folds of neighbours (``blocked``), the next checkpoint (``forward``), or random ones (``shuffled``).
        folds: number of folds of ``blocked`` and ``shuffled``.
        min_train: points before the first prediction of ``forward``.
        level: probability of the intervals.
        seed: of ``shuffled`` folds.
        direction: how accuracy should change with the score, ``rising`` or ``falling``; by default known by the name.
        unit: of the accuracies: ``percent``, ``fraction``, or ``auto``.
        average_last: score table: score every checkpoint of both models by the mean of it and the ones before it: their
            number, or ``auto``.
        allow_incomparable: fit scores of different settings together, and note it.

    Raises:
        FitError: an unknown recipe, scheme or direction.
        IncomparableError: scores of one model on one benchmark had different settings, such as other shots.
        PairError: the table yields no pairs, or no group can be fitted.
    """
    check_draws(seed=seed, level=level)
    settings = CurveSettings(
        recipe=recipe, cv=cv, folds=folds, min_train=min_train, level=level, seed=seed, direction=direction
    )
    for option, value, values in (
        ("--recipe", recipe, RECIPES),
        ("--cv", cv, SCHEMES),
        ("--direction", direction, ("rising", "falling", None)),
    ):
        if value not in values:
            raise FitError(f"{option} {value!r} is not known; expected one of {', '.join(filter(None, values))}")
    columns = {"--x": x, "--y": y}
    if isinstance(table, tuple):
        scores, accuracies = (np.asarray(side) for side in table)
        if scores.ndim != 1 or scores.shape != accuracies.shape:
            raise PairError(
                f"arrays of shapes {scores.shape} and {accuracies.shape}; expected scores and accuracies in one "
                "dimension, as many of each"
            )
        table = pd.DataFrame({"x": scores, "y": accuracies})
        columns = {"--x": "x", "--y": "y"}
    groups = [name.strip() for name in group.split(",") if name.strip()] if isinstance(group, str) else [*group]
    targets = as_names(target_metric)
    models = {"--proxy": proxy, "--target": target}
    from_scores = any(models.values()) or (proxy_metric, targets) != (PROXY_METRIC, [TARGET_METRIC])
    if from_scores and any((*columns.values(), groups, order)):
        raise PairError(
            "--x, --y, --group and --order are for a table of pairs; --proxy-metric, --target-metric, --proxy and "
            "--target for a score table; give one set of them"
        )
    if missing := [name for name, value in (models if from_scores else columns).items() if value is None]:
        raise PairError(
            f"{', '.join(missing)} missing; give --x and --y for a table of pairs, or --proxy and --target for a score "
            "table"
        )
    if from_scores:
        averaged, _, notes = mean_of_last(
            as_scores(table), average_last, shared_trend=False, metrics=[proxy_metric, *targets]
        )
        pairs = pairs_from_scores(
            averaged, proxy_metric, targets, str(proxy), str(target), unit,
            allow_incomparable=allow_incomparable, at_proxy=recipe == "paper",
        )  # fmt: skip
        pairs = replace(pairs, notes=[*notes, *pairs.notes])
    else:
        if checked_count(average_last) != 1:
            raise PairError("--average-last averages checkpoints of a score table; a table of pairs holds no runs")
        rows = table if isinstance(table, pd.DataFrame) else read_table(table, text=groups)
        pairs = pairs_from_table(rows, str(columns["--x"]), str(columns["--y"]), groups, order, unit)
    return _fit_pairs(pairs, settings)


def _fit_pairs(pairs: Pairs, settings: CurveSettings) -> Fit:
    fitted, skipped = [], []
    for group in pairs.groups:
        try:
            fitted.append(_fit_group(group, pairs.source, settings))
        except FitError as error:
            skipped.append(SkippedGroup(group.key, str(error)))
    if not fitted:
        raise PairError(f"no group of {len(pairs.groups)} can be fitted; {pairs.groups[0].name}: {skipped[0].reason}")
    return Fit(**asdict(settings), source=pairs.source, notes=pairs.notes, groups=fitted, skipped=skipped)


def _fit_group(group: Group, source: PairsSource | ScoresSource, settings: CurveSettings) -> FittedGroup:
    blocks = None if group.order is None else neighbour_blocks(group.order, group.run)
    model = ProxyRegressor(recipe=settings.recipe).fit(group.x, group.y, blocks)
    validation, validation_notes = _validated(group, source, settings)
    notes = [*_unconverged(model), *validation_notes]
    metric = group.key.get("metric") or source.score_name
    expected = settings.direction or expected_direction(metric)
    if expected and model.direction_ != expected:
        notes.append(
            f"the proxy runs the wrong way: accuracy is {model.direction_} with {metric}, expected {expected}; "
            "do not predict with it"
        )
    if settings.recipe == "robust" and (line := shape_check(model, group.x, group.y, blocks)):
        notes.append(line)
    unknown: list[None] = [None] * len(group.x)
    points = [
        FitPoint(x, y, order, run, bool(interpolated))
        for x, y, order, run, interpolated in zip(
            group.x.tolist(),
            group.y.tolist(),
            unknown if group.order is None else group.order.tolist(),
            group.run or unknown,
            unknown if group.interpolated is None else group.interpolated,
            strict=True,
        )
    ]
    return FittedGroup(group.key, points, notes, model, validation)


def _validated(
    group: Group, source: PairsSource | ScoresSource, settings: CurveSettings
) -> tuple[Validation | None, list[str]]:
    try:
        result = cross_validate(
            group.x,
            group.y,
            scheme=settings.cv,
            order=group.order,
            order_name=(source.order if source.kind == "pairs" else None) or "tokens",
            run=group.run,
            recipe=settings.recipe,
            n_folds=settings.folds,
            min_train=settings.min_train,
            level=settings.level,
            seed=settings.seed,
        )
    except FitError as error:
        return None, [f"not cross-validated: {error}"]
    notes = [f"not validated: {reason}" for reason in result.skipped]
    notes += [
        f"cross-validation: {function} did not converge in {count} of {len(result.folds)} folds and was passed over "
        "there"
        for function, count in result.unconverged.items()
    ]
    return TypeAdapter(Validation).validate_python(result.to_dict()), notes


def _unconverged(model: ProxyRegressor) -> list[str]:
    """Functions of the paper recipe that did not converge, and intervals that rest on fewer points for it."""
    lines = [
        f"the {name} function did not converge within {MAX_EVALUATIONS} evaluations and was passed over; the paper's "
        "recipe does so too"
        for name in model.unconverged_
    ]
    if lost := model.left_out_unconverged_:
        lines.append(
            f"the {model.function_} function did not converge without one point each for {counted(lost, 'point')}: the "
            f"intervals rest on the other {len(model.left_out_)}"
        )
    return lines
