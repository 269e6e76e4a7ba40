"""A fitted ``ProxyRegressor`` as plain JSON types, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rbridge_metrics.curves import Curve, PaperCurve, RobustCurve
from rbridge_metrics.errors import FitError
from rbridge_metrics.functions import Floats, functions_for
from rbridge_metrics.paper_recipe import NAMES

if TYPE_CHECKING:
    from rbridge_metrics.regression import ProxyRegressor

VERSION = 1


def to_dict(fit: ProxyRegressor) -> dict[str, Any]:
    """A fitted regressor as JSON types: curve, curves without each point, range, and how it was chosen."""
    robust = isinstance(fit.curve_, RobustCurve)
    return {
        "format": "rbridge-proxy-regressor",
        "version": VERSION,
        "recipe": fit.recipe,
        "lowest_x": fit.lowest_x,
        "formula": fit.curve_.formula,
        "u": "(x - centre) / scale" if robust else None,
        "centre": fit.curve_.centre if isinstance(fit.curve_, RobustCurve) else None,
        "scale": fit.curve_.scale if isinstance(fit.curve_, RobustCurve) else None,
        **_saved(fit.curve_),
        "direction": fit.direction_,
        "train_r2": fit.train_r2_,
        "left_out_mae": fit.left_out_mae_,
        "unconverged": list(fit.unconverged_),
        "left_out_unconverged": fit.left_out_unconverged_,
        **({} if fit.blocks_ is None else {"blocks": fit.blocks_.tolist(), "residual_scale": fit.residual_scale_}),
        "left_out": [
            {**_saved(curve), "residual": float(residual)}
            for curve, residual in zip(fit.left_out_, fit.left_out_residuals_, strict=True)
        ],
    }


def restore(saved: Mapping[str, Any], fit: ProxyRegressor, recipes: Sequence[str]) -> None:
    """Make a new regressor the one that was saved.

    Args:
        saved: what ``to_dict`` returned.
        fit: gets its parameters and fitted attributes.
        recipes: the known recipes.

    Raises:
        FitError: a later version, another format, a field that is missing or not what it should be.
    """
    kind, version = (saved.get(key) if isinstance(saved, Mapping) else None for key in ("format", "version"))
    if kind != "rbridge-proxy-regressor" or version != VERSION:
        raise FitError(
            f"format {kind!r} version {version!r}; expected 'rbridge-proxy-regressor' version {VERSION}, as "
            "ProxyRegressor.to_dict gives it"
        )
    try:
        fit.recipe, fit.lowest_x = saved["recipe"], saved["lowest_x"]
        if fit.recipe not in recipes:
            raise FitError(f"recipe is {fit.recipe!r}; expected one of {', '.join(recipes)}")
        fit.n_features_in_ = 1
        fit.curve_ = _read(saved, saved)
        fit.range_ = fit.curve_.range
        fit.direction_ = str(saved["direction"])
        fit.train_r2_ = float(saved["train_r2"])
        fit.left_out_mae_ = {name: float(error) for name, error in saved["left_out_mae"].items()}
        fit.unconverged_ = tuple(map(str, saved.get("unconverged", ())))
        fit.left_out_unconverged_ = int(saved.get("left_out_unconverged", 0))
        fit.residual_scale_ = float(saved.get("residual_scale", np.nan))
        fit.blocks_ = None if saved.get("blocks") is None else np.array([int(block) for block in saved["blocks"]])
        fit.left_out_ = [_read(curve, saved) for curve in saved["left_out"]]
        fit.left_out_residuals_ = np.array([float(curve["residual"]) for curve in saved["left_out"]])
        if fit.blocks_ is not None and not 0 <= fit.residual_scale_ < np.inf:
            raise FitError(f"a saved fit is damaged: a residual scale of {fit.residual_scale_:g}; write it again")
        if fit.blocks_ is not None and len(fit.blocks_) != len(fit.left_out_):
            raise FitError(
                f"a saved fit is damaged: {len(fit.blocks_)} blocks for {len(fit.left_out_)} points; write it again"
            )
    except KeyError as error:
        raise FitError(f"a saved fit lacks {error}; expected what ProxyRegressor.to_dict gives") from error
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        if isinstance(error, FitError):
            raise
        raise FitError(f"a saved fit is damaged: {error}; expected what ProxyRegressor.to_dict gives") from error


def _saved(curve: Curve) -> dict[str, Any]:
    params = dict(zip(curve.names, map(float, curve.params), strict=True))
    return {"function": curve.name, "params": params, "range": list(curve.range)}


def _read(saved: Mapping[str, Any], fit: Mapping[str, Any]) -> Curve:
    name = saved["function"]
    low, high = (float(end) for end in saved["range"])
    if fit["recipe"] == "paper":
        return PaperCurve(name, _params(saved, NAMES[name]), (low, high))
    centre, scale = float(fit["centre"]), float(fit["scale"])
    if not (scale and np.isfinite([centre, scale, low, high]).all()):
        raise FitError(f"a saved fit is damaged: centre {centre:g}, scale {scale:g}, range {low:g} to {high:g}")
    function = functions_for(centre, scale, lowest=np.inf)[name]
    return RobustCurve(function, _params(saved, function.names), centre, scale, (low, high))


def _params(saved: Mapping[str, Any], names: tuple[str, ...]) -> Floats:
    params = np.array([float(saved["params"][name]) for name in names])
    if not np.isfinite(params).all():
        raise FitError(f"a saved fit is damaged: the parameters of {saved['function']} are not all finite")
    return params
