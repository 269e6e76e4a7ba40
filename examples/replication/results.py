"""The results of a replication as tables: everything that the analysis reads, a few MB at most.

For every seed a folder ``seed<seed>`` with

    scores.parquet    scores of all checkpoints of the proxies, by every metric of the protocol
    eighty.parquet    all 80 proxy metrics of the last checkpoints
    targets.parquet   accuracy of the targets
    items.parquet     scores of every trace under the last checkpoints
    rank-<params>.txt  order of the candidates by one size, with intervals over items (``rbridge rank --samples``)
    machine.txt       processor and versions

Seeds are trained and scored one after the other, also on different machines: the analysis takes those that are there.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
import transformers
import world

from rbridge_metrics import rbridge_nll
from rbridge_tasks.tables.score_table import read_scores, write_scores
from rbridge_tasks.tables.token_scores_file import stored_results, token_score_rows

ACCURACY = "exact_match"
SHORTER = "-half-|-quarter-"  # in the names of the runs of the ladder
KEY = ["run", "params", "tokens", "benchmark", "metric"]


def gather(out: Path, seed: int, folder: Path) -> None:
    """Write the tables of a seed.

    Args:
        out: folder of the replication, with the sweeps ``traces``, ``proxies``, ``answers`` and ``targets``.
        seed: whose runs.
        folder: folder of the tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores = pd.concat([read_scores(out / part / "scores.parquet") for part in ("traces", "answers")])
    scores, targets = of_seed(scores, seed), of_seed(read_scores(out / "targets" / "scores.parquet"), seed)
    items = item_scores(out / "traces", scores)
    scores = pd.concat([scores, without_minmax(items, scores)], ignore_index=True)
    write_scores(relative(scores, out), folder / "scores.parquet")
    write_scores(relative(targets, out), folder / "targets.parquet")
    whole = folder / ".eighty.parquet"
    _output_of("proxies", str(out / "proxies"), "-o", str(whole))
    write_scores(relative(of_seed(read_scores(whole), seed), out), folder / "eighty.parquet")
    whole.unlink()
    for params, part in items[~items["run"].str.contains(SHORTER)].groupby("params"):
        (folder / f"rank-{params:.0f}.txt").write_text(rank_by_items(folder, part), encoding="utf-8")
    items.drop(columns="samples").to_parquet(folder / "items.parquet")
    (folder / "machine.txt").write_text(
        f"{processor()}\ntorch {torch.__version__}, transformers {transformers.__version__}\n", encoding="utf-8"
    )


def of_seed(scores: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rows of the runs of a seed."""
    return scores[scores["run"].str.endswith(f"-seed{seed}")]


def relative(scores: pd.DataFrame, out: Path) -> pd.DataFrame:
    """The table with paths of models as they are within the folder of the replication."""
    return scores.assign(model=scores["model"].str.removeprefix(f"{out}/"))


def last_checkpoints(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that score the last checkpoint of each run at each size."""
    return scores[scores["tokens"] == scores.groupby(["run", "params"])["tokens"].transform("max")]


def item_scores(sweep: Path, scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of every trace under the last checkpoints of ``scores``, from the token scores that a sweep kept.

    Returns:
        Columns ``KEY`` without the metric, ``samples`` (folder of the token scores), ``item_id``, ``rbridge_nll``, and
        ``nll_without_minmax``, whose weights are the frontier's confidences as they are, not rescaled within the trace.
    """
    table = last_checkpoints(scores).drop_duplicates("model").set_index("model")
    rows = []
    for family in world.FAMILIES:
        for path in sorted(sweep.glob(f"shards/**/samples_rbridge_{family}_2*.parquet")):
            model = stored_results(path)["config"]["model_args"]["pretrained"]
            if model not in table.index:
                continue
            checkpoint = table.loc[model, ["run", "params", "tokens"]].to_dict()
            checkpoint |= {"benchmark": family, "samples": str(path.parent)}
            for sample in token_score_rows(path):
                tokens = sample["resps"][0][0]
                plain = rbridge_nll(tokens.nll, tokens.confidence)
                rows.append({**checkpoint, "item_id": sample["doc"]["item_id"], "rbridge_nll": sample["rbridge_nll"],
                             "nll_without_minmax": plain})  # fmt: skip
    return pd.DataFrame(rows)


def without_minmax(items: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of a score table with the mean of ``nll_without_minmax`` over the traces of each checkpoint."""
    means = items.groupby(KEY[:-1], as_index=False)["nll_without_minmax"].mean()
    means = means.rename(columns={"nll_without_minmax": "value"}).assign(metric="nll_without_minmax")
    return means.merge(scores.drop_duplicates(KEY[:3])[[*KEY[:3], "model"]], on=KEY[:3])


def rank_by_items(folder: Path, items: pd.DataFrame) -> str:
    """The output of ``rbridge rank --samples`` for one size and seed: the order with intervals over items."""
    samples = items[["run", "samples"]].drop_duplicates()
    at = f"{items['params'].iloc[0]:.0f}:{items['tokens'].iloc[0]:.0f}"
    return _output_of(
        "rank", str(folder / "scores.parquet"), "--at", at, "--target", str(folder / "targets.parquet"),
        "--target-metric", ACCURACY,
        *(word for row in samples.itertuples() for word in ("--samples", f"{row.run}={row.samples}")),
    )  # fmt: skip


def read_results(folder: Path, name: str) -> pd.DataFrame:
    """A table of all seeds, for example ``scores``."""
    paths = sorted(folder.glob(f"seed*/{name}.parquet"))
    if not paths:
        raise SystemExit(f"{folder} holds no seed*/{name}.parquet; expected the results of a replication")
    read = pd.read_parquet if name == "items" else read_scores
    return pd.concat([read(path) for path in paths], ignore_index=True)


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


def run_rbridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the ``rbridge`` command and capture its output, in lines of 160 characters."""
    command = [sys.executable, "-m", "rbridge_tasks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "160"})


def _output_of(*arguments: str) -> str:
    done = run_rbridge(*arguments)
    if done.returncode:
        sys.exit(f"rbridge {' '.join(arguments[:2])} ended with code {done.returncode}: {done.stderr.strip()}")
    return done.stdout + done.stderr
