"""Token frequencies of real traces; the texts of tokens identify the tokenizer."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rbridge_tasks.frequencies.counting import count_tokens
from rbridge_tasks.frequencies.frequency_file import FrequencyFileError
from rbridge_tasks.scoring.prompts import context_of
from rbridge_tasks.scoring.tokenization import PairEncoder
from rbridge_traces import Trace, few_shot_examples, import_traces

from .conftest import load_tokenizer

FILE = ("traces_text", "gsm8k_gpt4o_mini_cot.jsonl.gz")


@pytest.fixture(scope="module")
def traces(data: Path) -> list[Trace]:
    """The first 25 traces of the GSM8K test set."""
    mapping = {"trace": "response", "question": "question", "gold": "target"}
    return import_traces(str(data.joinpath(*FILE)), benchmark="gsm8k", mapping=mapping).traces[:25]


def spelled(tokenizer: Any, traces: list[Trace]) -> Iterator[tuple[int, str]]:
    """Yield scored tokens with the characters that they cover, as a samples file holds them."""
    context = few_shot_examples("gsm8k")[:1]
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    pairs = [(context_of(trace, context), trace.trace) for trace in traces]
    for trace, pair in zip(traces, PairEncoder(tokenizer, prefix_token_id=prefix).encode(pairs), strict=True):
        spans = zip(pair.ids[pair.first :], pair.token_start, pair.token_end, strict=True)
        yield from ((int(token), trace.trace[start:end]) for token, start, end in [*spans][1:])


@pytest.mark.slow
def test_counts_equal_a_loop_and_only_the_counting_tokenizer_is_accepted(
    real_tokenizer: Any, data: Path, traces: list[Trace], tmp_path: Path
) -> None:
    """All 1319 traces are counted from the compressed file; then the texts of each tokenizer's tokens are accepted
    for that tokenizer, and refused for every other one."""
    real_tokenizer.save_pretrained(tmp_path / "tokenizer")
    frequencies = count_tokens([str(data.joinpath(*FILE))], str(tmp_path / "tokenizer"), field="response", processes=1)
    counts: Counter[int] = Counter()
    with gzip.open(data.joinpath(*FILE), "rt", encoding="utf-8") as lines:
        for line in lines:
            counts.update(real_tokenizer(json.loads(line)["response"], add_special_tokens=False)["input_ids"])
    assert {token: int(count) for token, count in enumerate(frequencies.counts) if count} == dict(counts)
    frequencies.check_texts(spelled(real_tokenizer, traces), "its own traces")
    for name in ("gpt-neox", "olmo", "gpt2", "sentencepiece"):
        (tmp_path / name).mkdir()
        tokenizer = load_tokenizer(name, data, tmp_path / name)
        if tokenizer.get_vocab() == real_tokenizer.get_vocab():
            frequencies.tokenizer.check(tokenizer, name)
            continue
        with pytest.raises(FrequencyFileError, match=r"another tokenizer|beyond the"):
            frequencies.check_texts(spelled(tokenizer, traces), "other traces")
        with pytest.raises(FrequencyFileError, match="another vocabulary"):
            frequencies.tokenizer.check(tokenizer, name)
