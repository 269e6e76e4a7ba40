"""``InLoop``: score a model between two steps of any training loop."""

from __future__ import annotations

import functools
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rbridge_metrics import TokenScores
from rbridge_tasks.scoring.callable_lm import CallableScorer
from rbridge_tasks.scoring.causal_lm import CausalScorer
from rbridge_tasks.scoring.chat_template import ChatTemplate
from rbridge_tasks.scoring.collector import ScoringError, ignore_finished
from rbridge_tasks.scoring.item_metrics import item_metrics
from rbridge_tasks.scoring.load import context_length, prefix_token_id
from rbridge_tasks.scoring.tokenization import PairEncoder, TokenizedPair, load_tokenizer
from rbridge_tasks.training.budget import Budget
from rbridge_tasks.training.lockstep import Lockstep, OutOfTimeError
from rbridge_tasks.training.loop_items import LoopItem, loop_benchmarks, sampled_items
from rbridge_tasks.training.loop_scores import BenchmarkScores, LoopScores
from rbridge_tasks.training.ranks import Ranks
from rbridge_tasks.training.schedule import Schedule
from rbridge_tasks.training.settings import InLoopError, LoopSettings
from rbridge_tasks.training.training_model import device_of, is_sharded, is_transformers, logits_function, untouched
from rbridge_tasks.training.training_model import unwrapped as without_wrappers
from rbridge_tasks.training.watch import Watch

logger = logging.getLogger(__name__)

#: Metrics of items, by their index in the sample.
_Rows = dict[int, dict[str, Any]]


@dataclass(frozen=True)
class _Model:
    """What is scored.

    Attributes:
        forward: a transformers model, another module, or a function from token ids to logits.
        module: whose state is kept; None if unknown.
        device: where inputs go.
        max_length: longest input, in tokens.
        together: all ranks run the same forward passes.
    """

    forward: Any
    module: Any
    device: torch.device
    max_length: int
    together: bool


