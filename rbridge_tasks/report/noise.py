"""Section: training noise and signal of every metric, and the checkpoints to average."""

from __future__ import annotations

import math

from rbridge_metrics.noise import NoiseError
from rbridge_tasks.decisions.candidates import CandidatesError
from rbridge_tasks.decisions.noise import noise, summary
from rbridge_tasks.report.elements import Cell, PageSection, PageTable, Remark, count, dash, number, rounded, whole
from rbridge_tasks.report.inputs import Inputs

KEY, TITLE = "noise", "Noise of training"


def noise_section(inputs: Inputs) -> PageSection:
    """Noise, signal and decision accuracy of each metric and benchmark, by ``rbridge noise``."""
    without_targets = []
    try:
        try:
            result = noise(
                inputs.measured, target=inputs.targets, target_metric=[metric.name for metric in inputs.target_metrics],
                target_at=inputs.target_at, allow_incomparable=True,
            )  # fmt: skip
        except CandidatesError as error:  # targets of several sizes, for example
            result = noise(inputs.measured, allow_incomparable=True)
            without_targets = [f"The targets are left out here: {error}."]
    except NoiseError as error:
        return PageSection(KEY, TITLE, missing=f"{str(error)[0].upper()}{str(error)[1:]}.")
    rows = [
        [
            Cell(row.metric), Cell(row.benchmark), count(row.params), whole(row.checkpoints), number(row.level),
            number(row.noise), rounded(100 * row.relative_noise, ".2f", "j"),
            rounded(row.snr, ".1f", "j"), rounded(row.implied_decision_accuracy, ".3f", "j"),
            whole(row.average_last), rounded(row.implied_averaged, ".3f", "j"),
            dash("j") if math.isnan(row.chance) else Cell("drop" if row.drop else "keep"),
        ]
        for row in result.shown
    ]  # fmt: skip
    columns = [
        "metric", "benchmark", "params", "checkpoints", "score", "noise", "noise, %", "signal to noise",
        "implied decision accuracy", "average last", "implied then", "verdict",
    ]  # fmt: skip
    return PageSection(
        KEY,
        TITLE,
        lede=(
            f"Noise is the standard deviation of the last {result.last} checkpoints of a run about their trend. Signal "
            "is the largest minus the smallest score of the runs that end at the same tokens. The implied decision "
            "accuracy is the share of pairs of runs whose order the noise leaves alone, with one checkpoint and with "
            "the mean of several."
        ),
        remarks=[Remark("Noise", text) for text in summary(result)],
        tables=[PageTable("Noise by metric and benchmark", columns, rows, headers=2)],
        notes=[*result.notes, *without_targets],
    )
