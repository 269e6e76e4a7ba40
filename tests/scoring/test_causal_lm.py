"""The fast scorer gives the numbers of lm-eval's own pass, for every kind of model, tokenizer, prompt and batch."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from rbridge_metrics import TokenScores
from rbridge_tasks.backends import hf
from rbridge_tasks.scoring.causal_lm import CausalScorer, ScoringError
from rbridge_tasks.scoring.readers import PackedReader, PaddedReader
from rbridge_tasks.scoring.tokenization import PairEncoder
from rbridge_tasks.scoring.windows import plan_windows

from ..error_bounds import assert_within, model_bound, model_sum_bound
from ..support import (
    FAMILIES,
    Pair,
    PythonTwin,
    harness_model,
    mixed_pairs,
    require_attention_in,
    shots,
    stock_loglikelihoods,
    tiny_model,
)

#: Tokens of short texts that the trial of a reader reads, once, beside the longest text.
TRIED_BESIDE = 500
Tokenizers = dict[str, Any]
Column = dict[str, np.ndarray]


def scores(lm: HFLM, pairs: list[Pair]) -> list[TokenScores]:
    """What the back end gives for the pairs."""
    return hf.score(lm, pairs, [f"gsm8k/{i}" for i in range(len(pairs))])


def totals(found: list[TokenScores]) -> list[float]:
    """Summed log-probability of each trace."""
    return [float(score.logprob.astype(np.float64).sum()) for score in found]


def agree(found: list[TokenScores], expected: list[float]) -> None:
    """The sums are equal, pair by pair."""
    assert_within(totals(found), expected, [model_sum_bound(score.logprob) for score in found])


def by_definition(model: PreTrainedModel, ids: list[int], first: int) -> Column:
    """Score ``ids[first:]`` from one plain forward pass over all of ``ids``; ranks up to tokens as good as equal."""
    with torch.no_grad():
        logprob = torch.log_softmax(model(torch.tensor([ids[:-1]])).logits[0, first - 1 :].double(), dim=-1)
    chosen = logprob.gather(-1, torch.tensor(ids[first:]).unsqueeze(-1))
    margin = 2 * model_bound(chosen)  # closer than this, rounding alone decides which token comes first
    return {
        "logprob": chosen.squeeze(-1).numpy(),
        "lowest_rank": 1 + (logprob > chosen + margin).sum(-1).numpy(),
        "highest_rank": (logprob > chosen - margin).sum(-1).numpy(),
        "entropy": -(logprob.exp() * logprob).sum(-1).numpy(),
        "max_logprob": logprob.max(-1).values.numpy(),
    }


@contextmanager
def work(model: PreTrainedModel) -> Iterator[dict[str, int]]:
    """Count the tokens that the model reads, in how many passes, and the positions that it projects itself."""
    done = {"read": 0, "projected": 0, "passes": 0}

    def reads(_module: Any, _args: Any, named: dict[str, Any]) -> None:
        done["read"] += named["input_ids"].numel()
        done["passes"] += 1

    def projects(_module: Any, args: Any, _result: Any) -> None:
        done["projected"] += args[0].numel() // args[0].shape[-1]

    head = model.get_output_embeddings()
    hooks = [model.register_forward_pre_hook(reads, with_kwargs=True), head.register_forward_hook(projects)]
    yield done
    for hook in hooks:
        hook.remove()


@contextmanager
def memory_for(model: PreTrainedModel, tokens: int) -> Iterator[None]:
    """Have the model run out of memory with more than so many tokens in a batch."""
    forward = model.forward

    @functools.wraps(forward)
    def limited(*args: Any, **named: Any) -> Any:
        if named["input_ids"].numel() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")
        return forward(*args, **named)

    model.forward = limited
    yield
    del model.forward


class Finished:
    """Remembers the batches that a back end calls finished."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.scores: dict[int, TokenScores] = {}

    def __call__(self, indices: Sequence[int], finished: Sequence[TokenScores]) -> None:
        assert not self.scores.keys() & set(indices)
        self.batches.append(list(indices))
        self.scores |= dict(zip(indices, finished, strict=True))


