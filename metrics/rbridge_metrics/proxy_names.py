"""The 80 proxies by name: 10 statistics of a trace token, averaged with 8 weightings. No NumPy: names are cheap."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

Needs = Literal["entropy", "max_logprob", "rank", "counts"]

#: Statistic, whether lower is better, what it cannot leave, and which optional array it needs.
_STATISTICS: dict[str, tuple[bool, tuple[float, float], tuple[Needs, ...]]] = {
    "cross_entropy": (True, (0.0, math.inf), ()),
    "top1_accuracy": (False, (0.0, 1.0), ("rank",)),
    "top2_accuracy": (False, (0.0, 1.0), ("rank",)),
    "top3_accuracy": (False, (0.0, 1.0), ("rank",)),
    "top5_accuracy": (False, (0.0, 1.0), ("rank",)),
    "entropy": (True, (0.0, 1.0), ("entropy",)),
    "rank": (True, (1.0, math.inf), ("rank",)),
    "reciprocal_rank": (False, (0.0, 1.0), ("rank",)),
    "margin": (True, (0.0, 1.0), ("max_logprob",)),
    "wrong_confidence": (True, (0.0, 1.0), ("max_logprob", "rank")),
}
_WEIGHTINGS: dict[str, tuple[Needs, ...]] = {
    "uniform": (),
    "probability": (),
    "improbability": (),
    "entropy": ("entropy",),
    "inverse_entropy": ("entropy",),
    "frequency": ("counts",),
    "inverse_frequency": ("counts",),
    "gaussian": (),
}

#: The rows of an array of proxy scores.
STATISTICS: tuple[str, ...] = tuple(_STATISTICS)
#: The columns of an array of proxy scores.
WEIGHTINGS: tuple[str, ...] = tuple(_WEIGHTINGS)


class Proxy(NamedTuple):
    """One of the 80.

    Attributes:
        statistic, weighting: of ``STATISTICS`` and ``WEIGHTINGS``.
        lower_is_better: which way it runs. The statistic decides; a weighting only says which tokens count.
        bounds: what its values cannot leave.
        needs: what a trace has to have beside log-probabilities: ``entropy``, ``max_logprob``, ``rank``, or token
            ``counts``. Without it the proxy is not defined.
    """

    statistic: str
    weighting: str
    lower_is_better: bool
    bounds: tuple[float, float]
    needs: frozenset[Needs]


def proxy_name(statistic: str, weighting: str = "uniform") -> str:
    """The name of a proxy in score tables and lm-eval: the statistic alone where all tokens count the same.

    >>> proxy_name("entropy"), proxy_name("top5_accuracy", "frequency")
    ('entropy', 'top5_accuracy_by_frequency')
    """
    return statistic if weighting == "uniform" else f"{statistic}_by_{weighting}"


#: All 80 by name, in the order of an array (10, 8) read row by row.
PROXIES: dict[str, Proxy] = {
    proxy_name(statistic, weighting): Proxy(statistic, weighting, lower, bounds, frozenset((*needs, *also)))
    for statistic, (lower, bounds, needs) in _STATISTICS.items()
    for weighting, also in _WEIGHTINGS.items()
}
