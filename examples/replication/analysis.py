"""Answer the questions of PROTOCOL.md from the scores of a replication, with the commands of rbridge.

All results are in ``<out>/analysis``: the output of every command as ``<name>.txt``, tables, figures and
``report.html``. ``commands.txt`` lists the commands as they can be typed.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import world

import rbridge_tasks as rb
from rbridge_metrics import decision_accuracy, rbridge_nll
from rbridge_tasks.decisions.metric_comparison import ComparedMetric
from rbridge_tasks.tables.score_table import read_scores, write_scores
from rbridge_tasks.tables.token_scores_file import stored_results, token_score_rows

ACCURACY = "exact_match"
COMPARED = (
    "rbridge_nll", "trace_nll", "nll_without_minmax:lower", "rbridge_span_nll", "trace_bits_per_byte", "gold_nll",
    "scb_nll", "cf_norm_correct_prob", "cf_correct_prob", "ted_per_token", ACCURACY,
)  # fmt: skip
TRACES = (10, 30, 100, 300)
DRAWS = 200  # subsets of traces
SHORTER = "-half-|-quarter-"  # in the names of the runs of the ladder
KEY = ["run", "params", "tokens", "benchmark", "metric"]


@dataclass(frozen=True)
class Analysis:
    """The scores of a replication and the folder for what they say.

    Attributes:
        out: folder of the replication.
        ladder: candidates with a ladder.
    """

    out: Path
    ladder: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.out / "analysis"

    def run(self) -> None:
        """Write all tables, figures and outputs."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "commands.txt").write_text("", encoding="utf-8")
        proxies, targets = self.write_tables()
        sizes = sorted(set(proxies["params"]))
        plot_accuracies(proxies, targets, self.folder / "accuracies.svg")
        self.compare(sizes, proxies)
        self.decide(sizes)
        for size in sizes:
            self.rank_by_items(size, targets)
        self.what_weights_add(sizes).to_csv(self.folder / "weights.csv", index=False)
        self.traces_needed(targets).to_csv(self.folder / "traces_needed.csv", index=False)
        for candidate in self.ladder:
            self.climb(candidate, targets)

    def path(self, name: str) -> str:
        """Path of a file of results."""
        return str(self.folder / name)

    def write_tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Write the score tables: of each seed, and means over seeds of proxies, targets and all 80 proxy metrics."""
        scores = pd.concat([read_scores(self.out / part / "scores.parquet") for part in ("traces", "answers")])
        items = item_scores(self.out / "traces")
        items.to_parquet(self.folder / "items.parquet")
        plain = items.groupby(KEY[:-1], as_index=False)["nll_without_minmax"].mean()
        plain = plain.rename(columns={"nll_without_minmax": "value"}).assign(metric="nll_without_minmax")
        models = scores.drop_duplicates(KEY[:3])[[*KEY[:3], "model"]]
        scores = pd.concat([scores, plain.merge(models, on=KEY[:3])], ignore_index=True)
        write_scores(scores, self.folder / "seeds.parquet")
        in_full = scores[~scores["run"].str.contains(SHORTER)]
        proxies = mean_over_seeds(in_full)
        targets = mean_over_seeds(read_scores(self.out / "targets" / "scores.parquet"))
        write_scores(proxies, self.folder / "proxies.parquet")
        write_scores(targets, self.folder / "targets.parquet")
        self.rbridge("proxies", str(self.out / "traces"), "-o", self.path("eighty_seeds.parquet"), name="proxies")
        eighty = read_scores(self.folder / "eighty_seeds.parquet")
        eighty = eighty[~eighty["run"].str.contains(SHORTER)]
        write_scores(mean_over_seeds(last_checkpoints(eighty)), self.folder / "eighty.parquet")
        return proxies, targets

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
        self.rbridge("noise", seeds, *self.target, "-o", self.path("noise.csv"), name="noise")
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

    def rank_by_items(self, size: float, targets: pd.DataFrame) -> None:
        """Rank the candidates by the proxies of each seed alone, with paired intervals over items."""
        items = pd.read_parquet(self.folder / "items.parquet", columns=["run", "params", "tokens", "samples"])
        items = items[(items["params"] == size) & ~items["run"].str.contains(SHORTER)].drop_duplicates()
        for seed, part in items.groupby(items["run"].str.extract(r"(-seed\d+)$", expand=False)):
            goals = self.folder / f"targets{seed}.parquet"
            write_scores(targets.assign(run=targets["run"] + seed), goals)
            samples = [word for row in part.itertuples() for word in ("--samples", f"{row.run}={row.samples}")]
            self.rbridge(
                "rank", self.path("seeds.parquet"), "--at", f"{size:.0f}:{part['tokens'].iloc[0]:.0f}",
                "--target", str(goals), "--target-metric", ACCURACY, *samples, name=f"rank-{size:.0f}{seed}",
            )  # fmt: skip

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

    def traces_needed(self, targets: pd.DataFrame) -> pd.DataFrame:
        """Decision accuracy of rBridge NLL from random subsets of the traces: mean and middle 90 % over subsets."""
        rng, rows = np.random.default_rng(0), []
        truth = targets[targets["metric"] == ACCURACY].set_index(["run", "benchmark"])["value"]
        items = pd.read_parquet(self.folder / "items.parquet")
        items = items[items["run"].isin({f"{run}-seed0" for run in truth.index.get_level_values("run")})]
        items = items.assign(run=items["run"].str.removesuffix("-seed0"))
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

    def climb(self, candidate: str, targets: pd.DataFrame) -> None:
        """Forecast the target of a candidate from its proxies of all sizes and token counts."""
        scores = read_scores(self.folder / "seeds.parquet")
        names = [f"{candidate}-seed0", f"{candidate}-half-seed0", f"{candidate}-quarter-seed0"]
        write_scores(scores[scores["run"].isin(names)], self.folder / f"ladder-{candidate}.parquet")
        goal = targets[targets["run"] == candidate].iloc[0]
        self.rbridge(
            "ladder", self.path(f"ladder-{candidate}.parquet"), "--target-metric", ACCURACY, "--chance",
            str(1 / world.MODULUS), "--predict", f"{goal['params']:.0f}:{goal['tokens']:.0f}",
            "--plot", self.path(f"ladder-{candidate}.svg"), name=f"ladder-{candidate}",
        )  # fmt: skip

    def rbridge(self, *arguments: str, name: str) -> None:
        """Run a command and keep its output; a refusal is a result, too, and is kept and announced."""
        done = subprocess.run([sys.executable, "-m", "rbridge_tasks", *arguments], capture_output=True, text=True)
        (self.folder / f"{name}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
        with (self.folder / "commands.txt").open("a", encoding="utf-8") as commands:
            commands.write(shlex.join(["rbridge", *arguments]).replace(str(self.out), "replication_out") + "\n")
        if done.returncode:
            print(f"  rbridge {arguments[0]} ({name}) refused: {done.stderr.strip().splitlines()[-1]}", flush=True)


def mean_over_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds of each candidate; runs are then named by the candidate."""
    named = scores.assign(run=scores["run"].str.replace(r"-seed\d+$", "", regex=True))
    first = {column: "first" for column in named.columns if column not in (*KEY, "value", "stderr")}
    return named.groupby(KEY, as_index=False).agg({"value": "mean", **first})


