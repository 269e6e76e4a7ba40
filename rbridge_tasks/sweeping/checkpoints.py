"""Finding checkpoints: in folders of training runs, and among the revisions of models on the Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbridge_tasks.resume.model_files import weight_files
from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError, in_order, natural
from rbridge_tasks.sweeping.completeness import has_tokenizer
from rbridge_tasks.sweeping.hub import is_hub_name, revisions_of
from rbridge_tasks.sweeping.settings import check_json
from rbridge_traces.files import exists, is_folder

_DEPTH = 3  # folders below the one that is named: data set / size / checkpoint
_TEMPORARY = re.compile(r"^\.|^tmp[-_]|[-_.]tmp$|\.part(ial)?$|\.incomplete$", re.I)


def find(
    sources: Sequence[str],
    *,
    revisions: Sequence[str] = (),
    include_final: bool = False,
    model_args: Mapping[str, Any] | None = None,
) -> list[Checkpoint]:
    """The checkpoints of folders and of models of the Hub, in the order of training, each once.

    Args:
        sources: folders, and ``ORG/NAME`` or ``ORG/NAME@REVISION`` of the Hub.
        revisions: globs of the branches and tags to take of models of the Hub.
        include_final: see ``folders_of``.
        model_args: arguments of lm-eval's model for these checkpoints.

    Raises:
        SweepError: a source that is neither, or holds no checkpoint; globs without a model of the Hub.
    """
    checkpoints: dict[tuple[str, str | None], Checkpoint] = {}
    check_json(model_args or {}, "model_args")
    for source in sources:
        if is_hub_name(source):
            matching = revisions_of(source, revisions, model_args or {})
        else:
            folders = folders_of(source, include_final=include_final)
            if not folders:
                raise SweepError(
                    f"no checkpoint in {source}: neither it nor a folder in it has a config.json; save checkpoints "
                    "with save_pretrained, or wait for them with --watch"
                )
            matching = [local_checkpoint(folder, model_args or {}) for folder in folders]
        for checkpoint in matching:
            checkpoints.setdefault((checkpoint.pretrained, checkpoint.revision), checkpoint)
    if revisions and not any(map(is_hub_name, sources)):
        raise SweepError("--revisions chooses branches and tags of a model of the Hub; name one, as ORG/NAME")
    return in_order(checkpoints.values())


def folders_of(source: str | Path, *, include_final: bool = False) -> list[Path]:
    """The checkpoints in a folder: itself, or those up to three folders below it.

    A checkpoint is a folder with a ``config.json``, complete or not. Names of unfinished files and folders (``tmp-*``,
    ``*.tmp``, hidden ones) are skipped, and so are links to a checkpoint that is listed already.

    Args:
        source: folder of a checkpoint, of a run, or of several runs.
        include_final: take a run's own folder as a checkpoint too, where it holds a model beside its checkpoints.

    Raises:
        SweepError: the folder does not exist.
    """
    root = Path(os.path.abspath(source))  # noqa: PTH100  # Path.resolve would follow links, and with them lose names
    if not is_folder(root):
        raise SweepError(
            f"there is no folder {str(source)!r}; give a checkpoint, a run's folder, or ORG/NAME of the Hub"
        )
    below = [*_below(root, _DEPTH)]
    own = [root] if (root / "config.json").exists() and (include_final or not below) else []
    folders: dict[str, Path] = {}
    for folder in sorted([*own, *below], key=lambda path: (path.is_symlink(), natural(str(path)))):
        folders.setdefault(os.path.realpath(folder), folder)
    return [*folders.values()]


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inside = [*folder.iterdir()]
    except OSError:  # removed by its trainer meanwhile, or not readable for us
        return
    for path in inside:
        if _TEMPORARY.search(path.name) or not path.is_dir():
            continue
        if exists(path / "config.json"):
            yield path
        elif depth > 1:
            yield from _below(path, depth - 1)


def local_checkpoint(folder: Path, model_args: Mapping[str, Any]) -> Checkpoint:
    """A folder as a checkpoint. Without a tokenizer of its own it takes the one in the folder above."""
    above = folder.parent if "tokenizer" not in model_args and not has_tokenizer(folder) else folder
    try:
        weight_bytes = sum(file.stat().st_size for file in weight_files(folder))
    except OSError:
        weight_bytes = 0
    tokenizer = str(above) if above != folder and has_tokenizer(above) else None
    return Checkpoint(str(folder), tokenizer=tokenizer, model_args=dict(model_args), weight_bytes=weight_bytes)
