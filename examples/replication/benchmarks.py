"""The benchmarks of the world: held-out problems with the frontier model's solutions, as traces in a cache.

Every family is a benchmark. The frontier model solves each problem greedily; ``rbridge traces import`` stores what it
wrote, and ``rbridge traces score`` adds its confidence in every token.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import world
from transformers import LlamaForCausalLM

STEPS = (1, 3)
WRITTEN_TOKENS = 80  # the longest solution of the world has fewer
_ANSWER = "\nFinal answer:"
_RESULT = re.compile(r"(?<== )\d")


@dataclass(frozen=True)
class Item:
    """A held-out problem.

    Attributes:
        item_id: names family and number of steps.
        question: its text.
        answer: the right answer.
        steps: number of computations that it needs.
    """

    item_id: str
    question: str
    answer: int
    steps: int


def held_out(family: str, items: int, *, seed: int = 1) -> list[Item]:
    """Problems of a family that no corpus holds: 1 to 3 steps in equal shares, every digit equally often the answer.

    So whoever always gives the same answer is right once in ten times. Problems of one step come first, as few of their
    skeletons are held out and some digits answer none of them.
    """
    rng = random.Random(f"{family} {seed}")
    most = -(-items // world.MODULUS)
    answers: Counter[int] = Counter()
    drawn: list[Item] = []
    for number in range(items):
        steps = STEPS[0] + number * (STEPS[1] - STEPS[0] + 1) // items
        problem = world.problem(rng, family, steps, held_out=True)
        while answers[problem.answer] == most:
            problem = world.problem(rng, family, steps, held_out=True)
        answers[problem.answer] += 1
        question = world.question(problem)
        drawn.append(Item(f"{family}-{number:04}-{steps}steps", question, problem.answer, steps))
    return drawn


@torch.inference_mode()
def solve(model: LlamaForCausalLM, questions: Sequence[str], *, batch: int = 100) -> list[tuple[str, int | None]]:
    """Greedy solutions: the reasoning, and the final answer where one was written."""
    tokenizer = world.tokenizer()
    tokenizer.padding_side = "left"
    solutions: list[tuple[str, int | None]] = []
    for start in range(0, len(questions), batch):
        prompts = [world.QUESTION.format(question=question) for question in questions[start : start + batch]]
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False).to(model.device)
        written = model.generate(**encoded, max_new_tokens=WRITTEN_TOKENS, do_sample=False)
        texts = tokenizer.batch_decode(written[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        for text in texts:
            reasoning, _, stated = text.partition(_ANSWER)
            answer = stated.strip()
            solutions.append((reasoning.strip(), int(answer) if answer.isdigit() else None))
    return solutions


def write_traces(frontier: Path, family: str, items: int, path: Path) -> float:
    """Write the frontier's solutions of a family as JSON Lines, results of computations marked; return its accuracy.

    Problems that it leaves without a final answer are left out.
    """
    problems = held_out(family, items)
    model = LlamaForCausalLM.from_pretrained(frontier).eval()
    rows = []
    for item, (reasoning, answer) in zip(problems, solve(model, [item.question for item in problems]), strict=True):
        if reasoning and answer is not None:
            rows.append(
                {
                    "item_id": item.item_id,
                    "question": item.question,
                    "trace": _RESULT.sub(r"<span>\g<0></span>", reasoning),
                    "final_answer": str(answer),
                    "gold": str(item.answer),
                    "correct": answer == item.answer,
                    "choices": [{"label": str(digit), "text": str(digit)} for digit in range(world.MODULUS)],
                }
            )
    if not rows:
        raise SystemExit(f"{frontier} finishes no solution of {family}; train the frontier model on more tokens")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return sum(row["correct"] for row in rows) / items


def import_command(family: str, traces: Path, cache: Path) -> list[str]:
    """Arguments of ``rbridge`` that store the frontier's solutions in a cache."""
    return [
        "traces", "import", str(traces), "--benchmark", family, "--source", "frontier", "--frontier-model", "frontier",
        "--map", "spans=inline", "--question-template", world.QUESTION, "--grader", "number",
        "--cache", str(cache), "--replace",
    ]  # fmt: skip


def score_command(frontier: Path, written: Path, cache: Path) -> list[str]:
    """Arguments of ``rbridge`` that add the frontier's confidences to all benchmarks of a cache."""
    return [
        "traces", "score", "--benchmark", "all", "--model", str(frontier), "--from", str(written),
        "--cache", str(cache), "--replace",
    ]  # fmt: skip
