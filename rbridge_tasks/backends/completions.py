"""Back end for lm-eval's ``local-completions`` and ``openai-completions``: echoed log-probabilities of prompts.

Token ids are sent, not text. With lm-eval's ``tokenized_requests=False``, for a server that takes only text, every
answer must have as many tokens as the tokenizer here makes of the prompt.

Before the first batch the server is checked on a fixed text (``prompts.probes``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from rbridge_metrics import TokenScores
from rbridge_tasks.backends.base import Backend, BackendError
from rbridge_tasks.backends.prompts.client import Ask, CompletionsClient
from rbridge_tasks.backends.prompts.echo import EchoReader
from rbridge_tasks.backends.prompts.probes import RefusedSourceError, make_probes
from rbridge_tasks.backends.prompts.tokenizers import readable_tokenizer
from rbridge_tasks.resume.weights import UnidentifiedModelError
from rbridge_tasks.scoring.collector import Done, LogProbabilities, TraceCollector, ignore_finished
from rbridge_tasks.scoring.tokenization import PairEncoder
from rbridge_tasks.scoring.windows import Window

logger = logging.getLogger(__name__)


def score(
    lm: Any,
    pairs: Sequence[tuple[str, str]],
    labels: Sequence[str],
    *,
    done: Done = ignore_finished,
) -> list[TokenScores]:
    """Score (context, trace) pairs under an ``lm_eval.models.openai_completions.LocalCompletionsAPI``.

    Args:
        lm: the model as lm-eval holds it: address, headers, tokenizer, concurrency, retries, timeout.
        pairs, labels, done: as of ``Backend``.

    Returns:
        One ``TokenScores`` per pair, in the order given, without entropy; with rank where the server gives it, as
        vLLM's does.

    Raises:
        BackendError: a chat model, which cannot echo.
        RefusedSourceError: the server violates an identity, or answers with another number of tokens.
        CompletionsServerError: it cannot be reached, or refuses.
        ScoringError, TokenizationError: see ``TraceCollector``, ``PairEncoder``.
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
    server.check()
    collector = TraceCollector(
        encoded, labels, max_length=lm.max_length - 1, vocab_size=len(server.encoder.tokenizer), done=done
    )
    logger.info("completions servers return no distributions: no entropy, and no score that needs one")

    def prompt(window: Window) -> _Prompt:
        ids = collector.ids(window).tolist()
        whole = window.start == 0 and window.stop == encoded[window.pair].ids.size
        return _Prompt(ids, f"the prompt of trace {collector.label(window)}", pairs[window.pair] if whole else None)

    with tqdm(total=len(collector.windows), desc="Scoring traces", unit="trace") as bar:

        async def work(ask: Ask, batch: list[Window]) -> None:
            answers = await server.ask(ask, [prompt(window) for window in batch])
            collector.add_prompts(zip(batch, answers, strict=True))
            bar.update(len(batch))

        starts = range(0, len(collector.windows), server.batch_size)
        server.client.run((collector.windows[at : at + server.batch_size] for at in starts), work)
    return collector.scores()


def identity(lm: Any) -> dict[str, Any]:
    """None.

    Raises:
        UnidentifiedModelError: always; a server may serve other weights under the same name tomorrow.
    """
    raise UnidentifiedModelError(f"{type(lm).__name__} does not say which weights it scores with")


BACKEND = Backend(__name__, score, identity)


@dataclass(frozen=True)
class _Prompt:
    """A prompt: its token ids, its name in errors, and the (context, trace) if the prompt is the whole pair."""

    ids: list[int]
    label: str
    pair: tuple[str, str] | None = None


class _Server:
    """A completions server, reached as lm-eval is configured, and the tokenizer of its model."""

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

    def check(self) -> None:
        """Check identities on a fixed text.

        Raises:
            RefusedSourceError: one does not hold.
        """
        # As text, a first token that the server adds is not sent, and not checked.
        encoder = PairEncoder(self.encoder.tokenizer, False) if self.text_only else self.encoder
        probes = make_probes(encoder, text_only=self.text_only, longest=self.lm.max_length)
        answers: dict[int, LogProbabilities] = {}

        async def work(ask: Ask, job: tuple[int, tuple[int, ...]]) -> None:
            number, ids = job
            (answers[number],) = await self.ask(ask, [_Prompt(list(ids), "a fixed prompt")])

        self.client.run(enumerate(probes.prompts), work)
        probes.check([answers[number] for number in range(len(probes.prompts))], self.client.name)
        logger.info("%s gives log-probabilities that satisfy all identities, on %d fixed prompts",
                    self.client.name, len(answers))  # fmt: skip

    async def ask(self, ask: Ask, prompts: list[_Prompt]) -> list[LogProbabilities]:
        """Scores of every token of some prompts, in one request."""
        texts = [self._text(prompt) for prompt in prompts] if self.text_only else []
        sent: Any = texts[0][0] if texts else [prompt.ids for prompt in prompts]
        answer = await ask(self.lm._create_payload(sent, generate=False, seed=self.lm._seed))
        choices = sorted(answer["choices"], key=lambda choice: choice.get("index") or 0)
        if len(choices) != len(prompts):
            raise RefusedSourceError(
                f"{self.client.name} returns {len(choices)} choices for {len(prompts)} prompts; use --batch_size 1"
            )
        usage = answer.get("usage")
        counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
        generated = None if len(prompts) > 1 else counted if isinstance(counted, int) else 1
        unsent = [number for _, number in texts] or [0] * len(prompts)
        return [
            self.reader.read(choice, prompt.ids, unsent=number, generated=generated, label=prompt.label)
            for choice, prompt, number in zip(choices, prompts, unsent, strict=True)
        ]

    def _text(self, prompt: _Prompt) -> tuple[str, int]:
        """A prompt as text, and how many of its first tokens the server has to add."""
        tokenizer, first = self.encoder.tokenizer, self.lm.prefix_token_id
        text = "".join(prompt.pair) if prompt.pair else None
        unsent = int(prompt.ids[0] == first and not (text and text.startswith(tokenizer.decode([first]))))
        if text is None:
            text = tokenizer.decode(prompt.ids[unsent:], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text, unsent

    def _check_first_token(self) -> None:
        """Warn where --model hf would put a token before every text and this back end does not."""
        tokenizer = self.encoder.tokenizer
        if self.text_only or self.encoder.add_special_tokens or not hasattr(tokenizer, "bos_token"):
            return
        if tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]:
            logger.warning(
                "the tokenizer puts %s before every text, as --model hf does, but lm-eval's API models do not unless "
                "told to: give add_bos_token=True in --model_args for the same scores", tokenizer.bos_token,
            )  # fmt: skip
