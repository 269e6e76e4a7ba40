"""Map the fields of published completions and token rows by a table of names in use.

Every target takes the first of its names that is present and not yet taken. So ``index`` is the item if no other field
names the item, else the position of a token. Case and punctuation do not count (``finalAnswer`` is ``final_answer``).
Except for ids, a name also matches inside objects (``response.reasoning``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, Literal, NamedTuple

from rbridge_traces.benchmark import plain
from rbridge_traces.errors import TraceError, TraceImportError, did_you_mean
from rbridge_traces.field_values import ABSENT, is_missing, lookup
from rbridge_traces.rows import Row

Kind = Literal["completions", "tokens"]

LEFT_OUT = "-"
"""Mapping value for a target that no field fills."""

_ROW = ""  # the name of the row itself, where that is a raw response
_OTHER_PARTS = ("toplogprobs", "usage")  # objects whose fields are tokens, or counts of them


def first_choice(response: Any) -> dict[str, Any]:
    """The first answer of a raw response, in the Chat Completions or the legacy layout; empty if it has none."""
    choices = response.get("choices") if isinstance(response, dict) else None
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def is_response(value: Any) -> bool:
    """Whether a value is a raw response with log-probabilities."""
    return "logprobs" in first_choice(value)


class Target(NamedTuple):
    """Types of the values, and names of the fields, that may fill a target; earlier names come first.

    ``fits`` is a further condition on a value. A truth value is a number only where ``bool`` is among the types.
    """

    types: tuple[type, ...]
    names: str
    fits: Callable[[Any], bool] = lambda _: True


_SCALAR = (str, int, float)
_NUMBERS = (int, float, list, dict)
_IDS = "item_id question_id task_id problem_id example_id doc_id sample_id unique_id custom_id qid id uid"
_INDEXES = (
    "item_index item_idx question_index question_idx problem_index problem_idx example_index example_idx sample_index "
    "sample_idx doc_index doc_idx trace_index trace_idx completion_index completion_idx row_id row_index row_idx row "
    "index idx key"
)

TARGETS: dict[Kind, dict[str, Target]] = {
    "completions": {
        "item_id": Target(_SCALAR, f"{_IDS} {_INDEXES}"),
        "response": Target((dict,), "response raw_response api_response completion body raw output", is_response),
        "reasoning": Target(
            (str,), "reasoning reasoning_trace reasoning_text cot chain_of_thought rationale trace thought explanation"
        ),
        "completion": Target(
            (str,),
            "completion raw_completion completion_text raw raw_text raw_response raw_output response response_text "
            "model_response output model_output output_text generation generated_text content text",
        ),
        "question": Target((str,), "question problem query question_text question.stem input prompt"),
        "choices": Target(
            (list, dict), "choices options answer_choices", lambda value: not is_response({"choices": value})
        ),
        "final_answer": Target(
            _SCALAR, "final_answer model_answer predicted_answer extracted_answer prediction predicted pred answer"
        ),
        "gold": Target(
            _SCALAR,
            "gold gold_answer ground_truth ground_truth_answer reference_answer correct_answer expected_answer "
            "answer_key gold_label reference target label answer",
        ),
        "correct": Target((bool, int, float), "correct is_correct correctness passed", lambda value: value in (0, 1)),
    },
    "tokens": {
        "item_id": Target(
            _SCALAR, f"trace_id completion_id {_IDS} {_INDEXES} item trace sample doc question problem prompt"
        ),
        "position": Target(
            _SCALAR,
            "position pos token_position token_pos token_index token_idx token_number token_num step offset index idx "
            "i t n",
        ),
        "response": Target((dict,), "response raw_response api_response completion body", is_response),
        "bytes": Target((list,), "bytes token_bytes utf8_bytes utf8"),
        "logprob": Target(_NUMBERS, "logprob token_logprob log_probability logp lp logprobs token_logprobs"),
        "token": Target((str, list), "token token_text token_str token_string piece decoded_token decoded text tokens"),
        "probability": Target(
            _NUMBERS,
            "probability token_probability prob token_prob p confidence linear_probability probabilities probs",
        ),
    },
}
"""What may fill each target, by kind of row; the targets in the order in which they take their pick."""


@dataclass(frozen=True)
class Fields:
    """The field that fills each target of a kind of row, and all fields present."""

    kind: Kind
    of: Mapping[str, str]
    present: tuple[str, ...]

    def getter(self, target: str) -> Callable[[Row], Any]:
        """A function from a row to the value of a target, None if missing."""
        name = self.of.get(target)
        if name is None:
            return lambda _: None
        if name == _ROW:
            return lambda row: row
        return methodcaller("get", name) if "." not in name else lambda row: value_at(row, name)

    def missing(self, need: str, target: str) -> TraceImportError:
        """The error for rows without a field that they need."""
        return TraceImportError(
            f"no field for {need} in the {self.kind}; the rows have {', '.join(self.present) or 'no fields'}; "
            f"name it with --field {self.kind}.{target}=FIELD"
        )


def map_fields(kind: Kind, rows: Iterable[Row], overrides: Mapping[str, str]) -> Fields:
    """Decide which field fills each target.

    Args:
        kind: of the rows.
        rows: some rows; a field counts if one of them fills it.
        overrides: ``kind.target`` -> field of the row (dots lead into objects), or ``-`` for none.

    Raises:
        TraceError: a target that does not exist, or a field that no row has.

    >>> rows = [{"id": 3, "index": 0, "token": " of", "lp": -0.5}]
    >>> map_fields("tokens", rows, {}).of
    {'item_id': 'id', 'position': 'index', 'logprob': 'lp', 'token': 'token'}
    """
    check_overrides(overrides)
    some = list(rows)
    values: dict[str, Any] = {}
    for row in some:
        for name, value in _values(row, "", 3):
            if is_missing(values.get(name)):
                values[name] = value
    present = tuple(values)
    chosen_by_user = {
        target: name for key, name in overrides.items() for of, _, target in [key.partition(".")] if of == kind
    }
    for target, name in chosen_by_user.items():
        if name != LEFT_OUT and all(value_at(row, name) is None for row in some):
            raise TraceImportError(
                f"no field {name}{did_you_mean(name, present)} for {kind}.{target}; the rows have {', '.join(present)}"
            )
    field_of: dict[str, str] = {}
    for target in TARGETS[kind]:
        taken = {*field_of.values(), *chosen_by_user.values()}
        left = {name: value for name, value in values.items() if name not in taken}
        if target == "final_answer" and {"completion", "response"} & field_of.keys():
            # The whole completion holds the model's answer, so that a field of that name is the right one.
            left = {name: value for name, value in left.items() if plain(name) != "answer"}
        chosen = chosen_by_user.get(target) or _pick(kind, target, left)
        if chosen is None and target == "response" and some and is_response(some[0]):
            chosen = _ROW
        if chosen is not None and chosen != LEFT_OUT:
            field_of[target] = chosen
    return Fields(kind, field_of, present)


def check_overrides(overrides: Iterable[str]) -> None:
    """Refuse a target that does not exist.

    Raises:
        TraceError: lists those that do.
    """
    known = [f"{kind}.{target}" for kind, targets in TARGETS.items() for target in targets]
    for key in overrides:
        if key not in known:
            raise TraceError(f"no target {key!r}{did_you_mean(key, known)}; the targets are {', '.join(known)}")


def value_at(row: Row, name: str) -> Any:
    """The value of a field, dots leading inside; None if missing."""
    value = lookup(row, name)
    return None if value is ABSENT else value


def _pick(kind: Kind, target: str, values: Mapping[str, Any]) -> str | None:
    """The field that a target takes of those that are left; outer fields come first."""
    types, names, fits = TARGETS[kind][target]
    left = {
        name: tuple(map(plain, name.split(".")))
        for name, value in values.items()
        if isinstance(value, types) and (bool in types or not isinstance(value, bool)) and fits(value)
    }
    if target in ("item_id", "position"):  # an id inside an object is that of something else
        left = {name: parts for name, parts in left.items() if len(parts) == 1}
    for wanted in (tuple(map(plain, alias.split("."))) for alias in names.split()):
        fitting = [name for name, parts in left.items() if parts[-len(wanted) :] == wanted]
        if fitting:
            return min(fitting, key=lambda name: len(left[name]))
    return None


def _values(row: Row, before: str, depth: int) -> Iterable[tuple[str, Any]]:
    """Dotted name and value of every field of a row and of the objects in it."""
    for name, value in row.items():
        yield before + name, value
        if isinstance(value, dict) and depth > 1 and plain(name) not in _OTHER_PARTS:
            yield from _values(value, f"{before}{name}.", depth - 1)
