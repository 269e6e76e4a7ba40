"""What selecting proxies costs: 30 models, 12 benchmarks, 80 proxies, 199 permutations.

The exhaustive search over all 82,160 triples is timed by itself and against a loop that solves three equations for
every triple; the RankSVM for all permutations at once against scikit-learn's for one. Scores are synthetic: only their
number matters. Seconds of the processor are those of all cores together, which other programs disturb less.

    python benchmarks/selection.py [--models 30] [--benchmarks 12] [--json FILE]
"""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from figures import parser_of, processor_seconds, report, timed
from sklearn.svm import LinearSVC

from rbridge_metrics.proxy_names import PROXIES
from rbridge_metrics.selection.labels import labels_of
from rbridge_metrics.selection.linear import best_triples, normal_equations
from rbridge_metrics.selection.population import make_population
from rbridge_metrics.selection.preferences import Preferences
from rbridge_metrics.selection.rank_svm import fit_rank_svm, linear_kernel
from rbridge_metrics.selection.scorers import SCORERS, left_out_scores
from rbridge_metrics.selection.select import select
from rbridge_tasks.tables.score_table import write_scores

PERMUTATIONS, TARGET_SECONDS, NAIVE_TRIPLES, COST = 199, 30.0, 2000, 0.01


def naive_triples(gram: npt.NDArray[np.float64], moment: npt.NDArray[np.float64], count: int) -> None:
    """The best of the first triples, one by one."""
    best = -np.inf
    for triple in itertools.islice(itertools.combinations(range(len(gram)), 3), count):
        at = list(triple)
        best = max(best, float(moment[at] @ np.linalg.solve(gram[np.ix_(at, at)], moment[at])))


def scikit_learn(cells: npt.NDArray[np.float64], ranked: npt.NDArray[np.float64]) -> None:
    """One set of preferences, by LinearSVC on differences."""
    models = ranked.shape[1]
    task, better, worse = np.nonzero(ranked[:, :, None] > ranked[:, None])
    rows = cells[task * models + better] - cells[task * models + worse]
    signs = np.repeat([1, -1], len(rows))
    svm = LinearSVC(C=COST / 2, loss="squared_hinge", fit_intercept=False, dual=False)
    svm.fit(np.concatenate([rows, -rows]), signs)


def command_seconds(values: npt.NDArray[np.float64], accuracies: npt.NDArray[np.float64]) -> float:
    """The whole ``rbridge select``, from starting Python to the tables."""
    rows, truths = [], []
    for (model, task), accuracy in np.ndenumerate(accuracies):
        who = {"run": f"m{model:03}", "params": 1e9, "tokens": 1e12, "benchmark": f"b{task:02}"}
        rows += [{**who, "metric": name, "value": x} for name, x in zip(PROXIES, values[model, task], strict=True)]
        truths.append({**who, "metric": "acc", "value": 1 / (1 + np.exp(-accuracy))})
    with tempfile.TemporaryDirectory() as folder:
        scores, targets = Path(folder, "proxies.csv"), Path(folder, "accuracies.csv")
        write_scores(pd.DataFrame(rows), scores)
        write_scores(pd.DataFrame(truths), targets)
        command = [sys.executable, "-m", "rbridge_tasks", "select", str(scores), "--target", str(targets)]
        return timed(lambda: subprocess.run(command, check=True, capture_output=True))


def main() -> None:
    """Time, print; write the figures where ``--json`` says."""
    parser = parser_of(__doc__)
    parser.add_argument("--models", type=int, default=30)
    parser.add_argument("--benchmarks", type=int, default=12)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    proxies = len(PROXIES)
    shared = rng.normal(size=(options.models, 12)) @ rng.normal(size=(12, proxies)) / 3
    values = shared[:, None] + 0.7 * rng.normal(size=(options.models, options.benchmarks, proxies))
    ability = values[..., 3] - values[..., 20] + 0.8 * values[..., 50]
    accuracies = ability + 0.5 * rng.normal(size=ability.shape)
    population = make_population(values, accuracies)
    features = population.judged_features
    labels = labels_of(population.accuracies)
    permuted = labels.permuted(PERMUTATIONS, 0)

    gram, moment = normal_equations(features, permuted)
    total, totals = gram.sum(axis=0), moment.sum(axis=1)
    naive = processor_seconds(lambda: naive_triples(total, totals[0], NAIVE_TRIPLES))
    triples = sum(1 for _ in itertools.combinations(range(proxies), 3))
    cells = features.reshape(-1, proxies)
    kernel = linear_kernel(cells, cells)
    preferences = Preferences.of(permuted)
    figures = {
        "models": options.models,
        "benchmarks": options.benchmarks,
        "proxies": proxies,
        "permutations": PERMUTATIONS,
        "triples": triples,
        "cpu_seconds_all_triples_once": round(processor_seconds(lambda: best_triples(total, totals[:1])), 4),
        "cpu_seconds_all_triples_200_draws": round(processor_seconds(lambda: best_triples(total, totals)), 3),
        "cpu_seconds_all_triples_once_one_by_one": round(naive * triples / NAIVE_TRIPLES, 2),
        "cpu_seconds_rank_svm_200_draws": round(processor_seconds(lambda: fit_rank_svm(kernel, preferences, COST)), 3),
        "cpu_seconds_rank_svm_200_draws_scikit_learn": round(
            200 * processor_seconds(lambda: scikit_learn(cells / np.sqrt(proxies), permuted.ranked[0])), 2
        ),
        **{
            f"cpu_seconds_left_out_with_permutations_{name}": round(
                processor_seconds(lambda name=name: left_out_scores(name, features, permuted)), 2
            )
            for name in SCORERS
        },
        "cpu_seconds_select": round(processor_seconds(lambda: select(population)), 2),
        "seconds_rbridge_select": round(command_seconds(values, accuracies), 2),
        "target_seconds": TARGET_SECONDS,
    }
    report(figures, options.json)


if __name__ == "__main__":
    main()
