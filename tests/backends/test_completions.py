"""Scores through a completions server equal those of the model itself; servers with wrong scores are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import tiktoken
import torch
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI

from rbridge_metrics import TokenScores
from rbridge_tasks.backends import completions, hf
from rbridge_tasks.backends.base import BackendError
from rbridge_tasks.backends.prompts.client import CompletionsServerError
from rbridge_tasks.backends.prompts.probes import RefusedSourceError
from rbridge_tasks.scoring.tokenization import TokenizationError

from ..error_bounds import assert_within, model_bound
from ..support import harness_model, mixed_pairs, tiny_model
from ..tensor_bounds import softmax_bounds
from .completions_server import FAULTS, CompletionsServer

PAIRS = mixed_pairs()
LABELS = [f"gsm8k/{number}" for number in range(len(PAIRS))]


@pytest.fixture(scope="module")
def served(tokenizers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, str]:
    """A model, its tokenizer, and the folder from which lm-eval loads the tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizers["byte_level"].save_pretrained(folder)
    return tiny_model("llama", len(tokenizers["byte_level"])), tokenizers["byte_level"], str(folder)


@pytest.fixture
def start(served: tuple[Any, Any, str]) -> Iterator[Callable[..., CompletionsServer]]:
    """A function that starts a server of the model; the server stops after the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(CompletionsServer(served[0], served[1], **options))


@pytest.fixture
def api(served: tuple[Any, Any, str]) -> Callable[..., LocalCompletionsAPI]:
    """A function that connects to a server as ``--model local-completions`` does."""

    def connect(server: CompletionsServer, **options: Any) -> LocalCompletionsAPI:
        defaults = {"tokenizer_backend": "huggingface", "tokenizer": served[2], "max_retries": 3}
        return LocalCompletionsAPI(base_url=server.url, model="tiny", **defaults | options)

    return connect


@pytest.fixture(scope="module")
def expected(served: tuple[Any, Any, str]) -> list[TokenScores]:
    """The same pairs scored by the model itself."""
    return hf.score(harness_model(served[0], served[1]), PAIRS, LABELS)


def assert_same(scores: list[TokenScores], expected: list[TokenScores]) -> None:
    for score, reference in zip(scores, expected, strict=True):
        np.testing.assert_array_equal(score.token_id, reference.token_id)
        np.testing.assert_array_equal(score.token_start, reference.token_start)
        np.testing.assert_array_equal(score.token_end, reference.token_end)
        assert_within(score.logprob, reference.logprob, model_bound(reference.logprob))
        assert score.max_logprob is not None
        assert reference.max_logprob is not None
        assert_within(score.max_logprob, reference.max_logprob, model_bound(reference.logprob))
        assert score.entropy is None
        assert score.vocab_size == reference.vocab_size


@pytest.mark.parametrize(("concurrency", "batch"), [(1, 1), (4, 1), (1, 3), (3, 2)])
def test_scores_are_the_models_own(
    start: Any, api: Any, expected: list[TokenScores], concurrency: int, batch: int
) -> None:
    """For any batch size and number of concurrent requests; ids are sent, and every pair is reported once."""
    server, finished = start(), []
    lm = api(server, num_concurrent=concurrency, batch_size=batch)
    scores = completions.score(lm, PAIRS, LABELS, done=lambda pairs, _: finished.extend(pairs))
    assert_same(scores, expected)
    assert sorted(finished) == list(range(len(PAIRS)))
    assert all(score.rank is None for score in scores)
    assert all(isinstance(prompt, list) for prompt in server.prompts)
    assert server.most_at_once <= concurrency


@pytest.mark.parametrize("usage", [None, {}, {"completion_tokens": None}, [], "1"], ids=str)
def test_servers_that_do_not_count_generated_tokens(
    start: Any, api: Any, expected: list[TokenScores], usage: Any
) -> None:
    """One generated token is then assumed, as asked for."""
    assert_same(completions.score(api(start(changed={"usage": usage})), PAIRS, LABELS), expected)


@pytest.mark.parametrize("choices", [[None], ["text"], "text", None])
def test_an_answer_without_choices_is_one_line(start: Any, api: Any, choices: Any) -> None:
    """The error quotes the beginning of the answer."""
    with pytest.raises(CompletionsServerError, match="answers with what is no completion") as error:
        completions.score(api(start(changed={"choices": choices})), PAIRS, LABELS)
    assert "\n" not in str(error.value)


def test_certificates_that_cannot_be_read_are_one_line(start: Any, api: Any) -> None:
    """The error names the file and the option."""
    with pytest.raises(CompletionsServerError, match=r"in /nowhere.pem cannot be read .* as ca_cert_path"):
        completions.score(api(start(), ca_cert_path="/nowhere.pem"), PAIRS, LABELS)


def test_ranks_of_the_server_are_used(start: Any, api: Any, expected: list[TokenScores]) -> None:
    """vLLM's response has ranks in addition to OpenAI's fields; without ties they equal ours."""
    for score, reference in zip(completions.score(api(start(ranks=True)), PAIRS, LABELS), expected, strict=True):
        np.testing.assert_array_equal(score.rank, reference.rank)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "one choice"])
def test_a_server_with_a_fault_is_refused_in_one_line(start: Any, api: Any, fault: str) -> None:
    """The refusal comes before any trace is sent and states the reason."""
    server, finished = start(fault=fault), []
    with pytest.raises(RefusedSourceError) as caught:
        completions.score(api(server), PAIRS, LABELS, done=lambda pairs, _: finished.extend(pairs))
    assert "\n" not in str(caught.value)
    assert server.url in str(caught.value)
    assert not finished
    assert max(len(prompt) for prompt in server.prompts) <= 48
    messages = {
        "shifts": "shifted by one",
        "drops the first": "shifted",
        "ignores echo": "ignores echo",
        "no logprobs": "no log-probabilities",
        "no top logprobs": "a shift cannot be ruled out",
        "rounds": "rounds log-probabilities to 2 digits",
        "rounds to bfloat16": "bfloat16",
        "tokenises anew": "tokenises the prompt anew",
        "looks ahead": "when more text follows it",
        "forgets": "when asked a second time",
        "constant": "gives every token the log-probability 0",
        "nan": "no finite",
        "positive": "above 0",
        "drops one": "drops or adds",
        "null inside": "no log-probability for token 4",
    }
    assert messages[fault] in str(caught.value)


def test_a_server_that_answers_part_of_a_batch_is_refused(start: Any, api: Any) -> None:
    """Otherwise scores could be assigned to the wrong trace."""
    with pytest.raises(RefusedSourceError, match="1 choices for 4 prompts; use --batch_size 1"):
        completions.score(api(start(fault="one choice"), batch_size=4), PAIRS, LABELS)


def test_an_untrained_uniform_model_is_accepted(start: Any, api: Any, served: tuple[Any, Any, str]) -> None:
    """A checkpoint at step 0 gives all tokens the same probability; that is no fault of the server."""
    server = start()
    server.model = tiny_model("llama", len(served[1]))
    server.model.lm_head.weight.data.zero_()
    for score in completions.score(api(server), PAIRS, LABELS):
        logits = torch.zeros(score.nll.size, len(served[1]))
        bound, _, _ = softmax_bounds(logits, torch.zeros(score.nll.size, dtype=torch.long))
        assert_within(score.nll, np.full(score.nll.size, np.log(len(served[1]))), bound)


@pytest.mark.parametrize("hides_bos", [False, True])
def test_text_is_sent_to_servers_that_take_no_ids(
    start: Any, api: Any, served: tuple[Any, Any, str], hides_bos: bool, expected: list[TokenScores]
) -> None:
    """With tokenized_requests=False, also to a server that adds a hidden token before the text."""
    server = start(takes_ids=False, hides_bos=hides_bos)
    scores = completions.score(api(server, tokenized_requests=False, add_bos_token=hides_bos), PAIRS[:2], LABELS[:2])
    assert server.prompts[-1] == "".join(PAIRS[1])
    if hides_bos:
        model, tokenizer, _ = served
        prefixed = [(tokenizer.bos_token + context, trace) for context, trace in PAIRS[:2]]
        expected = hf.score(harness_model(model, tokenizer), prefixed, LABELS[:2])
    assert_same(scores, expected[:2])


def test_a_server_that_takes_no_ids_is_an_error(start: Any, api: Any) -> None:
    """The one-line error quotes the server's message and names the option."""
    with pytest.raises(
        CompletionsServerError, match=r"refuses the request: 422.*valid string.*give tokenized_requests=False"
    ):
        completions.score(api(start(takes_ids=False)), PAIRS, LABELS)


