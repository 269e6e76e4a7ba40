"""Answer the questions of PROTOCOL.md from the tables of a replication, with the commands of rbridge.

    python examples/replication/analysis.py examples/replication/results --out replication_out/analysis

Written are the output of every command as ``<name>.txt``, tables, figures and ``report.html``. ``commands.txt`` lists
the commands as they can be typed.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import world
from results import ACCURACY, KEY, SHORTER, last_checkpoints, read_results, run_rbridge

import rbridge_tasks as rb
from rbridge_metrics import decision_accuracy
from rbridge_tasks.decisions.metric_comparison import ComparedMetric
from rbridge_tasks.tables.directions import metric_called
from rbridge_tasks.tables.score_table import read_scores, write_scores

COMPARED = (
    "rbridge_nll", "trace_nll", "nll_without_minmax:lower", "rbridge_span_nll", "trace_bits_per_byte", "gold_nll",
    "scb_nll", "cf_norm_correct_prob", "cf_correct_prob", "ted_per_token", ACCURACY,
)  # fmt: skip
TRACES = (10, 30, 100, 300)
DRAWS = 200  # subsets of traces


@dataclass(frozen=True)
class Analysis:
    """The results of a replication and the folder for what they say.

    Attributes:
        results: folder with the tables of every seed.
        folder: folder for the answers.
    """

    results: Path
    folder: Path

    def run(self) -> None:
        """Write all tables, figures and outputs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "commands.txt").write_text("", encoding="utf-8")
        proxies, targets = self.write_tables()
        sizes = sorted(set(proxies["params"]))
        plot_accuracies(proxies, targets, self.folder / "accuracies.svg")
        self.compare(sizes, proxies)
        self.decide(sizes)
        self.what_weights_add(sizes).to_csv(self.folder / "weights.csv", index=False)
        for name, table in zip(("accuracies_by_seed", "decisions_by_seed"), self.by_seed(), strict=True):
            table.to_csv(self.folder / f"{name}.csv", index=False)
        self.traces_needed(targets).to_csv(self.folder / "traces_needed.csv", index=False)
        self.climb(self.ladder_candidates(), targets).to_csv(self.folder / "ladders.csv", index=False)

    def path(self, name: str) -> str:
        """Path of a file of results."""
        return str(self.folder / name)

    def write_tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Write the scores of all seeds, and their means over seeds: of proxies, targets and the 80 proxy metrics.

        Returns:
            The means of the proxies and of the targets.
        """
        scores = read_results(self.results, "scores")
        write_scores(scores, self.folder / "seeds.parquet")
        in_full = scores[~scores["run"].str.contains(SHORTER)]
        proxies, targets = mean_over_seeds(in_full), mean_over_seeds(read_results(self.results, "targets"))
        write_scores(proxies, self.folder / "proxies.parquet")
        write_scores(targets, self.folder / "targets.parquet")
        eighty = read_results(self.results, "eighty")
        eighty = eighty[~eighty["run"].str.contains(SHORTER)]
        write_scores(mean_over_seeds(last_checkpoints(eighty)), self.folder / "eighty.parquet")
        return proxies, targets

    def ladder_candidates(self) -> list[str]:
        """Candidates whose proxies were also trained on parts of their tokens."""
        runs = set(read_scores(self.folder / "seeds.parquet")["run"])
        return sorted(run.partition("-half-")[0] for run in runs if "-half-" in run)

    def compare(self, sizes: Sequence[float], proxies: pd.DataFrame) -> None:
        """Compare metrics, and then all 80 proxies, by how they order the targets."""
        metrics = [metric for metric in COMPARED if metric.partition(":")[0] in set(proxies["metric"])]
        for size in sizes:
            at = ["--at", f"{size:.0f}:{proxies.loc[proxies['params'] == size, 'tokens'].max():.0f}", *self.target]
            self.rbridge(
                "compare", self.path("proxies.parquet"), *at, "--metrics", ",".join(metrics),
                "--plot", self.path(f"compare-{size:.0f}.svg"), name=f"compare-{size:.0f}",
            )  # fmt: skip
            self.rbridge("compare", self.path("eighty.parquet"), *at, "--no-fits", name=f"eighty-{size:.0f}")

    def decide(self, sizes: Sequence[float]) -> None:
        """Rank the candidates, measure noise, select among all proxies, and write the page."""
        proxies, seeds = self.path("proxies.parquet"), self.path("seeds.parquet")
        self.rbridge(
            "rank", proxies, *self.target, "--against", ACCURACY, "--against", "trace_nll", "--all",
            "--frontier-plot", self.path("frontier.svg"), name="rank",
        )  # fmt: skip
        self.rbridge("noise", seeds, *self.target, "--last", "5", "--all", "-o", self.path("noise.csv"), name="noise")
        eighty = read_scores(self.folder / "eighty.parquet")
        write_scores(eighty[eighty["params"] == max(sizes)], self.folder / "eighty_largest.parquet")
        self.rbridge("select", self.path("eighty_largest.parquet"), *self.target, "--permutations", "39", name="select")
        pairs = self.pairs(max(sizes))
        pairs.to_csv(self.path("pairs.csv"), index=False)
        self.rbridge(
            "fit", self.path("pairs.csv"), "--x", "rbridge_nll", "--y", "accuracy", "--group", "benchmark",
            "-o", self.path("fit.json"), "--plot", self.path("fit.svg"), name="fit",
        )  # fmt: skip
        self.rbridge(
            "report", proxies, *self.target, "-o", self.path("report.html"), "--title", "Replication", name="report"
        )

    @property
    def target(self) -> list[str]:
        """Options that name the target."""
        return ["--target", self.path("targets.parquet"), "--target-metric", ACCURACY]

    def pairs(self, size: float) -> pd.DataFrame:
        """rBridge NLL of the proxies of one size beside the targets' accuracy, by candidate and benchmark."""
        proxies, targets = (
            last_checkpoints(read_scores(self.folder / f"{name}.parquet")).set_index(["run", "benchmark"])
            for name in ("proxies", "targets")
        )
        proxies = proxies[(proxies["metric"] == "rbridge_nll") & (proxies["params"] == size)]
        targets = targets[targets["metric"] == ACCURACY]
        return pd.DataFrame({"rbridge_nll": proxies["value"], "accuracy": targets["value"]}).dropna().reset_index()

    def what_weights_add(self, sizes: Sequence[float]) -> pd.DataFrame:
        """Decision accuracy of rBridge NLL minus that of others, with 90 % intervals over candidates."""
        rows = []
        for size in sizes:
            table = read_scores(self.folder / "proxies.parquet")
            table = last_checkpoints(table[table["params"] == size])
            metrics = [metric for metric in COMPARED if metric.partition(":")[0] in set(table["metric"])]
            comparison = rb.compare(
                table, target=self.path("targets.parquet"), target_metric=ACCURACY, metrics=metrics, fits=False
            )
            for part in comparison.benchmarks:
                by_name = {row.name: row for row in part.rows if "decision_accuracy" in row.value}
                for other in by_name.keys() - {"rbridge_nll"}:
                    rows.append({"params": size, "benchmark": part.benchmark, "other": other}
                                | difference(by_name["rbridge_nll"], by_name[other]))  # fmt: skip
        return pd.DataFrame(rows).sort_values(["params", "benchmark", "other"])

    def by_seed(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """What single seeds give, where all else is a mean over seeds.

        Returns:
            Accuracy of every proxy and target by seed, the mean over the families; and decision accuracy, likewise, of
            the models of each seed about the targets of each seed. Targets stand among the models.
        """
        targets = read_results(self.results, "targets")
        scores = pd.concat([read_scores(self.folder / "seeds.parquet"), targets], ignore_index=True)
        scores = with_seed(last_checkpoints(scores[~scores["run"].str.contains(SHORTER)]))
        accuracies = scores[scores["metric"] == ACCURACY].pivot_table(
            index=["params", "run"], columns="seed", values="value"
        )
        targets = with_seed(targets[targets["metric"] == ACCURACY])
        lower = {metric.name: metric.lower_is_better for metric in map(metric_called, COMPARED)}
        joined = scores[scores["metric"].isin(lower)].merge(targets, on=["run", "benchmark"], suffixes=("", "_target"))
        key = ["params", "metric", "seed", "seed_target"]
        rows = []
        for (*group, _), part in joined.groupby([*key, "benchmark"]):
            accuracy = decision_accuracy(part["value"], part["value_target"], lower_is_better=lower[group[1]])
            rows.append([*group, accuracy])
        decisions = pd.DataFrame(rows, columns=[*key, "decision_accuracy"]).groupby(key, as_index=False).mean()
        return accuracies.reset_index(), decisions

    def traces_needed(self, targets: pd.DataFrame) -> pd.DataFrame:
        """Decision accuracy of rBridge NLL from random subsets of the traces: mean and middle 90 % over subsets."""
        rng, rows = np.random.default_rng(0), []
        truth = targets[targets["metric"] == ACCURACY].set_index(["run", "benchmark"])["value"]
        items = read_results(self.results, "items")
        items = mean_over_seeds(items[~items["run"].str.contains(SHORTER)], [*KEY[:-1], "item_id"], "rbridge_nll")
        for (params, benchmark), part in items.groupby(["params", "benchmark"]):
            table = part.pivot_table(index="run", columns="item_id", values="rbridge_nll")
            right = truth.xs(benchmark, level="benchmark").reindex(table.index)
            for count in (count for count in TRACES if count <= table.shape[1]):
                drawn = [rng.choice(table.shape[1], count, replace=False) for _ in range(DRAWS)]
                accuracies = [
                    decision_accuracy(table.iloc[:, subset].mean(axis=1), right, lower_is_better=True)
                    for subset in drawn
                ]
                low, high = np.quantile(accuracies, (0.05, 0.95))
                rows.append({"params": params, "benchmark": benchmark, "traces": count,
                             "decision_accuracy": np.mean(accuracies), "low": low, "high": high})  # fmt: skip
        return pd.DataFrame(rows)

    def climb(self, candidates: Sequence[str], targets: pd.DataFrame) -> pd.DataFrame:
        """Forecast the targets of candidates, each from its own proxies of all sizes and token counts.

        Returns:
            The forecasts beside what the target scored, and the accuracy of the largest proxy on all of its tokens.
        """
        forecasts = []
        for candidate in candidates:
            ladder, table = self.write_ladder(candidate, targets), self.path(f"ladder-{candidate}.csv")
            goal = targets[targets["run"] == candidate].iloc[0]
            self.rbridge(
                "ladder", str(ladder), "--target-metric", ACCURACY, "--chance", str(1 / world.MODULUS),
                "--predict", f"{goal['params']:.0f}:{goal['tokens']:.0f}", "-o", table,
                "--plot", self.path(f"ladder-{candidate}.svg"), name=f"ladder-{candidate}",
            )  # fmt: skip
            proxies = last_checkpoints(read_scores(self.folder / "proxies.parquet"))
            proxies = proxies[(proxies["run"] == candidate) & (proxies["metric"] == ACCURACY)]
            largest = proxies[proxies["params"] == proxies["params"].max()].set_index("benchmark")["value"]
            forecast = pd.read_csv(table).assign(candidate=candidate)
            forecasts.append(forecast.assign(largest_proxy_pct=100 * forecast["benchmark"].map(largest)))
        return pd.concat(forecasts, ignore_index=True) if forecasts else pd.DataFrame()

    def write_ladder(self, candidate: str, targets: pd.DataFrame) -> Path:
        """Write a candidate's proxies of the whole, half and a quarter of the tokens, and what its target scored.

        ``rbridge ladder`` fits nothing as large as what it forecasts; it prints the target's score beside its forecast.
        """
        scores = read_scores(self.folder / "seeds.parquet")
        names = [f"{candidate}-seed0", f"{candidate}-half-seed0", f"{candidate}-quarter-seed0"]
        path = self.folder / f"ladder-{candidate}.parquet"
        rungs, target = scores[scores["run"].isin(names)], targets[targets["run"] == candidate]
        write_scores(pd.concat([rungs, target], ignore_index=True), path)
        return path

    def rbridge(self, *arguments: str, name: str) -> None:
        """Run a command and keep its output; a refusal is a result, too, and is kept and announced."""
        done = run_rbridge(*arguments)
        (self.folder / f"{name}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
        with (self.folder / "commands.txt").open("a", encoding="utf-8") as commands:
            commands.write(shlex.join(["rbridge", *arguments]).replace(f"{self.folder}/", "") + "\n")
        if done.returncode:
            print(f"  rbridge {arguments[0]} ({name}) refused: {done.stderr.strip().splitlines()[-1]}", flush=True)


def with_seed(scores: pd.DataFrame) -> pd.DataFrame:
    """The table with runs named by the candidate, and a column ``seed``."""
    names = scores["run"].str.extract(r"^(?P<run>.*)-seed(?P<seed>\d+)$")
    return scores.assign(run=names["run"], seed=names["seed"])


def mean_over_seeds(scores: pd.DataFrame, key: Sequence[str] = KEY, value: str = "value") -> pd.DataFrame:
    """Means over the seeds of each candidate, which then names the run. Rows that a seed lacks are left out."""
    named = with_seed(scores)
    first = {column: "first" for column in named.columns if column not in (*key, value, "stderr", "seed")}
    means = named.groupby(list(key), as_index=False).agg({value: "mean", "seed": "nunique", **first})
    return means[means["seed"] == named["seed"].nunique()].drop(columns="seed").reset_index(drop=True)


def difference(ours: ComparedMetric, other: ComparedMetric) -> dict[str, float]:
    """Difference of two decision accuracies and its 90 % interval from the same resamples of the candidates."""
    measure = "decision_accuracy"
    low = high = np.nan  # fewer than five candidates have no resamples
    if measure in ours.resampled and measure in other.resampled:
        low, high = np.nanquantile(ours.resampled[measure] - other.resampled[measure], (0.05, 0.95))
    return {"difference": ours.value[measure] - other.value[measure], "low": low, "high": high}


def plot_accuracies(proxies: pd.DataFrame, targets: pd.DataFrame, path: Path) -> None:
    """Draw the mean accuracy over benchmarks of the targets and of the proxies of every size, and that of guessing."""
    scores = last_checkpoints(pd.concat([proxies, targets], ignore_index=True))
    scores = scores[scores["metric"] == ACCURACY]
    accuracy = scores.pivot_table(index="run", columns="params", values="value") * 100
    accuracy = accuracy.sort_values(accuracy.columns[-1])
    figure, axes = plt.subplots(figsize=(7, 0.3 * len(accuracy) + 1.5), layout="constrained")
    for params in accuracy:
        axes.plot(accuracy[params], accuracy.index, "o", label=f"{params / 1e6:.2f}M parameters")
    axes.axvline(100 / world.MODULUS, color="grey", linestyle=":", label="guessing")
    axes.set_xlabel("accuracy on held-out problems, %")
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder with the tables of every seed")
    parser.add_argument("--out", type=Path, default=Path("analysis"), help="folder for the answers")
    args = parser.parse_args()
    Analysis(args.results.resolve(), args.out.resolve()).run()


if __name__ == "__main__":
    main()
