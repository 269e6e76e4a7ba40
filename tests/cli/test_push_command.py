"""``rbridge traces push`` as a process, against a local Hub: the pushed files, and a pull of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbridge_traces import TraceCache
from rbridge_traces.publish import import_export

from ..traces.hub_upload_server import HubUploadServer
from ..traces.published import assert_equal, card_of, front_matter, make_cache
from ..traces.support import version, write

pytestmark = pytest.mark.slow


@pytest.fixture
def cache(tmp_path: Path) -> TraceCache:
    """A cache of two sources, one without a licence."""
    return make_cache(tmp_path / "cache")


@pytest.fixture(params=["lfs", "regular"])
def any_hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HubUploadServer]:
    """A Hub that receives trace files through LFS, or within the commit."""
    with HubUploadServer(tmp_path / "hub", {"hf_me": "me", "hf_reader": ""}, lfs=request.param == "lfs") as server:
        yield server


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubUploadServer]:
    """A Hub where the token hf_me may write as the user me."""
    with HubUploadServer(tmp_path / "hub", {"hf_me": "me", "hf_reader": ""}) as server:
        yield server


def traces_command(
    hub: HubUploadServer, *arguments: str, login: str | None = "hf_me", **environment: str
) -> tuple[int, str, list[str]]:
    """Run ``rbridge traces ARGUMENTS`` against that Hub; return exit code, output and the lines about errors."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "RBRIDGE_"))}
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(hub.root.parent / "hf-home"), "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_TOKEN": login} if login else {}
    command = [str(Path(sys.executable).parent / "rbridge"), "traces", *arguments]
    done = subprocess.run(command, env=env | environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode >= 0, done.stderr  # no signal
    return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if "error" in line.lower()]


def the_error(result: tuple[int, str, list[str]]) -> str:
    code, _, lines = result
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("rbridge: error: ")
    return lines[0]


def test_pushed_traces_are_pulled_unchanged(any_hub: HubUploadServer, cache: TraceCache, tmp_path: Path) -> None:
    """A push in one commit and a pull into an empty cache give the same traces and manifests, with their origin."""
    code, out, errors = traces_command(any_hub, "push", "me/traces", "--cache", cache.root)
    assert (code, errors) == (0, [])
    commit = any_hub.sha("me/traces")
    assert f"pushed to {any_hub.url}/datasets/me/traces" in out
    assert f"commit {commit}" in out
    assert len(any_hub.commits) == 1
    (pull,) = [line.partition("get it: rbridge traces ")[2] for line in out.splitlines() if line.startswith("get it")]
    back = TraceCache(str(tmp_path / "back"))
    code, out, errors = traces_command(any_hub, *pull.split(), "--cache", back.root, login=None)
    assert (code, errors) == (0, [])
    assert {held.origin for held in back.manifests()} == {f"hf://datasets/me/traces@{commit}"}
    pushed = tmp_path / "hub" / "me" / "traces"
    assert_equal(cache, TraceCache(str(pushed)))
    plain = TraceCache(str(tmp_path / "plain"))
    import_export(str(pushed), plain)
    import_export(str(pushed), back)  # differs in the origin only: nothing to replace
    assert [held.files for held in back.manifests()] == [held.files for held in plain.manifests()]
    assert [result.problem for result in back.verify()] == [None, None]


