"""``rbridge traces show``: one trace in the terminal, its tokens coloured by confidence or by weight."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli.output import console
from rbridge_tasks.cli.trace_options import Cache, OnlyCorrect, UsageError, traces

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.text import Text

    from rbridge_traces import Trace, TraceSet


class By(str, Enum):
    """Quantity by which tokens are coloured."""

    confidence = "confidence"
    weight = "weight"


@dataclass(frozen=True)
class Tokens:
    """The tokens of one trace with their numbers, shapes (tokens,).

    Attributes:
        start, end: characters of the trace that each token covers.
        confidence: mean over those characters, in [0, 1]; NaN for a frontier token without a known log-probability.
        weight: of each token in the rBridge NLL; None for the frontier model's own tokens.
        name: what to call them.
    """

    start: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64] | None
    name: str

    def values(self, by: By) -> npt.NDArray[np.float64]:
        """The number that colours each token."""
        return self.weight if by is By.weight and self.weight is not None else self.confidence


@traces.command()
def show(
    benchmark: Annotated[str, typer.Argument(help="Benchmark, e.g. gsm8k.")],
    item_id: Annotated[str | None, typer.Argument(help="Item; default: the first.")] = None,
    by: Annotated[
        By | None, typer.Option(help="Colour by this. Default: weight with a --tokenizer, else confidence.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Show the tokens of this one: a folder with tokenizer.json, or a Hub name.")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Print every token with its numbers instead.")] = False,
    legend: Annotated[bool, typer.Option(help="Print the scale of colours.")] = True,
    source: Annotated[str | None, typer.Option(help="Which source, where the cache holds several.")] = None,
    only_correct: OnlyCorrect = False,
    cache: Cache = None,
) -> None:
    """Print one trace: its question, its text coloured token by token with marked spans underlined, its answer."""
    from rbridge_traces import resolve_cache

    if by is By.weight and tokenizer is None:
        raise UsageError("weights are those of a proxy model's tokens; name its tokenizer with --tokenizer")
    needed = by is not None or tokenizer is not None or table
    trace_set = resolve_cache(cache).cache.load(benchmark, source, needs="confidence" if needed else None)
    trace = _item(trace_set.only_correct() if only_correct else trace_set, item_id)
    if needed and not trace.has_confidence:
        raise UsageError(
            f"trace {trace.name} in {trace_set.location} has no token confidences; give it some with "
            f'"rbridge traces score -b {benchmark} --model CKPT"'
        )
    tokens = _proxy_tokens(trace, tokenizer) if tokenizer else _frontier_tokens(trace) if trace.has_confidence else None
    if table and tokens:
        _print_table(trace, tokens)
        return
    _print_trace(trace_set, trace, tokens, by or (By.weight if tokenizer else By.confidence), legend=legend)


def _item(trace_set: TraceSet, item_id: str | None) -> Trace:
    by_id = {trace.item_id: trace for trace in trace_set.traces}
    if item_id is None:
        return trace_set.traces[0]
    if item_id not in by_id:
        raise UsageError(
            f"{trace_set.location} has no item {item_id!r}; it has {len(by_id)}, such as {', '.join([*by_id][:3])}"
        )
    return by_id[item_id]


def _frontier_tokens(trace: Trace) -> Tokens:
    import numpy as np

    end = np.asarray(trace.token_end, dtype=np.int64)
    confidence = np.exp(np.asarray(trace.token_logprob, dtype=np.float64))
    return Tokens(np.concatenate(([0], end[:-1])), end, confidence, None, "frontier tokens")


def _proxy_tokens(trace: Trace, name: str) -> Tokens:
    """Tokens of another tokenizer as the tasks cut them, asked without worked examples."""
    from rbridge_metrics import character_confidence, minmax_weights, token_confidence
    from rbridge_tasks.scoring.prompts import context_of
    from rbridge_tasks.scoring.tokenization import PairEncoder, load_tokenizer

    tokenizer = load_tokenizer(name)
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    (pair,) = PairEncoder(tokenizer, prefix_token_id=prefix).encode(
        [(context_of(trace, []), trace.trace)], [trace.name]
    )
    characters = character_confidence(trace.token_end, trace.token_logprob)  # type: ignore[arg-type]  # both are there
    confidence = token_confidence(characters, pair.token_start, pair.token_end)
    start, end = pair.token_start.astype("int64"), pair.token_end.astype("int64")
    return Tokens(start, end, confidence, minmax_weights(confidence), f"tokens of {name}")


def _print_table(trace: Trace, tokens: Tokens) -> None:
    """A line a token, the text last and quoted, so that it can be cut into columns again."""
    from rbridge_tasks.visible_text import visible

    weights = tokens.weight
    typer.echo(f"{'start':>6} {'end':>6} {'confidence':>10}{'' if weights is None else '   weight'}  token")
    for i, (start, end, confidence) in enumerate(zip(tokens.start, tokens.end, tokens.confidence, strict=True)):
        weight = "" if weights is None else f" {weights[i]:8.6f}"
        text = visible(json.dumps(trace.trace[start:end], ensure_ascii=False))
        shown = f"{'unknown' if math.isnan(confidence) else format(confidence, '.6f'):>10}"
        typer.echo(f"{start:6d} {end:6d} {shown}{weight}  {text}")


def _print_trace(trace_set: TraceSet, trace: Trace, tokens: Tokens | None, by: By, *, legend: bool) -> None:
    from rich.text import Text

    from rbridge_tasks.cli.shades import scale
    from rbridge_tasks.visible_text import visible

    out = console()
    in_colour = out.color_system is not None and not out.no_color

    def line(text: str | Text, style: str = "") -> None:
        out.print(Text(visible(text), style) if isinstance(text, str) else text, soft_wrap=not sys.stdout.isatty())

    sample = "  [SAMPLE, not a benchmark]" if trace_set.manifest.sample else ""
    line(f"{trace.benchmark}/{trace.item_id} from {trace_set.manifest.source}{sample}", "bold")
    line(trace.question)
    for choice in trace.choices or ():
        line(f"  {choice.label}. {choice.text}")
    line("")
    line(_coloured(trace, tokens, by))
    line("")
    graded = {True: "   correct", False: "   wrong", None: ""}[trace.correct]
    line(f"final answer: {trace.final_answer}   gold: {trace.gold}{graded}")
    if tokens is None:
        line("no token confidences; give it some with: rbridge traces score")
        return
    import numpy as np

    means = f"mean confidence {np.nanmean(tokens.confidence):.3f}"
    if unknown := int(np.isnan(tokens.confidence).sum()):
        means += f" ({unknown} unknown)"
    if tokens.weight is not None:
        means += f", mean weight {tokens.weight.mean():.3f}"
    line(f"{tokens.confidence.size} {tokens.name}, {means}")
    if not in_colour:
        line("without colours here; --table prints the number of every token")
    elif legend:
        who = trace_set.manifest.confidence_model or "an unnamed model"
        what = f"weight within this trace, from the confidences of {who}" if by is By.weight else f"confidence of {who}"
        line(f"{what}; underlined: marked spans" if trace.spans else what)
        line(scale())


def _coloured(trace: Trace, tokens: Tokens | None, by: By) -> Text:
    """The trace as styled text. Control characters are spelled out last, so that offsets hold."""
    from itertools import groupby

    from rich.style import Style
    from rich.text import Text

    from rbridge_tasks.cli.shades import shade
    from rbridge_tasks.visible_text import visible

    styles: list[Style] = [Style()] * len(trace.trace)
    if tokens is not None:
        for start, end, value in zip(tokens.start, tokens.end, tokens.values(by), strict=True):
            styles[start:end] = [Style() if math.isnan(value) else shade(float(value))] * int(end - start)
    underline = Style(underline=True)
    for start, end in trace.spans or ():
        styles[start:end] = [style + underline for style in styles[start:end]]
    text = Text()
    for style, piece in groupby(zip(styles, trace.trace, strict=True), key=lambda pair: pair[0]):
        text.append(visible("".join(character for _, character in piece)), style=style)
    return text
