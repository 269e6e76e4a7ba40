"""Both sides of the scoring benchmarks, each in a process of its own: stock ``loglikelihood``, ours, and the floor."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

SIDES = ("stock", "ours", "floor")


@dataclass(frozen=True)
class Settings:
    """What is scored, and how.

    Attributes:
        traces, questions, mapping, benchmark: file of traces, file of questions to join by id, as for
            ``rbridge traces import``. Without traces the sample that ships is used.
        tokenizer: tokenizer.json, also .gz; without it one of ``vocabulary`` tokens is trained here.
        vocabulary: rows of the output projection, at least as many as the tokenizer has tokens.
        items: requests; traces are repeated where there are fewer.
        num_fewshot: worked examples before each question.
        prompt_tokens: cut the worked examples' traces so that the examples have about so many tokens together; None
            leaves them whole.
        trace_tokens: cut traces to about this many tokens; None leaves them whole.
        batch_size: a number, or "auto" for ours and 8 for stock.
        hidden_size, layers: of the model.
        threads: of torch; None leaves it to torch.
        processor_time: measure processor seconds, which other programs on the machine disturb less, instead of seconds.
    """

    traces: str | None = None
    questions: str | None = None
    mapping: tuple[str, ...] = ()
    benchmark: str = "gsm8k"
    tokenizer: str | None = None
    vocabulary: int = 50_000
    items: int = 96
    num_fewshot: int = 5
    prompt_tokens: int | None = None
    trace_tokens: int | None = None
    batch_size: str = "8"
    hidden_size: int = 256
    layers: int = 6
    threads: int | None = None
    processor_time: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``Settings`` that every benchmark has."""
    parser.add_argument("--traces", help="JSON, JSON Lines or Parquet file of traces; default: the shipped sample")
    parser.add_argument("--questions", help="file of questions, joined to traces that have none by their id")
    parser.add_argument(
        "--map", action="append", default=[], metavar="FIELD=THEIRS", help="as in rbridge traces import"
    )
    parser.add_argument("--benchmark", default="gsm8k", help="whose prompts are used")
    parser.add_argument("--tokenizer", help="tokenizer.json, also .gz; default: byte-level BPE made here")
    parser.add_argument("--vocabulary", type=int, default=50_000, help="rows of the output projection")
    parser.add_argument("--items", type=int, default=96, help="requests to score")
    parser.add_argument("--num-fewshot", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, help="cut the worked examples to so many tokens together")
    parser.add_argument("--trace-tokens", type=int, help="cut traces to this many tokens on average")
    parser.add_argument("--batch-size", default="8", help="a number, or auto for ours and 8 for stock")
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument(
        "--processor-time", action="store_true", help="processor seconds: for a machine that is not quiet"
    )
    parser.add_argument("--repeats", type=int, default=1, help="times each side runs, in turn; medians are reported")
    parser.add_argument("--json", type=Path, help="write the figures here too")


def settings_from(args: argparse.Namespace) -> Settings:
    """Settings as the options say."""
    names = set(Settings.__dataclass_fields__) - {"mapping"}
    return Settings(mapping=tuple(args.map), **{name: getattr(args, name) for name in names})


def measure(
    settings: Settings,
    *,
    repeats: int = 1,
    sides: tuple[str, ...] = SIDES,
    vllm_python: str = sys.executable,
    checkout: Path | None = None,
) -> dict[str, Any]:
    """Run each side ``repeats`` times, in turn.

    Args:
        settings: what is scored.
        repeats: runs of each side.
        sides: of ``SIDES``, "vllm", or "before": ours as it is in ``checkout``.
        vllm_python: the interpreter of the side "vllm".
        checkout: a folder with another version of this repository.

    Returns:
        By side: medians of ``seconds``, ``peak_mib`` and the like, and what else the side itself reports;
        ``difference``: largest relative difference of a summed log-likelihood between the first side and ours;
        ``settings`` and ``machine``.
    """
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(settings, work)
        (work / "settings.json").write_text(json.dumps(asdict(settings)))
        for _ in range(repeats):
            for side, results in runs.items():
                environment = os.environ | ({"OMP_NUM_THREADS": str(settings.threads)} if settings.threads else {})
                python = vllm_python if side == "vllm" else sys.executable
                if side == "before" and checkout is not None:
                    packages = (checkout, checkout / "metrics", checkout / "trace_cache")
                    environment["PYTHONPATH"] = os.pathsep.join(str(package.resolve()) for package in packages)
                subprocess.run([python, __file__, side, folder], check=True, env=environment)
                results.append(json.loads((work / f"{side}.json").read_text()))
    found: dict[str, Any] = {"settings": asdict(settings), "machine": machine()}
    for side, results in runs.items():
        keys = [key for key, value in results[0].items() if isinstance(value, float)]
        found[side] = results[-1] | {key: statistics.median(result[key] for result in results) for key in keys}
        found[side]["runs"] = [result["seconds"] for result in results]
    theirs, ours = (found[side].pop("sums") for side in (sides[0], "ours"))
    found["difference"] = max(abs(one - other) / abs(one) for one, other in zip(theirs, ours, strict=True))
    return found