def refused(lm: HFLM, pairs: list[Pair], error: type[Exception]) -> str:
    """The one-line message of the error that scoring ends in."""
    with pytest.raises(error) as caught:
        scores(lm, pairs)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ---------------------------------------------------------------- the numbers of stock lm-eval


@pytest.mark.parametrize("name", ["byte_level", "byte_level_gpt4", "trimmed", "bos", "byte_fallback", "python"])
def test_sums_equal_stock_loglikelihood(tokenizers: Tokenizers, name: str) -> None:
    """For every kind of tokenizer, at every batch size, over pairs of several prompts in one call."""
    tokenizer = PythonTwin(tokenizers["bos"]) if name == "python" else tokenizers[name]
    model, pairs = tiny_model("llama", len(tokenizer)), mixed_pairs()
    expected = stock_loglikelihoods(harness_model(model, tokenizer), pairs)
    for batch_size in (1, 3, 8, "auto"):
        agree(scores(harness_model(model, tokenizer, batch_size=batch_size), pairs), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_model_families_agree_with_stock(tokenizers: Tokenizers, family: str) -> None:
    """A prompt read once, a projection of trace tokens alone, and padding change no number in any architecture."""
    model, pairs = tiny_model(family, 700), mixed_pairs()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=3), pairs), expected)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_stretch_with_the_text_agree_with_stock(tokenizers: Tokenizers, kind: str) -> None:
    """A text's numbers are those of the text alone under a fresh model: not of longer texts in its batch or before."""
    scaling: dict[str, Any] = {"type": kind, "rope_type": kind, "factor": 4.0}
    if kind == "longrope":
        scaling = {"type": kind, "short_factor": [1.0] * 4, "long_factor": [4.0, 3.0, 2.0, 5.0]}
        settings = {"family": "phi3", "original_max_position_embeddings": 64}
    else:
        settings = {"family": "llama", "max_position_embeddings": 64}

    def fresh(batch_size: int = 1) -> HFLM:
        model = tiny_model(**settings, vocab_size=700, rope_scaling=scaling)
        return harness_model(model, tokenizers["bos"], batch_size=batch_size)

    pairs = mixed_pairs()
    expected = [stock_loglikelihoods(fresh(), [pair])[0] for pair in pairs]
    agree(scores(fresh(batch_size=3), pairs), expected)


@pytest.mark.parametrize("family", ["llama", "gpt2", "mamba", "gemma2"])
def test_every_statistic_equals_its_definition(tokenizers: Tokenizers, family: str) -> None:
    """Log-probability, rank, entropy and maximum of each token, from one plain pass over each pair."""
    model, pairs = tiny_model(family, 700), mixed_pairs()
    encoded = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs)
    for pair, found in zip(encoded, scores(harness_model(model, tokenizers["bos"], batch_size=8), pairs), strict=True):
        expected = by_definition(model, pair.ids.tolist(), pair.first)
        bound = model_bound(expected["logprob"])
        # Logits off by d move the entropy by at most d E|ln p + H|, which is below d ln V.
        for column, times in (("logprob", 1.0), ("entropy", np.log(700)), ("max_logprob", 1.0)):
            assert_within(getattr(found, column), expected[column], times * bound, column)
        assert (expected["lowest_rank"] <= found.rank).all()
        assert (found.rank <= expected["highest_rank"]).all()
        assert found.token_id.tolist() == pair.ids[pair.first :].tolist()
        assert found.token_start.tolist() == pair.token_start.tolist()
        assert found.token_end.tolist() == pair.token_end.tolist()
        assert (found.vocab_size, found.windows, found.context_tokens_cut) == (700, 1, 0)


def test_nothing_to_score_gives_nothing(tokenizers: Tokenizers) -> None:
    """A rank of a distributed run may get no items."""
    assert scores(harness_model(tiny_model("llama", 700), tokenizers["bos"]), []) == []


# ---------------------------------------------------------------- texts longer than the window