def test_text_that_the_server_tokenises_differently_is_refused(
    start: Any, api: Any, tokenizers: dict[str, Any], tmp_path: Any
) -> None:
    """A trace sent as text must be returned in the tokens that the weights refer to."""
    tokenizers["byte_level_gpt4"].save_pretrained(tmp_path)
    lm = api(start(), tokenized_requests=False, tokenizer=str(tmp_path))
    with pytest.raises(RefusedSourceError, match="give the served model's own tokenizer"):
        completions.score(lm, [*PAIRS, ("x", "1234567 2345678")], [*LABELS, "gsm8k/long"])


def test_temporary_failures_are_retried(start: Any, api: Any, expected: list[TokenScores]) -> None:
    """Rate limits, server errors and lost connections in sequence."""
    server = start(troubles=[429, 503, 200, 0, 200, 500])
    assert_same(completions.score(api(server), PAIRS, LABELS), expected)


@pytest.mark.parametrize(
    ("troubles", "options", "message"),
    [
        ([503] * 9, {"max_retries": 2}, "answers 503 .*, 2 times"),
        ([0] * 9, {"max_retries": 1}, "cannot be reached"),
        ([-3] * 9, {"max_retries": 1, "timeout": 1}, "does not answer within 1 seconds"),
        ([401], {}, "refuses the request: 401"),
        ([404], {}, "ending in /v1/completions"),
    ],
)
def test_permanent_failures_are_one_line(start: Any, api: Any, troubles: list[int], options: Any, message: str) -> None:
    """The error says what happened, how often, and what to do."""
    with pytest.raises(CompletionsServerError, match=message) as caught:
        completions.score(api(start(troubles=troubles), **options), PAIRS, LABELS)
    assert "\n" not in str(caught.value)


