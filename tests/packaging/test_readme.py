"""Every shell command of README and docs works as written, on files and servers that stand in for the reader's own."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..traces.chat_server import ChatServer
from ..traces.hub_upload_server import HubUploadServer
from ..traces.releases import as_lines, items, plain

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CONFIGS = ("arc_challenge", "cqa", "gsm8k", "humaneval", "math500", "mmlu_pro")

pytestmark = pytest.mark.slow


def blocks(document: str) -> list[list[str]]:
    """The ``rbridge`` and ``lm_eval`` commands of each sh block of a document that has some."""
    text = (PROJECT / document).read_text(encoding="utf-8")
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
        lines = [line.split("  #")[0].strip() for line in block.splitlines()]
        found.append([line for line in lines if line.startswith(("rbridge", "lm_eval"))])
    return [block for block in found if block]


def past_runs() -> Iterator[str]:
    """A score table of two runs at two sizes, lines of CSV."""
    yield "run,model,params,tokens,benchmark,metric,value,stderr,n"
    for run, better in (("web", 0.0), ("books", 0.05)):
        for step in range(1, 9):
            nll = 0.6 + 0.5 / step**0.5 - better
            accuracy = 0.9 - 0.8 * nll + 0.01 * (-1) ** step
            yield f"{run},{run}-1b,1e9,{step * 5e11},gsm8k,rbridge_nll,{nll},0.01,1319"
            yield f"{run},{run}-13b,13e9,{step * 5e11},gsm8k,acc,{accuracy},0.01,1319"


class Shell:
    """A shell of a reader with an empty user cache, a Hub and a server of models."""

    def __init__(self, folder: Path, hub: str, chat: str, checkpoint: Path) -> None:
        rows = [{"id": i, "question": f"{i} + 1?", "response": f"Add one to {i}: {i + 1}."} for i in range(16, 19)]
        folder.mkdir(exist_ok=True)
        (folder / "cot.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
        (folder / "runs.csv").write_text("\n".join(past_runs()))
        self.folder, self.chat, self.checkpoint = folder, chat, checkpoint
        self.environment = os.environ | {
            "HF_ENDPOINT": hub,
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "HF_TOKEN": "secret",
            "OPENAI_API_KEY": "key",
            "OPENAI_BASE_URL": chat,
            "XDG_CACHE_HOME": str(folder / "user-cache"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        self.environment.pop("RBRIDGE_CACHE", None)

    def run(self, command: str) -> None:
        """Run a command, whose capitals stand for what the reader puts there."""
        words = [re.sub(r"^(pretrained=)?CKPT\w*", rf"\g<1>{self.checkpoint}", word) for word in shlex.split(command)]
        theirs = {"FILE": "cot.jsonl.gz", "MODEL": "gpt-4o", "http://localhost:8000/v1": self.chat, "NAME": "cot",
                  "OWNER/NAME": "owner/name", "DIR": "exported", "COPY": "copy"}  # fmt: skip
        words = [theirs.get(word, word) for word in words]
        words += ["--yes"] if words[:3] == ["rbridge", "traces", "rm"] else []
        words += ["--batch_size", "2", "--limit", "2"] if words[0] == "lm_eval" else []
        result = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{command}\n{result.stdout[-1000:]}\n{result.stderr[-3000:]}"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URLs of a Hub with the data sets that the documents name, and of a server of models."""
    root = tmp_path_factory.mktemp("hub")
    for config in CONFIGS:
        plain(root / "release" / "traces" / config, items(3))
        marked = [{"question": "2 + 2?", "reasoning": "So <span>2 + 2</span> is 4."}]
        as_lines(root / "mask" / config / "train.jsonl", marked)
    asked = [{"question": f"What is {i} + 1?", "answer": f"Add one.\n#### {i + 1}"} for i in range(3)]
    as_lines(root / "gsm8k" / "main" / "test.jsonl", asked)
    (root / "gsm8k" / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: test\n    path: main/test.jsonl\n---\n"
    )
    repos = {"trillionlabs/rBridge": "release", "trillionlabs/rbridge-mask": "mask", "openai/gsm8k": "gsm8k"}
    folders = {name: root / folder for name, folder in repos.items()}
    with HubUploadServer(root / "new", {"secret": "owner"}, folders) as hub, ChatServer() as chat:
        yield hub.url, chat.url


def test_every_way_to_traces_works_from_an_empty_cache(
    servers: tuple[str, str], checkpoint: Path, tmp_path: Path
) -> None:
    """Each block of the README that gets traces is two lines at most, and leaves traces to look at."""
    ways = [block for block in blocks("README.md") if re.search(r"traces (pull|build|import)", block[0])]
    assert len(ways) >= 4
    for number, way in enumerate(ways):
        assert len(way) <= 2
        shell = Shell(tmp_path / str(number), *servers, checkpoint)
        for command in [*way, "rbridge traces show gsm8k"]:
            shell.run(command)


def test_the_other_commands_of_the_readme_work(servers: tuple[str, str], checkpoint: Path, tmp_path: Path) -> None:
    """The rest of the README, in order, after the first way to traces: all six benchmarks are there then."""
    shell = Shell(tmp_path, *servers, checkpoint)
    shell.run("rbridge traces pull")
    commands = [line for block in blocks("README.md") for line in block if not line.startswith("rbridge traces")]
    assert any(command.endswith("--tasks rbridge") for command in commands)
    for command in commands:
        shell.run(command)


def test_the_commands_of_the_traces_page_work(servers: tuple[str, str], checkpoint: Path, tmp_path: Path) -> None:
    """Pulling and building from an empty cache; then import and all that follows it, from another one."""
    found = blocks("docs/traces.md")
    first = next(number for number, block in enumerate(found) if "import" in block[0])
    assert first >= 2
    for name, part in (("get", found[:first]), ("keep", found[first:])):
        shell = Shell(tmp_path / name, *servers, checkpoint)
        for command in (command for block in part for command in block):
            shell.run(command)


def test_the_readme_names_both_make_targets() -> None:
    """The two commands that do all the set-up are in the README and in the Makefile."""
    makefile = (PROJECT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}\n" in (PROJECT / "README.md").read_text()
        assert f"\n{target}:" in makefile
