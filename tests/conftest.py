"""Fixtures shared by the tests: tiny tokenizers and models, made once per session; nothing is fetched from a hub."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # on tensors as small as these a second thread costs more than it saves
if kernels := os.environ.get("ATEN_CPU_CAPABILITY"):  # torch's cache of compiled graphs does not tell these apart
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir(), f"rbridge-inductor-{kernels}")))

import signal
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from .warm_commands import WarmCommands

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


# How many cases a property test draws: percent of what it asks for, see ``tests.metrics.strategies.cases``. "same" and
# "fast" draw the same cases every time, so that a change is judged by the change alone; "random" looks for new ones.
# There is no deadline: a slow machine is not a failure.
for profile, percent, same in (("same", 100, True), ("fast", 20, True), ("random", 1000, False)):
    settings.register_profile(
        profile,
        max_examples=percent,
        derandomize=same,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile of the property tests; Ctrl-C is never ignored."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("fast" if config.option.markexpr == "not slow" else "same")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell without job control starts what it puts into the background so, and our commands would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Running a notebook is slow. The files that take longest come first, then those with most tests.

    A worker takes a file at a time: one that begins a long file last would keep the others waiting.
    """
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.slow)
    seconds: Counter[Path] = Counter()
    for item in items:
        for mark in item.iter_markers("slow"):
            seconds[item.path] = max(seconds[item.path], mark.kwargs.get("seconds", 0))
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (-seconds[item.path], -tests[item.path], str(item.path)))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: content may carry a time of day, and all workers must collect the same names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    """Fast tokenizers of every kind that matters here, by name; see ``tests.support.TOKENIZERS``."""
    from .support import TOKENIZERS

    return {name: build() for name, build in TOKENIZERS.items()}


@pytest.fixture(scope="session")
def checkpoint(tokenizers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama of 60k parameters with a tokenizer that puts ``<s>`` first: what --model hf loads."""
    from .support import tiny_model

    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = tokenizers["bos"]
    tiny_model("llama", len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def warm_commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of the real ``lm_eval`` and ``rbridge`` commands without the seconds that importing torch takes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RBRIDGE")}
    with WarmCommands(tmp_path_factory.mktemp("warm"), environment) as warm:
        yield warm.bin
