"""Requests to an OpenAI-compatible completions server: a bounded number at a time, repeated after passing failures."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import tenacity

from rbridge_metrics import RBridgeError
from rbridge_traces.generation.client import Connection
from rbridge_traces.generation.refusals import quota_exhausted

_Job = TypeVar("_Job")
#: Sends a request and returns the server's answer.
Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

#: HTTP status codes of passing failures, beside those of the server (500 and above).
_PASSING = frozenset({408, 409, 425, 429})
#: Seconds between attempts: the first wait, doubled each time, and the longest.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 60.0


class CompletionsServerError(RBridgeError):
    """The server cannot be reached, refuses the request, or its answer is not a completion."""


class _PassingError(Exception):
    """A request that may succeed later; the server asks to wait ``wait`` seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class CompletionsClient:
    """How the server is reached.

    Attributes:
        address: the complete address, usually ending in ``/v1/completions``.
        headers: sent with each request.
        concurrency: requests at a time, at least 1.
        attempts: how often a request is sent before the run fails, at least 1.
        timeout: seconds to wait for an answer.
        verify: whether to check the server's certificate.
        certificates: file of additional certificate authorities to trust.
    """

    address: str
    headers: dict[str, str]
    concurrency: int = 1
    attempts: int = 3
    timeout: float = 300.0
    verify: bool = True
    certificates: str | None = None

    @property
    def name(self) -> str:
        """The address without user name and password, for messages."""
        return Connection(model="", base_url=self.address).url

    def run(self, jobs: Iterable[_Job], work: Callable[[Ask, _Job], Awaitable[None]]) -> None:
        """Do all jobs in their order, ``concurrency`` at a time. The first failure stops all.

        Args:
            jobs: consumed one by one.
            work: does one job; it gets a function that sends a request and returns the server's answer.

        Raises:
            CompletionsServerError: see there. Exceptions of ``work`` are passed on.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._run(jobs, work))
        else:  # in a notebook
            with ThreadPoolExecutor(1) as pool:
                pool.submit(asyncio.run, self._run(jobs, work)).result()

    async def _run(self, jobs: Iterable[_Job], work: Callable[[Ask, _Job], Awaitable[None]]) -> None:
        trust: ssl.SSLContext | bool = self.verify
        if self.verify and self.certificates:
            try:
                trust = ssl.create_default_context(cafile=self.certificates)
            except OSError as error:
                raise CompletionsServerError(
                    f"the certificates in {self.certificates} cannot be read ({' '.join(str(error).split())}); give a "
                    "PEM file as ca_cert_path in --model_args"
                ) from error
        queue = iter(jobs)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.concurrency, ssl=trust),
            timeout=aiohttp.ClientTimeout(total=self.timeout, sock_connect=min(30.0, self.timeout)),
            headers=self.headers,
            trust_env=True,
        ) as session:

            async def ask(payload: dict[str, Any]) -> dict[str, Any]:
                return await self._ask(session, payload)

            async def worker() -> None:
                for job in queue:
                    await work(ask, job)

            workers = [asyncio.ensure_future(worker()) for _ in range(max(1, self.concurrency))]
            try:
                await asyncio.gather(*workers)
            finally:
                for task in workers:
                    task.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _ask(self, session: aiohttp.ClientSession, payload: dict[str, Any]) -> dict[str, Any]:
        attempts = max(1, self.attempts)
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(attempts),
            wait=_wait,
            retry=tenacity.retry_if_exception_type(_PassingError),
            reraise=True,
        )
        try:
            answer: dict[str, Any] = await retrying(self._post, session, payload)
        except _PassingError as error:
            times = "" if attempts == 1 else f", {attempts} times"
            raise CompletionsServerError(
                f"{self.name} {error}{times}; check that the server runs, or give more max_retries or a longer timeout "
                "in --model_args"
            ) from error
        return answer

    async def _post(self, session: aiohttp.ClientSession, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            async with session.post(self.address, json=payload) as response:
                content = await response.read()
                status, headers = response.status, response.headers
        except asyncio.TimeoutError:
            raise _PassingError(f"does not answer within {self.timeout:g} seconds") from None
        except aiohttp.InvalidURL:
            raise CompletionsServerError(
                f"{self.name!r} is no address; write base_url=http://HOST:PORT/v1/completions in --model_args"
            ) from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _PassingError(
                f"cannot be reached ({' '.join(str(error).split()) or type(error).__name__})"
            ) from error
        text = " ".join(content[:4000].decode("utf-8", errors="replace").split())
        hint = "; give tokenized_requests=False where a server takes only text" if "valid string" in text else ""
        if (status in _PASSING or status >= 500) and not quota_exhausted(text.lower()):
            raise _PassingError(f"answers {status} ({text[:160]}){hint}", _seconds(headers.get("Retry-After")))
        if status >= 400:
            if status in (404, 405):
                hint = "; base_url has to be the whole address, ending in /v1/completions"
            raise CompletionsServerError(f"{self.name} refuses the request: {status}, {text[:200]}{hint}")
        return self._read(content)

    def _read(self, content: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            start = " ".join(content[:80].decode("utf-8", errors="replace").split())
            raise CompletionsServerError(
                f"{self.name} answers with what is no completion ({start!r}); base_url has to be the address of a "
                "completions server, ending in /v1/completions"
            )
        return dict(answer)


_back_off = tenacity.wait_exponential(multiplier=_FIRST_WAIT) + tenacity.wait_random(0, _FIRST_WAIT)


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds until the next attempt: an exponential back-off, or longer if the server asks for it."""
    error = state.outcome.exception() if state.outcome else None
    wait = error.wait if isinstance(error, _PassingError) else 0.0
    return float(min(max(_back_off(state), wait), _LONGEST_WAIT))


def _seconds(retry_after: str | None) -> float:
    try:
        return max(0.0, float(retry_after or 0.0))
    except ValueError:  # a date
        return 0.0