def test_an_address_without_a_server_is_one_line(start: Any, api: Any) -> None:
    """The error names the address."""
    server = start()
    lm = api(server, max_retries=1)
    lm.base_url = "http://127.0.0.1:9/v1/completions"
    with pytest.raises(CompletionsServerError, match=r"127\.0\.0\.1:9/v1/completions cannot be reached"):
        completions.score(lm, PAIRS, LABELS)


def test_long_traces_are_scored_in_windows(start: Any, api: Any, served: tuple[Any, Any, str]) -> None:
    """Every token of a trace longer than max_length is scored once, as by the model itself with the same window."""
    pairs, labels = PAIRS[3:5], LABELS[3:5]
    scores = completions.score(api(start(), max_length=58), pairs, labels)
    model, tokenizer, _ = served
    assert_same(scores, hf.score(harness_model(model, tokenizer, max_length=56), pairs, labels))
    assert scores[0].windows > 1


def test_chat_servers_and_missing_tokenizers_are_errors(start: Any, api: Any, served: tuple[Any, Any, str]) -> None:
    """A chat server gives no log-probabilities of a prompt; without a tokenizer there are no tokens."""
    server = start()
    with pytest.raises(BackendError, match="use --model local-completions"):
        completions.score(LocalChatCompletion(base_url=server.url, model="tiny"), PAIRS, LABELS)
    with pytest.raises(TokenizationError, match=r"has no tokenizer.*tokenizer=NAME"):
        completions.score(api(server, tokenizer_backend="none"), PAIRS, LABELS)


def test_tiktoken_tokenizers_are_read(start: Any, api: Any) -> None:
    """Tokenizers of --model openai-completions: tokens are bytes and whole characters, without a BOS token."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"th": 256, b" th": 257, "é".encode(): 258}
    encoding = tiktoken.Encoding(
        "tiny", pat_str=r"\s?\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 259}
    )
    server = start()
    lm = api(server, tokenizer_backend="none")
    lm.tokenizer, lm.tokenizer_backend, lm.tokenized_requests = encoding, "tiktoken", True
    context, trace = "Question: why?\nAnswer: ", "the é and <|endoftext|> 😀"
    (score,) = completions.score(lm, [(context, trace)], ["csqa/1"])
    ids = encoding.encode(context + trace, disallowed_special=())
    with torch.inference_mode():
        expected = server.model(torch.tensor([ids])).logits[0].log_softmax(-1)[torch.arange(len(ids) - 1), ids[1:]]
    np.testing.assert_array_equal(score.token_id, ids[-score.token_id.size :])
    assert_within(score.logprob, expected[-score.logprob.size :], model_bound(score.logprob))
    assert score.token_end[-1] == len(trace)
    assert score.vocab_size == 260


def test_a_tokenizer_with_a_bos_token_is_named_in_the_log(
    start: Any, api: Any, tokenizers: dict[str, Any], tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """lm-eval's API models leave out the BOS token that --model hf adds; the log names the option that adds it."""
    tokenizers["bos"].save_pretrained(tmp_path)
    lm = api(start(), tokenizer=str(tmp_path))
    with caplog.at_level("WARNING"):
        completions.score(lm, PAIRS[:1], LABELS[:1])
    assert "add_bos_token=True" in caplog.text
