"""What differs between the versions of lm-eval that our tasks run under: 0.4.12, 0.4.13 and 0.5.0.dev1.

Each difference is detected by what lm-eval has, not by its version number:

- One task class serves all output types in 0.4; 0.5 has a class for each output type.
- ``--predict_only`` puts the metric "bypass" into a dictionary of the task in 0.4, into its scorers in 0.5.
- ``process_results`` gets the filtered response of each request in 0.4; 0.5 expects a list of responses there and
  passes on its elements.
- A task builds its requests with ``metadata=(task, document, repeats)`` in 0.4; 0.5 passes ``doc_id`` and keeps the
  target in the request.
- A task in a group is called ``group::task`` in the results of 0.5; ours keep their own name, as in 0.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

#: Name under which 0.5 would list a task in the results, in its configuration.
QUALIFIED_NAME = "_qualified_name"
#: Since 0.5: scorers in the place of a task's metrics and filters.
_HAS_SCORERS = hasattr(ConfigurableTask, "process_instances")


def task_class(output_type: str) -> Any:
    """The class of lm-eval for tasks of an output type."""
    by_output_type = getattr(ConfigurableTask, "_registry", None)
    return ConfigurableTask if by_output_type is None else by_output_type[output_type]


def predicts_only(task: Any) -> bool:
    """Whether ``--predict_only`` asks a task for responses without metrics."""
    return bool(task._has_metric("bypass") if _HAS_SCORERS else "bypass" in task._metric_fn_list)


def filtered_response(response: Any) -> Any:
    """A response as ``Instance.filtered_resps`` holds it."""
    return [response] if _HAS_SCORERS else response


def request_fields(task: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that tell a request's task and document, from the arguments of ``construct_requests``."""
    task_name, doc_id, repeats = given.get("metadata") or (task.config.task, given["doc_id"], 1)
    return {"task_name": task_name, "doc_id": doc_id, "metadata": (task_name, doc_id, repeats)}


def new_request(request_type: str, doc: Mapping[str, Any], arguments: tuple[Any, ...], idx: int = 0) -> Any:
    """A request that belongs to no task."""
    fields = {"task_name": "", "doc_id": idx, "metadata": ("", idx, 1)}
    return Instance(request_type=request_type, doc=doc, arguments=arguments, idx=idx, **fields)
