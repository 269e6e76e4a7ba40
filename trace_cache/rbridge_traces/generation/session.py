"""Ask all questions of a build, a bounded number at a time; each answer is in the journal before it counts."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rbridge_traces.answer_form import AnswerForm
from rbridge_traces.errors import TraceError
from rbridge_traces.generation import prompt
from rbridge_traces.generation.answers import RETRIED, Answers, Outcome, outcome_of
from rbridge_traces.generation.client import Client, Connection
from rbridge_traces.generation.journal import Journal, JournalError
from rbridge_traces.generation.refusals import ItemRefusedError, ServerGaveUpError, UnusableServerError, no_logprobs
from rbridge_traces.questions import Question

_HOPELESS = 20
"""Number of answers without a usable one after which the build stops."""

_NO_ANSWERS = 10
"""Number of consecutive failed requests after which the server is at fault, not the items."""


class InterruptedBuildError(TraceError):
    """The user stopped the build."""


@dataclass(frozen=True)
class Job:
    """A question to ask, with turn and attempt."""

    question: Question
    turn: int
    attempt: int


class Session:
    """Asks the remaining questions.

    Args:
        jobs: in the order of the questions.
        answers: what is known so far; grows.
        journal: open, with its head written.
        connection: of the server.
        form: what to ask for, and to read from the answers.
        concurrency: requests at a time.
        report: called with each outcome, after it is in the journal.

    Attributes:
        unsaved: answers that the disk did not take, and that will be asked for again.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        answers: Answers,
        journal: Journal,
        connection: Connection,
        form: AnswerForm,
        *,
        concurrency: int,
        report: Callable[[Outcome], None],
    ) -> None:
        self._jobs, self._answers, self._journal = deque(jobs), answers, journal
        self._connection, self._concurrency, self._report = connection, concurrency, report
        self._form = form
        self._stop: TraceError | None = None
        self._usable = sum(outcome.kind == "ok" for outcome in answers.by_item.values())
        self._in_vain = self._no_answers = self.unsaved = 0
        self._answered = any(outcome.model or outcome.completion_tokens for outcome in answers.by_item.values())
        self._client = Client(connection, answered=self._answered)
        self._proven = asyncio.Event()  # the first question goes alone: a general error is paid for once
        self._workers: list[asyncio.Task[None]] = []

    def run(self) -> None:
        """Ask until nothing is left or the server fails. Answers in flight are awaited and kept.

        Raises:
            TraceError: why it stopped early. What was answered is in the journal.
        """
        try:
            asyncio.run(self._run())
        except KeyboardInterrupt:  # where the event loop cannot handle the signal
            self._halt(InterruptedBuildError("interrupted"))
        if self._stop is not None:
            raise self._stop

    async def _run(self) -> None:
        async with self._client:
            try:
                await self._client.check_reachable()
            except UnusableServerError as error:
                self._halt(error)
                return
            if self._answered and (self._answers.any_logprobs or not self._connection.logprobs):
                self._proven.set()
            self._workers = [asyncio.create_task(self._work(number)) for number in range(self._concurrency)]
            # on Windows, and in threads other than the main one, there is no such handler
            with suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
            await self._wait()
            await asyncio.gather(*(worker for worker in self._workers if not worker.cancelled()))

    async def _wait(self) -> None:
        """Wait for all workers; after a stop, answers in flight get one timeout."""
        left = set(self._workers)
        clock = asyncio.get_running_loop().time
        deadline: float | None = None
        while left:
            done, left = await asyncio.wait(left, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            if any(not worker.cancelled() and worker.exception() for worker in done):
                self._halt(InterruptedBuildError("an error stopped the build"))
            if self._stop is not None:
                deadline = deadline or clock() + self._connection.timeout
                if clock() > deadline:
                    for worker in left:
                        worker.cancel()

    async def _work(self, number: int) -> None:
        if number:
            await self._proven.wait()
        try:
            while self._jobs and self._stop is None:
                await self._ask(self._jobs.popleft())
        finally:
            self._proven.set()

    async def _ask(self, job: Job) -> None:
        entry: dict[str, Any] = {
            "item_id": job.question.item_id,
            "digest": prompt.digest(job.question, self._form.format),
            "turn": job.turn,
            "attempt": job.attempt,
        }
        try:
            answer = await self._client.ask(prompt.messages(job.question, self._form.format))
        except (UnusableServerError, ServerGaveUpError) as error:
            self._halt(error)
            return
        except ItemRefusedError as error:
            entry["error"] = {"kind": error.kind, "message": str(error)}
        else:
            entry |= dataclasses.asdict(answer)
        self._take(job, entry)

    def _take(self, job: Job, entry: dict[str, Any]) -> None:
        """Record an answer, and decide what follows."""
        try:
            self._journal.append(entry)
        except JournalError as error:
            self.unsaved += "choice" in entry
            self._halt(error)
            return
        outcome = outcome_of(entry, self._form, logprobs=self._connection.logprobs)
        self._answers.add(outcome)
        self._report(outcome)
        if outcome.kind == "no log-probabilities" and not self._answers.any_logprobs:
            self._halt(no_logprobs(self._connection))
            return
        if "choice" in entry:
            self._proven.set()
        if outcome.kind in RETRIED and job.attempt == 1:
            self._jobs.appendleft(Job(job.question, job.turn, 2))
        self._watch(outcome)

    def _watch(self, outcome: Outcome) -> None:
        """Stop if answers are paid for but unusable."""
        self._usable += outcome.kind == "ok"
        self._in_vain += outcome.kind != "ok"
        self._no_answers = self._no_answers + 1 if outcome.kind in ("no answer", "refused") else 0
        if self._no_answers >= _NO_ANSWERS:
            message = f"{self._connection.url}: {outcome.reason}, {self._no_answers} times in a row"
            if outcome.kind == "no answer":
                self._halt(ServerGaveUpError(message))
            else:
                self._halt(UnusableServerError(f"{message}; mend that, and ask these again with --retry-failed"))
        if not self._usable and self._in_vain >= _HOPELESS:
            self._halt(
                UnusableServerError(
                    f"none of the first {self._in_vain} answers of {self._connection.model} can be used (the last: "
                    f"{outcome.kind}, {outcome.reason}); choose a model that answers in the form asked for, "
                    "or ask for another with --format"
                )
            )

    def _halt(self, reason: TraceError) -> None:
        """Start nothing new. The first reason counts."""
        if self._stop is None:
            self._stop = reason
        self._client.stopping = True

    def _interrupt(self) -> None:
        """Wait for answers in flight on the first Ctrl-C, and cancel them on the second."""
        if self._stop is not None:
            for worker in self._workers:
                worker.cancel()
        self._halt(InterruptedBuildError("interrupted"))
