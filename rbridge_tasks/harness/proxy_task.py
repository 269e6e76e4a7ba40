"""The tasks ``rbridge_proxies_*``: a chosen few of the 80 proxies over the traces that ``rbridge_*`` score."""

from __future__ import annotations

import logging
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from lm_eval.api.instance import Instance

from rbridge_metrics import PROXIES, TokenScores, proxy_scores
from rbridge_metrics.proxies import DEFAULTS, last_tokens
from rbridge_tasks.frequencies.frequency_file import TokenFrequencies, read_frequencies
from rbridge_tasks.harness.proxy_metrics import BY_TRACE_TOKENS, TokenRanks
from rbridge_tasks.harness.task_options import task_options
from rbridge_tasks.harness.trace_task import TokenScoresTask, aggregated_by
from rbridge_tasks.scoring.item_metrics import needs_of
from rbridge_tasks.tables.catalogue import REPORTED_PROXIES
from rbridge_traces import Trace

logger = logging.getLogger(__name__)

_PLACE = {name: at for at, name in enumerate(PROXIES)}


class ProxyTask(TokenScoresTask):
    """Scores the traces of one benchmark by proxies that need no confidences.

    Token frequencies are those of the file named by the option ``rbridge_frequencies``; without it, of the tokens that
    are scored in this run.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        path = task_options(config.get("metadata"))["rbridge_frequencies"]
        self.frequencies: TokenFrequencies | None = None if path is None else read_frequencies(path)
        if self.frequencies is None:
            config = config | {"metric_list": aggregated_by(BY_TRACE_TOKENS, config["metric_list"])}
        super().__init__(config)
        counted = "the scored traces" if self.frequencies is None else self.frequencies.sha256
        self.config.metadata["rbridge_token_counts"] = counted
        self._said_absent = False

    def needs(self) -> Literal["confidence", "spans"] | None:
        # A preference, not a condition: the traces that rbridge_* take, so that one forward pass serves both.
        return needs_of(self.options["rbridge_weights"])

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> Instance:
        request = super().construct_requests(doc, ctx, **kwargs)
        if self.frequencies is not None:
            request.tokenizer = self.frequencies.tokenizer
        return request

    def metrics_of(self, trace: Trace, scores: TokenScores) -> dict[str, Any]:  # noqa: ARG002  # other tasks need it
        counts = None if self.frequencies is None else self.frequencies.counts
        values = proxy_scores(scores, counts=counts).ravel()
        metrics: dict[str, Any] = {name: float(values[_PLACE[name]]) for name in REPORTED_PROXIES}
        if counts is None and scores.rank is not None:
            ranks = TokenRanks(_last(scores.token_id), _last(scores.rank))
            metrics |= dict.fromkeys(BY_TRACE_TOKENS, ranks)
        absent = {name for name in ("entropy", "rank") if getattr(scores, name) is None}
        left_out = [name for name in metrics if PROXIES[name].needs & absent]
        if left_out and not self._said_absent:
            logger.warning(
                "%s: no %s, for want of %s, which this back end does not give",
                self.config.task, ", ".join(left_out), " and ".join(sorted(absent)),
            )  # fmt: skip
            self._said_absent = True
        return {name: value for name, value in metrics.items() if name not in left_out}


def _last(array: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    return cast("npt.NDArray[np.int32]", last_tokens(array, DEFAULTS))
