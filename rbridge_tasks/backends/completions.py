"""Back end for lm-eval's ``local-completions`` and ``openai-completions``: echoed log-probabilities of prompts.

Token ids are sent, never text, unless lm-eval is told ``tokenized_requests=False`` for a server that takes only text;
then every answer has to have as many tokens as the traces are cut into here.

Before the first batch the server proves itself on a fixed text (``identities``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from rbridge_metrics import TokenScores
from rbridge_tasks.backends.completions_client import Ask, CompletionsClient
from rbridge_tasks.backends.echoed import EchoReader
from rbridge_tasks.backends.hf import BackendError
from rbridge_tasks.backends.identities import RefusedSourceError, make_probes
from rbridge_tasks.backends.prompt_scores import Done, PromptScores, TraceCollector
from rbridge_tasks.backends.tokenizers import readable_tokenizer
from rbridge_tasks.scoring.tokenization import PairEncoder
from rbridge_tasks.scoring.windows import Window

logger = logging.getLogger(__name__)


def score(
    lm: Any,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    *,
    done: Done = lambda _pairs, _scores: None,
) -> list[TokenScores]:
    """Score (context, trace) pairs under an ``lm_eval.models.openai_completions.LocalCompletionsAPI``.

    Args:
        lm: the model as lm-eval holds it: address, headers, tokenizer, concurrency, retries, timeout.
        pairs: (context, trace) texts.
        labels: what to call each pair in an error.
        done: called after each answer with the indices of the pairs that it completed and their scores.

    Returns:
        One ``TokenScores`` per pair, in the order given, without entropy; with rank where the server gives it, as
        vLLM's does.

    Raises:
        BackendError: a chat model, which cannot echo.
        RefusedSourceError: the server breaks an identity, or answers with another number of tokens.
        CompletionsServerError: it cannot be reached, or refuses.
        PromptScoresError, TokenizationError: see ``TraceCollector``, ``PairEncoder``.
    """
    from lm_eval.models.openai_completions import LocalChatCompletion

    if isinstance(lm, LocalChatCompletion):
        raise BackendError(
            f"{type(lm).__name__} cannot score a trace: chat servers give no log-probabilities of a prompt; use "
            "--model local-completions with base_url=http://HOST:PORT/v1/completions"
        )
    if not pairs:
        return []
    server = _Server(lm)
    encoded = server.encoder.encode(pairs, labels)
    server.prove_itself()
    collector = TraceCollector(
        encoded, labels, max_prompt=lm.max_length, vocab_size=len(server.encoder.tokenizer), done=done
    )
    logger.info("completions servers give no distributions: no entropy, and no score that needs one")

    def prompt(window: Window) -> _Prompt:
        ids = collector.prompt(window)
        whole = window.start == 0 and window.stop == encoded[window.pair].ids.size
        return _Prompt(ids, f"the prompt of trace {collector.label(window)}", pairs[window.pair] if whole else None)

    with tqdm(total=len(collector.windows), desc="Scoring traces", unit="trace") as bar:

        async def work(ask: Ask, batch: list[Window]) -> None:
            answers = await server.ask(ask, [prompt(window) for window in batch])
            collector.add(zip(batch, answers, strict=True))
            bar.update(len(batch))

        server.client.run(_batches(collector.windows, server.batch_size), work)
    return collector.scores()


@dataclass(frozen=True)
class _Prompt:
    """A prompt: its token ids, its name in errors, and the (context, trace) that it is the whole of, if it is."""

    ids: list[int]
    label: str
    pair: tuple[str, str] | None = None


class _Server:
    """A completions server as lm-eval was told to reach it, and the tokenizer of its model."""

    def __init__(self, lm: Any) -> None:
        self.lm = lm
        self.text_only = not lm.tokenized_requests
        self.batch_size = 1 if self.text_only else max(1, int(lm._batch_size))
        remedy = (
            "give tokenizer_backend=huggingface,tokenizer=NAME in --model_args, NAME the served model or its folder"
        )
        self.encoder = PairEncoder(readable_tokenizer(lm.tokenizer, remedy), bool(lm.add_bos_token), lm.prefix_token_id)
        try:
            headers = dict(lm.header)
        except ValueError as error:  # OpenAI without a key
            raise BackendError(" ".join(str(error).split())) from error
        self.client = CompletionsClient(
            address=str(lm.base_url),
            headers=headers,
            concurrency=max(1, lm._concurrent),
            attempts=lm.max_retries,
            timeout=float(lm.timeout),
            verify=lm.verify_certificate,
            certificates=lm.ca_cert_path,
        )
        self.reader = EchoReader(self.client.name, text=self.text_only)
        self._check_first_token()

    def prove_itself(self) -> None:
        """Check identities on a fixed text.

        Raises:
            RefusedSourceError: one does not hold.
        """
        # As text, the server's own first token is its own business: it is not sent, and not looked at.
        encoder = PairEncoder(self.encoder.tokenizer, False) if self.text_only else self.encoder
        probes = make_probes(encoder, text_only=self.text_only, longest=self.lm.max_length)
        answers: dict[int, PromptScores] = {}

        async def work(ask: Ask, job: tuple[int, tuple[int, ...]]) -> None:
            number, ids = job
            (answers[number],) = await self.ask(ask, [_Prompt(list(ids), "a fixed prompt")])

        self.client.run(enumerate(probes.prompts), work)
        probes.check([answers[number] for number in range(len(probes.prompts))], self.client.name)
        logger.info("%s gives log-probabilities that hold what must hold, on %d fixed prompts",
                    self.client.name, len(answers))  # fmt: skip

    async def ask(self, ask: Ask, prompts: list[_Prompt]) -> list[PromptScores]:
        """Scores of every token of some prompts, in one request."""
        texts = [self._text(prompt) for prompt in prompts] if self.text_only else []
        sent: Any = texts[0][0] if texts else [prompt.ids for prompt in prompts]
        answer = await ask(self.lm._create_payload(sent, generate=False, seed=self.lm._seed))
        choices = sorted(answer["choices"], key=lambda choice: choice.get("index", 0))
        if len(choices) != len(prompts):
            raise RefusedSourceError(
                f"{self.client.name} returns {len(choices)} choices for {len(prompts)} prompts; use --batch_size 1"
            )
        generated = int((answer.get("usage") or {}).get("completion_tokens", 1)) if len(prompts) == 1 else None
        unsent = [number for _, number in texts] or [0] * len(prompts)
        return [
            self.reader.read(choice, prompt.ids, unsent=number, generated=generated, label=prompt.label)
            for choice, prompt, number in zip(choices, prompts, unsent, strict=True)
        ]

    def _text(self, prompt: _Prompt) -> tuple[str, int]:
        """A prompt as text, and how many of its first tokens are not in it but left to the server."""
        tokenizer, first = self.encoder.tokenizer, self.lm.prefix_token_id
        text = "".join(prompt.pair) if prompt.pair else None
        unsent = int(prompt.ids[0] == first and not (text and text.startswith(tokenizer.decode([first]))))
        if text is None:
            text = tokenizer.decode(prompt.ids[unsent:], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text, unsent

    def _check_first_token(self) -> None:
        """Say where --model hf would put a token before every text that is not put there here."""
        tokenizer = self.encoder.tokenizer
        if self.text_only or self.encoder.add_special_tokens or not hasattr(tokenizer, "bos_token"):
            return
        if tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]:
            logger.warning(
                "the tokenizer puts %s before every text, as --model hf does, but lm-eval's API models do not unless "
                "told to: give add_bos_token=True in --model_args for the same scores", tokenizer.bos_token,
            )  # fmt: skip


def _batches(windows: Sequence[Window], size: int) -> Iterator[list[Window]]:
    for at in range(0, len(windows), size):
        yield list(windows[at : at + size])
