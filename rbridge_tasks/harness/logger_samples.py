"""Samples of our tasks in lm-eval's loggers (``--wandb_args``, ``--trackio_args``), made for its own responses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from rbridge_metrics import TokenScores, bits_per_byte

_OURS = {"benchmark", "item_id", "trace"}  # in the documents of our tasks
_RESPONSE_AS_IT_IS = "loglikelihood_rolling"  # the output type whose responses lm-eval's logger takes as they are


def with_plain_samples(original: Callable[..., Any]) -> Callable[..., Any]:
    """``WandbLogger._generate_dataset`` that sees our samples with plain responses and metrics."""

    @functools.wraps(original)
    def generate(self: Any, data: list[dict[str, Any]], config: dict[str, Any]) -> Any:
        if "rbridge_traces" not in (config.get("metadata") or {}):
            return original(self, data, config)
        samples, plain = plain_samples(data, config)
        frame = original(self, samples, plain)
        frame["output_type"] = config["output_type"]
        return frame

    return generate


def with_plain_sample(original: Callable[..., Any]) -> Callable[..., Any]:
    """``_sample_to_trace`` of the trackio logger that sees our samples with plain responses and metrics."""

    @functools.wraps(original)
    def trace_of(trackio: Any, sample: dict[str, Any], *args: Any) -> Any:
        if isinstance(doc := sample.get("doc"), dict) and doc.keys() >= _OURS:
            metrics = [{"metric": name} for name in sample["metrics"]]
            (sample,), plain = plain_samples([sample], {"metric_list": metrics})
            sample["metrics"] = [metric["metric"] for metric in plain["metric_list"]]
        return original(trackio, sample, *args)

    return trace_of


def plain_samples(
    data: Sequence[dict[str, Any]], config: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Samples and configuration of one of our tasks as lm-eval's logger can lay them out.

    Token scores become the trace's log-probability in nats, metrics of a trace numbers; bits per byte, which lm-eval
    gets as (nats, bytes), are those of the trace. Metrics that are no number before they are aggregated are left out,
    and so are those that the task could not give.
    """
    samples = [dict(sample) for sample in data]
    if samples and isinstance(samples[0]["resps"][0][0], TokenScores):
        for sample in samples:
            sample["filtered_resps"] = [float(sample["resps"][0][0].logprob.sum())]
            sample["resps"] = [sample["filtered_resps"]]
        config = config | {"output_type": _RESPONSE_AS_IT_IS}
    metrics = []
    for metric in config["metric_list"]:
        name = metric["metric"]
        numbers = [_number(sample.get(name)) for sample in samples]
        if None not in numbers:
            metrics.append(metric)
            for sample, number in zip(samples, numbers, strict=True):
                sample[name] = number
    return samples, config | {"metric_list": metrics}


def _number(value: Any) -> float | None:
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, tuple) and len(value) == 2:
        return bits_per_byte([value[0]], [value[1]])
    return None
