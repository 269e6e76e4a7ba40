"""A sweep as a YAML file: what would be typed each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rbridge_tasks.sweeping.checkpoints import SweepError


@dataclass(frozen=True)
class Entry:
    """Checkpoints of one source.

    Attributes:
        name: folder, from where the file is, or ``ORG/NAME`` of the Hub.
        revisions: globs of branches and tags.
        model_args: for these checkpoints alone.
    """

    name: str
    revisions: tuple[str, ...] = ()
    model_args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepFile:
    """What stands in the file; None where it says nothing. Field by field what the command's options of the names take.

    Attributes:
        lm_eval_args: any other options of ``lm_eval``, words as they are typed.
    """

    checkpoints: tuple[Entry, ...]
    output: str | None = None
    tasks: tuple[str, ...] | None = None
    model: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    num_fewshot: int | None = None
    batch_size: str | None = None
    limit: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    runs: str | None = None
    lm_eval_args: tuple[str, ...] = ()


def read_sweep_file(path: str | Path) -> SweepFile:
    """Read a sweep file. Folders in it count from where the file is.

    Raises:
        SweepError: it cannot be read, is no YAML, has keys that are not known, or values of the wrong kind.
    """
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SweepError(f"cannot read {path}: {error.strerror or error}; check the name") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SweepError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    found = _known(data, SweepFile, str(path))
    listed = found.get("checkpoints")
    if not isinstance(listed, list) or not listed:
        raise SweepError(f"{path} lists no checkpoints; write checkpoints: [FOLDER, ORG/NAME]")
    found["checkpoints"] = tuple(_entry(one, Path(path)) for one in listed)
    for key, value in found.items():
        found[key] = _checked(key, value, str(path))
    for key in ("output", "runs"):
        if found.get(key):
            found[key] = _place(found[key], Path(path))
    return SweepFile(**found)


def _entry(one: object, path: Path) -> Entry:
    from rbridge_tasks.sweeping.hub import is_hub_name

    found = {"name": one} if isinstance(one, str) else _known(one, Entry, f"a checkpoint in {path}")
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise SweepError(f"a checkpoint in {path} has no name; write name: FOLDER or ORG/NAME")
    folder = _place(name, path)
    found["name"] = name if is_hub_name(name) and not Path(folder).exists() else folder
    for key in ("revisions", "model_args"):
        if key in found:
            found[key] = _checked(key, found[key], str(path))
    return Entry(**found)


def _place(name: str, path: Path) -> str:
    return str(path.absolute().parent / Path(name).expanduser())


def _known(data: object, kind: type, where: str) -> dict[str, Any]:
    known = [one.name for one in fields(kind)]
    if not isinstance(data, dict):
        raise SweepError(f"{where} holds a {type(data).__name__}; expected keys: {', '.join(known)}")
    if unknown := [str(key) for key in data if key not in known]:
        raise SweepError(f"{where} has the key {unknown[0]!r}; known are {', '.join(known)}")
    return {key: value for key, value in data.items() if value is not None}


def _checked(key: str, value: Any, where: str) -> Any:
    """A value of the kind that its key takes."""
    if key in ("tasks", "revisions", "lm_eval_args"):
        words = [value] if isinstance(value, str) else value
        if isinstance(words, list) and all(isinstance(word, (str, int, float)) for word in words):
            return tuple(str(word) for word in words)
        raise SweepError(f"{where} has {key}: {value!r}; write a list of words")
    if key in ("model_args", "metadata"):
        if isinstance(value, dict):
            return {str(name): inner for name, inner in value.items()}
        raise SweepError(f"{where} has {key}: {value!r}; write key: value below it")
    if key == "num_fewshot" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise SweepError(f"{where} has {key}: {value!r}; write a whole number from 0")
    if key == "limit" and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
        raise SweepError(f"{where} has {key}: {value!r}; write a number of items, or a share below 1")
    if key == "batch_size" and isinstance(value, int):
        return str(value)
    if key in ("output", "model", "batch_size", "device", "runs") and not isinstance(value, str):
        raise SweepError(f"{where} has {key}: {value!r}; write a word")
    return value
