"""Publish the sources of a cache as a data set of the Hugging Face Hub."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rbridge_traces.data_card import CARD
from rbridge_traces.errors import CacheCorruptError, TraceError
from rbridge_traces.files import client_errors
from rbridge_traces.hub import not_a_name
from rbridge_traces.packing import StoredSource
from rbridge_traces.publish import export
from rbridge_traces.store import TraceCache

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationCopy, HfApi
    from huggingface_hub.hf_api import DatasetInfo

_OURS = re.compile(
    rf"{re.escape(CARD)}|[A-Za-z0-9_-]+/benchmark\.yaml|[A-Za-z0-9_-]+/[^/]+/(manifest\.json|[^/]+\.parquet)"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Pushed:
    """Where the traces are. ``changed`` is False where all of it was there already."""

    url: str
    commit: str
    changed: bool


def push(
    sources: Sequence[StoredSource],
    repo: str,
    *,
    replace: bool = False,
    private: bool = False,
    revision: str | None = None,
) -> Pushed:
    """Add sources to a data set of the Hub in one commit, then download them at that commit and check them.

    A missing data set is created. Its other sources stay.

    Args:
        sources: as ``publication`` reads them.
        repo: ``OWNER/NAME``.
        replace: write over sources of the same name, and over a README.md that we did not write.
        private: create it as private; a data set that is public already is refused.
        revision: the branch to write to; created where there is none.

    Raises:
        TraceError: no token, no right to write, an invalid name, no way to the Hub, other traces there under the
            same name, or somebody else wrote in the meantime.
        CacheCorruptError: what was uploaded reads back changed.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    if not _NAME.fullmatch(repo):
        raise not_a_name(repo)
    if get_token() is None:
        raise TraceError('no Hugging Face token; log in with "hf auth login", or set HF_TOKEN to one that may write')
    api = HfApi()
    url = f"{api.endpoint}/datasets/{repo}"
    with tempfile.TemporaryDirectory(prefix="rbridge-push-") as folder:
        with _one_line_errors(repo, api.endpoint):
            before = _prepared(api, repo, private=private, revision=revision)
            existing = [file.rfilename for file in before.siblings or () if _OURS.fullmatch(file.rfilename)]
            old = _downloaded(api, repo, str(before.sha), existing, Path(folder) / "old")
        contents = _with_sources(old, sources, Path(folder) / "new", replace=replace, repo=repo, url=url)
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *(CommitOperationAdd(path, data) for path, data in contents.items() if old.get(path) != data),
            *(CommitOperationDelete(path) for path in old if path not in contents),
        ]
        if not operations:
            return Pushed(url, str(before.sha), changed=False)
        names = ", ".join(f"{source.manifest.benchmark} from {source.manifest.source}" for source in sources)
        with _one_line_errors(repo, api.endpoint):
            commit = api.create_commit(
                repo,
                operations,
                commit_message=f"Traces of {names}",
                repo_type="dataset",
                revision=revision,
                parent_commit=before.sha,
            ).oid
            stored = _downloaded(api, repo, commit, list(contents), Path(folder) / "check")
        wrong = [path for path, data in contents.items() if stored.get(path) != data]
        if wrong:
            raise CacheCorruptError(
                f"{repo} at commit {commit}: {wrong[0]} does not read back as it was sent; push again with --replace"
            )
    return Pushed(url, commit, changed=True)


def _prepared(api: HfApi, repo: str, *, private: bool, revision: str | None) -> DatasetInfo:
    """Create the data set and the branch if they do not exist, and return what they hold."""
    api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
    info = api.dataset_info(repo)
    if private and not info.private:
        raise TraceError(f"{repo} is public; make it private in its settings on the Hub, or leave out --private")
    if revision in (None, "main"):
        return info
    api.create_branch(repo, repo_type="dataset", branch=str(revision), exist_ok=True)
    return api.dataset_info(repo, revision=revision)


def _with_sources(
    old: dict[str, bytes], sources: Sequence[StoredSource], folder: Path, *, replace: bool, repo: str, url: str
) -> dict[str, bytes]:
    """What the data set is to hold: the old files with the sources added, by the rules of any export."""
    for path, data in old.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    try:
        export(sources, TraceCache(str(folder)), replace=replace, repo=repo)
    except TraceError as error:
        raise type(error)(str(error).replace(str(folder), url)) from error
    return _contents(folder)


def _downloaded(api: HfApi, repo: str, commit: str, paths: list[str], folder: Path) -> dict[str, bytes]:
    if not paths:
        return {}
    folder = Path(
        api.snapshot_download(repo, repo_type="dataset", revision=commit, local_dir=folder, allow_patterns=paths)
    )
    return {path: (folder / path).read_bytes() for path in paths if (folder / path).is_file()}


def _contents(folder: Path) -> dict[str, bytes]:
    """The files of a cache and its card by their path, without the locks beside them."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if _OURS.fullmatch(name)}


@contextmanager
def _one_line_errors(repo: str, endpoint: str) -> Iterator[None]:
    """Turn errors of the Hub or the network into one line with a remedy."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    network = client_errors()
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise TraceError("cannot reach the Hub: HF_HUB_OFFLINE is set; unset it to push") from error
    except HFValidationError as error:
        raise not_a_name(repo) from error
    except HfHubHTTPError as error:
        raise TraceError(
            _refusal(repo, getattr(error.response, "status_code", 0), error.server_message or "")
        ) from error
    except (OSError, ValueError, *network) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TraceError(
            f"cannot push to {endpoint}: {reason}; check the network and HF_ENDPOINT, and try again"
        ) from error


def _refusal(repo: str, status: int, message: str) -> str:
    remedies = {
        401: 'the token is not valid; log in with "hf auth login", or set HF_TOKEN',
        403: "the token has no right to write there; take one that may write, or a name of your own",
        404: "there is no such owner or branch; check the name",
        409: "somebody else is writing there; push again",
        412: "somebody else has written there in the meantime; push again",
    }
    remedy = remedies.get(status, "try again later" if status >= 500 or status == 429 else "the Hub does not accept it")
    detail = f" ({message.strip()})" if message.strip() else ""
    return f"cannot push to {repo}: the Hub answers {status}{detail}; {remedy}"
