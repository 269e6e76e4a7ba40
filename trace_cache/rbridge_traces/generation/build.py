"""A build, from the questions of a benchmark to a source in the cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rbridge_traces.answer_form import AnswerForm
from rbridge_traces.errors import CacheCorruptError, CacheNotFoundError, TraceError
from rbridge_traces.generation import prompt
from rbridge_traces.generation.answers import Answers, Outcome, outcome_of
from rbridge_traces.generation.built_traces import BuiltTraces, traces_of
from rbridge_traces.generation.client import Connection
from rbridge_traces.generation.cost import CostEstimate, Price, estimate
from rbridge_traces.generation.journal import Journal, JournalError, journal_path, read_journal, unread_journal
from rbridge_traces.generation.refusals import UnusableServerError
from rbridge_traces.generation.session import Job, Session
from rbridge_traces.manifest import Manifest
from rbridge_traces.questions import Question
from rbridge_traces.store import TraceCache
from rbridge_traces.table import to_parquet

_PAPER = AnswerForm()
_ELSEWHERE = "build under another name with --source NAME"
_START_OVER = "start over with --replace, which sets the answers so far aside"


@dataclass(frozen=True)
class Written:
    """A build's source in the cache; ``changed`` is False if the cache held just this already."""

    manifest: Manifest
    built: BuiltTraces
    changed: bool


