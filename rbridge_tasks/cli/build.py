"""``rbridge traces build``: traces from any model behind a Chat Completions server."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbridge_tasks.cli.trace_options import (
    Benchmark,
    Cache,
    Replace,
    TracePart,
    UsageError,
    answer_form,
    traces,
    writable_cache,
)

if TYPE_CHECKING:
    from rbridge_traces.generation.answers import Outcome
    from rbridge_traces.generation.build import Build, Written
    from rbridge_traces.generation.cost import CostEstimate, Price

_IDS_SHOWN = 10
_SECONDS_BETWEEN_LINES = 60


@traces.command()
def build(
    benchmark: Benchmark,
    model: Annotated[str, typer.Option(help="Frontier model, as the server calls it, e.g. openai/gpt-oss-120b.")],
    base_url: Annotated[
        str | None, typer.Option(help="Of any Chat Completions server. Default: $OPENAI_BASE_URL, else OpenAI.")
    ] = None,
    trace: TracePart = "reasoning",
    answer_format: Annotated[
        str, typer.Option("--format", help="json: the paper's prompt. text: plain text, ended by its final answer.")
    ] = "json",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")] = None,
    questions: Annotated[
        str | None, typer.Option(metavar="FILE", help="Local copy of the questions. Default: the data set on the Hub.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the estimate and stop.")] = False,
    max_cost: Annotated[float, typer.Option(min=0, help="US dollars of estimated cost above which to ask.")] = 10.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    price: Annotated[str | None, typer.Option(metavar="IN,OUT", help="US dollars per 1M tokens, e.g. 2.5,10.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens at which an answer is cut off.")] = 2048,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 120.0,
    max_retries: Annotated[
        int, typer.Option(min=0, help="How often to ask again after a rate limit, a server error, a lost connection.")
    ] = 8,
    no_logprobs: Annotated[
        bool, typer.Option("--no-logprobs", help="For models that give none: traces without confidences.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again what has failed before.")] = False,
    moved: Annotated[bool, typer.Option("--moved", help="The same server has another --base-url now.")] = False,
    source: Annotated[str | None, typer.Option(help="Name in the cache. Default: from the model's name.")] = None,
    replace: Replace = False,
    cache: Cache = None,
) -> None:
    """Have a model answer a benchmark, and keep its reasoning with its confidence in every token.

    Every answer is kept at once: stopped at any point, the same command goes on where it was and pays nothing twice.

    Example: rbridge traces build -b math500 --model openai/gpt-oss-120b --base-url http://localhost:8000/v1
    """
    from rbridge_traces.benchmark import benchmark_named
    from rbridge_traces.generation.build import Build
    from rbridge_traces.generation.client import Connection, check_connection
    from rbridge_traces.generation.cost import price_of
    from rbridge_traces.generation.grading import check_grader
    from rbridge_traces.questions import load_questions, questions_origin

    target, costs = writable_cache(cache), price_of(model, price)
    form = answer_form(trace, answer_format, benchmark)  # before the questions are fetched
    connection = Connection(model, base_url, not no_logprobs, max_tokens, timeout, max_retries)
    work = Build(
        target,
        load_questions(benchmark, path=questions)[:limit],
        connection,
        origin=questions_origin(benchmark, questions),
        form=form,
        source=source,
        replace=replace,
        retry_failed=retry_failed,
        moved=moved,
    )
    expected = work.estimate(costs)
    _print_estimate(work, expected)
    if dry_run:
        return
    check_grader(benchmark_named(benchmark))
    progress = _Progress(len(work.jobs), costs)
    if work.jobs:
        check_connection(connection)
        _confirm(expected, max_cost, yes=yes)
        _ask(work, progress, concurrency)
    _print_summary(work, work.write(), progress)


def _ask(work: Build, progress: _Progress, concurrency: int) -> None:
    """Ask what is left. Ctrl-C ends with exit code 130 and keeps the answers."""
    from rbridge_traces.generation.session import InterruptedBuildError

    try:
        with progress:
            work.ask(concurrency=concurrency, report=progress)
    except InterruptedBuildError as error:
        typer.echo(f"rbridge: {error}", err=True)
        raise typer.Exit(130) from error


class _Progress:
    """Counts what comes in, and shows it: a bar in a terminal, now and then a line elsewhere."""

    def __init__(self, items: int, price: Price | None) -> None:
        self.items, self.price = items, price
        self.done = self.failed = self.prompt_tokens = self.answer_tokens = 0
        self._bar: Any = None
        self._last_line = time.monotonic()

    @property
    def state(self) -> str:
        """Tokens, cost and failures so far."""
        cost = f", ${self.cost_usd:.2f}" if self.cost_usd is not None else ""
        return f"{self.prompt_tokens + self.answer_tokens:,} tokens{cost}, {self.failed} failed"

    @property
    def cost_usd(self) -> float | None:
        """What has been spent in this run, where the price is known."""
        return None if self.price is None else self.price.cost_usd(self.prompt_tokens, self.answer_tokens)

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.items, desc="Building traces", unit="item", dynamic_ncols=True)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, outcome: Outcome) -> None:
        from rbridge_traces.generation.answers import RETRIED

        self.prompt_tokens += outcome.prompt_tokens
        self.answer_tokens += outcome.completion_tokens
        final = outcome.attempt == 2 or outcome.kind not in RETRIED
        self.done += final
        self.failed += final and outcome.kind != "ok"
        if self._bar is not None:
            self._bar.set_postfix_str(self.state, refresh=False)
            self._bar.update(int(final))
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            typer.echo(f"{self.done} of {self.items} items, {self.state}", err=True)


def _print_estimate(work: Build, expected: CostEstimate) -> None:
    from rbridge_traces.benchmark import benchmark_named
    from rbridge_traces.generation.cost import PRICES_OF

    typer.echo(
        f"{work.benchmark}: {len(work.questions)} questions, {work.done} answered, {expected.items} to ask "
        f"{work.connection.model} at {work.connection.url}"
    )
    if not expected.items:
        return
    typer.echo(
        f"about {expected.prompt_tokens:,} tokens of prompts (at 4 characters a token) and "
        f"{expected.answer_tokens:,} of answers (at {benchmark_named(work.benchmark).answer_tokens} an answer, "
        "as GPT-4o's were in the rBridge paper; an assumption)"
    )
    if expected.price is None:
        typer.echo(f"the price of {work.connection.model} is not known; give it with --price IN,OUT to see the cost")
        return
    typer.echo(
        f"about ${expected.cost_usd:.2f}, at most ${expected.most_usd:.2f} if every answer runs to --max-tokens, at "
        f"${expected.price.prompt_usd:g} and ${expected.price.answer_usd:g} per 1M tokens (listed prices are of "
        f"{PRICES_OF}; --price gives others)"
    )


def _confirm(expected: CostEstimate, max_cost: float, *, yes: bool) -> None:
    if expected.cost_usd is None or expected.cost_usd <= max_cost or yes:
        return
    above = f"the estimated cost of ${expected.cost_usd:.2f} is above ${max_cost:.2f}"
    if not sys.stdin.isatty():
        raise UsageError(f"{above}; agree with --yes, allow more with --max-cost USD, or ask less with --limit N")
    typer.confirm(f"{above[0].upper()}{above[1:]}. Go on?", abort=True, err=True)


def _print_summary(work: Build, written: Written, progress: _Progress) -> None:
    manifest = written.manifest
    unchanged = "" if written.changed else ", unchanged"
    typer.echo(f"{manifest.rows} traces of {manifest.benchmark} in {work.cache.root} as {manifest.source}{unchanged}")
    facts = [f"answers of {manifest.frontier_model}"]
    if manifest.rows_correct is not None:
        facts.append(f"{manifest.rows_correct} of {manifest.rows} correct")
    if written.built.mean_confidence is not None:
        facts.append(f"mean confidence {written.built.mean_confidence:.3f}")
    if written.built.repairs:
        facts.append(written.built.repairs)
    if progress.items:
        facts.append(f"this run: {progress.prompt_tokens:,} + {progress.answer_tokens:,} tokens")
        facts.append(f"${progress.cost_usd:.2f}" if progress.cost_usd is not None else "at an unknown price")
    typer.echo(", ".join(facts))
    for line in _failures(written.built.failed):
        typer.echo(line, err=True)
    if written.built.unknown:
        typer.echo(f"warning: {written.built.unknown}", err=True)
    if manifest.rows_with_confidence < manifest.rows:
        typer.echo(
            f"they have no confidences; next: rbridge traces score -b {manifest.benchmark} --source {manifest.source} "
            "--model STRONG_LOCAL_MODEL"
        )


def _failures(failed: list[Outcome]) -> list[str]:
    """Failures by kind, with ids and remedies."""
    by_kind: dict[str, list[Outcome]] = {}
    for outcome in failed:
        by_kind.setdefault(outcome.kind, []).append(outcome)
    lines = [f"warning: {len(failed)} items failed and are left out; ask them again with --retry-failed"] * bool(failed)
    for kind, outcomes in by_kind.items():
        ids = ", ".join(outcome.item_id for outcome in outcomes[:_IDS_SHOWN])
        more = f" and {len(outcomes) - _IDS_SHOWN} more" if len(outcomes) > _IDS_SHOWN else ""
        remedy = "; raise --max-tokens" if kind == "truncated" else ""
        lines.append(f"  {len(outcomes)} {kind}: {ids}{more} (the last: {outcomes[-1].reason}{remedy})")
    return lines
