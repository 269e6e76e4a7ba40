"""A world of word problems: questions with known answers, solutions in several styles, and text without problems.

A problem is a graph of quantities. Every quantity is a digit, given or computed from earlier ones, and all arithmetic
is modulo 10, so that a number is one token and guessing is right once in ten times (iGSM, arXiv 2407.20311, computes
modulo 23 for the same reason). The four families differ in their relations and their words:

    compare   Mia has 4 more than Tom.                 a quantity plus or minus a small number
    combine   The red box holds blue and grey.         the sum of two quantities
    journey   At the mill 3 get off.                   the last quantity plus or minus a small number
    scale     The oak row has 3 times the elm row.     a quantity times 3 or 7, or plus a small number

A problem's *skeleton* is its family, relations and numbers without names. Its checksum decides whether the problem
belongs to training or to the benchmarks, so no benchmark problem is a renamed training problem.
"""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

MODULUS = 10
FAMILIES = ("compare", "combine", "journey", "scale")
WITH_DISTRACTORS = ("compare", "scale")  # families whose questions may state a quantity that the answer does not need
STYLES = ("restated", "equations", "sentences", "terse")
STEPS = (1, 3)
HELD_OUT = 10  # one skeleton in so many is kept for the benchmarks
END = "<|end|>"
QUESTION = "Question: {question}\nAnswer:"

PEOPLE = [
    "Tom", "Mia", "Ann", "Leo", "Zoe", "Sam", "Eva", "Max", "Ida", "Ben", "Liv", "Jan", "Kim", "Noa", "Rui",
    "Uma",
]  # fmt: skip
COLOURS = ["red", "blue", "green", "black", "white", "pink", "gold", "grey", "brown", "silver", "violet", "orange"]
PLACES = [
    "mill", "lake", "park", "bridge", "church", "market", "school", "harbour", "farm", "castle", "museum",
    "station",
]  # fmt: skip
TREES = ["oak", "elm", "birch", "maple", "willow", "cedar", "pine", "ash", "olive", "cherry", "apple", "plum"]
THINGS = ["pens", "coins", "books", "stamps", "shells", "cards"]


@dataclass(frozen=True)
class Quantity:
    """A node of the graph.

    Attributes:
        label: its name in the text, one word.
        sign: "" for a given number, else "+", "-" or "*".
        operands: for a given number the digit; else two operands, an index of an earlier quantity first. The second is
            the index of another quantity if ``second_is_quantity``, else a digit.
    """

    label: str
    sign: str
    operands: tuple[int, ...]
    second_is_quantity: bool = False

    @property
    def parents(self) -> tuple[int, ...]:
        """Indices of the quantities that this one is computed from."""
        return self.operands[: 1 + self.second_is_quantity] if self.sign else ()


@dataclass(frozen=True)
class Problem:
    """A question about one quantity of a graph.

    Attributes:
        family: one of ``FAMILIES``.
        thing: what is counted.
        quantities: in an order in which each is computable from those before it.
        target: index of the quantity that is asked for.
        phrasing: 0 or 1 for the statement of each quantity, then for the question itself.
    """

    family: str
    thing: str
    quantities: tuple[Quantity, ...]
    target: int
    phrasing: tuple[int, ...]

    @functools.cached_property
    def needed(self) -> tuple[int, ...]:
        """Indices of the quantities that the answer needs, in computable order."""
        needed = {self.target}
        for index in range(self.target, -1, -1):
            if index in needed:
                needed.update(self.quantities[index].parents)
        return tuple(sorted(needed))

    @property
    def steps(self) -> int:
        """Number of computations that the answer needs."""
        return sum(bool(self.quantities[index].sign) for index in self.needed)

    @property
    def skeleton(self) -> str:
        """Everything but names and phrasing."""
        graph = [(q.sign, q.operands, q.second_is_quantity) for q in self.quantities]
        return f"{self.family} {self.target} {graph}"

    @property
    def is_held_out(self) -> bool:
        """Whether the problem belongs to the benchmarks, and never to a corpus."""
        return zlib.crc32(self.skeleton.encode()) % HELD_OUT == 0

    @functools.cached_property
    def values(self) -> tuple[int, ...]:
        """The values of all quantities."""
        values: list[int] = []
        for quantity in self.quantities:
            values.append(computed(quantity, values))
        return tuple(values)

    @property
    def answer(self) -> int:
        """The value of the target."""
        return self.values[self.target]


def computed(quantity: Quantity, values: list[int]) -> int:
    """The value of a quantity from the values of earlier ones."""
    if not quantity.sign:
        return quantity.operands[0]
    first, second = _operand_values(quantity, values)
    results = {"+": first + second, "-": first - second, "*": first * second}
    return results[quantity.sign] % MODULUS


