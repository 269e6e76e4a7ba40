"""Which scores compare: what has to be equal between two results of one benchmark and metric, and where it is not."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rbridge_metrics.proxy_names import PROXIES
from rbridge_tasks.scores.lm_eval_results import ResultsFile, Score

_WEIGHTED_BY_CONFIDENCE = frozenset(("rbridge_nll", "rbridge_bits_per_byte"))
_PER_TOKEN = frozenset(("rbridge_nll", "rbridge_span_nll", "trace_nll", "gold_nll", "scb_nll", *PROXIES))

#: The setting that names what token frequencies were counted over.
TOKEN_COUNTS = "token frequencies"


@dataclass(frozen=True)
class Measured:
    """A score's benchmark and metric, what was evaluated, and under which settings."""

    benchmark: str
    metric: str
    model: str
    settings: Mapping[str, str]


def settings_of(score: Score, results: ResultsFile) -> dict[str, str]:
    """What has to be equal for a score to compare with others, by name. What the file does not say is left out."""
    members = results.members(score.task)
    settings: dict[str, object] = {
        "n-shot": _joined(_shots(member, results) for member in members),
        "number of items": None if math.isnan(score.n) else f"{score.n:g}",
        "task version": _versions(score.task, members, results),
    }
    for name, key in (("chat template", "chat_template_sha"), ("system instruction", "system_instruction_sha")):
        if key in results.data:
            settings[name] = results.data[key] or "none"
    traces = [results.traces(member) for member in members]
    if all(traces):
        files = [one["files"] if isinstance(one.get("files"), dict) else {} for one in traces]
        settings["traces"] = _joined(str(sha)[:12] for one in files for sha in one.values())
        settings["only correct traces"] = _joined(one.get("only_correct", False) for one in traces)
        if score.metric in _WEIGHTED_BY_CONFIDENCE:
            weights = (results.metadata(member).get("rbridge_weights", "confidence") for member in members)
            settings["confidence model"] = _joined(one.get("confidence_model") or "none" for one in traces)
            settings["weights"] = _joined(weights)
        if score.metric in PROXIES and "counts" in PROXIES[score.metric].needs:
            counted = (results.metadata(member).get("rbridge_token_counts") for member in members)
            settings[TOKEN_COUNTS] = _joined(counted)
        if score.metric in _PER_TOKEN:
            special = [results.data.get(f"tokenizer_{kind}_token") for kind in ("bos", "eos", "pad")]
            settings["tokenizer"] = None if None in special else " ".join(map(str, special))
    return {name: str(value) for name, value in settings.items() if value is not None}


def differences(scores: Iterable[Measured]) -> list[str]:
    """Say, a line for each setting, where scores of one benchmark and metric were measured differently.

    >>> proxy, other = Measured("gsm8k", "acc", "a", {"n-shot": "5"}), Measured("gsm8k", "acc", "b", {"n-shot": "0"})
    >>> differences([proxy, other])
    ['gsm8k acc: n-shot differs, such as 5 for a and 0 for b; these scores do not compare']
    """
    seen: dict[str, dict[tuple[str, str], dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for score in scores:
        for setting, value in score.settings.items():
            seen[setting][score.benchmark, score.metric].setdefault(value, score.model)
    lines = []
    for setting, found in seen.items():
        apart = {key: models for key, models in found.items() if len(models) > 1}
        if apart:
            (benchmark, metric), models = next(iter(apart.items()))
            one, other = [*models.items()][:2]
            more = f" (and {len(apart) - 1} more pairs of benchmark and metric)" if len(apart) > 1 else ""
            lines.append(
                f"{benchmark} {metric}{more}: {setting} differs, such as {one[0]} for {one[1]} and {other[0]} for "
                f"{other[1]}; these scores do not compare"
            )
    return lines


def _versions(task: str, members: Iterable[str], results: ResultsFile) -> str | None:
    """Version of a task, or of a group and the tasks in it; None where the file gives none."""
    versions = results.section("versions")
    known = (versions.get(name) for name in dict.fromkeys([task, *members]))
    return _joined(version for version in known if version is not None) or None


def _shots(task: str, results: ResultsFile) -> object:
    """Worked examples in the prompt, in the place where each version notes them."""
    places = (
        results.section("n-shot").get(task),
        results.section("configs", task).get("num_fewshot"),
        results.section("config").get("num_fewshot"),
    )
    return next((shots for shots in places if shots is not None), None)


def _joined(values: Iterable[object]) -> str | None:
    """Distinct values in order, None where one is unknown."""
    distinct = {None if value is None else str(value) for value in values}
    return None if None in distinct else ", ".join(sorted(str(value) for value in distinct))
