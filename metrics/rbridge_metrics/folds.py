"""Which checkpoints are fitted and which predicted: shuffled, contiguous, or always the next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rbridge_metrics.errors import FitError
from rbridge_metrics.functions import Floats

SCHEMES = ("shuffled", "blocked", "forward")
# The smallest number of points that leaves every function of the published space, with up to three parameters, a spare.
MIN_TRAIN = 4
Indices = npt.NDArray[np.int_]


#: Blocks of one run that are left out in turn. With fewer, the degrees of freedom of an interval run out; with more,
#: blocks become so short that neighbouring blocks have the same error.
BLOCKS = 10


def neighbour_blocks(places: npt.ArrayLike, run: npt.ArrayLike | None = None, *, blocks: int = BLOCKS) -> Indices:
    """Number of the block of each point: stretches of neighbouring checkpoints of one run.

    Args:
        places: what the points are ordered by, shape (points,).
        run: the run of each point; a block never holds points of two runs.
        blocks: number of blocks, over all runs. Runs with fewer checkpoints have one for each, and with more runs than
            blocks each run is one.

    >>> neighbour_blocks([1, 3, 2, 5, 4, 6], blocks=3).tolist(), neighbour_blocks([1, 2, 1, 2], list("aabb")).tolist()
    ([0, 1, 0, 2, 1, 2], [0, 1, 2, 3])
    """
    order = np.asarray(places, dtype=np.float64)
    runs = np.zeros(len(order), int) if run is None else np.unique(np.asarray(run), return_inverse=True)[1]
    numbers = np.empty(len(order), int)
    each = -(-blocks // (int(runs.max()) + 1))
    count = 0
    for name in range(int(runs.max()) + 1):
        members = np.flatnonzero(runs == name)
        for part in np.array_split(members[np.argsort(order[members], kind="stable")], min(each, len(members))):
            numbers[part] = count
            count += 1
    return numbers


def splits(
    places: Floats, scheme: str, *, n_folds: int = 5, min_train: int = MIN_TRAIN, seed: int = 42
) -> Iterator[tuple[Indices, Indices]]:
    """Yield train and test indices of each fold.

    Args:
        places: what the points are ordered by, shape (points,). Points of one place (checkpoints of several runs at the
            same tokens) stay together under ``blocked`` and ``forward``.
        scheme: ``shuffled``: ``n_folds`` random folds, as scikit-learn's ``KFold`` draws them over the ordered points.
            ``blocked``: ``n_folds`` folds of neighbours. ``forward``: every place after the first ``min_train`` points
            or more, with all that came before it to train on.

    Raises:
        FitError: unknown scheme, too few points for it, or for ``shuffled`` a seed that is not in 0..2^32 - 1.

    >>> places = np.array([1.0, 3.0, 2.0, 5.0, 4.0])
    >>> [(train.tolist(), test.tolist()) for train, test in splits(places, "forward", min_train=3)]
    [([0, 1, 2], [4]), ([0, 1, 2, 4], [3])]
    """
    if scheme not in SCHEMES:
        raise FitError(f"scheme is {scheme!r}; expected one of {', '.join(SCHEMES)}")
    distinct = np.unique(places)
    count = len(places) if scheme == "shuffled" else len(distinct)
    if scheme != "forward" and not 2 <= n_folds <= count:
        raise FitError(f"{count} checkpoints in {n_folds} folds; expected at least 2 folds and a checkpoint for each")
    if scheme == "shuffled":
        if not 0 <= seed < 2**32:
            raise FitError(f"seed is {seed}; shuffled folds take one from 0 to {2**32 - 1}")
        from sklearn.model_selection import KFold

        along = np.argsort(places, kind="stable")
        for train, test in KFold(n_folds, shuffle=True, random_state=seed).split(along):
            yield along[train], along[test]
    elif scheme == "blocked":
        for block in np.array_split(distinct, n_folds):
            inside = np.isin(places, block)
            yield np.flatnonzero(~inside), np.flatnonzero(inside)
    else:
        later = [place for place in distinct if (places < place).sum() >= max(min_train, 1)]
        if not later:
            raise FitError(
                f"{len(places)} points; forward validation from {min_train} points on needs one more at least"
            )
        for place in later:
            yield np.flatnonzero(places < place), np.flatnonzero(places == place)