def last_checkpoints(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of the last checkpoint of each run and size."""
    return scores[scores["tokens"] == scores.groupby(["run", "params"])["tokens"].transform("max")]


def item_scores(folder: Path) -> pd.DataFrame:
    """Scores of every trace under the last checkpoint of every proxy, from the token scores that the sweep kept.

    Returns:
        Columns ``KEY`` without the metric, ``samples`` (folder of the token scores), ``item_id``, ``rbridge_nll``, and
        ``nll_without_minmax``, whose weights are the frontier's confidences as they are, not rescaled within the trace.
    """
    table = last_checkpoints(read_scores(folder / "scores.parquet")).drop_duplicates("model").set_index("model")
    rows = []
    for family in world.FAMILIES:
        for path in sorted(folder.glob(f"shards/**/samples_rbridge_{family}_2*.parquet")):
            model = stored_results(path)["config"]["model_args"]["pretrained"]
            if model not in table.index:
                continue
            checkpoint = table.loc[model, ["run", "params", "tokens"]].to_dict()
            checkpoint |= {"benchmark": family, "samples": str(path.parent)}
            for sample in token_score_rows(path):
                scores = sample["resps"][0][0]
                plain = rbridge_nll(scores.nll, scores.confidence)
                rows.append({**checkpoint, "item_id": sample["doc"]["item_id"], "rbridge_nll": sample["rbridge_nll"],
                             "nll_without_minmax": plain})  # fmt: skip
    return pd.DataFrame(rows)


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


def analyse(out: Path, ladder: Sequence[str]) -> None:
    """Analyse a replication."""
    Analysis(out, tuple(ladder)).run()