@dataclass(eq=False, kw_only=True)
class InLoop(LoopSettings):
    """Scores a model on traces between two steps of a training loop, without a trace in the training.

    Call it at every step with the model (or a function from token ids to logits) and the step. Where the step is due,
    it returns the scores, the same on every rank of torch.distributed; else None. The items are split over the ranks,
    and all ranks must call it at the same steps, between an optimiser's step and the next forward pass.

    The model is scored in evaluation mode and left as it was: weights, gradients, modes, buffers, random states,
    autocast, compiled graphs, FSDP's sharding. A run ends in the same weights with and without it. Of a function only
    the process is known: give the module that it calls as ``model``, so that it is put into evaluation mode.

    The attributes are those of ``LoopSettings``; traces are read when the object is made.

    Attributes:
        clock: seconds, from any origin.

    Raises:
        InLoopError: an option that cannot be used, or no tokenizer.
        TokenizationError: the tokenizer cannot be loaded.
        ChatTemplateError: it has no default chat template.
        TraceError, MissingWeightsError: the cache or its traces are not usable.

    >>> in_loop = InLoop("gsm8k", tokenizer, every_steps=500, items=200)  # doctest: +SKIP
    >>> for step, batch in enumerate(loader):  # doctest: +SKIP
    ...     train(model, batch)
    ...     if scores := in_loop(model, step):
    ...         log(scores.to_logs(), step)
    """

    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        super().__post_init__()
        self._encoder = self._pair_encoder()
        template = ChatTemplate(self._encoder.tokenizer) if self.apply_chat_template else None
        if template is not None:
            _ = template.checksum  # an error if there is none
        self._benchmarks = loop_benchmarks(self, template)
        self._items = sampled_items(self._benchmarks)
        self._schedule = Schedule(self.every_steps, self.every_minutes, self.clock)
        self._watch = Watch(self)
        self._encoded: dict[int, TokenizedPair] = {}
        self._began: float | None = None
        self._has_scored = False
        self._scorer: CausalScorer | None = None

    def __call__(
        self, forward: Any, step: int, *, model: Any = None, tokens: float = math.nan, force: bool = False
    ) -> LoopScores | None:
        """Score the model if this step is due.

        Args:
            forward: a transformers model or another module, also compiled, in ``DistributedDataParallel``, FSDP or a
                DeepSpeed engine; or a function from token ids (texts, tokens) to logits (texts, tokens, vocabulary).
            step: of the training; the same on all ranks.
            model: the module that a function calls.
            tokens: trained on so far.
            force: score even if the step is not due.

        Raises:
            InLoopError: ``forward`` cannot be called.
            TokenizationError, ScoringError: the tokenizer or the function cannot be used. If a model was scored before
                and cannot be any more, because its numbers are NaN, the result says so and is an alarm.
        """
        if self._began is None:
            self.start(step)
        ranks = self._ranks
        if not (self._schedule.due(step, ranks) or force):
            return None
        scores = self._watch.judge(self._score(self._model_of(forward, model), step, tokens, ranks))
        self._schedule.scored(step)
        for note in scores.notes if ranks.rank == 0 else ():
            logger.warning("step %d: %s", step, note)
        if scores.gate is not None and scores.alarm and ranks.rank == 0:
            logger.warning("step %d: %s", step, scores.gate.verdict)
        return scores

    def state_dict(self) -> dict[str, Any]:
        """What alarms and early stopping remember of earlier scorings, as JSON can hold it, for a checkpoint."""
        return self._watch.state_dict() | {"scored": self._has_scored}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the alarms of a checkpoint as if the training had not been interrupted.

        Args:
            state: of ``state_dict``. One of another metric is left out, with a warning. An empty one starts anew.
        """
        self._watch.load_state_dict(state)
        self._has_scored = bool(state.get("scored") or state.get("past"))

    def start(self, step: int) -> None:
        """Start to count minutes and the share of time anew. The first call does so where this was not called."""
        self._began, self._seconds = self.clock(), 0.0
        self._schedule.scored(step)

    @functools.cached_property
    def _ranks(self) -> Ranks:
        return Ranks.of(self.group)

    @functools.cached_property
    def _budget(self) -> Budget:
        return Budget(self.budget_seconds, len(self._items), self._ranks.size)

    def _pair_encoder(self) -> PairEncoder:
        tokenizer = self.tokenizer
        if tokenizer is None:
            raise InLoopError("tokenizer is None; give the tokenizer of the model")
        if isinstance(tokenizer, (str, os.PathLike)):
            tokenizer = load_tokenizer(os.fspath(tokenizer))
        if not hasattr(tokenizer, "bos_token_id"):
            raise InLoopError(f"tokenizer is of the type {type(tokenizer).__name__}; give the tokenizer of the model")
        return PairEncoder(tokenizer, self.add_bos_token, prefix_token_id(tokenizer))

    def _model_of(self, forward: Any, module: Any) -> _Model:
        forward = without_wrappers(forward)
        if not callable(forward):
            raise InLoopError(f"forward is of the type {type(forward).__name__}; give a model or a function")
        module = without_wrappers(module) if module is not None else forward
        length = self.max_length or context_length(getattr(module, "config", None), self._encoder.tokenizer)
        own_reader = isinstance(forward, torch.nn.Module) and is_transformers(forward) and not is_sharded(forward)
        return _Model(forward, module, device_of(module, self.device), length, together=not own_reader)

    def _score(self, model: _Model, step: int, tokens: float, ranks: Ranks) -> LoopScores:
        started, elapsed = self.clock(), 0.0
        rows: _Rows = {}
        notes: list[str] = []
        self._budget.begin()
        with untouched(model.module, model.device):
            while count := self._budget.round_items(len(rows), elapsed):
                part = range(len(rows), len(rows) + count)
                own, error = self._round(model, part, ranks, started)
                gathered = ranks.gather((own, error, self.clock() - started))
                elapsed = max(seconds for _, _, seconds in gathered)
                if errors := [error for _, error, _ in gathered if error]:
                    if not self._has_scored:
                        raise ScoringError(errors[0])
                    notes = [f"the model cannot be scored: {errors[0]}"]
                    rows = {}
                    break
                if any(own is None for own, _, _ in gathered):
                    break
                rows |= {index: row for own, _, _ in gathered for index, row in (own or {}).items()}
        self._budget.end(len(rows), elapsed)
        self._has_scored |= bool(rows)
        self._seconds += elapsed
        left_out = {} if notes else self._left_out(rows)
        notes += [f"budget of {self.budget_seconds:g} s: left out {_listed(left_out)}"] if left_out else []
        return LoopScores(
            step,
            tokens,
            self._benchmark_scores(rows),
            left_out,
            elapsed,
            self._seconds / max(self.clock() - (self._began or 0.0), 1e-9),
            notes=tuple(notes),
        )

    def _round(self, model: _Model, part: Sequence[int], ranks: Ranks, started: float) -> tuple[_Rows | None, str]:
        """Metrics of this rank's share of some items, None if time ran out; and why the model cannot be scored."""

        def is_late() -> bool:
            return self.budget_seconds is not None and self.clock() - started >= self.budget_seconds

        indices = [part[i] for i in ranks.share([self._items[index].characters for index in part])]
        pairs, labels = self._pairs(indices), [self._trace(self._items[index]).name for index in indices]
        finished: set[int] = set()

        def done(batch: Sequence[int], _scores: Sequence[TokenScores]) -> None:
            finished.update(batch)
            if is_late() and len(finished) < len(pairs):
                raise OutOfTimeError

        lockstep: Lockstep | None = None
        error = ""
        try:
            if model.together:
                logits = logits_function(model.forward, self.autocast_dtype)
                lockstep = Lockstep(logits, ranks, model.device, is_late)
                scorer: CallableScorer | CausalScorer = CallableScorer(
                    lockstep, model.max_length, model.device, self.batch_size, show_progress=False
                )
            else:
                scorer = self._causal_scorer(model)
            try:
                scores = scorer.score(pairs, labels, done=ignore_finished if model.together else done)
            except ScoringError as problem:
                scores, error = [], str(problem)
            if lockstep is not None:
                lockstep.finish()
        except OutOfTimeError:
            return None, ""
        if error:
            return {}, error
        return {
            index: self._item_metrics(index, token_scores) for index, token_scores in zip(indices, scores, strict=True)
        }, ""

    def _causal_scorer(self, model: _Model) -> CausalScorer:
        """The scorer of a transformers model, kept: it tries its short cuts once."""
        if self._scorer is None or self._scorer.model is not model.forward:
            self._scorer = CausalScorer(
                model.forward, model.device, model.max_length, self.batch_size,
                autocast_dtype=self.autocast_dtype, show_progress=False,
            )  # fmt: skip
        return self._scorer

    def _pairs(self, indices: Sequence[int]) -> list[TokenizedPair]:
        """Tokenised items; each is tokenised once in the life of the loop."""
        new = [index for index in indices if index not in self._encoded]
        items = [self._items[index] for index in new]
        texts = [(self._benchmarks[item.benchmark].contexts[item.trace], self._trace(item).trace) for item in items]
        encoded = self._encoder.encode(texts, [self._trace(item).name for item in items])
        self._encoded |= dict(zip(new, encoded, strict=True))
        return [self._encoded[index] for index in indices]

    def _trace(self, item: LoopItem) -> Any:
        return self._benchmarks[item.benchmark].traces[item.trace]

    def _item_metrics(self, index: int, scores: TokenScores) -> dict[str, Any]:
        item = self._items[index]
        return item_metrics(scores, self._trace(item), self.weights, spans=self._benchmarks[item.benchmark].has_spans)

    def _benchmark_scores(self, rows: _Rows) -> tuple[BenchmarkScores, ...]:
        by_benchmark: dict[int, _Rows] = {}
        for index, row in rows.items():
            item = self._items[index]
            by_benchmark.setdefault(item.benchmark, {})[item.trace] = row
        over_test_set = self.weights == "confidence_test_set"
        return tuple(
            BenchmarkScores.of(self._benchmarks[number], by_benchmark[number], over_test_set=over_test_set)
            for number in sorted(by_benchmark)
        )

    def _left_out(self, rows: _Rows) -> dict[str, int]:
        """Number of items of the sample that were not scored, by benchmark."""
        counts = {each.name: each.planned for each in self._benchmarks}
        for index in rows:
            counts[self._benchmarks[self._items[index].benchmark].name] -= 1
        return {name: count for name, count in counts.items() if count}


def _listed(left_out: dict[str, int]) -> str:
    return ", ".join(f"{count} items of {name}" for name, count in left_out.items())
