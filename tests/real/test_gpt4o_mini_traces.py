"""Real traces of GPT-4o-mini under tokenizers of real models: import, alignment, scores, and all commands in turn."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from rbridge_metrics import TokenScores, character_confidence, frontier_tokens, token_confidence
from rbridge_tasks.backends import hf
from rbridge_tasks.scoring.prompts import context_of
from rbridge_tasks.scoring.tokenization import PairEncoder, token_byte_ends
from rbridge_traces import Trace, few_shot_examples, import_traces
from tiny_llama import corpus, random_llama, train, train_tokenizer

from ..error_bounds import assert_within, model_sum_bound, stored_bound
from ..metrics import reference


@pytest.fixture(scope="module")
def traces(data: Path) -> list[Trace]:
    """All 1319 traces of the GSM8K test set."""
    mapping = {"trace": "response", "question": "question", "gold": "target"}
    file = data / "traces_text" / "gsm8k_gpt4o_mini_cot.jsonl.gz"
    return import_traces(str(file), benchmark="gsm8k", mapping=mapping).traces


def pair(trace: Trace, shots: int) -> tuple[str, str]:
    return context_of(trace, few_shot_examples("gsm8k")[:shots]), trace.trace


def test_every_trace_is_imported(traces: list[Trace]) -> None:
    """The import keeps all rows with question, text and answer."""
    assert len(traces) == 1319
    assert len({trace.item_id for trace in traces}) == 1319
    assert all(trace.gold and len(trace.trace) > 20 for trace in traces)


def test_traces_of_other_benchmarks_are_imported(data: Path) -> None:
    """CommonsenseQA with nested questions and choices, and MMLU-Pro STEM, need only a mapping."""
    folder = data / "traces_text"
    csqa = {"trace": "response", "question": "question.stem", "choices": "question.choices", "gold": "answerKey"}
    imported = import_traces(str(folder / "csqa_gpt4o_mini_cot.jsonl.gz"), benchmark="csqa", mapping=csqa).traces
    assert len(imported) == 1221
    assert all(trace.choices and trace.gold in {choice.label for choice in trace.choices} for trace in imported)
    stem = {"trace": "response", "question": "question_id", "gold": "answer", "item_id": "question_id"}
    file = str(folder / "mmlu_pro_gpt4o_stem.jsonl.gz")
    assert len(import_traces(file, benchmark="mmlu_pro_stem", mapping=stem, skip_empty=True).traces) > 5800


def test_tokens_cover_every_character_of_every_trace(real_tokenizer: Any, traces: list[Trace]) -> None:
    """Under each tokenizer the scored tokens tile all 1319 traces, and their bytes add up."""
    prefix = real_tokenizer.bos_token_id if real_tokenizer.bos_token_id is not None else real_tokenizer.eos_token_id
    encoder = PairEncoder(real_tokenizer, prefix_token_id=prefix)
    for trace, encoded in zip(traces, encoder.encode([pair(trace, 0) for trace in traces]), strict=True):
        covered = np.zeros(len(trace.trace), dtype=bool)
        for start, end in zip(encoded.token_start, encoded.token_end, strict=True):
            covered[start:end] = True
        assert covered.all(), trace.name
        assert token_byte_ends(real_tokenizer, trace.trace, encoded)[-1] == len(trace.trace.encode())


def test_confidences_are_mapped_between_real_tokenizers(
    real_tokenizer: Any, data: Path, traces: list[Trace], tmp_path: Path
) -> None:
    """Confidences of GPT-2's tokens, averaged over other tokenizers' tokens, equal a loop over characters."""
    from .conftest import load_tokenizer

    frontier = load_tokenizer("gpt2", data, tmp_path)
    generator = np.random.default_rng(0)
    for trace in traces[::20]:
        written = PairEncoder(frontier, prefix_token_id=frontier.eos_token_id).encode([("Q ", trace.trace)])[0]
        logprobs = np.log(generator.uniform(0.05, 1.0, written.token_end.size))
        byte_ends = token_byte_ends(frontier, trace.trace, written)
        characters = character_confidence(*frontier_tokens(trace.trace, byte_ends, logprobs))
        naive = reference.character_confidence_from_bytes(trace.trace, byte_ends.tolist(), logprobs.tolist())
        assert_within(characters, naive, stored_bound(naive))
        read = PairEncoder(real_tokenizer, prefix_token_id=0).encode([("Q ", trace.trace)])[0]
        mean = token_confidence(characters, read.token_start, read.token_end)
        for c, start, end in zip(mean, read.token_start, read.token_end, strict=True):
            if end > start:
                assert c == pytest.approx(sum(characters[start:end]) / (end - start), rel=1e-9)


@pytest.mark.slow
def test_sums_equal_stock_lm_eval(real_tokenizer: Any, traces: list[Trace]) -> None:
    """Summed log-probabilities equal lm-eval's loglikelihood up to rounding, for batches of 3 and 8."""
    model = random_llama(len(real_tokenizer), hidden_size=64, layers=2, heads=4, window=4096)
    pairs = [pair(trace, 5) for trace in traces[:8]] + [pair(trace, 0) for trace in traces[8:11]]
    requests = [Instance("loglikelihood", {}, texts, i) for i, texts in enumerate(pairs)]
    stock = None
    for batch_size in (3, 8):
        lm = HFLM(pretrained=model, tokenizer=real_tokenizer, batch_size=batch_size)
        if stock is None:
            stock = [total for total, _ in lm.loglikelihood(requests, disable_tqdm=True)]
        ours = hf.score(lm, pairs, [str(i) for i in range(len(pairs))])
        sizes = {"width": 64, "inner": 192, "positions": 4096, "vocabulary": len(real_tokenizer)}
        bounds = [model_sum_bound(scores.logprob, **sizes) for scores in ours]
        assert_within([scores.logprob.astype(float).sum() for scores in ours], stock, bounds)


