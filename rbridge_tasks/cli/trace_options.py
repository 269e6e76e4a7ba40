"""Options and messages that the ``rbridge traces`` commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.cli.output import note

if TYPE_CHECKING:
    from rbridge_traces import Trace, TraceCache
    from rbridge_traces.answer_form import AnswerForm
    from rbridge_traces.control_characters import SuspiciousText

traces = typer.Typer(help="Reasoning traces of frontier models: get, list, show, score, publish.", no_args_is_help=True)


def _given(location: str | None) -> str | None:  # the signature of a typer callback
    if location is not None and not location.strip():
        raise typer.BadParameter("it is empty; name a folder or URL, or leave it out")
    return location


Cache = Annotated[
    str | None,
    typer.Option(
        "--cache", callback=_given, help="Folder or URL of the cache. Default: $RBRIDGE_CACHE, else your user cache."
    ),
]
Benchmark = Annotated[str, typer.Option("--benchmark", "-b", help="gsm8k, math500, ..., or any name of your own.")]
Replace = Annotated[bool, typer.Option("--replace", help="Write over what the cache holds under that name.")]
TracePart = Annotated[
    str,
    typer.Option(
        "--trace", help="The trace: reasoning, as the answer gives it, or thinking, what the model wrote before it."
    ),
]
OnlyCorrect = Annotated[
    bool, typer.Option("--only-correct", help="Leave out traces whose final answer is not known to be right.")
]


class UsageError(RBridgeError):
    """The command's arguments do not fit together."""


def writable_cache(location: str | None) -> TraceCache:
    """The cache to write to: the option, the environment variable, or the user's own; never the sample."""
    from rbridge_traces import TraceCache, user_cache_dir

    root = location or os.environ.get("RBRIDGE_CACHE") or user_cache_dir()
    if root == "sample":
        raise UsageError("the sample cannot be written to; name a folder with --cache DIR or RBRIDGE_CACHE=DIR")
    return TraceCache(root)


def pairs(option: str, given: Sequence[str] | None, form: str = "NAME=VALUE") -> dict[str, str]:
    """Values of a repeated option ``NAME=VALUE``, by name."""
    by_name: dict[str, str] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{option} {pair!r} is not {form}; see the examples of this command under --help")
        if by_name.setdefault(name, value) != value:
            raise UsageError(f"{option} gives {name!r} two values, {by_name[name]!r} and {value!r}; leave one out")
    return by_name


def answer_form(trace: str, form: str | None, benchmark: str) -> AnswerForm:
    """Form of the answer that ``--trace`` and ``--format`` select; answers graded by running them are programs."""
    from rbridge_traces.answer_form import AnswerForm, AnswerFormat, TracePart
    from rbridge_traces.benchmark import benchmark_named
    from rbridge_traces.errors import did_you_mean

    for option, given, known in (("--trace", trace, get_args(TracePart)), ("--format", form, get_args(AnswerFormat))):
        if given is not None and given not in known:
            raise UsageError(f"{option} {given!r} is not known{did_you_mean(given, known)}; say {' or '.join(known)}")
    return AnswerForm(
        cast("TracePart", trace), cast("AnswerFormat | None", form), benchmark_named(benchmark).grader == "code"
    )


def slug(file: str) -> str:
    """A source name made from a file name."""
    stem = re.sub(r"(\.(gz|json|jsonl|csv|tsv|parquet))+$", "", Path(file).name.lower())
    return re.sub(r"[^a-z0-9._-]+", "-", stem).strip("-._") or "imported"


def warn_about_traces(name: str, traces: Sequence[Trace]) -> None:
    """Warn of tokens without a log-probability, and of control characters in the texts, of traces just written."""
    from rbridge_traces import unknown_tokens
    from rbridge_traces.control_characters import suspicious_texts

    if unknown := unknown_tokens(traces):
        typer.echo(f"warning: {unknown}", err=True)
    warn_of_control_characters(name, suspicious_texts(traces))


def warn_of_control_characters(name: str, texts: Sequence[SuspiciousText]) -> None:
    """Name the texts of a source in which LaTeX commands were decoded as control characters."""
    from rbridge_traces.control_characters import counted_suspicious

    if texts:
        note(
            f"warning: {name}: {counted_suspicious(texts)}; their scores and grades are wrong. Run the same build "
            "again (it asks nothing twice), pull again with --replace, or import the corrected file with --replace"
        )
