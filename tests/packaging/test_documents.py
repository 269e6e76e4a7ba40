"""Every shell block of README and docs runs unchanged, with test files and servers behind its names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..backends.completions_server import CompletionsServer
from ..traces.chat_server import ChatServer, known_thinking
from ..traces.hub_upload_server import HubUploadServer
from ..traces.releases import as_lines, items, plain
from ..warm_commands import WarmCommands
from .documents import DOCUMENTS, LEFT_OUT, PROJECT, blocks, reason_to_leave_out, runnable
from .reader import Reader, World
from .readers_files import FILES, chains_of_thought, human_eval

SEPARATE = ("README.md", "docs/traces.md", "docs/tutorial.md", "docs/benchmarks.md")  # they have separate tests below
CONFIGS = ("arc_challenge", "cqa", "gsm8k", "humaneval", "math500", "mmlu_pro")

pytestmark = pytest.mark.slow(seconds=190)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a local Hub with the data sets that the documents name."""
    root = tmp_path_factory.mktemp("hub")
    for config in CONFIGS:
        plain(root / "release" / "traces" / config, items(3))
        marked = [{"question": "2 + 2?", "reasoning": "So <span>2 + 2</span> is 4."}]
        as_lines(root / "mask" / config / "train.jsonl", marked)
    for subset in ("mmlu", "bbh", "kmmlu", "arc", "arena-hard", "gpqa", "aime25"):
        as_lines(root / "mask" / subset / "train.jsonl", marked)
    asked = [{"question": f"What is {i} + 1?", "answer": f"Add one.\n#### {i + 1}"} for i in range(3)]
    as_lines(root / "gsm8k" / "main" / "test.jsonl", asked)
    (root / "gsm8k" / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: test\n    path: main/test.jsonl\n---\n"
    )
    as_lines(root / "humaneval" / "test.jsonl", human_eval())
    repos = {
        "trillionlabs/rBridge": "release",
        "trillionlabs/rbridge-mask": "mask",
        "openai/gsm8k": "gsm8k",
        "openai/openai_humaneval": "humaneval",
    }
    with HubUploadServer(root / "new", {"secret": "owner"}, {name: root / at for name, at in repos.items()}) as server:
        yield server.url


