"""Classify errors of a Chat Completions server: hopeless, temporary, or for one item only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rbridge_traces.errors import TraceError, did_you_mean
from rbridge_traces.generation.answers import Kind

if TYPE_CHECKING:
    import openai

    from rbridge_traces.generation.client import Connection

_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient balance")
_FILTERED = ("content_filter", "content_policy", "content management policy", "moderation", "flagged")


class UnusableServerError(TraceError):
    """The server cannot answer with these settings. Stop at once."""


class ServerGaveUpError(TraceError):
    """The server did not answer after all retries. It may answer later."""


class ItemRefusedError(Exception):
    """The server does not answer this one item."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def meaning(
    error: openai.APIStatusError, connection: Connection, *, answered: bool, models: Sequence[str]
) -> UnusableServerError | ServerGaveUpError | ItemRefusedError:
    """Classify a refusal.

    Args:
        error: as the ``openai`` package raises it, after its retries.
        connection: of the server.
        answered: whether this server has ever answered.
        models: that it says it serves.
    """
    status, text = error.status_code, refusal_text(error)
    where, quoted = connection.url, _quoted(error)
    if status == 402 or quota_exhausted(text):
        return UnusableServerError(f"the quota at {where} is used up ({quoted}); add credit there")
    if status == 401:
        return UnusableServerError(f"{where} refuses the API key ({quoted}); set OPENAI_API_KEY to a valid one")
    if status in (400, 403, 451) and any(word in text for word in _FILTERED):
        return ItemRefusedError("filtered", quoted)
    if status in (400, 403, 422) and connection.logprobs and "logprob" in text:
        return no_logprobs(connection)
    if status == 403:
        return UnusableServerError(f"{where} gives this API key no access ({quoted}); check its permissions")
    if status == 404 and isinstance(error.body, dict) and "model" in text:
        return UnusableServerError(f"{where} has no model {connection.model!r}{_served(connection.model, models)}")
    if status == 404:
        return wrong_address(connection, f"answers 404 ({quoted})")
    if status in (408, 409, 429) or status >= 500:
        return ServerGaveUpError(f"{where} keeps answering {status} ({quoted})")
    if answered or "context_length" in text or "context length" in text:
        return ItemRefusedError("refused", f"{status}, {quoted}")
    return UnusableServerError(f"{where} refuses the request: {status}, {quoted}")


def quota_exhausted(text: str) -> bool:
    """Whether a refusal, in lower case, reports an exhausted quota, for which retries are useless."""
    return any(word in text for word in _QUOTA)


def wrong_address(connection: Connection, what: str) -> UnusableServerError:
    """The error for an address without a Chat Completions server."""
    return UnusableServerError(
        f"{connection.url} {what}; give the address of a Chat Completions server with --base-url, "
        "as in http://localhost:8000/v1"
    )


def no_logprobs(connection: Connection) -> UnusableServerError:
    """The error for a model without log-probabilities."""
    return UnusableServerError(
        f"the model {connection.model} returns no log-probabilities (APIs of thinking models do not, models "
        "that you serve do); build its traces with --no-logprobs, then give them confidences with: "
        "rbridge traces score --benchmark X --model STRONG_LOCAL_MODEL"
    )


def refusal_text(error: openai.APIStatusError) -> str:
    """The text of a refusal, in lower case."""
    return f"{error.message} {error.body}".lower()


def what_it_is(content: bytes, kind: str) -> str:
    if "html" in kind or content.lstrip()[:1] == b"<":
        return "a web page"
    if not content.strip():
        return "nothing"
    text = " ".join(content[:80].decode("utf-8", errors="replace").split())
    return f"what is no Chat Completions response: {text!r}"


def connection_trouble(error: openai.APIConnectionError) -> str:
    import openai

    if isinstance(error, openai.APITimeoutError):
        return "does not answer in time"
    reason = str(error.__cause__ or error).strip().rstrip(".") or type(error.__cause__).__name__
    return f"cannot be reached ({reason})"


def _served(model: str, models: Sequence[str]) -> str:
    if not models:
        return "; name one that it serves with --model"
    shown = ", ".join(models[:8]) + (", ..." if len(models) > 8 else "")
    return f"{did_you_mean(model, models)}; it serves {shown}"


def _quoted(error: openai.APIStatusError) -> str:
    """The text of a refusal, shortened for a message."""
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error") if isinstance(body.get("error"), dict) else body
    text = (inner or {}).get("message") or body.get("detail") or (error.message if body else "")
    if not text:
        text = what_it_is(error.response.content, str(error.response.headers.get("content-type", "")))
    text = " ".join(str(text).split())
    return (text if len(text) <= 200 else f"{text[:197]}...").rstrip(".")
