"""Data sets of the Hugging Face Hub as local folders, each at one commit that is known afterwards."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rbridge_traces.errors import TraceError
from rbridge_traces.files import client_errors


class HubError(TraceError):
    """The Hub does not serve a data set; the message says why."""


def not_a_name(repo: str) -> HubError:
    """The error for a name that the Hub does not allow."""
    return HubError(f"{repo!r} cannot name a data set of the Hub; write OWNER/NAME")


@dataclass(frozen=True)
class Snapshot:
    """A data set at one commit, on the local disk.

    Attributes:
        folder: its files, as they lie in the data set.
        sha: the commit, 40 hexadecimal digits.
        origin: ``hf://datasets/NAME@SHA``, as a manifest records it.
    """

    folder: Path
    sha: str
    origin: str


def download_dataset(repo: str, revision: str | None = None, patterns: Sequence[str] | None = None) -> Snapshot:
    """Fetch a data set, or its files that match one of the patterns, into the local cache of the Hub's client.

    Cached files are not fetched again, and a broken download is resumed. ``HF_ENDPOINT``, ``HF_HOME`` and ``HF_TOKEN``
    apply; under ``HF_HUB_OFFLINE=1`` the cached files are used.

    Args:
        repo: ``owner/name``.
        revision: branch, tag or commit. Default: the main branch.
        patterns: of paths in the data set, as in a shell; ``*`` also matches ``/``.

    Raises:
        HubError: no such data set or revision, no right to read it, no connection, no room; says what to do.
    """
    from huggingface_hub import HfApi, constants, errors, snapshot_download

    name = f"{repo}@{revision}" if revision else repo
    offline = bool(constants.HF_HUB_OFFLINE)
    transport = client_errors()
    try:
        if not offline:  # this call raises the reason; the next would silently fall back on the cache
            HfApi().dataset_info(repo, revision=revision)
        folder = Path(
            snapshot_download(
                repo,
                repo_type="dataset",
                revision=revision or "main",
                allow_patterns=list(patterns) if patterns is not None else None,
                local_files_only=offline,
            )
        )
    except errors.HFValidationError:
        raise not_a_name(repo) from None
    except errors.GatedRepoError as error:
        raise HubError(
            f"the data set {repo} is gated; ask for access on {constants.ENDPOINT}/datasets/{repo} and set HF_TOKEN to "
            "a token of that account"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"the data set {repo} has no revision {revision}, or has it no more; leave out --revision for the newest"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"there is no data set {repo} on {constants.ENDPOINT}, or it is private; check its name, and for a private "
            "one set HF_TOKEN to a token that may read it"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        if offline:
            raise HubError(
                f"HF_HUB_OFFLINE is set, and {name} is not in the local cache of the Hub, or only in part; fetch it "
                "once without HF_HUB_OFFLINE, or give its files with --from DIR"
            ) from error
        raise _unreachable(name, error) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise HubError(f"{constants.ENDPOINT} answers {status} for {name}; try again later") from error
    except (*transport, ValueError) as error:  # or something answers that is no Hub, as in a hotel
        raise _unreachable(name, error) from error
    except OSError as error:
        room = f"make room under {constants.HF_HOME}" if error.errno == errno.ENOSPC else "check the disk"
        raise HubError(
            f"cannot store {name}: {error.strerror or error}; {room}, or set HF_HOME to a folder elsewhere"
        ) from error
    return Snapshot(folder, folder.name, f"hf://datasets/{repo}@{folder.name}")


def _unreachable(name: str, error: BaseException) -> HubError:
    from huggingface_hub import constants

    reason = str(error.__cause__ or error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    return HubError(
        f"cannot fetch {name} from {constants.ENDPOINT}: {reason}; check the connection and HF_ENDPOINT and run the "
        "command again (whole files are kept), or take what is cached with HF_HUB_OFFLINE=1"
    )