@pytest.mark.slow
def test_import_confidences_and_evaluation_on_real_traces(data: Path, warm_commands: Path, tmp_path: Path) -> None:
    """With confidences of a trained checkpoint, a smaller checkpoint scores better trained than untrained."""
    texts = corpus(megabytes=2)
    tokenizer = train_tokenizer(texts, 2048)
    large = random_llama(len(tokenizer), hidden_size=96, layers=2, heads=4, window=2048)
    frontier = train(large, tokenizer, texts, tmp_path / "frontier", steps=60, save_at=[60], batch=2, window=512)[-1]
    small = random_llama(len(tokenizer), hidden_size=64, layers=2, heads=4, window=2048)
    proxies = train(small, tokenizer, texts, tmp_path / "proxy", steps=60, save_at=[0, 60], batch=2, window=512)
    rows = (data / "traces_text" / "gsm8k_gpt4o_mini_cot.jsonl.gz").read_bytes()
    import gzip

    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"\n".join(gzip.decompress(rows).splitlines()[:40]))
    environment = os.environ | {"RBRIDGE_CACHE": str(tmp_path / "cache")}

    def run(name: str, *arguments: str) -> None:
        result = subprocess.run(
            [str(warm_commands / name), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr

    maps = ["--map", "trace=response", "--map", "question=question"]
    run("rbridge", "traces", "import", str(cut), "--benchmark", "gsm8k", *maps)
    run("rbridge", "traces", "score", "--benchmark", "gsm8k", "--model", str(frontier.path), "--num-fewshot", "0")
    metrics = []
    for proxy in proxies:
        out = tmp_path / "out" / proxy.path.name
        options = ["--num_fewshot", "0", "--batch_size", "8", "--output_path", str(out), "--log_samples"]
        run(
            "lm_eval", "--model", "hf", "--model_args", f"pretrained={proxy.path}", "--tasks", "rbridge_gsm8k", *options
        )
        (file,) = out.rglob("results_*.json")
        metrics.append(json.loads(file.read_text())["results"]["rbridge_gsm8k"])
        (samples,) = out.rglob("samples_*.jsonl")
        scores = [TokenScores.from_json(json.loads(line)["resps"][0][0]) for line in samples.read_text().splitlines()]
        assert len(scores) == 40
        assert all(np.isfinite(score.logprob).all() for score in scores)
    untrained, trained = metrics
    assert "alias" in trained
    assert "(sample)" not in trained["alias"]
    for metric in ("rbridge_nll", "trace_nll", "rbridge_bits_per_byte", "trace_bits_per_byte"):
        assert trained[f"{metric},none"] < untrained[f"{metric},none"]


def test_no_sentence_of_the_sample_comes_from_a_benchmark(data: Path) -> None:
    """No eight consecutive words of the shipped questions and traces occur in the real benchmarks or traces.

    Numbers and words of one or two letters do not count, because formulas such as (n+1)(n+2) are common.
    """
    import gzip
    import re

    from rbridge_traces import BENCHMARKS, SampleCache

    def runs_of_eight(text: str) -> set[tuple[str, ...]]:
        words = re.findall(r"[a-z]{3,}", text.lower())
        return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}

    ours: dict[tuple[str, ...], str] = {}
    for benchmark in BENCHMARKS:
        for trace in (*SampleCache().load(benchmark).traces, *few_shot_examples(benchmark)):
            ours.update(dict.fromkeys(runs_of_eight(f"{trace.question} . {trace.trace}"), trace.name))
    for file in [*(data / "benchmarks").rglob("*.jsonl*"), *(data / "traces_text").glob("*.jsonl.gz")]:
        raw = file.read_bytes()
        text = (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode()
        for line in text.splitlines():
            hits = runs_of_eight(line) & ours.keys()
            assert not hits, f"{file.name}: {' '.join(next(iter(hits)))} is in {ours[next(iter(hits))]}"
