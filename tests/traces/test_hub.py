"""Downloads of data sets from the Hub at a known commit, with the real client and a local server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbridge_traces.benchmark_names import folder_patterns

from .hub_server import HubServer

pytestmark = pytest.mark.slow

REPO = "owner/traces"
CODE = """
import sys
from rbridge_traces import TraceError
from rbridge_traces.hub import download_dataset
repo, revision, *patterns = sys.argv[1:]
try:
    found = download_dataset(repo, revision or None, patterns or None)
except TraceError as error:
    sys.exit(f"error: {error}")
print(found.folder, found.sha, found.origin)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with two benchmarks."""
    for name in ("traces/gsm8k/a.json", "traces/ARC-Challenge/a.json", "README.md"):
        (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / name).write_text(name)
    return tmp_path / "repo"


@pytest.fixture
def hub(folder: Path) -> Iterator[HubServer]:
    """A server of that data set, a private one and a gated one."""
    repos = {REPO: folder, "owner/private": folder, "owner/gated": folder}
    with HubServer(repos, private=["owner/private"], gated=["owner/gated"]) as hub:
        yield hub


def fetch(hub: HubServer, home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Download in a separate process, because the Hub's client reads its environment only once."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1"} | environment
    repo, revision, *patterns = [*arguments, "", ""][: max(2, len(arguments))]
    command = [sys.executable, "-c", CODE, repo, revision, *patterns]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def error_of(run: subprocess.CompletedProcess[str]) -> str:
    """Return the one-line error of a failed download."""
    assert run.returncode == 1
    line = run.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert "Traceback" not in run.stderr
    return line


def test_a_data_set_is_fetched_at_a_known_commit(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    """All files are downloaded, with their commit and the origin for a manifest; offline gives the same result."""
    run = fetch(hub, tmp_path, REPO)
    place, sha, origin = run.stdout.split()
    assert sha == hub.sha(REPO)
    assert origin == f"hf://datasets/{REPO}@{sha}"
    assert (Path(place) / "traces" / "gsm8k" / "a.json").read_text() == "traces/gsm8k/a.json"
    assert (Path(place) / "README.md").exists()
    asked = len(hub.requests)
    for revision in ("", sha):
        assert fetch(hub, tmp_path, REPO, revision, HF_HUB_OFFLINE="1").stdout == run.stdout
    assert len(hub.requests) == asked
    (folder / "README.md").write_text("changed")
    assert fetch(hub, tmp_path, REPO).stdout.split()[1] == hub.sha(REPO) != sha
    assert fetch(hub, tmp_path, REPO, sha, HF_HUB_OFFLINE="1").stdout == run.stdout


def test_only_what_is_asked_for_is_fetched(hub: HubServer, tmp_path: Path) -> None:
    """Only the folder of the requested benchmark is downloaded, under whichever of its names it has."""
    place = Path(fetch(hub, tmp_path, REPO, "", *folder_patterns(["arc_challenge"])).stdout.split()[0])
    assert [path.name for path in (place / "traces").iterdir()] == ["ARC-Challenge"]
    assert not any("gsm8k/a.json" in request for request in hub.requests)


def test_a_broken_connection_is_taken_up_where_it_broke(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    """The rest of the file is requested as a range, at once or, with older clients, on the next run."""
    data = os.urandom(13 << 20)
    (folder / "traces" / "gsm8k" / "a.json").write_bytes(data)
    hub.drop_after = 11 << 20
    run = fetch(hub, tmp_path, REPO)
    if run.returncode:
        assert f"cannot fetch {REPO} from {hub.url}: " in error_of(run)
        assert "run the command again" in error_of(run)
        run = fetch(hub, tmp_path, REPO)
    place = Path(run.stdout.split()[0])
    assert (place / "traces" / "gsm8k" / "a.json").read_bytes() == data
    assert hub.drop_after is None
    assert any("gsm8k/a.json bytes=" in request for request in hub.requests)


def test_files_that_are_there_are_not_fetched_again(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    """A second download requests no file, and a new commit only its changed files."""
    fetch(hub, tmp_path, REPO)
    hub.requests.clear()
    assert fetch(hub, tmp_path, REPO).returncode == 0
    assert not [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]
    (folder / "README.md").write_text("changed")
    assert fetch(hub, tmp_path, REPO).returncode == 0
    fetched = [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]
    assert [request.rpartition("/")[2] for request in fetched] == ["README.md"]


def test_what_the_hub_refuses_is_one_line(hub: HubServer, tmp_path: Path) -> None:
    """Unknown data sets and revisions, missing tokens and invalid names each give a one-line error."""
    message = error_of(fetch(hub, tmp_path, "owner/none"))
    assert f"there is no data set owner/none on {hub.url}, or it is private" in message
    message = error_of(fetch(hub, tmp_path, REPO, "v9"))
    assert f"the data set {REPO} has no revision v9, or has it no more; leave out --revision" in message
    assert "set HF_TOKEN" in error_of(fetch(hub, tmp_path, "owner/private"))
    assert "the data set owner/gated is gated; ask for access on" in error_of(fetch(hub, tmp_path, "owner/gated"))
    assert "'a/b/c' cannot name a data set of the Hub; write OWNER/NAME" in error_of(fetch(hub, tmp_path, "a/b/c"))
    for name in ("owner/private", "owner/gated"):
        assert fetch(hub, tmp_path, name, HF_TOKEN="hf_x").returncode == 0


def test_a_hub_out_of_reach_is_one_line(hub: HubServer, tmp_path: Path) -> None:
    """Offline without a complete cache, a failing server, no server, and a server that is no Hub give one line."""
    message = error_of(fetch(hub, tmp_path, REPO, HF_HUB_OFFLINE="1"))
    assert f"HF_HUB_OFFLINE is set, and {REPO} is not in the local cache of the Hub" in message
    assert "--from DIR" in message
    hub.down = True
    assert f"{hub.url} answers 503 for {REPO}; try again later" in error_of(fetch(hub, tmp_path, REPO))
    nowhere = error_of(fetch(hub, tmp_path, REPO, HF_ENDPOINT="http://127.0.0.1:9"))
    assert f"cannot fetch {REPO} from http://127.0.0.1:9: " in nowhere
    assert "check the connection and HF_ENDPOINT" in nowhere
    assert "cannot fetch" in error_of(fetch(hub, tmp_path, REPO, HF_ENDPOINT="nonsense"))


def test_a_place_that_cannot_be_written_is_one_line(hub: HubServer, tmp_path: Path) -> None:
    """If a file is in place of the Hub's cache folder, the message suggests another HF_HOME."""
    (tmp_path / "hf").write_text("a file")
    message = error_of(fetch(hub, tmp_path, REPO))
    assert f"cannot store {REPO}: " in message
    assert "set HF_HOME" in message


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_full_disk_is_one_line(hub: HubServer, folder: Path, tmp_path: Path) -> None:
    """A full disk gives an error with the place, and a partial file is not used as a complete one."""
    (folder / "traces" / "gsm8k" / "a.json").write_bytes(b"x" * (1 << 20))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))\n"
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    run = subprocess.run(
        [sys.executable, "-c", limit + CODE, REPO, ""], env=env, capture_output=True, text=True, check=False
    )
    assert f"cannot store {REPO}: " in error_of(run)
    assert not [path for path in (tmp_path / "hf").rglob("gsm8k/a.json") if path.exists()]


def test_a_cache_on_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    """Listing and reading ``hf://`` places without a connection give an error with the place and the reason."""
    for call, place in (
        ("TraceCache({!r}).benchmarks()", "hf://datasets/a/b"),
        ("[*read_rows({!r})]", "hf://datasets/a/b/c"),
    ):
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
        code = f"from rbridge_traces import *; {call.format(place)}"
        run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        assert run.stderr.splitlines()[-1].startswith("rbridge_traces.errors.TraceError: cannot ")
        assert place in run.stderr.splitlines()[-1]