def heading(found: dict[str, Any], repeats: int) -> str:
    """One line: what was scored, and where."""
    settings, machine_ = found["settings"], found["machine"]
    tokens = found["ours"]["trace_tokens"] / settings["items"]
    return (
        f"{settings['benchmark']}, {settings['items']} requests, {settings['num_fewshot']}-shot, {tokens:.0f} trace "
        f"tokens each, d={settings['hidden_size']} x {settings['layers']} layers, batch {settings['batch_size']}, "
        f"{settings['threads'] or machine_['cores']} threads, load {machine_['load']:.1f}, median of {repeats}"
    )


def machine() -> dict[str, Any]:
    """Where and when the figures were taken, and how busy the machine was."""
    import torch
    import transformers

    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def prepare(settings: Settings, work: Path) -> None:
    """Make the checkpoint and the requests that all sides use."""
    from tiny_llama import random_llama

    tokenizer = load_tokenizer(settings)
    model = random_llama(
        max(len(tokenizer), settings.vocabulary),
        hidden_size=settings.hidden_size,
        layers=settings.layers,
        heads=max(1, settings.hidden_size // 32),
        window=4096,
    )
    model.save_pretrained(work / "checkpoint")
    tokenizer.save_pretrained(work / "checkpoint")
    (work / "pairs.json").write_text(json.dumps(load_pairs(settings, tokenizer)))


def load_pairs(settings: Settings, tokenizer: Any) -> list[tuple[str, str]]:
    """The requests: (context, trace) texts."""
    from rbridge_tasks.scoring.prompts import context_of
    from rbridge_traces import few_shot_examples

    examples = few_shot_examples(settings.benchmark)[: settings.num_fewshot]
    if settings.prompt_tokens and examples:
        examples = cut_examples(tokenizer, examples, settings.prompt_tokens)
    traces = load_traces(settings)
    traces = [traces[i % len(traces)] for i in range(settings.items)]
    texts = [trace.trace for trace in traces]
    if settings.trace_tokens:
        texts = cut_to_mean(tokenizer, texts, settings.trace_tokens)
    return [(context_of(trace, examples), text) for trace, text in zip(traces, texts, strict=True)]


def load_tokenizer(settings: Settings) -> Any:
    """The tokenizer given, or one trained here."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from tiny_llama import corpus, train_tokenizer

    if settings.tokenizer is None:
        return train_tokenizer(corpus(megabytes=min(25, settings.vocabulary / 2000)), settings.vocabulary)
    raw = Path(settings.tokenizer).read_bytes()
    text = (gzip.decompress(raw) if settings.tokenizer.endswith(".gz") else raw).decode()
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text), eos_token="<|endoftext|>")


def load_traces(settings: Settings) -> list[Any]:
    """The traces to score."""
    from rbridge_traces import SampleCache, Trace, import_traces
    from rbridge_traces.questions import load_questions
    from rbridge_traces.rows import read_rows

    mapping = dict(pair.split("=", 1) for pair in settings.mapping)
    if settings.traces is None:
        return list(SampleCache().load(settings.benchmark).traces)
    if settings.questions is None:
        return list(
            import_traces(settings.traces, benchmark=settings.benchmark, mapping=mapping, skip_empty=True).traces
        )
    asked = {question.item_id: question for question in load_questions(settings.benchmark, path=settings.questions)}
    found = []
    for row in read_rows(settings.traces):
        item = asked.get(str(row[mapping.get("item_id", "question_id")]))
        text = row[mapping.get("trace", "trace")]
        if item is not None and text:
            found.append(Trace(settings.benchmark, item.item_id, item.question, text, choices=item.choices))
    return found


def cut_to_mean(tokenizer: Any, texts: list[str], tokens: int) -> list[str]:
    """Cut the texts' ends off, each the same share, so that they have so many tokens on average."""
    ends = [[end for _, end in offsets] for offsets in tokenizer(texts, return_offsets_mapping=True)["offset_mapping"]]
    share = min(1.0, tokens * len(texts) / sum(map(len, ends)))
    return [text[: end[max(1, round(len(end) * share)) - 1]] for text, end in zip(texts, ends, strict=True)]


def cut_examples(tokenizer: Any, examples: list[Any], tokens: int) -> list[Any]:
    """Cut the worked examples' traces, so that the examples have so many tokens together."""
    from rbridge_tasks.scoring.prompts import context_of

    texts = [example.trace for example in examples]
    of_all, of_question = (len(tokenizer(context_of(examples[0], some)).input_ids) for some in (examples, []))
    of_traces = sum(map(len, tokenizer(texts).input_ids))
    left = max(len(texts), of_traces - (of_all - of_question - tokens))
    cut = cut_to_mean(tokenizer, texts, left // len(texts))
    return [replace(example, trace=text, spans=()) for example, text in zip(examples, cut, strict=True)]


def run_side(side: str, work: Path) -> None:
    """Load the model, score the requests one way, and write what it took."""
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM

    from rbridge_tasks.backends import hf

    transformers.logging.set_verbosity_error()
    settings = json.loads((work / "settings.json").read_text())
    clock = time.process_time if settings["processor_time"] else time.perf_counter
    pairs = [tuple(pair) for pair in json.loads((work / "pairs.json").read_text())]
    size = settings["batch_size"]
    batch_size = size if not size.isdecimal() and side in ("ours", "before") else int(size) if size.isdecimal() else 8
    if side == "vllm":
        lm, score = vllm_model(work / "checkpoint")
    else:
        lm = HFLM(pretrained=str(work / "checkpoint"), device="cpu", batch_size=batch_size, max_length=4096)
        score = hf.score
    if side == "floor":
        from floor import count_work, measured_floor

        from rbridge_tasks.scoring.tokenization import PairEncoder

        encoded = PairEncoder(lm.tokenizer, lm.add_bos_token, lm.prefix_token_id).encode(pairs)
        with torch.inference_mode():
            figures = measured_floor(count_work(lm.model, encoded), clock)
        (work / "floor.json").write_text(json.dumps(figures))
        return
    figures = {"loaded_mib": peak_mib()}
    faults, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, clock()
    if side == "stock":
        from rbridge_tasks.harness.lm_eval_versions import new_request

        requests = [new_request("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
        figures["sums"] = [total for total, _ in lm.loglikelihood(requests, disable_tqdm=True)]
    else:
        scores = score(lm, pairs, [str(i) for i in range(len(pairs))])
        figures["sums"] = [float(score.logprob.astype(float).sum()) for score in scores]
        figures["trace_tokens"] = sum(score.logprob.size for score in scores)
    figures["seconds"] = clock() - began
    figures["peak_mib"] = peak_mib()
    figures["page_faults"] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    (work / f"{side}.json").write_text(json.dumps(figures))


def vllm_model(checkpoint: Path) -> tuple[Any, Any]:
    """The checkpoint as lm-eval's ``vllm`` holds it, and the back end that scores it."""
    from lm_eval.models.vllm_causallms import VLLM

    from rbridge_tasks.backends import vllm

    engine = {"dtype": "float32", "enforce_eager": True, "gpu_memory_utilization": 0.4}
    return VLLM(str(checkpoint), batch_size=1, max_model_len=4096, **engine), vllm.score


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if platform.system() == "Linux" else peak / 1024**2


if __name__ == "__main__":
    run_side(sys.argv[1], Path(sys.argv[2]))