@pytest.mark.parametrize("max_length", [128, 200])
def test_contexts_too_long_are_cut_as_lm_eval_cuts(
    tokenizers: Tokenizers, max_length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Of contexts that fit, nearly fit and do not fit, as much is read as by lm-eval; the user is told."""
    model, pairs = tiny_model("llama", 700), mixed_pairs()
    lm = harness_model(model, tokenizers["bos"], max_length=max_length, batch_size=3)
    found = scores(lm, pairs)
    agree(found, stock_loglikelihoods(lm, pairs))
    encoded = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs)
    cut = [max(0, pair.ids.size - 1 - max_length) for pair in encoded]
    assert [score.context_tokens_cut for score in found] == cut
    assert f"{np.count_nonzero(cut)} of {len(pairs)} contexts are longer than the model's window" in caplog.text


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral_sliding"])
@pytest.mark.parametrize("max_length", [7, 40])
def test_traces_longer_than_the_window_are_scored_in_parts(
    tokenizers: Tokenizers, family: str, max_length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each window of a long trace has the numbers of a plain pass over that window alone."""
    model, pairs = tiny_model(family, 700), mixed_pairs()
    found = scores(harness_model(model, tokenizers["bos"], max_length=max_length, batch_size=3), pairs)
    for pair, score in zip(PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs), found, strict=True):
        windows = plan_windows(0, pair.ids.size, pair.first, max_length)
        parts = [by_definition(model, pair.ids[w.start : w.stop].tolist(), w.first - w.start) for w in windows]
        expected = np.concatenate([part["logprob"] for part in parts])
        assert_within(score.logprob, expected, model_bound(expected))
        assert score.windows == len(windows)
    assert max(score.windows for score in found) > 1
    assert "traces are longer than the model's window" in caplog.text


# ---------------------------------------------------------------- short cuts


def ten_items(prompt: str = "") -> list[Pair]:
    """Items of one task."""
    return [(f"{prompt}Question: what is {i} + 1?\nAnswer: ", f"{i} + 1 = {i + 1}, so it is.") for i in range(10)]


@pytest.mark.parametrize(
    ("family", "shares"),
    [
        *itertools.product(
            ["llama", "gpt2", "gpt_neox", "opt", "bloom", "qwen2", "qwen3", "granite", "cohere"], [True]
        ),
        *itertools.product(["mamba", "gemma2", "mistral_sliding"], [False]),
    ],
)
def test_work_that_is_saved(tokenizers: Tokenizers, family: str, shares: bool) -> None:
    """Ten 5-shot items cost less than three times the tokens of one, with recurrent state or sliding windows those of
    ten; the vocabulary is projected onto trace tokens, not onto the prompt.
    """
    model, pairs = tiny_model(family, 700), ten_items(shots("the sum"))
    encoded = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs)
    inputs, scored = (
        sum(sizes) for sizes in zip(*[(p.ids.size - 1, p.ids.size - p.first) for p in encoded], strict=True)
    )
    trying = (5 * inputs if family == "bloom" else 2 * inputs) // 10 + TRIED_BESIDE
    with work(model) as done:
        scores(harness_model(model, tokenizers["bos"], batch_size=2), pairs)
    assert done["projected"] <= scored + inputs * 0.35 + TRIED_BESIDE
    if shares:
        assert done["read"] <= trying + inputs * 0.3
    else:
        assert done["read"] >= inputs


@pytest.mark.parametrize(
    ("family", "way"),
    [
        *((family, "PackedReader") for family in ("llama", "gpt2", "gpt_neox", "opt", "qwen2", "qwen3", "granite")),
        *((family, "PackedReader") for family in ("cohere", "phi", "phi3")),
        ("bloom", "PaddedReader"),
        ("gemma2", "PaddedReader"),
        ("lfm2", "PaddedReader"),
        ("mistral_sliding", "PaddedReader"),
    ],
)
def test_way_of_reading_that_a_model_allows(tokenizers: Tokenizers, family: str, way: str) -> None:
    """Without padding or copies wherever attention is plain; positions in the attention, caps and windows keep it."""
    encoded = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(mixed_pairs())
    scorer = CausalScorer(tiny_model(family, 700), torch.device("cpu"), max_length=2048)
    scorer.score(encoded, [""] * len(encoded))
    assert type(scorer.reader).__name__ == way


