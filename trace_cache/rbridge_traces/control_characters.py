"""Find traces and final answers in which LaTeX commands were decoded as control characters.

Earlier versions read ``\\frac`` in a JSON string as a form feed and ``rac``; so do plain JSON parsers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rbridge_traces.latex_commands import CONTROL, command_places, style_of
from rbridge_traces.schema import Trace

_NEVER_WRITTEN = "\b\f"  # no model writes these on purpose
_AROUND = 12


@dataclass(frozen=True)
class SuspiciousText:
    """A text of a trace that holds control characters where LaTeX commands were meant.

    Attributes:
        item_id: of the trace.
        field: ``trace`` or ``final_answer``.
        places: how many there are.
        example: the text around the first one, as a Python literal.
    """

    item_id: str
    field: str
    places: int
    example: str


def suspicious_texts(traces: Iterable[Trace]) -> list[SuspiciousText]:
    r"""The suspicious texts of traces, in their order.

    >>> suspicious_texts([Trace("math500", "7", question="?", trace="3 \times 4, one a\tline", final_answer="12")])
    [SuspiciousText(item_id='7', field='trace', places=1, example="'3 \\times 4, one'")]
    """
    suspicious = []
    for trace in traces:
        for field, text in (("trace", trace.trace), ("final_answer", trace.final_answer or "")):
            if places := suspicious_places(text):
                around = text[max(0, places[0] - _AROUND) : places[0] + _AROUND]
                suspicious.append(SuspiciousText(trace.item_id, field, len(places), repr(around)))
    return suspicious


def suspicious_places(text: str) -> list[int]:
    """Positions of form feeds, backspaces, and control characters that begin the name of a LaTeX command."""
    candidates = [at for at, character in enumerate(text) if character in CONTROL]
    if not candidates:
        return []
    backslashes = [at for at, character in enumerate(text) if character == "\\"]
    commands = command_places(text, candidates, style_of(text, candidates, backslashes))
    return sorted({*commands, *(at for at in candidates if text[at] in _NEVER_WRITTEN)})


def counted_suspicious(suspicious: Sequence[SuspiciousText]) -> str:
    """A sentence that counts suspicious texts and quotes the first three; empty if there are none."""
    if not suspicious:
        return ""
    by_field = {"trace": "traces", "final_answer": "final answers"}
    counts = [(sum(text.field == field for text in suspicious), name) for field, name in by_field.items()]
    listed = " and ".join(f"{count} {name}" for count, name in counts if count)
    examples = ", ".join(f"{text.item_id} ({text.field}: {text.example})" for text in suspicious[:3])
    return f"{listed} with control characters where LaTeX commands were meant: {examples}"
