"""An error about a trace or model that cannot be scored is one line, with its name and what to do."""

from __future__ import annotations

import logging
import re
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from lm_eval.models.huggingface import HFLM

from rbridge_tasks.backends import hf
from rbridge_tasks.scoring.collector import ScoringError

from ..support import (
    harness_model,
    mixed_pairs,
    stock_loglikelihoods,
    tiny_model,
)
from .reading import (
    Tokenizers,
    agree,
    refused,
    scorer_of,
    scores,
)
from .small_models import model_of, pairs_of


def token_id(tokenizer: Any, text: str) -> int:
    """Return the id of a text that is a single token."""
    (token,) = tokenizer(text, add_special_tokens=False)["input_ids"]
    return int(token)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_nan_names_its_trace(tokenizers: Tokenizers, batch_size: int) -> None:
    """One token has NaN in its embedding: the error names the trace and says to check the checkpoint."""
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
    """A logit of -inf is harmless, unless the trace contains that token: then no NLL exists."""
    model, tokenizer = tiny_model("phi", 700), tokenizers["bos"]
    with torch.no_grad():
        model.get_output_embeddings().bias[token_id(tokenizer, "~")] = -torch.inf
    lm, pairs = harness_model(model, tokenizer, batch_size=batch_size), mixed_pairs()
    agree(scores(lm, pairs), stock_loglikelihoods(lm, pairs))
    pairs[5] = (pairs[5][0], "~3~")
    message = refused(lm, pairs, ScoringError)
    assert "of trace gsm8k/5 probability zero" in message


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tokenizers: Tokenizers) -> None:
    """Before the model reads a text: on a GPU an unknown id would end the process."""
    message = refused(harness_model(tiny_model("llama", 300), tokenizers["bos"]), mixed_pairs(), ScoringError)
    assert re.fullmatch(
        r"the tokenizer makes token \d+ of trace gsm8k/\d, and the model knows 300 tokens, from 0 to 299; .*", message
    )


def test_a_model_that_sees_later_tokens_is_refused() -> None:
    """BERT predicts each token from all tokens of the text, itself included, unless it is configured as a decoder."""
    pairs = pairs_of()
    with pytest.raises(ScoringError, match=r"BertLMHeadModel .* when later tokens change; .*causal") as error:
        scorer_of(model_of("BertConfig")).score(pairs, [""] * len(pairs))
    assert "\n" not in str(error.value)
    assert scorer_of(model_of("BertConfig", is_decoder=True)).score(pairs, [""] * len(pairs))


def test_texts_longer_than_the_models_positions_are_refused() -> None:
    """With a larger max_length than the model has positions, the error says so in one line."""
    model, pairs = model_of("GPT2Config", n_positions=64, max_position_embeddings=64), pairs_of()
    with pytest.raises(ScoringError, match=r"GPT2LMHeadModel cannot read a text of 156 .* smaller max_length") as error:
        scorer_of(model).score(pairs, [""] * len(pairs))
    assert "\n" not in str(error.value)


def test_encoder_decoder_is_refused(tokenizers: Tokenizers) -> None:
    """T5 is no causal model: it does not predict the trace from the text before it."""
    config = transformers.T5Config(vocab_size=700, d_model=32, d_ff=64, num_layers=1, num_heads=2, d_kv=16)
    model = transformers.T5ForConditionalGeneration(config).eval()
    lm = harness_model(model, tokenizers["bos"], backend="seq2seq")
    message = refused(lm, mixed_pairs(), hf.BackendError)
    assert "T5ForConditionalGeneration is an encoder-decoder model" in message


def test_a_subclass_with_its_own_forward_pass_is_refused(tokenizers: Tokenizers) -> None:
    """Scores of a subclass of lm-eval's model with another forward pass would be silently wrong."""

    class Steered(HFLM):
        def _model_call(self, *args: Any, **named: Any) -> torch.Tensor:
            return super()._model_call(*args, **named) * 2

    lm = Steered(pretrained=tiny_model("llama", 700), tokenizer=tokenizers["bos"])
    assert "Steered overrides the forward pass" in refused(lm, mixed_pairs(), hf.BackendError)


def test_a_normal_run_logs_no_warning(tokenizers: Tokenizers, caplog: pytest.LogCaptureFixture) -> None:
    """Warnings are only logged for a reason."""
    lm = harness_model(tiny_model("llama", 700), tokenizers["bos"])
    caplog.clear()
    scores(lm, mixed_pairs())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