def test_window_wider_than_the_texts_is_no_obstacle(tokenizers: Tokenizers) -> None:
    """Sliding attention is plain attention for shorter texts; a longer one, scored later, is noticed."""
    model, pairs = tiny_model("mistral_sliding", 700, sliding_window=100), mixed_pairs()
    encoded = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs)
    scorer = CausalScorer(model, torch.device("cpu"), max_length=2048, batch_size=4)
    short = [pair for pair in encoded if pair.ids.size <= 100]
    before = scorer.score(short, [""] * len(short))
    assert isinstance(scorer.reader, PackedReader)
    after = scorer.score(encoded, [""] * len(encoded))
    assert isinstance(scorer.reader, PaddedReader)
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(after, expected)
    agree(before, [total for total, pair in zip(expected, encoded, strict=True) if pair.ids.size <= 100])


def test_without_a_shared_prompt_each_text_is_read_once(tokenizers: Tokenizers) -> None:
    """0-shot items have nothing long enough in common."""
    model, pairs = (
        tiny_model("llama", 700),
        [(f"{i}: {context}", trace) for i, (context, trace) in enumerate(ten_items())],
    )
    lm = harness_model(model, tokenizers["bos"])
    expected = stock_loglikelihoods(lm, pairs)
    inputs = sum(pair.ids.size - 1 for pair in PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs))
    with work(model) as done:
        agree(scores(lm, pairs), expected)
    assert done["read"] <= inputs * 1.3 + TRIED_BESIDE


def repeated_questions() -> list[Pair]:
    """Two tasks whose prompts begin alike, four questions each, five traces to each question, in no order."""
    preamble, pairs = shots("the preamble"), []
    for task in ("the sum", "all together"):
        for i in range(4):
            question = f"Question: here are {i} apples, then {i} pears, and a basket of {i} plums; how many?\nAnswer: "
            pairs += [(preamble + shots(task) + question, f"{k} times {i} is {k * i}, so it is.") for k in range(5)]
    return pairs[::3] + pairs[1::3] + pairs[2::3]


@pytest.mark.parametrize("family", ["llama", "bloom", "gemma2"])
@pytest.mark.parametrize("batch_size", [1, 8, "auto"])
def test_prefixes_of_prefixes_agree_with_stock(tokenizers: Tokenizers, family: str, batch_size: int | str) -> None:
    """A preamble, under it the examples of two tasks, under them questions: each level is read once or as it may be."""
    model, pairs = tiny_model(family, 700), repeated_questions()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=batch_size), pairs), expected)


@pytest.mark.parametrize("batch_size", [1, 8, "auto"])
def test_every_token_that_texts_share_is_read_once(tokenizers: Tokenizers, batch_size: int | str) -> None:
    """The tokens read are those of the tree that the texts form, beside those of the trial before it."""
    model, pairs = tiny_model("llama", 700), repeated_questions()
    encoded = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs)
    inputs = [tuple(pair.ids[:-1].tolist()) for pair in encoded]
    different = len({text[:end] for text in inputs for end in range(1, len(text) + 1)})
    with work(model) as done:
        scores(harness_model(model, tokenizers["bos"], batch_size=batch_size), pairs)
    # Up to 31 shared tokens are read again with each text, and half a batch of 8 is cut from its neighbours.
    again = len(pairs) * 31 if batch_size == 1 else different * 0.2
    assert different <= done["read"] <= different + again + 2 * max(map(len, inputs)) + TRIED_BESIDE
    assert sum(map(len, inputs)) > 8 * different


