"""JSON schema of a record of Every Eval Ever, written for these tests from its documentation (version 0.3.0).

Stricter than the original, which allows additional properties and so does not detect misspelt fields.
"""

from __future__ import annotations

from typing import Any


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    properties = required | (optional or {})
    return {
        "type": "object", "required": [*required], "properties": properties, "additionalProperties": False, **more
    }  # fmt: skip


TEXT = {"type": "string", "minLength": 1}
DETAILS = {"type": "object", "additionalProperties": {"type": "string"}}
TIME = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
BOUND = {"anyOf": [{"type": "number"}, {"enum": ["Infinity", "-Infinity"]}]}

METRIC = _object(
    {"lower_is_better": {"type": "boolean"}},
    {
        "evaluation_description": TEXT, "metric_id": TEXT, "metric_name": TEXT, "metric_unit": TEXT,
        "score_type": {"enum": ["binary", "continuous", "levels"]}, "min_score": BOUND, "max_score": BOUND,
    },
    **{
        "if": {"required": ["score_type"], "properties": {"score_type": {"const": "continuous"}}},
        "then": {"required": ["min_score", "max_score"]},
    },
)  # fmt: skip
SOURCE = {
    "oneOf": [
        _object(
            {"dataset_name": TEXT, "source_type": {"const": "hf_dataset"}, "hf_repo": TEXT},
            {"hf_split": TEXT, "hf_config": TEXT},
        ),
        _object({"dataset_name": TEXT, "source_type": {"const": "other"}}, {"additional_details": DETAILS}),
    ]
}
UNCERTAINTY = _object(
    {}, {"standard_error": _object({"value": {"type": "number"}}), "num_samples": {"type": "integer"}}
)
RESULT = _object(
    {
        "evaluation_name": TEXT, "source_data": SOURCE, "metric_config": METRIC,
        "score_details": _object({"score": {"type": "number"}}, {"uncertainty": UNCERTAINTY}),
    },
    {"evaluation_result_id": TEXT, "generation_config": _object({}, {"additional_details": DETAILS})},
)  # fmt: skip
#: The validator of the store requires both.
MODEL_DETAILS = {
    "type": "object", "required": ["deployment_type", "model_availability"], "additionalProperties": {"type": "string"},
    "properties": {
        "deployment_type": {"enum": ["self_deployed", "externally_managed", "unknown"]},
        "model_availability": {"enum": ["open_weights", "closed_weights", "unknown"]},
    },
}  # fmt: skip
RECORD = _object(
    {
        "schema_version": {"const": "0.3.0"},
        "evaluation_id": {"type": "string", "pattern": "^[^/]+/[^/]+/[^/]+/[0-9.]+$"},
        "retrieved_timestamp": TIME,
        "source_metadata": _object(
            {
                "source_type": {"enum": ["documentation", "evaluation_run"]},
                "source_organization_name": TEXT,
                "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]},
            },
            {"source_name": TEXT},
        ),
        "eval_library": _object({"name": TEXT, "version": TEXT}),
        "model_info": _object(
            {"name": TEXT, "id": {"type": "string", "pattern": "^[^/]+/[^/]+$"}, "additional_details": MODEL_DETAILS},
            {"developer": TEXT, "inference_engine": _object({}, {"name": TEXT, "version": TEXT})},
        ),
        "evaluation_results": {"type": "array", "items": RESULT, "minItems": 1},
    },
    {"evaluation_timestamp": TIME},
)