@pytest.fixture(scope="module")
def world(hub: str, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Servers, warm commands, a cache of traces with confidences, and the package as a wheel."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root = tmp_path_factory.mktemp("world")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(root / "wheels"), str(PROJECT)]
    assert subprocess.run(build, capture_output=True, check=False).returncode == 0
    with ChatServer(known_thinking) as chat, CompletionsServer(model, tokenizer) as completions:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RBRIDGE", "PYTHON"))}
        environment |= {
            "HF_ENDPOINT": hub,
            "HF_HOME": str(root / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "HF_TOKEN": "secret",
            "OPENAI_API_KEY": "key",
            "OPENAI_BASE_URL": chat.url,
            "PIP_FIND_LINKS": str(root / "wheels"),
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
        }
        with WarmCommands(root / "warm", environment) as warm:
            options = [
                warm.bin / "rbridge",
                "traces",
                "score",
                "--benchmark",
                "all",
                "--from",
                "sample",
                "--num-fewshot",
                "0",
            ]
            command = [*map(str, options), "--model", str(checkpoint), "--cache", str(root / "cache")]
            scored = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert scored.returncode == 0, scored.stderr
            for manifest in (root / "cache").glob("*/*/manifest.json"):  # as if they were not sample traces
                manifest.write_text(manifest.read_text().replace('"sample": true', '"sample": false'))
            with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of peft
                get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(root / "adapter")
            yield World(checkpoint, chat.url, completions.url, warm.bin, environment, root / "cache", root / "wheels")


@pytest.fixture
def read(world: World, tmp_path: Path) -> Callable[..., Reader]:
    """Start a reader of a document in a new folder with the files that the document needs."""

    def start(document: str, name: str = "reader", *, has_traces: bool = True, sweeps: bool = False) -> Reader:
        reader = Reader(world, tmp_path / name, has_traces=has_traces, sweeps=sweeps)
        chains_of_thought(reader.folder)
        (reader.folder / "adapter").symlink_to(world.cache.parent / "adapter")
        (reader.folder / "checkpoint").symlink_to(world.checkpoint)
        FILES.get(document, lambda _: None)(reader.folder)
        return reader

    return start


def test_every_way_to_get_traces_works_with_an_empty_cache(read: Callable[..., Reader]) -> None:
    """After each block of the README that gets traces, there are traces to show."""
    ways = [block for block in blocks("README.md") if re.search(r"traces (pull|build|import)", block)]
    assert len(ways) >= 4
    for number, way in enumerate(ways):
        reader = read("README.md", f"way{number}", has_traces=False)
        reader.run(way)
        reader.run("rbridge traces show gsm8k")


def test_the_readme_works_from_start_to_end(read: Callable[..., Reader]) -> None:
    """After a pull of all six benchmarks the other blocks run in order."""
    reader = read("README.md", has_traces=False)
    reader.run("rbridge traces pull")
    page_blocks = blocks("README.md")
    other_blocks = [block for block in page_blocks if not re.search(r"traces (pull|build|import)", block)]
    assert any("--tasks rbridge\n" in block for block in other_blocks)
    evaluated = {f"out/step{step}": f"earlier/out/step{step}" for step in (1000, 2000)}
    for block in other_blocks:
        reader.run(block, **evaluated)


def test_the_traces_page_works(read: Callable[..., Reader]) -> None:
    """Pull and build run with an empty cache; import and the following blocks with another empty cache."""
    page_blocks = blocks("docs/traces.md")
    first = next(number for number, block in enumerate(page_blocks) if "import" in block)
    assert first >= 2
    for name, part in (("get", page_blocks[:first]), ("keep", page_blocks[first:])):
        reader = read("docs/traces.md", name, has_traces=False)
        for block in part:
            reader.run(block.replace("traces rm", "traces rm --yes"), NAME="cot")


def test_the_tutorial_leads_to_a_gated_checkpoint(read: Callable[..., Reader]) -> None:
    """All blocks from install to gate run in one folder, with fewer training steps and one benchmark."""
    reader = read("docs/tutorial.md", has_traces=False, sweeps=True)
    page_blocks = blocks("docs/tutorial.md")
    (install,) = [block for block in page_blocks if "pip install" in block]
    reader.run(install.replace("python3 -m venv .venv\n. .venv/bin/activate\n", ""))  # test_install makes one
    fewer = {
        "export HF_HUB_OFFLINE=1\n": "", "ckpts\n": "ckpts --steps 6\n",  # the test has a local Hub
        "rbridge,rbridge_proxies": "rbridge_gsm8k,rbridge_proxies_gsm8k",
        "158K:147K": "158K:12K", "step36-": "step3-", "step72-": "step6-",
    }  # fmt: skip
    script = "".join(block for block in page_blocks if block is not install)
    for name, value in fewer.items():
        assert name in script
        script = script.replace(name, value)
    reader.run(script)
    assert "passed" in (reader.folder / "summary.md").read_text()
    assert (reader.folder / "report.html").stat().st_size > 10_000


def test_a_benchmark_of_the_user_is_scored_swept_and_reported(read: Callable[..., Reader]) -> None:
    """A CSV file becomes a benchmark in the sweep and the report; every subset with spans is in the cache."""
    reader = read("docs/benchmarks.md", sweeps=True)
    for block in blocks("docs/benchmarks.md"):
        reader.run(block)
    assert "tides" in (reader.folder / "report.html").read_text()
    assert (reader.user_cache / "rbridge-tasks" / "arena-hard" / "rbridge-mask" / "manifest.json").exists()


@pytest.mark.parametrize("document", [page for page in DOCUMENTS if page not in SEPARATE and blocks(page)])
def test_the_blocks_of_a_page_work_in_order(document: str, read: Callable[..., Reader]) -> None:
    """The blocks run in one folder, and each uses the files of earlier blocks."""
    reader = read(document)
    for block in blocks(document):
        reader.run(block)
    assert reader.ran == blocks(document)


def test_every_omitted_line_has_a_reason() -> None:
    """Every reason applies to a line, less than 15 % of the lines are omitted, and scripts named in them exist."""
    lines = [line for document in DOCUMENTS for block in blocks(document) for line in block.splitlines()]
    left_out = [line for line in lines if reason_to_leave_out(line)]
    assert all(any(reason_to_leave_out(line) == reason for line in left_out) for reason in LEFT_OUT.values())
    assert len(left_out) < 0.15 * len(lines)
    for script in re.findall(r"(?:benchmarks|examples/replication)/\w+\.py", "\n".join(left_out)):
        assert (PROJECT / script).exists()
    assert runnable("vllm serve MODEL\nrbridge doctor\n") == "rbridge doctor\n"


def test_shell_is_marked_as_sh() -> None:
    """A block with one of our commands is marked as sh, so these tests run it."""
    for document in DOCUMENTS:
        text = (PROJECT / document).read_text(encoding="utf-8")
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S):
            if language != "sh":
                assert not re.search(r"^(\$ )?(rbridge|lm_eval|pip|make) ", block, re.M), f"{document}: {block}"


def test_the_readme_names_both_make_targets() -> None:
    """The two targets that set everything up are in the README and in the Makefile."""
    makefile = (PROJECT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target}\n" in (PROJECT / "README.md").read_text()
        assert f"\n{target}:" in makefile