def test_traces_of_one_question_share_all_of_its_context(tokenizers: Tokenizers) -> None:
    """Pairs that differ in the trace alone keep the token that predicts its first one."""
    model, (context, _) = tiny_model("llama", 700), ten_items(shots("the sum"))[0]
    lm, pairs = harness_model(model, tokenizers["bos"]), [(context, f"{i} + 1, so it is.") for i in range(10)]
    agree(scores(lm, pairs), stock_loglikelihoods(lm, pairs))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_are_as_large_as_asked_for(tokenizers: Tokenizers, batch_size: int) -> None:
    """Neither larger, which may not fit into memory, nor always smaller."""
    pairs, finished = ten_items(shots("the sum")), Finished()
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=batch_size)
    hf.score(lm, pairs, [pair[1] for pair in pairs], done=finished)
    assert max(map(len, finished.batches)) == batch_size
    assert len(finished.batches) == -(-10 // batch_size)


class HeadIsNoModule(transformers.LlamaForCausalLM):
    """A model that does not say what its output projection is."""

    def get_output_embeddings(self) -> None:
        return None


class LogitsAreRescaled(transformers.LlamaForCausalLM):
    """A model that does something of its own to its logits, such as Falcon H1's multiplier."""

    def forward(self, *args: Any, **named: Any) -> Any:
        result = super().forward(*args, **named)
        result.logits = result.logits * 1.5
        return result


@pytest.mark.parametrize("model_class", [HeadIsNoModule, LogitsAreRescaled])
def test_unusual_head_is_scored_the_plain_way(tokenizers: Tokenizers, model_class: type[PreTrainedModel]) -> None:
    """Where the projection cannot be taken apart, the model's own logits are used."""
    model = model_class(tiny_model("llama", 700).config).eval()
    pairs = mixed_pairs()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=3), pairs), expected)


# peft 0.21 asks transformers 5.23 for a property by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_are_scored(tokenizers: Tokenizers) -> None:
    """A PEFT LoRA model, with an adapter on the output projection too, agrees with stock and differs from its base."""
    peft = pytest.importorskip("peft")
    base, pairs = tiny_model("llama", 700), mixed_pairs()
    before = stock_loglikelihoods(harness_model(base, tokenizers["bos"]), pairs)
    lora = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    model = peft.get_peft_model(base, lora).eval()
    expected = stock_loglikelihoods(harness_model(model, tokenizers["bos"]), pairs)
    agree(scores(harness_model(model, tokenizers["bos"], batch_size=3), pairs), expected)
    assert not np.allclose(before, expected, rtol=1e-2)


def test_scored_model_can_go_on_training(tokenizers: Tokenizers) -> None:
    """Evaluating in the middle of a training run leaves nothing behind that the next step trips over."""
    model = tiny_model("llama", 700, rope_scaling={"rope_type": "dynamic", "factor": 2.0})
    scores(harness_model(model, tokenizers["bos"]), mixed_pairs())
    ids = torch.arange(4, 40).unsqueeze(0)
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


# ---------------------------------------------------------------- finished and known pairs


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
@pytest.mark.parametrize("max_length", [40, 2048])
def test_each_pair_is_called_finished_once(tokenizers: Tokenizers, batch_size: int | str, max_length: int) -> None:
    """With the scores that are returned in the end, also where a trace is spread over batches."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=batch_size, max_length=max_length)
    pairs, finished = mixed_pairs(), Finished()
    found = hf.score(lm, pairs, [""] * len(pairs), done=finished)
    assert all(finished.scores[i] is score for i, score in enumerate(found))
    assert len(finished.scores) == len(pairs)


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_what_is_known_is_not_read_again_and_changes_nothing(tokenizers: Tokenizers, family: str) -> None:
    """Only batches that hold an unknown pair are read, in the same company as before: equal to the last bit."""
    model, pairs, first = tiny_model(family, 700), repeated_questions(), Finished()
    lm = harness_model(model, tokenizers["bos"], batch_size=4)
    found = hf.score(lm, pairs, [""] * len(pairs), done=first)
    done, left = first.batches[:6], first.batches[6:]
    known = {i: first.scores[i] for batch in done for i in batch}
    again = Finished()
    repeated = hf.score(lm, pairs, [""] * len(pairs), done=again, known=known)
    assert again.batches == left
    for one, other in zip(found, repeated, strict=True):
        assert one.to_json() == other.to_json()


def test_pairs_tokenised_later_are_scored_alike(tokenizers: Tokenizers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs come in parts, the next tokenised while one is scored; indices are those of all pairs."""
    lm, pairs = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size=2), mixed_pairs()
    expected = stock_loglikelihoods(lm, pairs)
    monkeypatch.setattr(hf, "_TOKENISE_AT_ONCE", 3)
    finished = Finished()
    found = hf.score(lm, pairs, [""] * len(pairs), done=finished, known=None)
    agree(found, expected)
    assert sorted(finished.scores) == list(range(len(pairs)))
    known = {i: found[i] for i in (3, 4, 5)}
    assert hf.score(lm, pairs, [""] * len(pairs), known=known)[4] is found[4]


