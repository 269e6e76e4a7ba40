"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AllowIncomparable = Annotated[
    bool,
    typer.Option(
        "--allow-incomparable",
        help="Compare scores whose settings differ (shots, chat template, traces, confidences, items, ...); the "
        "differences are printed as warnings.",
    ),
]
