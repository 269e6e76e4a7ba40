"""``rbridge traces push`` as a process, against a Hub of one's own: what arrives there, and what comes back."""

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
    """A Hub that takes trace files through LFS, or within the commit."""
    with HubUploadServer(tmp_path / "hub", {"hf_me": "me", "hf_reader": ""}, lfs=request.param == "lfs") as server:
        yield server


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubUploadServer]:
    """A Hub where the token hf_me may write as me."""
    with HubUploadServer(tmp_path / "hub", {"hf_me": "me", "hf_reader": ""}) as server:
        yield server


def traces_command(
    hub: HubUploadServer, *arguments: str, login: str | None = "hf_me", **environment: str
) -> tuple[int, str, list[str]]:
    """Run ``rbridge traces ARGUMENTS`` against that Hub; gives exit code, output and the lines about errors."""
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


def test_pushed_traces_come_back_as_they_were(any_hub: HubUploadServer, cache: TraceCache, tmp_path: Path) -> None:
    """Push in one commit, pull into an empty cache: the same traces and manifests, with where they are from."""
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
    import_export(str(pushed), back)  # the same but for the origin: nothing to write over
    assert [held.files for held in back.manifests()] == [held.files for held in plain.manifests()]
    assert [found.problem for found in back.verify()] == [None, None]


def test_a_second_push_adds_replaces_or_does_nothing(hub: HubUploadServer, cache: TraceCache, tmp_path: Path) -> None:
    """Other sources stay and the card has all; the same again is no commit; other traces need --replace."""
    push = ["push", "me/traces", "--cache", cache.root]
    assert traces_command(hub, *push, "-b", "gsm8k")[0] == 0
    assert traces_command(hub, *push, "-b", "csqa")[0] == 0
    there = TraceCache(str(tmp_path / "hub" / "me" / "traces"))
    assert_equal(cache, there)
    assert [c["config_name"] for c in front_matter(card_of(there))["configs"]] == ["gsm8k-gpt-4o", "csqa-mine"]
    assert "nothing to do" in traces_command(hub, *push)[1]
    assert len(hub.commits) == 2
    (old,) = cache.manifests("gsm8k")[0].files
    write(cache, version("new"), replace=True)
    error = the_error(traces_command(hub, *push))
    assert f"{hub.url}/datasets/me/traces already holds other traces of gsm8k from gpt-4o" in error
    assert traces_command(hub, *push, "--replace")[0] == 0
    assert_equal(cache, there)
    assert f"-gsm8k/gpt-4o/{old}" in hub.commits[-1]


def test_a_branch_and_a_private_data_set(hub: HubUploadServer, cache: TraceCache) -> None:
    """--revision leaves main as it is; --private makes a new data set private and refuses a public one."""
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


def test_what_the_hub_refuses_is_one_line(hub: HubUploadServer, cache: TraceCache) -> None:
    """No rights, no such token, an owner that is somebody else, no network, a Hub in trouble, and offline."""
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


def test_a_push_that_meets_another_is_not_mixed_with_it(hub: HubUploadServer, cache: TraceCache) -> None:
    """Who was overtaken between looking and writing is told to push again, and then it works."""
    push = ["push", "me/traces", "--cache", cache.root]
    hub.overtake = True
    assert "push again" in the_error(traces_command(hub, *push))
    assert "notes.txt" in hub.files("me/traces")
    assert traces_command(hub, *push)[0] == 0
    assert "notes.txt" in hub.files("me/traces")


def test_a_file_that_the_hub_damaged_is_noticed(hub: HubUploadServer, cache: TraceCache, tmp_path: Path) -> None:
    """The push reads everything back; a pull of what is damaged refuses and leaves the cache as it was."""
    hub.damage = True
    error = the_error(traces_command(hub, "push", "me/traces", "--cache", cache.root))
    assert "does not read back as it was sent" in error
    assert "parquet" in error
    back = ["--cache", str(tmp_path / "back")]
    assert "has changed" in the_error(traces_command(hub, "pull", "me/traces", *back, login=None))
    assert not list((tmp_path / "back").rglob("*.parquet"))
    assert traces_command(hub, "push", "me/traces", "--cache", cache.root, "--replace")[0] == 0
    assert traces_command(hub, "pull", "me/traces", *back, login=None)[0] == 0
    assert [found.problem for found in TraceCache(str(tmp_path / "back")).verify()] == [None, None]
