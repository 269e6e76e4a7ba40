"""A reader at a shell: runs blocks of a document unchanged, with test files and servers behind the names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .documents import PROJECT, runnable

_STAND_INS = {
    # The same entry point, on few items with short prompts and short answers; make prints its commands.
    "lm_eval": 'exec "{warm}/lm_eval" "$@" --limit 2 --batch_size 2 --num_fewshot 0 --gen_kwargs max_gen_toks=8',
    "make": 'cd "{project}" && exec "{make}" --dry-run --silent "$@" >/dev/null',
    "pip": 'exec "{python}" -m pip --quiet "$@"',
    # Sweeps are dry runs; tests/sweeping runs them. The Hub's revisions come from a cache.
    "rbridge": """if [ "$1" = sweep ]; then shift; export HF_HUB_OFFLINE=1 HF_HOME="$PWD/hub"
exec "{warm}/rbridge" sweep --dry-run "$@"; fi; exec "{warm}/rbridge" "$@\"""",
}


@dataclass(frozen=True)
class World:
    """Files and servers behind the names in the documents.

    Attributes:
        checkpoint: folder of the model that is called CKPT.
        chat, completions: URLs of servers.
        warm: folder with ``rbridge`` and ``lm_eval``.
        environment: environment of every command.
        cache: trace cache with confidences, for readers with traces.
        wheels: folder with the package's wheel, which pip uses as its index.
    """

    checkpoint: Path
    chat: str
    completions: str
    warm: Path
    environment: Mapping[str, str]
    cache: Path
    wheels: Path


@dataclass
class Reader:
    """A reader with a working folder and a user cache, with or without traces; sweeps score or are dry runs."""

    world: World
    folder: Path
    has_traces: bool = True
    sweeps: bool = False
    ran: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "bin").mkdir()
        real = {"warm": self.world.warm, "project": PROJECT, "python": sys.executable, "make": shutil.which("make")}
        for name, text in _STAND_INS.items():
            if name == "rbridge" and self.sweeps:
                continue
            program = self.folder / "bin" / name
            program.write_text(f"#!/bin/sh\n{text.format(**real)}\n")
            program.chmod(0o755)
        if self.has_traces:
            shutil.copytree(self.world.cache, self.user_cache / "rbridge-tasks")

    @property
    def user_cache(self) -> Path:
        """Return the folder of the user's caches."""
        return self.folder / "user-cache"

    def run(self, block: str, **names: str) -> None:
        """Run a block in bash; stop at the first failure.

        Args:
            block: a block of a document.
            names: names in this document, and the reader's values for them.
        """
        text = runnable(block)
        for name, value in {**self._names(), **names}.items():
            text = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w-])", lambda _, value=value: value, text)
        paths = [str(self.folder / "bin"), str(self.world.warm), str(Path(sys.executable).parent)]
        environment = {
            **self.world.environment,
            "XDG_CACHE_HOME": str(self.user_cache),
            "PATH": ":".join([*paths, os.environ["PATH"]]),
            "PIP_TARGET": str(self.folder / "site"),
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
            cwd=self.folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
            timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
        self.ran.append(block)

    def _names(self) -> dict[str, str]:
        """Return the reader's values of the names that all documents use."""
        world = self.world
        return {
            "CKPT_OF_A_STRONG_MODEL": str(world.checkpoint), "CKPT-sft": "adapter", "CKPT": str(world.checkpoint),
            "http://localhost:8000/v1/completions": world.completions, "http://localhost:8000/v1": world.chat,
            "MODEL": "gpt-4o", "openai/gpt-oss-120b": "gpt-4o",
            "FILE": "cot.jsonl.gz", "OWNER/NAME": "owner/name", "DIR": "exported", "COPY": "copy",
            "CLASS ...": f"hf --model_args pretrained={world.checkpoint}",
        }  # fmt: skip
