"""Fits of all groups of a table with their cross-validation, as what ``rbridge fit`` prints, draws and writes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rbridge_metrics.errors import FitError
from rbridge_metrics.isotonic import shape_check
from rbridge_metrics.paper_recipe import MAX_EVALUATIONS
from rbridge_metrics.regression import ProxyRegressor
from rbridge_metrics.validation import cross_validate
from rbridge_tasks.decisions.pairing import Group, PairError, Pairs, expected_direction
from rbridge_tasks.tables.rows import counted

FORMAT = {"format": "rbridge-fit", "version": 1}


@dataclass(frozen=True)
class Settings:
    """How to fit and to validate; see ``cross_validate``."""

    recipe: str = "robust"
    cv: str = "blocked"
    folds: int = 5
    min_train: int = 4
    level: float = 0.9
    seed: int = 42
    direction: str | None = None


def fit_report(pairs: Pairs, settings: Settings) -> dict[str, Any]:
    """Fit and cross-validate every group; a group that cannot be fitted is skipped with its reason.

    Returns:
        What fit.json holds: the settings, where the pairs come from, notes, ``fits`` (for each group its key, points,
        notes, the regressor and its cross-validation, or null where it cannot be validated), and ``skipped``.

    Raises:
        PairError: no group can be fitted.
    """
    fits, skipped = [], []
    for group in pairs.groups:
        try:
            fits.append(_fit(group, pairs.source, settings))
        except FitError as error:
            skipped.append({"group": group.key, "reason": str(error)})
    if not fits:
        raise PairError(
            f"no group of {len(pairs.groups)} can be fitted; {pairs.groups[0].name}: {skipped[0]['reason']}"
        )
    return {
        **FORMAT,
        **asdict(settings),
        "source": pairs.source,
        "notes": pairs.notes,
        "fits": fits,
        "skipped": skipped,
    }


def _fit(group: Group, source: dict[str, Any], settings: Settings) -> dict[str, Any]:
    model = ProxyRegressor(recipe=settings.recipe).fit(group.x, group.y)
    notes, validation = _unconverged(model), None
    try:
        validation = cross_validate(
            group.x,
            group.y,
            scheme=settings.cv,
            order=group.order,
            order_name=source.get("order") or "tokens",
            run=group.run,
            recipe=settings.recipe,
            n_folds=settings.folds,
            min_train=settings.min_train,
            level=settings.level,
            seed=settings.seed,
        )
        notes += [f"not validated: {reason}" for reason in validation.skipped]
        notes += [
            f"cross-validation: {function} did not converge in {count} of {len(validation.folds)} folds and was passed "
            "over there"
            for function, count in validation.unconverged.items()
        ]
    except FitError as error:
        notes.append(f"not cross-validated: {error}")
    metric = group.key.get("metric") or source.get("proxy_metric") or source.get("x") or ""
    expected = settings.direction or expected_direction(metric)
    if expected and model.direction_ != expected:
        notes.append(
            f"the proxy runs the wrong way: accuracy is {model.direction_} with {metric}, expected {expected}; "
            "do not predict with it"
        )
    if settings.recipe == "robust" and (line := shape_check(model, group.x, group.y)):
        notes.append(line)
    return {
        "group": group.key,
        "points": _points(group),
        "notes": notes,
        "model": model.to_dict(),
        "cross_validation": validation.to_dict() if validation else None,
    }


def _unconverged(model: ProxyRegressor) -> list[str]:
    """What did not converge under the paper recipe, and what that cost."""
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


def _points(group: Group) -> list[dict[str, Any]]:
    points = []
    for i, (x, y) in enumerate(zip(group.x.tolist(), group.y.tolist(), strict=True)):
        point: dict[str, Any] = {"x": x, "y": y}
        if group.order is not None:
            point["order"] = float(group.order[i])
        if group.run is not None:
            point["run"] = group.run[i]
        if group.interpolated is not None and group.interpolated[i]:
            point["interpolated"] = True
        points.append(point)
    return points


def means(fits: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the first column of the key, for each value of the others; none where there is nothing to average.

    >>> fits = [
    ...     {
    ...         "group": {"benchmark": name},
    ...         "cross_validation": {"train_r2": 1, "test_mae_pct": mae, "coverage": 1, "baseline_mae_pct": {}},
    ...     }
    ...     for name, mae in (("gsm8k", 1.0), ("csqa", 2.0))
    ... ]
    >>> [(found["over"], found["count"], found["test_mae_pct"]) for found in means(fits)]
    [('benchmark', 2, 1.5)]
    """
    rest: dict[tuple[tuple[str, str], ...], list[dict[str, Any]]] = {}
    for fit in fits:
        if fit["cross_validation"] and fit["group"]:
            rest.setdefault(tuple(fit["group"].items())[1:], []).append(fit)
    found = []
    for key, members in rest.items():
        if len(members) < 2:
            continue
        validations = [member["cross_validation"] for member in members]
        baselines = [
            name
            for name in validations[0]["baseline_mae_pct"]
            if all(name in v["baseline_mae_pct"] for v in validations)
        ]
        found.append(
            {
                "over": next(iter(members[0]["group"])),
                "group": dict(key),
                "count": len(members),
                **{
                    name: statistics.fmean(v[name] for v in validations)
                    for name in ("train_r2", "test_mae_pct", "coverage")
                },
                "baseline_mae_pct": {
                    name: statistics.fmean(v["baseline_mae_pct"][name] for v in validations) for name in baselines
                },
            }
        )
    return found