# ---------------------------------------------------------------- low precision


@pytest.mark.parametrize("how", ["weights", "autocast"])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_bfloat16_is_no_worse_than_a_plain_pass(tokenizers: Tokenizers, family: str, how: str) -> None:
    """The error against float32 is about that of a plain bfloat16 pass with an exact softmax, at most twice it."""
    require_attention_in(torch.bfloat16)
    exact, pairs = tiny_model(family, 700), mixed_pairs()
    model = tiny_model(family, 700)
    options = {"mixed_precision_dtype": "bfloat16"} if how == "autocast" else {}
    if how == "weights":
        model = model.bfloat16()
    found = scores(harness_model(model, tokenizers["bos"], batch_size=3, **options), pairs)
    encoded = PairEncoder(tokenizers["bos"], prefix_token_id=1).encode(pairs)
    errors, naive_errors = [], []
    for pair, score in zip(encoded, found, strict=True):
        expected = by_definition(exact, pair.ids.tolist(), pair.first)["logprob"]
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            naive = by_definition(model, pair.ids.tolist(), pair.first)["logprob"]
        errors.append(np.abs(score.logprob - expected).mean())
        naive_errors.append(np.abs(naive - expected).mean())
    assert 0.5 * np.mean(naive_errors) <= np.mean(errors) <= 2 * np.mean(naive_errors)
    assert max(errors) <= 2 * max(naive_errors)


# ---------------------------------------------------------------- memory


def test_running_out_of_memory_halves_the_batch(tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture) -> None:
    """The numbers are those of a run with enough memory, and the user is told."""
    model = tiny_model("llama", 700)
    lm = harness_model(model, tokenizers["bos"], batch_size=8)
    pairs = [(f"{i}: {context}", trace) for i, (context, trace) in enumerate(ten_items())]
    expected = totals(scores(lm, pairs))
    assert "out of memory" not in caplog.text
    with memory_for(model, 200):
        agree(scores(lm, pairs), expected)
    assert "out of memory with a batch of 8; going on with 4" in caplog.text


def test_auto_fits_its_batches_into_memory(tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture) -> None:
    """Starting with more tokens than there is memory for, it ends up with as many as fit."""
    model = tiny_model("llama", 700)
    lm = harness_model(model, tokenizers["bos"], batch_size="auto")
    pairs = [(f"{i}: {context}", trace) for i, (context, trace) in enumerate(ten_items())]
    with memory_for(model, 100):
        found = scores(lm, pairs)
    agree(found, totals(scores(lm, pairs)))
    assert "tokens" in caplog.text.split("out of memory with a batch of ")[1]


