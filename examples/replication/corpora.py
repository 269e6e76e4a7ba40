"""The candidate corpora: what a data team chooses between, at equal tokens.

Each candidate changes one property of ``clean``. A corpus is a stream of token ids, documents in
random order with an end token after each, cut to an exact number of tokens.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import world


@dataclass(frozen=True)
class Candidate:
    """Recipe of a corpus; shares are fractions of its tokens.

    Attributes:
        worked: share of problems with worked solutions.
        answers: share of problems with the answer alone. The rest of the corpus is filler.
        wrong: fraction of the worked solutions with a wrong step, and so mostly a wrong answer.
        styles: styles of the solutions.
        steps: fewest and most steps of a problem.
        families: families of problems.
        distinct: number of different problem documents, repeated to fill the corpus; None for no repetition.
    """

    worked: float = 1.0
    answers: float = 0.0
    wrong: float = 0.0
    styles: tuple[str, ...] = world.STYLES
    steps: tuple[int, int] = world.STEPS
    families: tuple[str, ...] = world.FAMILIES
    distinct: int | None = None

    @property
    def filler(self) -> float:
        """Share of text without problems."""
        return 1 - self.worked - self.answers


CLEAN = Candidate()
FRONTIER = CLEAN  # clean solutions, but other ones than those of the candidate ``clean``
CANDIDATES: dict[str, Candidate] = {
    "clean": CLEAN,
    "wrong50": Candidate(wrong=0.5),
    "wrong100": Candidate(wrong=1.0),
    "filler50": Candidate(worked=0.5),
    "filler80": Candidate(worked=0.2),
    "filler95": Candidate(worked=0.05),
    "answers50": Candidate(worked=0.5, answers=0.5),
    "answers100": Candidate(worked=0.0, answers=1.0),
    "short": Candidate(steps=(1, 1)),
    "terse": Candidate(styles=("terse",)),
    "repeated": Candidate(distinct=1000),
    "two_families": Candidate(families=("compare", "journey")),
}


def documents(candidate: Candidate, rng: random.Random) -> dict[str, Callable[[], str]]:
    """Generators of a candidate's kinds of documents: ``worked``, ``answers`` and ``filler``."""

    def drawn() -> tuple[str, world.Problem]:
        problem = world.problem(rng, rng.choice(candidate.families), rng.randint(*candidate.steps), held_out=False)
        return world.question(problem), problem

    def worked() -> str:
        question, problem = drawn()
        style, wrong = rng.choice(candidate.styles), rng.random() < candidate.wrong
        return world.worked_document(question, *world.solution(rng, problem, style, wrong=wrong))

    def answers() -> str:
        question, problem = drawn()
        return world.answer_document(question, problem.answer)

    return {"worked": worked, "answers": answers, "filler": lambda: world.filler(rng)}


def corpus(name: str, tokens: int) -> np.ndarray:
    """The token ids of a corpus, shape (tokens,), dtype uint16; the same for the same arguments.

    At every point of the stream the next document is of the kind that is furthest below its share of the tokens.
    """
    candidate, rng = FRONTIER if name == "frontier" else CANDIDATES[name], random.Random(zlib.crc32(name.encode()))
    shares = {kind: getattr(candidate, kind) for kind in ("worked", "answers", "filler") if getattr(candidate, kind)}
    sources = {kind: _encoded(documents(candidate, rng)[kind], kind, candidate, rng) for kind in shares}
    stream = np.empty(tokens, np.uint16)
    written = dict.fromkeys(shares, 0)
    position = 0
    while position < tokens:
        kind = min(shares, key=lambda kind: written[kind] / shares[kind])
        ids = next(sources[kind])[: tokens - position]
        stream[position : position + len(ids)] = ids
        position += len(ids)
        written[kind] += len(ids)
    return stream


def _encoded(
    draw: Callable[[], str], kind: str, candidate: Candidate, rng: random.Random, block: int = 2000
) -> Iterator[list[int]]:
    """Documents as token ids with an end token; problem documents of a repeated candidate come from a fixed set."""
    tokenizer = world.tokenizer()

    def encode(texts: list[str]) -> list[list[int]]:
        return [[*ids, tokenizer.eos_token_id] for ids in tokenizer(texts)["input_ids"]]

    if candidate.distinct is not None and kind != "filler":
        fixed = encode([draw() for _ in range(candidate.distinct)])
        while True:
            yield from rng.sample(fixed, len(fixed))
    while True:
        yield from encode([draw() for _ in range(block)])


def write_corpus(path: Path) -> None:
    """Write the corpus that a file ``<candidate>-<tokens>.npy`` is named for, unless it is there."""
    if path.exists():
        return
    name, _, tokens = path.stem.rpartition("-")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    np.save(unfinished, corpus(name, int(tokens)))
    unfinished.replace(path)