class Build:
    """Builds the traces of one benchmark with one model.

    Nothing is written before ``ask``. What ``write`` stores depends on the journal and the questions only, not on how
    often the build was interrupted.

    Args:
        cache: to write to.
        questions: of one benchmark, at least one.
        connection: of the server.
        origin: where the questions come from, for people.
        form: what to ask for, and to read from the answers. Default: the paper's.
        source: name of the traces in the cache. Default: from the model's name and the form.
        replace: write over what the cache holds under that name; set a journal with other settings aside.
        retry_failed: ask again what has failed.
        moved: the same server has another address now.

    Raises:
        TraceError: the journal, the cache or the questions do not fit what is asked for; says what to do.

    Attributes:
        source: name of the traces in the cache.
        answers: so far.
        jobs: what is still to be asked, in the order of the questions.
    """

    def __init__(
        self,
        cache: TraceCache,
        questions: Sequence[Question],
        connection: Connection,
        *,
        origin: str,
        form: AnswerForm = _PAPER,
        source: str | None = None,
        replace: bool = False,
        retry_failed: bool = False,
        moved: bool = False,
    ) -> None:
        self.cache, self.questions, self.connection = cache, list(questions), connection
        self.benchmark, self.form = questions[0].benchmark, form
        self.source = source or source_of(connection.model, form)
        self._origin, self._replace = origin, replace
        held = self._held()
        self._settings: dict[str, Any] = {
            "benchmark": self.benchmark,
            "model": connection.model,
            "base_url": connection.url,
            "prompt": prompt.template(self.benchmark, form.format),
            "logprobs": connection.logprobs,
            "trace": form.trace,
        }
        self.answers = Answers()
        self._amended: dict[str, Any] = {}
        path = journal_path(cache.root, self.benchmark, self.source)
        try:
            self._recorded = read_journal(path)
            self._take_in_the_journal(moved=moved)
        except JournalError:
            if not replace:
                raise
            self._recorded, self.answers = unread_journal(path), Answers()
        if not self.answers.by_item:  # nobody has answered yet: these settings are as good as those before
            self._recorded = unread_journal(path)
        self._id = self._recorded.id
        if held is not None and not replace:
            self._check_ours(held)
        self.jobs: list[Job] = []
        for question in self.questions:
            if when := self.answers.next_attempt(question.item_id, retry_failed=retry_failed):
                self.jobs.append(Job(question, *when))

    @property
    def done(self) -> int:
        """Items that have a trace."""
        return sum(outcome.kind == "ok" for outcome in self._outcomes())

    def estimate(self, price: Price | None) -> CostEstimate:
        """What it costs to ask what is still to be asked."""
        questions = [job.question for job in self.jobs]
        return estimate(questions, price, max_tokens=self.connection.max_tokens, form=self.form.format)

    def ask(self, *, concurrency: int, report: Callable[[Outcome], None]) -> None:
        """Ask what is still to be asked. Every answer is in the journal before it is reported.

        Args:
            concurrency: requests at a time.
            report: called with the outcome of every answer.

        Raises:
            InterruptedBuildError: the user stopped it.
            UnusableServerError: nothing can be had from this server with these settings.
            ServerGaveUpError: it does not answer at present.
            JournalError: another build is at it, or the disk takes no more.
        """
        with Journal(self._recorded, start_over=not self._id) as journal:
            if not journal.id:
                journal.begin(self._settings)
            elif self._amended:
                journal.amend(self._amended)
            self._id = journal.id
            session = Session(
                self.jobs, self.answers, journal, self.connection, self.form, concurrency=concurrency, report=report
            )
            try:
                session.run()
            except TraceError as error:
                raise self._with_what_is_kept(error, session.unsaved) from error

    def write(self) -> Written:
        """Grade the answers and put the traces into the cache.

        Raises:
            TraceError: not one item has a usable answer, or the cache cannot be written.
        """
        built = traces_of(self.questions, self._outcomes())
        asked = prompt.template(self.benchmark, self.form.format)
        about = built.described(self.connection, self.form, asked, self._origin, self._id)
        held = self._held()
        digest = hashlib.sha256(to_parquet(built.traces)).hexdigest()
        if held is not None and digest in held.files.values() and about.items() <= vars(held).items():
            return Written(held, built, changed=False)
        if held is not None and not self._replace:
            self._check_ours(held)
        manifest = self.cache.write(
            built.traces,
            benchmark=self.benchmark,
            source=self.source,
            replace=held is not None or self._replace,
            **about,
        )
        return Written(manifest, built, changed=True)

    def _outcomes(self) -> list[Outcome]:
        outcomes = (self.answers.by_item.get(question.item_id) for question in self.questions)
        return [outcome for outcome in outcomes if outcome is not None]

    def _held(self) -> Manifest | None:
        """What the cache holds under our name."""
        try:
            return self.cache.load(self.benchmark, self.source).manifest
        except CacheNotFoundError:
            return None
        except CacheCorruptError:
            if not self._replace:
                raise
            return None

    def _take_in_the_journal(self, *, moved: bool) -> None:
        """Read the answers so far, and refuse to mix them with those to other questions."""
        for entry in self._recorded.entries():
            self.answers.add(outcome_of(entry, self.form, logprobs=self.connection.logprobs))
        was = self._recorded.settings if self.answers.by_item else {}
        self._amended = {name: value for name, value in self._settings.items() if was and was.get(name) != value}
        allowed = {"base_url"} if moved else set()
        if not self.connection.logprobs and not self.answers.any_logprobs:
            allowed.add("logprobs")  # it had none: its answers are what is asked for now
        for name in self._amended:
            if name not in allowed:
                now, then = self._amended[name], was.get(name)
                how = "with another prompt" if name == "prompt" else f"with {name} {then}, now it is {now}"
                also = ", say --moved if it is the same server" if name == "base_url" else ""
                raise JournalError(f"{self._recorded.path} was begun {how}; {_ELSEWHERE}{also}, or {_START_OVER}")
        for question in self.questions:
            asked = self.answers.by_item.get(question.item_id)
            if asked is not None and asked.digest != prompt.digest(question, self.form.format):
                raise JournalError(
                    f"{self._recorded.path}: the question {question.item_id} was another when it was asked; "
                    f"{_ELSEWHERE}, or {_START_OVER}"
                )

    def _check_ours(self, held: Manifest) -> None:
        """Refuse to write over what did not come out of this journal, before anything is paid for."""
        parts = (held.note or "").split("; ")
        if self._id and f"build {self._id}" in parts:
            if not any(part.startswith("confidences by") for part in parts):
                return
            what = "has been given confidences since it was built, which a new build drops"
        else:
            what = "does not come from this build"
        raise TraceError(
            f"{self.benchmark} from {self.source} in {self.cache.root} {what}; {_ELSEWHERE}, or write over it with "
            "--replace"
        )

    def _with_what_is_kept(self, error: TraceError, unsaved: int) -> TraceError:
        kept = f"{self.done} of {len(self.questions)} answered and kept"
        if isinstance(error, UnusableServerError):
            return type(error)(f"{error} ({kept})" if self.done else str(error))
        lost = f", {unsaved} in hand could not be and will be asked for again" if unsaved else ""
        return type(error)(f"{error}: {kept}{lost}; run the same command again to continue")


def source_of(model: str, form: AnswerForm = _PAPER) -> str:
    """The name in a cache that a model's traces have by default.

    >>> source_of("gpt-4o"), source_of("meta-llama/Llama-3.1-70B-Instruct")
    ('gpt-4o', 'llama-3.1-70b-instruct')
    >>> source_of("openai/gpt-oss-120b", AnswerForm("thinking"))
    'gpt-oss-120b-thinking'
    """
    last = model.rstrip("/").rpartition("/")[2].lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", last).strip("-._") or "built"
    return name + "-text" * (form.format == "text") + "-thinking" * (form.trace == "thinking")
