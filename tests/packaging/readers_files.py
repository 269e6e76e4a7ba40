"""Made-up files of a reader of the documents: traces, results of lm-eval, score tables."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rbridge_traces import SampleCache

from ..harness.lm_eval_files import modern, rbridge, write_json
from ..harness.made_traces import evaluation, made_scores
from ..tables.made_scores import row, samples, table

SMALL, LARGE = 1e9, 13e9
BENCHMARKS = ("gsm8k", "math500", "arc_challenge", "csqa", "humaneval")


def chains_of_thought(folder: Path) -> None:
    """Write traces as gzipped JSON Lines, and solutions as plain JSON Lines."""
    rows = [{"id": i, "question": f"{i} + 1?", "response": f"Add one to {i}: {i + 1}."} for i in range(16, 19)]
    (folder / "cot.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    solved = [{"question": row["question"], "answer": row["response"]} for row in rows]
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, solved)))


def human_eval() -> list[dict[str, str]]:
    """Return the sample's functions in HumanEval's format, with tests that any program passes."""
    problems = []
    for trace in SampleCache().load("humaneval").traces:
        name = trace.question.split("def ")[1].split("(")[0]
        test = "def check(candidate):\n    pass\n"
        program = {"task_id": trace.item_id, "prompt": trace.question, "entry_point": name, "test": test}
        problems.append(program | {"canonical_solution": "    pass\n"})
    return problems


def human_eval_file(folder: Path) -> None:
    """Write a file in HumanEval's format."""
    (folder / "HumanEval.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, human_eval())).encode()))


def tides_benchmark(folder: Path) -> None:
    """Write a CSV file of 30 items, and checkpoints to sweep."""
    lines = ["id,question,reasoning,answer"]
    for n in range(30):
        asked = f"The tide rises {n} cm, then {2 * n} cm. How far?"
        lines.append(f't{n},"{asked}","It rises {n} cm, then {2 * n} cm more. That is {3 * n}.",{3 * n}')
    (folder / "tides.csv").write_text("\n".join(lines) + "\n")
    for step in (10, 20):
        shutil.copytree(folder / "checkpoint", folder / "checkpoints" / "web" / f"step{step}-tokens{step}M")


def two_runs(folder: Path) -> None:
    """Write tables of two runs at two sizes, with proxy scores and target accuracies."""
    table(folder / "runs.csv", _of_two_runs(("web", "books")))
    table(folder / "scores.csv", _of_two_runs(("dclm", "books")))


def _of_two_runs(runs: tuple[str, str]) -> Iterator[dict[str, Any]]:
    for number, run in enumerate(runs):
        for step in range(1, 13):
            nll = 0.6 + 0.5 / step**0.5 - 0.05 * number + 0.001 * (-1) ** (step // 2)
            accuracy = 0.9 - 0.8 * nll + 0.01 * (-1) ** step
            tokens = step * 2.5e11
            yield row(f"{run}", nll, size=(SMALL, tokens))
            yield row(f"{run}", accuracy, size=(LARGE, tokens), metric="acc")


def fitted(folder: Path) -> None:
    """Write a fit of accuracies to proxy scores."""
    from ..tables.made_scores import invoke

    two_runs(folder)
    options = ("--proxy-metric", "rbridge_nll", "--target-metric", "acc", "--proxy", "1b", "--target", "13b")
    invoke("fit", folder / "runs.csv", *options, "-o", folder / "fit.json")


def candidates(folder: Path) -> None:
    """Write scores and samples of two candidate data sets at one size, and accuracies of their targets."""
    rows, targets = [], []
    for number, run in enumerate(("web", "books")):
        items = np.random.default_rng(0).gamma(4.0, 0.2, 100) + 0.05 * number
        rows.append(row(run, float(items.mean())))
        rows.append(row(run, 0.2 - 0.01 * number, metric="acc"))
        targets.append(row(run, 0.5 - 0.05 * number, size=(1.2e9, 98e9), metric="acc"))
        samples(
            folder / "out" / run / "samples_rbridge_gsm8k_2026-01-01T00-00-00.jsonl", {"rbridge_nll": items.tolist()}
        )
    table(folder / "scores.csv", rows)
    table(folder / "targets.csv", targets)


def noisy_candidates(folder: Path) -> None:
    """Write noisy scores of three candidate data sets with eight checkpoints each, and accuracies of their targets."""
    rows, targets = [], []
    rng = np.random.default_rng(0)
    for number, run in enumerate(("web", "books", "code")):
        for step in range(1, 9):
            rows.append(row(run, 1.0 - 0.1 * number + 0.01 * rng.normal(), size=(SMALL, step * 1e9)))
        targets.append(row(run, 0.3 + 0.1 * number, size=(1.2e9, 98e9), metric="acc"))
    table(folder / "scores.csv", rows)
    table(folder / "targets.csv", targets)


def ladder_of_runs(folder: Path) -> None:
    """Write scores of four sizes at three token counts each, from a scaling law and a curve to accuracy."""
    rows, rng = [], np.random.default_rng(0)
    for params in (190e6, 370e6, 760e6, 1.3e9):
        for ratio in (20, 40, 100):
            size = (params, ratio * params)
            bits = 0.5 + 60 / params**0.25 + 120 / (ratio * params) ** 0.28 + 0.002 * rng.normal()
            accuracy = 0.25 + 0.7 / (1 + np.exp(6 * (bits - 0.9))) + 0.002 * rng.normal()
            run = f"web-{params / 1e6:.0f}M-{ratio}"
            rows += [
                row(run, bits, size=size, metric="bits_per_byte"),
                row(run, accuracy, size=size, metric="acc_norm"),
            ]
    table(folder / "scores.csv", rows)


def candidates_and_runs(folder: Path) -> None:
    """Write the files of ``two_runs`` and ``candidates``."""
    two_runs(folder)
    candidates(folder)


def evaluations(folder: Path) -> None:
    """Write lm-eval's results and samples of two checkpoints, and the target's results in a separate file."""
    for step, better in ((1000, 0.0), (2000, 0.01)):
        name = f"ckpts/dclm-97.9M/step{step}-tokens{step // 500}B"
        items = (np.random.default_rng(0).gamma(4.0, 0.2, 100) - better).tolist()
        place = folder / "out" / f"step{step}"
        write_json(place / "results_2026-01-01T00-00-00.json", rbridge(name, float(np.mean(items))))
        samples(place / "samples_rbridge_gsm8k_2026-01-01T00-00-00.jsonl", {"rbridge_nll": items})
    target = {"gsm8k": {"exact_match,strict-match": 0.4}, "commonsense_qa": {"acc,none": 0.6}}
    write_json(folder / "targets.json", modern("ckpts/dclm-13B/step2000-tokens4B", target))


def gated(folder: Path) -> None:
    """Write two evaluations, and the score table of their run."""
    evaluations(folder)
    two_runs(folder)


def reported(folder: Path) -> None:
    """Write a score table, a fit, two evaluations, and the target's scores."""
    import pandas as pd

    fitted(folder)
    evaluations(folder)
    scores = pd.read_csv(folder / "runs.csv")
    scores.to_parquet(folder / "scores.parquet")
    scores[scores["metric"] == "acc"].to_csv(folder / "targets.csv", index=False)
    shutil.rmtree(folder / "out")
    for step in (1000, 2000):
        scores_of_tokens = [made_scores(seed + step) for seed in range(3)]
        evaluation(
            folder / "out" / f"step{step}", scores_of_tokens, model=f"ckpts/web-1B/step{step}-tokens{step // 500}B"
        )


def families(folder: Path) -> None:
    """Write four proxies of twelve models on five benchmarks, accuracies of ten models, and proxies of new models."""
    rng = np.random.default_rng(0)
    for name, count in (("proxies.csv", 12), ("new_models.csv", 4)):
        scores, accuracies = [], []
        for model in range(count):
            ability = rng.normal()
            for benchmark in BENCHMARKS:
                run = f"{Path(name).stem}{model}"
                for metric in ("entropy", "rank", "margin", "top1_accuracy"):
                    sign = 1 if metric == "top1_accuracy" else -1
                    value = 0.5 + 0.1 * sign * ability + 0.02 * rng.normal()
                    scores.append(row(run, value, benchmark=benchmark, metric=metric))
                accuracies.append(row(run, 1 / (1 + np.exp(-ability)), benchmark=benchmark, metric="acc"))
        table(folder / name, scores)
        if name == "proxies.csv":
            table(folder / "accuracies.csv", accuracies[: 10 * len(BENCHMARKS)])


def corpus(folder: Path) -> None:
    """Write a text corpus to count tokens in."""
    (folder / "corpus").mkdir()
    (folder / "corpus" / "part.txt").write_text("The sum of 2 and 3 is 5.\n" * 20)


def clone(folder: Path) -> None:
    """Copy the parts of the project's sources that a block uses."""
    from .documents import PROJECT

    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "rbridge_tasks_autoload.pth"):
        shutil.copy(PROJECT / name, folder / name)
    for name in ("rbridge_tasks", "metrics", "trace_cache", "examples"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def of_the_readme(folder: Path) -> None:
    """Write score tables, checkpoints of runs, and two evaluations in a separate folder."""
    training_runs(folder)
    two_runs(folder)
    (folder / "earlier").mkdir()
    evaluations(folder / "earlier")


def training_runs(folder: Path) -> None:
    """Write checkpoints of two runs, revisions of a model of the Hub, and the sweep file of the page."""
    from .documents import PROJECT

    for name in ("web-1B/step1000", "web-1B/step2000", "books-1B/step2000"):
        write_json(folder / "runs" / name / "config.json", {})
    refs = folder / "hub" / "hub" / "models--EleutherAI--pythia-160m" / "refs"
    refs.mkdir(parents=True)
    for revision in ("step1000", "step2000", "main"):
        (refs / revision).write_text("0" * 40)
    page = (PROJECT / "docs" / "sweeping.md").read_text(encoding="utf-8")
    (folder / "sweep.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    (folder / "runs.csv").write_text("run,tokens_per_step\nweb,2097152\n")


#: By document: the function that writes its reader's files before the first block.
FILES: dict[str, Callable[[Path], None]] = {
    "README.md": of_the_readme,
    "docs/benchmarks.md": tides_benchmark,
    "docs/collecting.md": evaluations,
    "docs/comparators.md": human_eval_file,
    "docs/comparing.md": candidates_and_runs,
    "docs/dashboards.md": two_runs,
    "docs/exporting.md": evaluations,
    "docs/fitting.md": two_runs,
    "docs/forecasting.md": fitted,
    "docs/gate.md": gated,
    "docs/ladder.md": ladder_of_runs,
    "docs/noise.md": noisy_candidates,
    "docs/planning.md": ladder_of_runs,
    "docs/proxies.md": corpus,
    "docs/ranking.md": candidates,
    "docs/report.md": reported,
    "docs/selecting.md": families,
    "docs/sweeping.md": training_runs,
    "docs/tutorial.md": clone,
}
