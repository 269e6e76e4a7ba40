"""Test error of each function by itself, and of both recipes, on a table of proxy scores and accuracies.

Prints the mean over benchmarks of the mean absolute error over folds, in percentage points, for all three schemes: the
table of docs/fitting.md.

    python benchmarks/functions.py PAIRS.csv [--x proxy_score --y target_accuracy_pct --order tokens_b --metric NAME]
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
import pandas as pd

from rbridge_metrics import cross_validate
from rbridge_metrics.curve_fitting import fit_function
from rbridge_metrics.folds import SCHEMES, splits
from rbridge_metrics.functions import functions_for

Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", help="CSV with the columns benchmark and metric besides those below")
    parser.add_argument("--x", default="proxy_score")
    parser.add_argument("--y", default="target_accuracy_pct")
    parser.add_argument("--order", default="tokens_b")
    parser.add_argument("--metric", default="rbridge_negated", help="rows to take")
    args = parser.parse_args()
    table = pd.read_csv(args.pairs)
    rows = table[table["metric"] == args.metric]
    groups = [
        tuple(group[name].to_numpy(np.float64) for name in (args.x, args.y, args.order))
        for _, group in rows.groupby("benchmark")
    ]
    names = [*functions_for(0.0, 1.0, lowest=-np.inf)]
    print(f"{args.metric}, {len(groups)} benchmarks".ljust(28) + "".join(f"{scheme:>10}" for scheme in SCHEMES))
    for name in names:
        means = [np.mean([function_mae(name, *group, scheme) for group in groups]) for scheme in SCHEMES]
        print(f"always {name}".ljust(28) + "".join(f"{mean:10.3f}" for mean in means))
    for recipe in ("robust", "paper"):
        means = [
            np.mean([cross_validate(x, y, scheme=scheme, order=at, recipe=recipe).test_mae for x, y, at in groups])
            for scheme in SCHEMES
        ]
        print(f"{recipe} recipe".ljust(28) + "".join(f"{mean:10.3f}" for mean in means))


def function_mae(name: str, x: Floats, y: Floats, order: Floats, scheme: str) -> float:
    """Mean over folds of the mean absolute error of one function on the points left out."""
    errors = []
    for train, test in splits(order, scheme):
        rising = np.cov(x[train], y[train])[0, 1] >= 0
        centre, scale = float(x[train].mean()), float(x[train].std() * (1 if rising else -1))
        u, new = (x[train] - centre) / scale, (x[test] - centre) / scale
        function = functions_for(centre, scale, float(x.min()))[name]
        params = fit_function(function, u, y[train], np.ones((1, train.size)))
        predicted = function.beyond(new[None], params, np.array([[u.min()]]), np.array([[u.max()]]))[0]
        errors.append(np.abs(np.clip(predicted, 0, 100) - y[test]).mean())
    return float(np.mean(errors))


if __name__ == "__main__":
    main()
