"""A sweep as a YAML file, with the options of ``rbridge sweep`` as keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from rbridge_tasks.sweeping.checkpoint import SweepError
from rbridge_tasks.sweeping.hub import is_hub_name
from rbridge_traces.files import exists

#: What a value should be, by the name of its key, for errors.
_EXPECTED = {
    "name": "FOLDER or ORG/NAME",
    "checkpoints": "[FOLDER, ORG/NAME]",
    "num_fewshot": "a whole number from 0",
    "limit": "a number of items, or a share below 1",
    "model_args": "key: value below it",
    "metadata": "key: value below it",
} | dict.fromkeys(("tasks", "revisions", "lm_eval_args"), "a list of words")


def _words(value: Any) -> Any:
    """A list of words as texts; a single word is a list of one."""
    words = [value] if isinstance(value, str) else value
    return (
        [str(word) if isinstance(word, (int, float)) else word for word in words] if isinstance(words, list) else words
    )


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is expected")  # noqa: TRY004  # pydantic turns only this into its error
    return value


_Words = Annotated[tuple[StrictStr, ...], BeforeValidator(_words)]
_Text = Annotated[StrictStr, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


class Entry(BaseModel):
    """Checkpoints of one source.

    Attributes:
        name: folder, relative to the file, or ``ORG/NAME`` of the Hub.
        revisions: globs of branches and tags.
        model_args: for these checkpoints alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    name: Annotated[StrictStr, Field(min_length=1)]
    revisions: _Words = ()
    model_args: dict[str, Any] = {}


class SweepFile(BaseModel):
    """The content of a sweep file; None for options that it leaves out.

    Attributes:
        lm_eval_args: any other options of ``lm_eval``, as they are typed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    checkpoints: Annotated[tuple[Entry, ...], Field(min_length=1)]
    output: StrictStr | None = None
    tasks: _Words | None = None
    model: StrictStr | None = None
    model_args: dict[str, Any] = {}
    num_fewshot: Annotated[int, Field(ge=0, strict=True)] | None = None
    batch_size: _Text | None = None
    limit: Annotated[float, Field(gt=0), BeforeValidator(_no_bool)] | None = None
    metadata: dict[str, Any] = {}
    device: StrictStr | None = None
    keep_samples: StrictBool | None = None
    runs: StrictStr | None = None
    lm_eval_args: _Words = ()


def read_sweep_file(path: str | Path) -> SweepFile:
    """Read a sweep file. Folders in it are relative to the folder of the file.

    Raises:
        SweepError: it cannot be read, is no YAML, has unknown keys, or values of the wrong kind.
    """
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SweepError(f"cannot read {path}: {error.strerror or error}; check the name") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SweepError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise SweepError(f"{path} holds a {type(data).__name__}; expected keys: {', '.join(SweepFile.model_fields)}")
    data = {str(key): value for key, value in data.items() if value is not None}
    if isinstance(data.get("checkpoints"), list):
        data["checkpoints"] = [{"name": entry} if isinstance(entry, str) else entry for entry in data["checkpoints"]]
    try:
        file = SweepFile.model_validate(data)
    except ValidationError as error:
        raise SweepError(_message(error, path)) from error

    def place(name: str) -> str:
        return str(Path(path).absolute().parent / Path(name).expanduser())

    entries = tuple(
        entry
        if is_hub_name(entry.name) and not exists(place(entry.name))
        else entry.model_copy(update={"name": place(entry.name)})
        for entry in file.checkpoints
    )
    folders = {key: place(value) for key in ("output", "runs") if (value := getattr(file, key))}
    return file.model_copy(update={"checkpoints": entries, **folders})


def _message(error: ValidationError, path: str | Path) -> str:
    """The first error of a file in one line: what stands there and what is expected."""
    errors = error.errors()
    first = next((problem for problem in errors if problem["type"] == "extra_forbidden"), errors[0])
    names = [str(part) for part in first["loc"] if isinstance(part, str)]
    key = names[-1] if names else "checkpoints"
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known = Entry.model_fields if len(first["loc"]) > 1 else SweepFile.model_fields
        return f"{path} has the key {place!r}; known are {', '.join(known)}"
    expected = _EXPECTED.get(key, "a word")
    if first["type"] == "missing":
        return f"{path} has no {place}; write {key}: {expected}"
    return f"{path} has {place}: {first['input']!r}; write {expected}"
