"""Which checkpoints there are to score: folders of training runs, and models of the Hub; in the order of training."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbridge_metrics.errors import RBridgeError
from rbridge_tasks.tables.run_names import Named, read_name

_DEPTH = 3  # folders below the one that is named: data set / size / checkpoint
_TEMPORARY = re.compile(r"^\.|^tmp[-_]|[-_.]tmp$|\.part(ial)?$|\.incomplete$", re.I)


class SweepError(RBridgeError):
    """A sweep that cannot be made as it was asked for."""


@dataclass(frozen=True)
class Checkpoint:
    """One model to score, as lm-eval is told of it.

    Attributes:
        pretrained: absolute path of a folder, or a model's name on the Hub.
        revision: of a model on the Hub; None for a folder.
        commit: which the revision is now; None for a folder.
        tokenizer: folder of the tokenizer where the checkpoint's own folder has none.
        model_args: what lm-eval's model takes for this checkpoint alone.
        weight_bytes: size of its weights, 0 where unknown: checkpoints of one size take about the same time.
    """

    pretrained: str
    revision: str | None = None
    commit: str | None = None
    tokenizer: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    weight_bytes: int = 0

    @property
    def is_local(self) -> bool:
        """Whether it is a folder, and no model of the Hub."""
        return self.commit is None

    @functools.cached_property
    def named(self) -> Named:
        """What its name says of run, step and tokens."""
        return read_name(self.pretrained, self.revision)

    @property
    def label(self) -> str:
        """Short name for people: the last two parts of a path, or the model and its revision."""
        short = "/".join(Path(self.pretrained).parts[-2:])
        return f"{short}@{self.revision}" if self.revision else short


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that takes digits as numbers.

    >>> sorted(["step10", "step9", "final", "step100"], key=natural)
    ['final', 'step9', 'step10', 'step100']
    """
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def in_order(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Checkpoints by run, then size, step, tokens and name. Those without a step come last in their run: ``final``."""

    def key(one: Checkpoint) -> tuple[Any, ...]:
        named = one.named
        step = named.step if named.step is not None else named.tokens
        numbers = (named.params or 0.0, step is None, step or 0.0, named.tokens or 0.0)
        return (natural(named.run), *numbers, natural(one.pretrained), natural(one.revision or ""))

    return sorted(checkpoints, key=key)


def folders_of(source: str | Path, *, include_final: bool = False) -> list[Path]:
    """The checkpoints in a folder: itself, or those up to three folders below it.

    A checkpoint is a folder with a ``config.json``, complete or not. Names that trainers and downloads use for what is
    not finished (``tmp-*``, ``*.tmp``, hidden ones) are passed over, and links to a checkpoint that is there already.

    Args:
        source: folder of a checkpoint, of a run, or of several runs.
        include_final: take a run's own folder as a checkpoint too, where it holds a model beside its checkpoints.

    Raises:
        SweepError: there is no such folder.
    """
    root = Path(os.path.abspath(source))  # noqa: PTH100  # Path.resolve would follow links, and with them lose names
    if not root.is_dir():
        raise SweepError(
            f"there is no folder {str(source)!r}; give a checkpoint, a run's folder, or ORG/NAME of the Hub"
        )
    below = [*_below(root, _DEPTH)]
    own = [root] if (root / "config.json").exists() and (include_final or not below) else []
    found: dict[str, Path] = {}
    for folder in sorted([*own, *below], key=lambda path: (path.is_symlink(), natural(str(path)))):
        found.setdefault(os.path.realpath(folder), folder)
    return [*found.values()]


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inside = [*folder.iterdir()]
    except OSError:  # removed by its trainer meanwhile, or not ours to read
        return
    for path in inside:
        if _TEMPORARY.search(path.name) or not path.is_dir():
            continue
        if (path / "config.json").exists():
            yield path
        elif depth > 1:
            yield from _below(path, depth - 1)


def local_checkpoint(folder: Path, model_args: Mapping[str, Any]) -> Checkpoint:
    """A folder as a checkpoint; its tokenizer is looked for in the folder above where it has none."""
    from rbridge_tasks.sweeping.completeness import has_tokenizer

    given = "tokenizer" in model_args
    above = folder.parent if not given and not has_tokenizer(folder) and has_tokenizer(folder.parent) else None
    return Checkpoint(
        str(folder),
        tokenizer=str(above) if above else None,
        model_args=dict(model_args),
        weight_bytes=_weight_bytes(folder),
    )


def _weight_bytes(folder: Path) -> int:
    from rbridge_tasks.resume.model_files import weight_files

    try:
        return sum(file.stat().st_size for file in weight_files(folder))
    except OSError:
        return 0


def find(
    sources: Sequence[str], *, revisions: Sequence[str], include_final: bool, model_args: Mapping[str, Any]
) -> list[Checkpoint]:
    """The checkpoints of folders and of models of the Hub, in the order of training, each once.

    Args:
        sources: folders, and ``ORG/NAME`` or ``ORG/NAME@REVISION`` of the Hub.
        revisions: globs of the branches and tags to take of models of the Hub.
        include_final: see ``folders_of``.
        model_args: what lm-eval's model takes for these checkpoints.

    Raises:
        SweepError: a source that is neither, or holds no checkpoint; globs without a model of the Hub.
    """
    from rbridge_tasks.sweeping.hub import is_hub_name, revisions_of

    found: list[Checkpoint] = []
    for source in sources:
        if is_hub_name(source):
            found += revisions_of(source, revisions, model_args)
            continue
        folders = folders_of(source, include_final=include_final)
        if not folders:
            raise SweepError(
                f"no checkpoint in {source}: neither it nor a folder in it has a config.json; save checkpoints with "
                "save_pretrained, or wait for them with --watch"
            )
        found += [local_checkpoint(folder, model_args) for folder in folders]
    if revisions and not any(map(is_hub_name, sources)):
        raise SweepError("--revisions chooses branches and tags of a model of the Hub; name one, as ORG/NAME")
    unique = {(one.pretrained, one.revision): one for one in reversed(found)}
    return in_order(unique.values())
