"""The world's solutions are right, its benchmarks are disjoint from its corpora, and its tokens spell its texts."""

from __future__ import annotations

import functools
import random
import re
from collections import Counter

import corpora
import pytest
import world

import benchmarks

CASES = [(family, style) for family in world.FAMILIES for style in world.STYLES]


def solved(problem: world.Problem) -> dict[str, int]:
    """Return the quantities' values by label, computed in any order until all are known."""
    values: dict[str, int] = {}
    while len(values) < len(problem.quantities):
        for quantity in problem.quantities:
            if not quantity.sign:
                values[quantity.label] = quantity.operands[0]
                continue
            names = [problem.quantities[parent].label for parent in quantity.parents]
            if all(name in values for name in names):
                numbers = [values[name] for name in names]
                if not quantity.second_is_quantity:
                    numbers.append(quantity.operands[1])
                first, second = numbers
                exact = {"+": first + second, "-": first - second, "*": first * second}[quantity.sign]
                values[quantity.label] = exact % 10
    return values


@pytest.mark.parametrize(("family", "style"), CASES)
def test_solutions_are_right(family: str, style: str) -> None:
    """Every equation of a solution holds modulo 10, there is one for each step, and the last gives the answer."""
    rng = random.Random(f"{family} {style}")
    for _ in range(50):
        steps = rng.randint(*world.STEPS)
        problem = world.problem(rng, family, steps, held_out=False)
        text, answer = world.solution(rng, problem, style)
        equations = re.findall(r"(\d) ([-+*]) (\d) = (\d)", text)
        assert problem.steps == steps == len(equations)
        assert false_equations(text) == 0
        asked = problem.quantities[problem.target].label
        assert answer == problem.answer == solved(problem)[asked] == int(equations[-1][3])


def false_equations(text: str) -> int:
    """Return the number of equations in a text that do not hold modulo 10."""
    results = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
    equations = re.findall(r"(\d) ([-+*]) (\d) = (\d)", text)
    return sum(results[sign](int(a), int(b)) % 10 != int(c) for a, sign, b, c in equations)


def test_a_wrong_solution_has_one_wrong_equation() -> None:
    """Exactly one equation is false; later steps use its result."""
    rng = random.Random(0)
    for _ in range(100):
        problem = world.problem(rng, rng.choice(world.FAMILIES), 3, held_out=False)
        text, _ = world.solution(rng, problem, "equations", wrong=True)
        assert false_equations(text) == 1


@pytest.mark.parametrize("items", [6, 30, 300])
def test_every_answer_is_equally_frequent(items: int) -> None:
    """A constant answer is right in a tenth of a benchmark's problems; 1, 2 and 3 steps have equal shares."""
    for family in world.FAMILIES:
        drawn = benchmarks.held_out(family, items)
        assert max(Counter(item.answer for item in drawn).values()) == max(1, items // 10)
        assert set(Counter(item.steps for item in drawn).values()) == {items // 3}


def test_tokens_spell_every_text_of_corpora_and_benchmarks() -> None:
    """No word is unknown, and decoding gives the text back."""
    tokenizer = world.tokenizer()
    rng = random.Random(3)
    kinds = [kind for recipe in corpora.CANDIDATES.values() for kind in corpora.documents(recipe, rng).values()]
    texts = [kind() for kind in kinds * 20]
    items = [item for family in world.FAMILIES for item in benchmarks.held_out(family, 50)]
    texts += [world.QUESTION.format(question=item.question) for item in items]
    for text, ids in zip(texts, tokenizer(texts)["input_ids"], strict=True):
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_no_skeleton_is_in_a_corpus_and_in_a_benchmark() -> None:
    """The problems of the benchmarks are held out, and a problem of a corpus never is."""
    rng = random.Random(0)
    for family in world.FAMILIES:
        trained = {world.problem(rng, family, rng.randint(*world.STEPS), held_out=False).skeleton for _ in range(500)}
        tested = {
            world.problem(rng, family, rng.randint(*benchmarks.STEPS), held_out=True).skeleton for _ in range(500)
        }
        assert not trained & tested


def test_solutions_fit_the_tokens_that_a_model_may_write() -> None:
    """The longest solution with its answer is shorter than the benchmarks' limit."""
    rng, tokenizer = random.Random(0), world.tokenizer()
    texts = []
    for family, style in CASES * 20:
        reasoning, answer = world.solution(rng, world.problem(rng, family, world.STEPS[1], held_out=False), style)
        texts.append(f" {reasoning}\nFinal answer: {answer}")
    assert max(map(len, tokenizer(texts)["input_ids"])) < benchmarks.WRITTEN_TOKENS


# ---------------------------------------------------------------- corpora

TOKENS = 20_000


@functools.cache
def kinds_of(name: str, tokens: int = TOKENS) -> tuple[dict[str, float], list[str], int]:
    """Return each kind's share of tokens, the problem documents, and the tokens of the longest document."""
    tokenizer = world.tokenizer()
    ids = corpora.corpus(name, tokens).tolist()
    documents, document = [], []
    for token in ids:
        document.append(token)
        if token == tokenizer.eos_token_id:
            documents.append(document)
            document = []
    counts = dict.fromkeys(("worked", "answers", "filler"), 0)
    problems = []
    for document in documents:
        text = tokenizer.decode(document[:-1])
        kind = "filler" if not text.startswith("Question:") else "answers" if "Answer:\nFinal" in text else "worked"
        counts[kind] += len(document)
        if kind != "filler":
            problems.append(text)
    shares = {kind: count / sum(counts.values()) for kind, count in counts.items()}
    return shares, problems, max(map(len, documents))


@pytest.mark.parametrize("name", corpora.CANDIDATES)
def test_a_corpus_has_its_tokens_and_shares(name: str) -> None:
    """Every corpus has the requested number of tokens, and each kind of document has its stated share."""
    recipe = corpora.CANDIDATES[name]
    assert corpora.corpus(name, TOKENS).shape == (TOKENS,)
    shares, problems, longest = kinds_of(name)
    # No kind exceeds its share by more than one document, so none falls short by more than two documents.
    assert shares == pytest.approx(
        {kind: getattr(recipe, kind) for kind in shares}, abs=2 * longest / (TOKENS - longest)
    )
    if recipe.distinct is None and recipe.worked > recipe.answers and len(problems) > 50:
        assert len(set(problems)) > 0.99 * len(problems)


def test_a_repeated_corpus_holds_few_documents() -> None:
    """The stated number of different problems fills the whole corpus."""
    _, problems, _ = kinds_of("repeated", 200_000)
    assert len(set(problems)) == corpora.CANDIDATES["repeated"].distinct < len(problems)


def test_share_of_wrong_solutions() -> None:
    """In ``wrong50`` half of the solutions hold a false equation, within four standard errors; in ``clean`` none."""

    def wrong(name: str) -> list[bool]:
        _, problems, _ = kinds_of(name)
        return [false_equations(text) > 0 for text in problems]

    assert not any(wrong("clean"))
    drawn = wrong("wrong50")
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=4 * (0.25 / len(drawn)) ** 0.5)
