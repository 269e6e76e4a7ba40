"""Score traces under a transformers causal LM, reading text that requests share once and projecting only trace tokens.

What a naive pass wastes: it re-reads the few-shot prompt for every item, and it turns every position into a row of the
vocabulary's size. Here the shared prefix is read once and its keys and values are reused; the output projection is
applied to the positions that predict trace tokens, a few rows at a time.

Both short cuts are tried on the longest request before they are used, against the model's own full forward pass. A
model for which either gives other numbers (recurrent state, sliding windows, positions that depend on the length of the
text, an unusual head) is scored the plain way.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from rbridge_metrics import RBridgeError, TokenScores
from rbridge_tasks.backends.shared_prefix import SharedPrefix, share
from rbridge_tasks.backends.token_statistics import ENTROPY, LOGPROB, MAX_LOGPROB, RANK, token_statistics
from rbridge_tasks.backends.windows import Window, plan_windows
from rbridge_tasks.tokenization import TokenizedPair

logger = logging.getLogger(__name__)

#: Sharing a prefix shorter than this saves less than it costs to keep.
_MIN_SHARED_TOKENS = 32
#: Requests whose first tokens agree this far are taken to share a prompt.
_BUCKET_TOKENS = 24
#: Padded tokens in a batch that "auto" aims at on a CPU, where running out of memory ends the process.
_AUTO_TOKENS_CPU = 8192

Ids = npt.NDArray[np.int64]
Table = npt.NDArray[np.float64]


class ScoringError(RBridgeError):
    """The model cannot score a trace: NaN logits, probability zero, or no memory for even one."""


@dataclass
class CausalScorer:
    """Teacher forcing under one model.

    Attributes:
        model: a transformers causal LM in evaluation mode, on its device or spread over several.
        device: where inputs go.
        max_length: longest input, in tokens.
        batch_size: forward passes to batch; "auto" starts large. Either is halved when memory runs out.
        max_batch_size: where "auto" starts.
        autocast_dtype: as lm-eval's ``mixed_precision_dtype``.
        show_progress: whether to draw a progress bar.
    """

    model: Any
    device: torch.device
    max_length: int
    batch_size: int | Literal["auto"] = 1
    max_batch_size: int = 64
    autocast_dtype: torch.dtype | None = None
    show_progress: bool = True
    _vocab_size: int = field(default=0, init=False)
    _projects: bool = field(default=True, init=False)
    _shares: bool = field(default=True, init=False)

    @torch.inference_mode()
    def score(self, pairs: Sequence[TokenizedPair], labels: Sequence[str]) -> list[TokenScores]:
        """Score every pair.

        Args:
            pairs: tokenised (context, trace) pairs.
            labels: what to call each pair in an error.

        Returns:
            One ``TokenScores`` per pair, in the order given.

        Raises:
            ScoringError: the model's logits are NaN or rule a token out, or one trace does not fit into memory.
        """
        plans = [plan_windows(i, pair.ids.size, pair.first, self.max_length) for i, pair in enumerate(pairs)]
        windows = [window for plan in plans for window in plan]
        if not windows:
            return []
        self._report_cuts(plans)
        tables: list[Table] = [np.full((pair.ids.size - pair.first, 4), np.nan) for pair in pairs]
        try:
            for window, table in self._score_windows(pairs, windows):
                _require_finite(table, labels[window.pair])
                offset = pairs[window.pair].first
                tables[window.pair][window.first - offset : window.stop - offset] = table
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            raise ScoringError(
                f"one input of up to {max(window.inputs for window in windows)} tokens does not fit into memory on "
                f"{self.device}; use a device with more memory, a smaller dtype or a smaller max_length"
            ) from error
        return [
            TokenScores(
                token_id=pair.ids[pair.first :].astype(np.int32),
                token_start=pair.token_start,
                token_end=pair.token_end,
                logprob=table[:, LOGPROB].astype(np.float32),
                rank=table[:, RANK].astype(np.int32),
                entropy=table[:, ENTROPY].astype(np.float32),
                max_logprob=table[:, MAX_LOGPROB].astype(np.float32),
                vocab_size=self._vocab_size,
                context_tokens_cut=plan[0].start,
                windows=len(plan),
            )
            for pair, plan, table in zip(pairs, plans, tables, strict=True)
        ]

    def _score_windows(
        self, pairs: Sequence[TokenizedPair], windows: Sequence[Window]
    ) -> Iterator[tuple[Window, Table]]:
        self._try_short_cuts(pairs, windows)
        with tqdm(total=len(windows), desc="Scoring traces", unit="trace", disable=not self.show_progress) as bar:
            for shared, group in self._groups(pairs, windows):
                for scored in self._score_group(pairs, group, shared):
                    yield scored
                    bar.update()

    def _report_cuts(self, plans: Sequence[Sequence[Window]]) -> None:
        cut = sum(plan[0].start > 0 for plan in plans)
        spread = sum(len(plan) > 1 for plan in plans)
        if cut:
            logger.warning(
                "%d of %d contexts are longer than the model's window of %d tokens and were cut from the left",
                cut, len(plans), self.max_length,
            )  # fmt: skip
        if spread:
            logger.warning("%d traces are longer than the model's window and were scored in parts", spread)

    # ---------------------------------------------------------------- which short cuts this model allows

    def _try_short_cuts(self, pairs: Sequence[TokenizedPair], windows: Sequence[Window]) -> None:
        """Compare each short cut with the model's own forward pass on one request, and keep those that agree.

        The longest one: what sets in with length only (sliding windows, stretched positions) shows there or nowhere.
        """
        probe = max((w for w in windows if w.start == 0), key=lambda w: w.inputs, default=windows[0])
        logits = self._logits(pairs, [probe])[0]
        self._vocab_size = logits.shape[-1]
        targets = torch.as_tensor(pairs[probe.pair].ids[probe.first : probe.stop], device=logits.device)
        expected = token_statistics(logits, targets, lambda rows: rows).cpu().numpy()
        tolerance = 1e-3 if logits.dtype in (torch.float32, torch.float64) else 0.1
        self._projects = self._agrees("projecting only trace tokens", expected, tolerance, pairs, probe, None)
        split = min(probe.first - 1, max(_MIN_SHARED_TOKENS, (probe.first - 1) // 2))
        if not self._projects or probe.start > 0 or split < 1:
            self._shares = False
            return
        shared = self._read_prefix(pairs[probe.pair].ids[:split])
        self._shares = shared is not None and self._agrees(
            "reusing the shared prompt", expected, tolerance, pairs, probe, shared
        )

    def _agrees(
        self,
        what: str,
        expected: Table,
        tolerance: float,
        pairs: Sequence[TokenizedPair],
        probe: Window,
        shared: SharedPrefix | None,
    ) -> bool:
        try:
            found = self._score_projected(pairs, [probe], shared)[0]
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            logger.info("%s does not work with %s (%s); scoring without", what, type(self.model).__name__, error)
            return False
        difference = float(np.abs(found[:, LOGPROB] - expected[:, LOGPROB]).mean())
        if not difference <= tolerance and np.isfinite(expected[:, LOGPROB]).all():
            logger.warning(
                "%s changes the scores of %s by %.2g nats a token; scoring without", what, type(self.model).__name__,
                difference,
            )  # fmt: skip
            return False
        return True

    # ---------------------------------------------------------------- grouping and batching

    def _groups(
        self, pairs: Sequence[TokenizedPair], windows: Sequence[Window]
    ) -> Iterator[tuple[SharedPrefix | None, list[Window]]]:
        """Windows in groups that share a prompt, each with the prompt's keys and values; the rest as one group."""
        buckets: dict[tuple[int, ...], list[Window]] = defaultdict(list)
        rest: list[Window] = []
        for window in windows:
            if self._shares and window.start == 0 and window.first > _MIN_SHARED_TOKENS:
                buckets[tuple(pairs[window.pair].ids[:_BUCKET_TOKENS].tolist())].append(window)
            else:
                rest.append(window)
        for bucket in buckets.values():
            length = _shared_length(pairs, bucket)
            shared = None
            if len(bucket) > 1 and length >= _MIN_SHARED_TOKENS:
                shared = self._read_prefix(pairs[bucket[0].pair].ids[:length])
            if shared is None:
                rest.extend(bucket)
            else:
                yield shared, bucket
        if rest:
            yield None, rest

    def _score_group(
        self, pairs: Sequence[TokenizedPair], group: list[Window], shared: SharedPrefix | None
    ) -> Iterator[tuple[Window, Table]]:
        waiting = sorted(group, key=lambda window: window.inputs, reverse=True)
        score = self._score_projected if self._projects else self._score_full
        longest = waiting[0].inputs - (shared.length if shared else 0)
        size = self.batch_size if isinstance(self.batch_size, int) else self._auto_size(longest)
        while waiting:
            batch = waiting[:size]
            try:
                tables = score(pairs, batch, shared)
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise
                size = len(batch) // 2
                logger.warning("out of memory with a batch of %d; going on with %d", len(batch), size)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            yield from zip(batch, tables, strict=True)
            waiting = waiting[len(batch) :]

    def _auto_size(self, longest: int) -> int:
        if self.device.type == "cpu":
            return max(1, min(self.max_batch_size, _AUTO_TOKENS_CPU // longest))
        return self.max_batch_size

    # ---------------------------------------------------------------- forward passes

    def _score_projected(
        self, pairs: Sequence[TokenizedPair], batch: Sequence[Window], shared: SharedPrefix | None
    ) -> list[Table]:
        """Score a batch from the hidden states that enter the output projection."""
        skip = shared.length if shared else 0
        head = self.model.get_output_embeddings()
        caught: list[torch.Tensor] = []

        def catch(_module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            caught.append(inputs[0])
            return (inputs[0][:, -1:], *inputs[1:])  # the model's own projection shrinks to one position

        handle = head.register_forward_pre_hook(catch)
        try:
            reuse = {"use_cache": False} if shared is None else {"use_cache": True, "past_key_values": shared.cache}
            self._call(self._pad(pairs, batch, skip), **reuse)
        finally:
            handle.remove()
        hidden = caught[0]
        rows = np.concatenate([np.full(w.stop - w.first, i) for i, w in enumerate(batch)])
        positions = np.concatenate([np.arange(w.first, w.stop) - 1 - w.start - skip for w in batch])
        selected = hidden[torch.as_tensor(rows, device=hidden.device), torch.as_tensor(positions, device=hidden.device)]
        targets = np.concatenate([pairs[w.pair].ids[w.first : w.stop] for w in batch])
        with self._autocast():
            table = token_statistics(
                selected, torch.as_tensor(targets, device=hidden.device), lambda rows: self._after_head(head(rows))
            )
        return np.split(table.cpu().numpy(), np.cumsum([w.stop - w.first for w in batch])[:-1])

    def _score_full(
        self, pairs: Sequence[TokenizedPair], batch: Sequence[Window], _shared: SharedPrefix | None
    ) -> list[Table]:
        """Score a batch from the logits of the model's own forward pass."""
        tables = []
        for window, logits in zip(batch, self._logits(pairs, batch), strict=True):
            targets = torch.as_tensor(pairs[window.pair].ids[window.first : window.stop], device=logits.device)
            tables.append(token_statistics(logits, targets, lambda rows: rows.clone()).cpu().numpy())
        return tables

    def _logits(self, pairs: Sequence[TokenizedPair], batch: Sequence[Window]) -> list[torch.Tensor]:
        """Logits (scored tokens, vocabulary) of each window, from the model's own forward pass."""
        inputs = self._pad(pairs, batch, 0)
        width = inputs.shape[1]
        keep = width - min(w.first - 1 - w.start for w in batch)
        logits = self._call(inputs, use_cache=False, logits_to_keep=keep).logits
        first_kept = width - logits.shape[1]
        return [
            logits[i, w.first - 1 - w.start - first_kept : w.stop - 1 - w.start - first_kept]
            for i, w in enumerate(batch)
        ]

    def _pad(self, pairs: Sequence[TokenizedPair], batch: Sequence[Window], skip: int) -> torch.Tensor:
        """Input ids (batch, longest), padded on the right: causal attention keeps padding out of what comes before."""
        rows = [pairs[w.pair].ids[w.start + skip : w.stop - 1] for w in batch]
        inputs = np.zeros((len(rows), max(row.size for row in rows)), dtype=np.int64)
        for i, row in enumerate(rows):
            inputs[i, : row.size] = row
        return torch.as_tensor(inputs, device=self.device)

    def _call(self, inputs: torch.Tensor, **options: Any) -> Any:
        """The model's forward pass, with those options that it knows."""
        known = inspect.signature(self.model.forward).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            options = {name: value for name, value in options.items() if name in known}
        elif "logits_to_keep" not in known:  # a wrapper passes it on to a model that may not know it
            options.pop("logits_to_keep", None)
        with self._autocast():
            return self.model(input_ids=inputs, **options)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device_type=self.device.type, dtype=self.autocast_dtype)

    def _after_head(self, logits: torch.Tensor) -> torch.Tensor:
        """What some models do to logits behind the projection: Granite divides, Cohere multiplies, Gemma 2 caps."""
        config = self.model.config.get_text_config()
        if (divisor := getattr(config, "logits_scaling", None)) is not None:
            logits = logits / divisor
        if (factor := getattr(config, "logit_scale", None)) is not None:
            logits = logits * factor
        if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

    def _read_prefix(self, ids: Ids) -> SharedPrefix | None:
        """Keys and values of text that many inputs begin with; None if the model keeps any other kind of state."""
        inputs = torch.as_tensor(ids, device=self.device).unsqueeze(0)
        state = getattr(self._call(inputs, use_cache=True, logits_to_keep=1), "past_key_values", None)
        shared = share(state, length=int(ids.size))
        if shared is None:
            layers = sorted({type(layer).__name__ for layer in getattr(state, "layers", [])}) or [type(state).__name__]
            logger.info("%s keeps %s; the shared prompt is read again", type(self.model).__name__, ", ".join(layers))
        return shared


def _shared_length(pairs: Sequence[TokenizedPair], windows: Sequence[Window]) -> int:
    """Tokens that all windows begin with, leaving each the token that predicts its first scored one."""
    reference = pairs[windows[0].pair].ids
    length = min(window.first for window in windows) - 1
    for window in windows:
        different = np.flatnonzero(pairs[window.pair].ids[:length] != reference[:length])
        if different.size:
            length = int(different[0])
    return length


def _require_finite(table: Table, label: str) -> None:
    if np.isfinite(table).all():
        return
    at = int(np.argmax(~np.isfinite(table).all(axis=1)))
    if np.isnan(table[at]).any():
        raise ScoringError(
            f"the model's logits are NaN for trace {label}, token {at}; check the checkpoint, or load it with "
            "dtype=float32 if it was run in float16"
        )
    raise ScoringError(f"the model gives token {at} of trace {label} probability zero; its NLL is infinite")


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