@pytest.mark.parametrize(("given", "largest"), [(64, 10), (3, 3)])
def test_auto_reads_no_more_texts_than_the_user_allows(tokenizers: Tokenizers, given: int, largest: int) -> None:
    """``--max_batch_size`` limits the texts in a batch; left at lm-eval's default it does not."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"], batch_size="auto", max_batch_size=given)
    finished, pairs = Finished(), ten_items()
    hf.score(lm, pairs, [""] * len(pairs), done=finished)
    assert max(map(len, finished.batches)) == largest


@pytest.mark.parametrize("tokens", [5, 150])
def test_one_trace_too_many_for_the_memory_is_an_error(tokenizers: Tokenizers, tokens: int) -> None:
    """What does not fit alone ends the run with a remedy, whether or not others fit."""
    model = tiny_model("mamba", 700)
    with memory_for(model, tokens):
        message = refused(harness_model(model, tokenizers["bos"], batch_size=8), mixed_pairs(), ScoringError)
    assert "does not fit into memory on cpu; use a device with more memory" in message


def test_other_errors_of_the_model_are_not_mistaken_for_memory(tokenizers: Tokenizers) -> None:
    """An index out of range is the model's own error, not a reason to halve the batch."""
    with pytest.raises(IndexError):
        scores(harness_model(tiny_model("llama", 300), tokenizers["bos"]), mixed_pairs())


# ---------------------------------------------------------------- what cannot be scored


def token_id(tokenizer: Any, text: str) -> int:
    """The one token of a text."""
    (token,) = tokenizer(text, add_special_tokens=False)["input_ids"]
    return int(token)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_nan_names_its_trace(tokenizers: Tokenizers, batch_size: int) -> None:
    """A checkpoint with NaN in the embedding of one token: the error says which trace, and what to look at."""
    model, tokenizer = tiny_model("llama", 700), tokenizers["bos"]
    with torch.no_grad():
        model.get_input_embeddings().weight[token_id(tokenizer, "~")] = torch.nan
    lm, pairs = harness_model(model, tokenizer, batch_size=batch_size), mixed_pairs()
    assert all(np.isfinite(score.logprob).all() for score in scores(lm, pairs))
    pairs[5] = (pairs[5][0], "It is ~3.")
    message = refused(lm, pairs, ScoringError)
    assert "logits are NaN for trace gsm8k/5, token" in message
    assert "check the checkpoint" in message


@pytest.mark.parametrize("batch_size", [1, 8])
def test_probability_zero_names_its_trace(tokenizers: Tokenizers, batch_size: int) -> None:
    """A logit of -inf is of no consequence, unless the trace has that token: then no NLL exists."""
    model, tokenizer = tiny_model("phi", 700), tokenizers["bos"]
    with torch.no_grad():
        model.get_output_embeddings().bias[token_id(tokenizer, "~")] = -torch.inf
    lm, pairs = harness_model(model, tokenizer, batch_size=batch_size), mixed_pairs()
    agree(scores(lm, pairs), stock_loglikelihoods(lm, pairs))
    pairs[5] = (pairs[5][0], "~3~")
    message = refused(lm, pairs, ScoringError)
    assert "of trace gsm8k/5 probability zero" in message


def test_encoder_decoder_is_refused(tokenizers: Tokenizers) -> None:
    """T5 has no text before the trace to condition on in the way that a causal model does."""
    config = transformers.T5Config(vocab_size=700, d_model=32, d_ff=64, num_layers=1, num_heads=2, d_kv=16)
    model = transformers.T5ForConditionalGeneration(config).eval()
    lm = harness_model(model, tokenizers["bos"], backend="seq2seq")
    message = refused(lm, mixed_pairs(), hf.BackendError)
    assert "T5ForConditionalGeneration is an encoder-decoder model" in message


def test_model_run_in_a_way_of_its_own_is_refused(tokenizers: Tokenizers) -> None:
    """A subclass of lm-eval's model with another forward pass would be scored wrongly without a word."""

    class Steered(HFLM):
        def _model_call(self, *args: Any, **named: Any) -> torch.Tensor:
            return super()._model_call(*args, **named) * 2

    lm = Steered(pretrained=tiny_model("llama", 700), tokenizer=tokenizers["bos"])
    assert "Steered runs its model in a way of its own" in refused(lm, mixed_pairs(), hf.BackendError)


def test_scoring_is_quiet_where_all_is_well(tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture) -> None:
    """No warning without a reason."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"])
    caplog.clear()
    scores(lm, mixed_pairs())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
