"""Scores of one metric as text that JSON holds, for the checkpoints of a training. Floats keep every bit."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from rbridge_metrics.alignment import FloatArray
from rbridge_tasks.training.loop_scores import BenchmarkScores, ItemValues, LoopScores


def packed(scores: LoopScores, metric: str) -> dict[str, Any]:
    """Step, tokens and the items' values of a metric: about 14 bytes an item, and 12 more where denominators vary."""
    return {
        "step": scores.step,
        "tokens": None if math.isnan(scores.tokens) else scores.tokens,
        "benchmarks": {
            each.benchmark: {
                "items": _text(json.dumps(each.item_ids).encode()),
                "population": each.population,
                "values": [_text(array.tobytes()) for array in _arrays(each.values.get(metric))],
            }
            for each in scores.benchmarks
        },
    }


def unpacked(scoring: Mapping[str, Any], metric: str) -> LoopScores:
    """The scores of ``packed``, without what it leaves out."""
    benchmarks = []
    for name, each in scoring["benchmarks"].items():
        arrays = [np.frombuffer(_bytes(text), dtype="<f8") for text in each["values"]]
        values = {metric: ItemValues(*arrays)} if arrays else {}
        ids = tuple(json.loads(_bytes(each["items"])))
        benchmarks.append(BenchmarkScores(name, {}, {}, {}, ids, each["population"], values))
    tokens = math.nan if scoring["tokens"] is None else scoring["tokens"]
    return LoopScores(scoring["step"], tokens, tuple(benchmarks), {}, 0.0, 0.0)


def _arrays(values: ItemValues | None) -> list[FloatArray]:
    sides = [] if values is None else [values.numerator, values.denominator]
    return [np.ascontiguousarray(side, dtype="<f8") for side in sides]


def _text(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode("ascii")


def _bytes(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))
