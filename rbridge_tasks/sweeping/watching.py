"""Follow a training run: give each checkpoint once, when it is complete and no longer changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rbridge_tasks.sweeping.checkpoint import Checkpoint, SweepError, in_order
from rbridge_tasks.sweeping.checkpoints import folders_of, local_checkpoint
from rbridge_tasks.sweeping.completeness import lacking, state_of
from rbridge_tasks.sweeping.plan import SweepPlan, plan
from rbridge_tasks.sweeping.settings import EvaluationSettings
from rbridge_tasks.sweeping.shards import OutputFolder, Shard

SETTLE_SECONDS = 10.0


class Watcher:
    """Looks for new checkpoints each time it is called.

    Args:
        sources: folders of runs; they need not exist yet.
        settle_seconds: how long a complete checkpoint must stay unchanged, by ``clock``.
        clock: seconds since any moment; they never go back.
    """

    def __init__(
        self,
        sources: Sequence[str],
        settings: EvaluationSettings,
        folder: OutputFolder,
        *,
        settle_seconds: float = SETTLE_SECONDS,
        include_final: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources, self._settings, self._folder = sources, settings, folder
        self._settle_seconds, self._include_final, self._clock = settle_seconds, include_final, clock
        self._seen: dict[Path, tuple[dict[str, tuple[int, int]], float]] = {}
        self._given: set[Path] = set()
        self.scored_steps: list[float] = []  # of checkpoints that were scored before
        self.waiting: dict[Path, str] = {}  # why checkpoints are incomplete

    def __call__(self) -> SweepPlan:
        """The plan for checkpoints that were not given before, in the order of training."""
        ready = []
        self.waiting.clear()
        for folder in self._folders():
            try:
                checkpoint = self._ready(folder)
            except OSError:  # removed by its trainer meanwhile
                continue
            if checkpoint is not None:
                ready.append(checkpoint)
        new = plan(in_order(ready), self._settings, self._folder)
        for planned in new.checkpoints:
            if planned.state != "incomplete":
                self._given.add(Path(planned.checkpoint.pretrained))
            if planned.state == "scored" and planned.checkpoint.named.step is not None:
                self.scored_steps.append(planned.checkpoint.named.step)
        return new

    def _folders(self) -> list[Path]:
        folders: list[Path] = []
        for source in self._sources:
            try:
                folders += folders_of(source, include_final=self._include_final)
            except SweepError:
                continue  # the training has not begun
        return [folder for folder in folders if folder not in self._given]

    def _ready(self, folder: Path) -> Checkpoint | None:
        state, now = state_of(folder), self._clock()
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
    """Whether this step or a later one has been scored."""
    scored = [shard.checkpoint.named.step for shard in shards]
    return any(step is not None and step >= until for step in [*scored, *steps])
