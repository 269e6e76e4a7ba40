"""Following a training run: checkpoints that are complete and that nobody writes to any more, each given once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rbridge_tasks.sweeping.checkpoints import Checkpoint, SweepError, folders_of, in_order, local_checkpoint
from rbridge_tasks.sweeping.completeness import lacking, state_of
from rbridge_tasks.sweeping.plan import Plan, plan
from rbridge_tasks.sweeping.settings import Settings
from rbridge_tasks.sweeping.shards import OutputFolder, Shard

SETTLE_SECONDS = 10.0


class Watcher:
    """Looks for new checkpoints each time it is called.

    Args:
        sources: folders of runs; they need not exist yet.
        settle_seconds: how long a checkpoint that looks complete has to stay as it is, by this process' own clock.
    """

    def __init__(
        self,
        sources: Sequence[str],
        settings: Settings,
        folder: OutputFolder,
        *,
        settle_seconds: float = SETTLE_SECONDS,
        include_final: bool = False,
    ) -> None:
        self._sources, self._settings, self._folder = sources, settings, folder
        self._settle_seconds, self._include_final = settle_seconds, include_final
        self._seen: dict[Path, tuple[dict[str, tuple[int, int]], float]] = {}
        self._given: set[Path] = set()
        self.steps: list[float] = []  # of the checkpoints that were scored before
        self.waiting: dict[Path, str] = {}  # what those lack that are not complete

    def __call__(self) -> Plan:
        """What there is to do for checkpoints that were not given before, in the order of training."""
        ready = []
        self.waiting.clear()
        for folder in self._folders():
            try:
                found = self._ready(folder)
            except OSError:  # removed by its trainer while it was looked at
                continue
            if found is not None:
                ready.append(found)
        new = plan(in_order(ready), self._settings, self._folder)
        for one in new.checkpoints:
            if one.state != "incomplete":
                self._given.add(Path(one.checkpoint.pretrained))
            if one.state == "scored" and one.checkpoint.named.step is not None:
                self.steps.append(one.checkpoint.named.step)
        return new

    def _folders(self) -> list[Path]:
        found = []
        for source in self._sources:
            try:
                found += folders_of(source, include_final=self._include_final)
            except SweepError:
                continue  # the training has not begun
        return [folder for folder in found if folder not in self._given]

    def _ready(self, folder: Path) -> Checkpoint | None:
        state, now = state_of(folder), time.monotonic()
        known, since = self._seen.get(folder, (None, now))
        if known != state:
            self._seen[folder] = (state, now)
            since = now
        reason = lacking(folder, tokenizer_elsewhere="tokenizer" in self._settings.model_args)
        if reason is not None:
            self.waiting[folder] = reason
            return None
        return local_checkpoint(folder, {}) if now - since >= self._settle_seconds else None


def reached(shards: Sequence[Shard], steps: Sequence[float], until: float) -> bool:
    """Whether a step, or a later one, is among those that were scored."""
    done = [shard.checkpoint.named.step for shard in shards]
    return any(step is not None and step >= until for step in [*done, *steps])
