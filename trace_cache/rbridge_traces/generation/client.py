"""One question to a Chat Completions server, through the ``openai`` package, and what its refusals mean for a build."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from rbridge_traces.completions import IdsAsTokensError, tokens_of_choice
from rbridge_traces.errors import CompletionError, TraceError
from rbridge_traces.generation.refusals import (
    ItemRefusedError,
    ServerGaveUpError,
    connection_trouble,
    meaning,
    quota_exhausted,
    refusal_text,
    what_it_is,
    wrong_address,
)
from rbridge_traces.located_thinking import FIELDS as THINKING_FIELDS

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
INSTALL = 'pip install "rbridge-tasks[api]"'

_CONNECT_SECONDS = 10.0
_KEPT = ("content", "refusal", *THINKING_FIELDS)
_USAGE = ("prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class Connection:
    """Address and settings of a server.

    Attributes:
        model: as the server calls it.
        base_url: of the API, most often ending in ``/v1``. Default: ``OPENAI_BASE_URL``, else OpenAI's own.
        logprobs: whether to ask for log-probabilities.
        max_tokens: at which an answer is cut off.
        timeout: seconds to wait for an answer.
        max_retries: how often a request is sent again after a rate limit, a server error or a lost connection.
    """

    model: str
    base_url: str | None = None
    logprobs: bool = True
    max_tokens: int = 2048
    timeout: float = 120.0
    max_retries: int = 8

    @property
    def full_url(self) -> str:
        """The effective base URL."""
        return (self.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")

    @property
    def url(self) -> str:
        """The same without a name and password in it, for messages and manifests."""
        scheme, slashes, rest = self.full_url.rpartition("://")
        place, slash, path = rest.partition("/")
        return f"{scheme}{slashes}{place.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True)
class ServerAnswer:
    """A response: the first choice without what is not needed, and how it came about."""

    choice: dict[str, Any]
    model: str | None
    usage: dict[str, Any]
    decoding: str


def check_connection(connection: Connection) -> None:
    """Refuse an address that is none, and to ask OpenAI without a key. Other servers may need no key.

    Raises:
        TraceError: one of these, or ``openai`` is not installed.
    """
    try:
        import openai  # noqa: F401
    except ImportError:
        raise TraceError(f"traces are built through the openai package, which is not installed: {INSTALL}") from None
    try:
        parts = urlsplit(connection.url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        whole = False
    if not whole:
        raise TraceError(f"{connection.url!r} is no address; write --base-url as in http://localhost:8000/v1")
    if not _key() and connection.url == OPENAI_URL:
        raise TraceError("no API key: set OPENAI_API_KEY, or name a server of your own with --base-url URL")
    if not (_key().isascii() and _key().isprintable()):
        raise TraceError("OPENAI_API_KEY holds characters that no key has; set it again")


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


class Client:
    """Asks questions, and classifies errors.

    Use as an asynchronous context manager. Retries, back-off and Retry-After are those of the ``openai`` package.

    Attributes:
        answered: whether this server has ever answered a question, in this process or before.
        stopping: set to send nothing again that fails from now on.
    """

    def __init__(self, connection: Connection, *, answered: bool) -> None:
        import openai

        self.connection, self.answered, self.stopping = connection, answered, False
        self._client = openai.AsyncOpenAI(
            api_key=_key() or "none",
            base_url=connection.full_url,
            timeout=openai.Timeout(connection.timeout, connect=min(_CONNECT_SECONDS, connection.timeout)),
            max_retries=connection.max_retries,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [self._spare_the_retries]}),
        )
        self._limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
        self._greedy = True
        self._ids_as_tokens = False  # vLLM, unless it is asked not to
        self._models: list[str] = []

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def check_reachable(self) -> None:
        """Request the list of models, which costs nothing. A server without such a list is fine.

        Raises:
            UnusableServerError: nobody answers at this address.
        """
        import openai

        quick = self._client.with_options(max_retries=min(2, self.connection.max_retries), timeout=_CONNECT_SECONDS)
        try:
            page = await quick.models.with_raw_response.list()
            self._models = [str(model["id"]) for model in json.loads(page.content)["data"]]
        except openai.APITimeoutError as error:
            if "Connect" in type(error.__cause__).__name__:
                raise wrong_address(self.connection, connection_trouble(error)) from error
        except openai.APIConnectionError as error:
            raise wrong_address(self.connection, connection_trouble(error)) from error
        except (openai.APIError, ValueError, KeyError, TypeError, RecursionError):
            return

    async def ask(self, messages: Sequence[dict[str, str]]) -> ServerAnswer:
        """Ask one question, greedily where the model allows it.

        Raises:
            UnusableServerError: no answer can be had: the key, the model, the address or the settings are wrong.
            ServerGaveUpError: no answer after all retries.
            ItemRefusedError: no answer to this question, or what is no Chat Completions response.
        """
        import openai

        for _ in range(4):  # there are three adaptations
            request = self._request(messages)
            try:
                raw = await self._client.chat.completions.with_raw_response.create(**request)
            except openai.APIStatusError as error:
                if not self._adapted(request, error):
                    raise meaning(error, self.connection, answered=self.answered, models=self._models) from error
            except openai.APIConnectionError as error:
                raise ServerGaveUpError(f"{self.connection.url} {connection_trouble(error)}") from error
            else:
                kind = str(raw.headers.get("content-type", ""))
                answer = self._read(raw.content, kind, greedy="temperature" in request)
                if self._ids_as_tokens or not _lists_ids(answer):
                    return answer
                self._ids_as_tokens = True
        raise ItemRefusedError("refused", "the server accepts none of the ways to ask")

    def _request(self, messages: Sequence[dict[str, str]]) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.connection.model, "messages": list(messages)}
        request[self._limit_name] = self.connection.max_tokens
        if self._greedy:
            request["temperature"] = 0
        if self.connection.logprobs:
            request["logprobs"] = True
        if self._ids_as_tokens:
            request["extra_body"] = {"return_tokens_as_token_ids": False}
        return request

    def _read(self, content: bytes, kind: str, *, greedy: bool) -> ServerAnswer:
        try:
            response = json.loads(content)
            choice = response["choices"][0]
            message = choice["message"]
            kept = {key: message[key] for key in _KEPT if message.get(key) is not None}
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            if not self.answered:
                raise wrong_address(self.connection, f"answers with {what_it_is(content, kind)}") from None
            raise ItemRefusedError("no answer", f"the server answers with {what_it_is(content, kind)}") from None
        self.answered = True
        model, usage = response.get("model"), response.get("usage")
        spent = {name: usage.get(name) for name in _USAGE} if isinstance(usage, dict) else {}
        temperature = "greedy (temperature 0)" if greedy else "the model's own temperature"
        stop_reason = choice.get("stop_reason")  # vLLM: the stop string, whose tokens follow those of the content
        return ServerAnswer(
            choice={
                "finish_reason": choice.get("finish_reason"),
                **({"stop_reason": stop_reason} if isinstance(stop_reason, str) else {}),
                "message": kept,
                "logprobs": _without_alternatives(choice.get("logprobs")),
            },
            model=model if isinstance(model, str) else None,
            usage={name: count for name, count in spent.items() if isinstance(count, int)},
            decoding=f"{temperature}, max_tokens {self.connection.max_tokens}",
        )

    def _adapted(self, request: dict[str, Any], error: openai.APIStatusError) -> bool:
        """Adapt to a parameter that the server refuses; False if the error is another."""
        text = refusal_text(error)
        if error.status_code == 400 and "max_tokens" in request and "max_completion_tokens" in text:
            self._limit_name = "max_completion_tokens"
            return True
        if error.status_code == 400 and "temperature" in request and "temperature" in text and "support" in text:
            self._greedy = False
            return True
        return False

    async def _spare_the_retries(self, response: Any) -> None:
        """Tell the ``openai`` package not to retry if that cannot help."""
        if response.status_code >= 400:
            await response.aread()
            if self.stopping or quota_exhausted(response.text.lower()):
                response.headers["x-should-retry"] = "false"


def _without_alternatives(logprobs: Any) -> dict[str, Any] | None:
    """The tokens of an answer without their alternatives, which take twenty times the space."""
    lists = logprobs if isinstance(logprobs, dict) else {}
    kept = {}
    for name in ("content", *THINKING_FIELDS):
        entries = lists.get(name)
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            entries = [{key: entry.get(key) for key in ("token", "logprob", "bytes")} for entry in entries]
        if entries:  # whoever reads the answer says what is wrong with another type
            kept[name] = entries
    return kept or None


def _lists_ids(answer: ServerAnswer) -> bool:
    """Whether a server writes ids in place of the tokens."""
    try:
        tokens_of_choice(answer.choice)
    except IdsAsTokensError:
        return True
    except CompletionError:
        return False
    return False
