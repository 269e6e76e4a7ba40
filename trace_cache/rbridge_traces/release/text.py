"""The reasoning of a published completion, cut out of its tokens and held against what its authors cut out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rbridge_traces.completions import CompletionError, completion_of_tokens
from rbridge_traces.errors import TraceError
from rbridge_traces.extraction import Reasoning
from rbridge_traces.known_reasoning import FailedItemError, MismatchError, reasoning_in
from rbridge_traces.release.answers import Answer
from rbridge_traces.unknown import known_logprobs


def reasoning_of(answer: Answer, pieces: Sequence[bytes], logprobs: npt.NDArray[np.float64]) -> Reasoning:
    """Cut the reasoning of an item out of its tokens.

    The tokens have to spell the completion, where that is known, and the reasoning in it has to be that of the record
    (see ``reasoning_in``).

    Raises:
        FailedItemError: the completion is malformed, or its reasoning empty.
        MismatchError: anything else; shows where the texts part.
    """
    if answer.failed:
        raise FailedItemError(answer.failed)
    try:
        known_logprobs(logprobs)
    except TraceError as error:
        raise MismatchError(str(error), "unusable log-probabilities") from error
    try:
        completion = completion_of_tokens(pieces, logprobs, text=answer.raw)
    except CompletionError as error:
        raise MismatchError(str(error), "tokens of another text") from error
    return reasoning_in(completion, answer.reasoning, answer.final_answer)
