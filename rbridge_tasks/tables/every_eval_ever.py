"""Write results in the format of Every Eval Ever, the EvalEval coalition's shared store of evaluation results.

One file per results file and benchmark, in the store's layout ``data/BENCHMARK/DEVELOPER/MODEL/UUID.json``. The schema
and the rules of its validator are those of the package ``every-eval-ever`` 0.3.0.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rbridge_tasks.tables.catalogue import metric_info, plain_name
from rbridge_tasks.tables.directions import bounds_of
from rbridge_tasks.tables.exported_scores import Exported, ExportedScore, ExportError
from rbridge_tasks.tables.lm_eval_results import ResultsFile
from rbridge_tasks.tables.settings import TRACES
from rbridge_tasks.visible_text import encodable
from rbridge_traces.files import write_file

SCHEMA_VERSION = "0.3.0"
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")
_ENGINES = {"hf": "transformers", "hf-auto": "transformers", "huggingface": "transformers", "vllm": "vllm"}
_DATASET = re.compile(r"[\w.-]+/[\w.-]+")
_UNITS = {"fraction of items": "proportion"}


def write_every_eval_ever(
    scores: Sequence[ExportedScore], folder: str | Path, *, organization: str | None, relationship: str | None
) -> Exported:
    """Write one JSON file per results file and benchmark. The same results get the same file names again.

    Args:
        scores: what to write.
        folder: where ``data/`` is made.
        organization, relationship: see ``export``; the second is one of ``RELATIONSHIPS``.

    Raises:
        ExportError: ``organization`` or ``relationship`` is missing; the format requires both.
    """
    if not organization or not organization.strip():
        raise ExportError("every-eval-ever asks who provides the results; give --organization NAME")
    if relationship not in RELATIONSHIPS:
        raise ExportError(
            f"every-eval-ever asks how you relate to the models, and was given {relationship!r}; give --relationship "
            f"{', '.join(RELATIONSHIPS)}"
        )
    source = {
        "source_name": "lm-evaluation-harness",
        "source_type": "evaluation_run",
        "source_organization_name": organization,
        "evaluator_relationship": relationship,
    }
    records: dict[tuple[Path, str], list[ExportedScore]] = {}
    for score in scores:
        records.setdefault((score.results.path, score.benchmark), []).append(score)
    files = []
    now = f"{time.time():.3f}"
    for (_, benchmark), of_record in records.items():
        model_id = of_record[0].model_id
        record = {
            "schema_version": SCHEMA_VERSION,
            "evaluation_id": f"{benchmark}/{model_id}/{now}",
            "retrieved_timestamp": now,
            "source_metadata": source,
            **_measured(of_record[0].results, model_id),
            "evaluation_results": [_result(score) for score in of_record],
        }
        place = re.sub(r'[<>:"\\/|?*\x00-\x1f]+', "_", encodable(benchmark)).lstrip(".")
        file = Path(folder) / "data" / place / model_id / f"{_file_id(record)}.json"
        text = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False)
        write_file(file, encodable(text).encode() + b"\n")  # JSON's own spelling of a lone surrogate
        files.append(file)
    return Exported(files, len(scores))


def _file_id(record: Mapping[str, Any]) -> uuid.UUID:
    """A name of the form that the store asks for (version 4), made of all of the record but its time of writing."""
    lasting = {name: part for name, part in record.items() if name not in ("evaluation_id", "retrieved_timestamp")}
    text = json.dumps([record["evaluation_id"].rpartition("/")[0], lasting], sort_keys=True)
    return uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=4)


def _measured(results: ResultsFile, model_id: str) -> dict[str, Any]:
    """What was evaluated, when and with what, as far as the results file states it."""
    model, engine = results.model, _ENGINES.get(str(results.section("config").get("model")))
    details = {
        "deployment_type": "unknown" if engine is None else "self_deployed",
        "model_availability": "unknown",
        **({} if model.revision is None else {"revision": model.revision}),
        **({} if model.params is None else {"num_parameters": f"{model.params:.0f}"}),
        **model.precision,
    }
    name = model.label if model.label.startswith(model_id) else model_id  # no paths of this machine
    info: dict[str, Any] = {"name": name, "id": model_id, "developer": model_id.partition("/")[0]}
    if engine is not None:
        version = results.data.get(f"{engine}_version")
        info["inference_engine"] = {"name": engine} | ({"version": version} if isinstance(version, str) else {})
    version = results.data.get("lm_eval_version")
    measured = {
        "eval_library": {"name": "lm_eval", "version": version if isinstance(version, str) else "unknown"},
        "model_info": info | {"additional_details": details},
    }
    date = results.stated_date
    return measured if date is None else {"evaluation_timestamp": f"{date:.0f}"} | measured


def _result(exported: ExportedScore) -> dict[str, Any]:
    score = exported.score
    uncertainty: dict[str, Any] = {}
    if not math.isnan(score.stderr):
        uncertainty["standard_error"] = {"value": score.stderr}
    if not math.isnan(score.n):
        uncertainty["num_samples"] = int(score.n)
    result: dict[str, Any] = {
        "evaluation_result_id": f"{score.task}/{score.metric}",
        "evaluation_name": exported.benchmark,
        "source_data": _source(exported),
        "metric_config": _metric(exported),
        "score_details": {"score": score.value} | ({"uncertainty": uncertainty} if uncertainty else {}),
    }
    if exported.settings:
        result["generation_config"] = {"additional_details": dict(exported.settings)}
    return result


def _metric(exported: ExportedScore) -> dict[str, Any]:
    """Direction, unit and bounds. The schema asks for bounds where it is told the type of the score."""
    score = exported.score
    name, info = plain_name(score.metric), metric_info(score.metric)
    config: dict[str, Any] = {
        "evaluation_description": f"{score.metric} of lm-eval's task {score.task}",
        "metric_id": name if info is None or info.kind == "lm_eval" else f"rbridge.{name}",
        "metric_name": score.metric,
        "lower_is_better": exported.lower_is_better,
    }
    if info is None:
        return config
    low, high = bounds_of(score.metric, [score.value])
    unit = "percent" if info.is_fraction and high == 100 else _UNITS.get(info.unit, info.unit)
    if unit:
        config["metric_unit"] = unit
    if (low, high) != (-math.inf, math.inf):
        limits = {"min_score": low, "max_score": high}
        config["score_type"] = "continuous"
        config |= {key: "Infinity" if limit == math.inf else limit for key, limit in limits.items()}
    return config


def _source(exported: ExportedScore) -> dict[str, Any]:
    """The data set of a task of lm-eval; of our tasks the checksum of the traces."""
    task = exported.results.section("configs", exported.score.task)
    repository = task.get("dataset_path")
    if TRACES in exported.settings or not isinstance(repository, str) or not _DATASET.fullmatch(repository):
        source: dict[str, Any] = {"dataset_name": exported.benchmark, "source_type": "other"}
        traces = exported.settings.get(TRACES)
        return source | ({"additional_details": {TRACES: traces}} if traces else {})
    source = {"dataset_name": exported.benchmark, "source_type": "hf_dataset", "hf_repo": repository}
    split = task.get("test_split") or task.get("validation_split")
    named = {"hf_split": split, "hf_config": task.get("dataset_name")}
    return source | {key: text for key, text in named.items() if isinstance(text, str)}
