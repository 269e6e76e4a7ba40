"""Revisions of a model on the Hub that match a glob, and the commits they are at now."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError
from rbridge_tasks.tables.names import listed
from rbridge_traces.files import exists

_NAME = re.compile(r"[\w.-]+/[\w.-]+(?:@[^\s]+)?")


def is_hub_name(source: str) -> bool:
    """Whether a source is ``ORG/NAME`` or ``ORG/NAME@REVISION``, and no folder of that name.

    >>> is_hub_name("EleutherAI/pythia-160m@step1000"), is_hub_name("./runs/web"), is_hub_name("/ckpts/web")
    (True, False, False)
    """
    return not source.startswith((".", "/", "~")) and bool(_NAME.fullmatch(source)) and not exists(source)


def revisions_of(source: str, globs: Sequence[str], model_args: Mapping[str, Any]) -> list[Checkpoint]:
    """The branches and tags of a model that match any of the globs; without globs the one named, else ``main``.

    Offline (``HF_HUB_OFFLINE=1``) these are the ones that were downloaded before.

    Raises:
        SweepError: no such model, no revision that matches, or the Hub cannot be reached.
    """
    name, _, wanted = source.partition("@")
    if wanted and globs:
        raise SweepError(f"{source} names a revision, and --revisions {globs[0]} others; leave out one of the two")
    refs = _refs(name)
    patterns = [wanted] if wanted else [*globs] or ["main"]
    for pattern in patterns:
        if not any(fnmatchcase(ref, pattern) for ref in refs):
            raise SweepError(f"no revision of {name} matches {pattern!r}; there are {listed(refs, 5) or 'none'}")
    matching = [ref for ref in refs if any(fnmatchcase(ref, pattern) for pattern in patterns)]
    return [Checkpoint(name, revision=ref, commit=refs[ref], model_args=dict(model_args)) for ref in matching]


def _refs(name: str) -> dict[str, str]:
    """Commit by branch and tag. A name that is both is the branch, as it is for whoever downloads it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        refs = HfApi().list_repo_refs(name)
    except OfflineModeIsEnabled:
        return _downloaded(name)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise SweepError(
            f"there is no model {name!r} on the Hub, or it is private and you are not logged in, and no folder of that "
            "name here; check the name"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        message = str(error).strip().splitlines() or [type(error).__name__]
        raise SweepError(
            f"cannot list the revisions of {name} ({message[0][:200]}); check the connection, or set HF_HUB_OFFLINE=1 "
            "to take those that were downloaded before"
        ) from error
    return {ref.name: ref.target_commit for ref in [*refs.tags, *refs.branches]}


def _downloaded(name: str) -> dict[str, str]:
    """Commit by revision of what the Hub's own cache holds."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs"
    refs = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not refs:
        raise SweepError(
            f"there is no folder {name!r}, and no revision of such a model in {os.fspath(folder.parent)}; "
            "check the name, or unset HF_HUB_OFFLINE, so that the Hub may be asked"
        )
    return {ref: path.read_text().strip() for ref, path in refs.items()}