def test_a_second_push_adds_replaces_or_does_nothing(hub: HubUploadServer, cache: TraceCache, tmp_path: Path) -> None:
    """Other sources stay and the card lists all; an unchanged push makes no commit; other traces need --replace."""
    push = ["push", "me/traces", "--cache", cache.root]
    assert traces_command(hub, *push, "-b", "gsm8k")[0] == 0
    assert traces_command(hub, *push, "-b", "csqa")[0] == 0
    pushed_cache = TraceCache(str(tmp_path / "hub" / "me" / "traces"))
    assert_equal(cache, pushed_cache)
    assert [c["config_name"] for c in front_matter(card_of(pushed_cache))["configs"]] == ["gsm8k-gpt-4o", "csqa-mine"]
    assert "nothing to do" in traces_command(hub, *push)[1]
    assert len(hub.commits) == 2
    (old,) = cache.manifests("gsm8k")[0].files
    write(cache, version("new"), replace=True)
    error = the_error(traces_command(hub, *push))
    assert f"{hub.url}/datasets/me/traces already holds other traces of gsm8k from gpt-4o" in error
    assert traces_command(hub, *push, "--replace")[0] == 0
    assert_equal(cache, pushed_cache)
    assert f"-gsm8k/gpt-4o/{old}" in hub.commits[-1]


def test_a_branch_and_a_private_data_set(hub: HubUploadServer, cache: TraceCache) -> None:
    """--revision does not change main; --private makes a new data set private and refuses a public one."""
    push = ["push", "me/secret", "--cache", cache.root, "--private"]
    code, out, _ = traces_command(hub, *push, "--revision", "v2")
    assert code == 0
    assert f"commit {hub.sha('me/secret@v2')}" in out
    assert [name for name in hub.files("me/secret") if name.endswith(".parquet")] == []
    assert_equal(cache, TraceCache(str(hub.repos["me/secret@v2"])))
    assert "me/secret" in hub.private
    hub.private.clear()
    assert "me/secret is public" in the_error(traces_command(hub, *push))
    assert len(hub.commits) == 1


def test_refusals_of_the_hub_are_one_line(hub: HubUploadServer, cache: TraceCache) -> None:
    """Missing rights, an unknown token, another owner, no network, offline mode, and a Hub that answers 503."""
    push = ["push", "me/traces", "--cache", cache.root]
    assert "answers 403" in the_error(traces_command(hub, *push, login="hf_reader"))
    assert "answers 401" in the_error(traces_command(hub, *push, login="hf_nobody"))
    assert "a name of your own" in the_error(traces_command(hub, "push", "you/traces", "--cache", cache.root))
    error = the_error(traces_command(hub, *push, HF_ENDPOINT="http://127.0.0.1:9"))
    assert "cannot push to http://127.0.0.1:9: " in error
    assert "HF_ENDPOINT" in error
    assert "HF_HUB_OFFLINE is set" in the_error(traces_command(hub, *push, HF_HUB_OFFLINE="1"))
    hub.down = True
    assert "answers 503" in the_error(traces_command(hub, *push))
    assert hub.repos == {}


def test_concurrent_pushes_are_not_mixed(hub: HubUploadServer, cache: TraceCache) -> None:
    """If another commit arrives between reading and writing, the error says to push again; the next push works."""
    push = ["push", "me/traces", "--cache", cache.root]
    hub.overtake = True
    assert "push again" in the_error(traces_command(hub, *push))
    assert "notes.txt" in hub.files("me/traces")
    assert traces_command(hub, *push)[0] == 0
    assert "notes.txt" in hub.files("me/traces")


def test_a_file_that_the_hub_damaged_is_noticed(hub: HubUploadServer, cache: TraceCache, tmp_path: Path) -> None:
    """The push reads all files back; a pull of damaged files fails and does not change the cache."""
    hub.damage = True
    error = the_error(traces_command(hub, "push", "me/traces", "--cache", cache.root))
    assert "does not read back as it was sent" in error
    assert "parquet" in error
    back = ["--cache", str(tmp_path / "back")]
    assert "has changed" in the_error(traces_command(hub, "pull", "me/traces", *back, login=None))
    assert not list((tmp_path / "back").rglob("*.parquet"))
    assert traces_command(hub, "push", "me/traces", "--cache", cache.root, "--replace")[0] == 0
    assert traces_command(hub, "pull", "me/traces", *back, login=None)[0] == 0
    assert [result.problem for result in TraceCache(str(tmp_path / "back")).verify()] == [None, None]