def _operand_values(quantity: Quantity, values: list[int]) -> tuple[int, int]:
    first, second = quantity.operands
    return values[first], values[second] if quantity.second_is_quantity else second


# ---------------------------------------------------------------- problems


def problem(rng: random.Random, family: str, steps: int, *, held_out: bool) -> Problem:
    """Draw a problem of a family that takes so many steps, from the skeletons of the benchmarks or of training."""
    while True:
        drawn = _draw(rng, family, steps)
        if drawn.is_held_out == held_out:
            return drawn


def _draw(rng: random.Random, family: str, steps: int) -> Problem:
    givens = 2 if family == "combine" else 1
    distractors = rng.randrange(2) if family in WITH_DISTRACTORS else 0
    labels = rng.sample(_LABELS[family], givens + steps + distractors)
    quantities = [Quantity(label, "", (rng.randrange(MODULUS),)) for label in labels[:givens]]
    for number, label in enumerate(labels[givens:]):
        last = len(quantities) - 1
        first = last if number < steps or family == "journey" else rng.randrange(len(quantities))
        quantities.append(_related(rng, family, label, first))
    phrasing = tuple(rng.randrange(2) for _ in range(len(quantities) + 1))
    return Problem(family, rng.choice(THINGS), tuple(quantities), givens + steps - 1, phrasing)


def _related(rng: random.Random, family: str, label: str, first: int) -> Quantity:
    if family == "combine":
        others = [index for index in range(max(first + 1, 2)) if index != first]
        return Quantity(label, "+", (first, rng.choice(others)), second_is_quantity=True)
    sign = rng.choice("*+") if family == "scale" else rng.choice("+-")
    return Quantity(label, sign, (first, rng.choice(_FACTORS if sign == "*" else _DIFFERENCES)))


_DIFFERENCES = (1, 2, 3, 4)
_FACTORS = (3, 7)  # coprime to the modulus, so that every answer stays equally probable


_LABELS = dict(zip(FAMILIES, (PEOPLE, COLOURS, PLACES, TREES), strict=True))

# ---------------------------------------------------------------- text

#: Statements of a quantity: x its label, a and b the labels of its operands, n a digit, t the thing.
_STATEMENTS = {
    ("compare", ""): ("{x} has {n} {t}", "{x} owns {n} {t}"),
    ("compare", "+"): ("{x} has {n} more than {a}", "{x} owns {n} more than {a}"),
    ("compare", "-"): ("{x} has {n} fewer than {a}", "{x} owns {n} less than {a}"),
    ("combine", ""): ("The {x} box holds {n} {t}", "In the {x} box are {n} {t}"),
    ("combine", "+"): ("The {x} box holds {a} and {b}", "In the {x} box are {a} and {b}"),
    ("journey", ""): ("At the {x} {n} people start", "From the {x} {n} people leave"),
    ("journey", "+"): ("At the {x} {n} get on", "At the {x} {n} enter"),
    ("journey", "-"): ("At the {x} {n} get off", "At the {x} {n} leave"),
    ("scale", ""): ("The {x} row has {n} {t}", "There the {x} row has {n} {t}"),
    ("scale", "*"): ("The {x} row has {n} times the {a} row", "The {x} row is {n} times the {a} row"),
    ("scale", "+"): ("The {x} row has {n} more than the {a} row", "The {x} row is {n} more than the {a} row"),
}
_ASKED = {
    "compare": ("How many {t} has {x}?", "Count those of {x}."),
    "combine": ("How many {t} are in {x}?", "Count the {x} box."),
    "journey": ("How many people after the {x}?", "Count them after the {x}."),
    "scale": ("How many {t} in the {x} row?", "Count the {x} row."),
}


def question(problem: Problem) -> str:
    """The text of a question: a statement of every quantity, then what is asked for."""
    quantities = problem.quantities
    statements = [f"{statement(problem, index)}." for index in range(len(quantities))]
    asked = _ASKED[problem.family][problem.phrasing[-1]].format(x=quantities[problem.target].label, t=problem.thing)
    return " ".join([*statements, asked])


def statement(problem: Problem, index: int) -> str:
    """How a question states one quantity, without the full stop."""
    quantity = problem.quantities[index]
    names = [problem.quantities[parent].label for parent in quantity.parents]
    slots = {
        "x": quantity.label,
        "t": problem.thing,
        "n": quantity.operands[-1],
        **dict(zip("ab", names, strict=False)),
    }
    return _STATEMENTS[problem.family, quantity.sign][problem.phrasing[index]].format(**slots)


def solution(rng: random.Random, problem: Problem, style: str, *, wrong: bool = False) -> tuple[str, int]:
    """A worked solution and its final answer.

    Args:
        rng: chooses among phrasings, and the wrong step.
        problem: what is solved.
        style: one of ``STYLES``.
        wrong: one step has a wrong result, and later steps go on from it.
    """
    quantities, values = problem.quantities, list(problem.values)
    wrong_step = rng.choice([i for i in problem.needed if quantities[i].sign]) if wrong else None
    lines = []
    for index in problem.needed:
        quantity = quantities[index]
        values[index] = computed(quantity, values)
        if index == wrong_step:
            values[index] = (values[index] + rng.randrange(1, MODULUS)) % MODULUS
        lines.append(_step(rng, problem, index, values, style))
    return " ".join(lines), values[problem.target]


def _step(rng: random.Random, problem: Problem, index: int, values: list[int], style: str) -> str:
    quantity, value = problem.quantities[index], values[index]
    x, stated = quantity.label, statement(problem, index)
    if not quantity.sign:
        first = rng.choice(("We know that {x} is {v}.", "{x} is at {v}.")).format(x=x, v=value)
        return {"restated": f"{stated}.", "sentences": first, "terse": f"{value}."}.get(style, f"{x} = {value}.")
    left, right = _operand_values(quantity, values)
    sum_ = f"{left} {quantity.sign} {right} = {value}"
    then = rng.choice(("So {x} is {s}.", "Then {s} for {x}.")).format(x=x, s=sum_)
    return {"restated": f"{stated}, so {sum_}.", "sentences": then, "terse": f"{sum_}."}.get(style, f"{x} = {sum_}.")


def worked_document(question: str, reasoning: str, answer: int) -> str:
    """A problem with its solution, as rBridge's tasks write a worked example."""
    return f"{QUESTION.format(question=question)} {reasoning}\nFinal answer: {answer}"


def answer_document(question: str, answer: int) -> str:
    """A problem with its answer alone."""
    return f"{QUESTION.format(question=question)}\nFinal answer: {answer}"


# ---------------------------------------------------------------- other text

_ADJECTIVES = ["old", "young", "quiet", "tall", "small", "bright", "tired", "proud", "clever", "lonely"]
_ACTORS = ["king", "sailor", "farmer", "painter", "teacher", "dog", "horse", "bird", "fox", "baker"]
_VERBS = ["saw", "followed", "met", "called", "helped", "found", "painted", "carried", "loved", "forgot"]
_MOMENTS = ["morning", "evening", "summer", "winter", "night"]
_WEATHER = ["rain", "snow", "sun", "wind", "fog"]


def filler(rng: random.Random) -> str:
    """A short text of another kind: a tale, a weather report, or a list."""
    kind = rng.randrange(3)
    if kind == 0:
        return " ".join(
            f"One {rng.choice(_MOMENTS)} the {rng.choice(_ADJECTIVES)} {rng.choice(_ACTORS)} {rng.choice(_VERBS)} a "
            f"{rng.choice(_ADJECTIVES)} {rng.choice(_ACTORS)} near the {rng.choice(PLACES)}."
            for _ in range(rng.randrange(2, 6))
        )
    if kind == 1:
        return " ".join(
            f"In the {rng.choice(_MOMENTS)} there is {rng.choice(_WEATHER)} over the {rng.choice(PLACES)}, "
            f"then {rng.choice(_WEATHER)}."
            for _ in range(rng.randrange(2, 6))
        )
    names = rng.sample(PEOPLE, rng.randrange(4, 12))
    return f"In order: {', '.join(sorted(names))}."


# ---------------------------------------------------------------- tokens

_WORD = r" ?\w+| ?[^\w\s]|\n"  # a space belongs to the word after it, so that the tokens of a text spell it


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the words of this world; its vocabulary is what many documents of each kind hold."""
    words = pre_tokenizers.Split(Regex(_WORD), behavior="isolated")
    held = {word for text in _every_kind() for word, _ in words.pre_tokenize_str(text)}
    vocabulary = {word: index for index, word in enumerate([END, "<|unknown|>", *sorted(held)])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unknown|>"))
    made.pre_tokenizer = words
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, pad_token=END, unk_token="<|unknown|>")


def _every_kind() -> Iterator[str]:
    rng = random.Random(0)
    for _ in range(500):
        yield filler(rng)
        for family in FAMILIES:
            for style in STYLES:
                drawn = problem(rng, family, rng.randint(*STEPS), held_out=False)
                text = question(drawn)
                yield worked_document(text, *solution(rng, drawn, style))
                yield answer_document(text, drawn.answer)
