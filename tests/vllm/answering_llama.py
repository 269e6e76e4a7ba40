"""Train a tiny Llama, in under a minute, to answer any question with the JSON object of the paper's prompt.

Its answers contain text that is hard to parse: escapes, characters of two to four bytes, and line breaks. Their content
is nonsense: the tests check the path from a real server's response to a cache of traces.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from examples.tiny_llama import END, corpus, random_llama, train, train_tokenizer

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
#: Makes the model think first, as the templates of DeepSeek-R1 and Qwen3 do.
THINKING_TEMPLATE = CHAT_TEMPLATE.replace("assistant:\n", "assistant:\n<think>\n")
_OPENINGS = ("First", "To begin", "Note that", "Zuerst", "D'abord")
_STEPS = ("we add the naïve terms", "let 2 × 3 = 6 😀", 'call it "x"', "multiply: \\frac{1}{2}", "das heißt ∑ = 4")
_CLOSINGS = ("so the total is", "hence we get", "which gives")


def _sentences(seed: random.Random) -> str:
    steps = seed.sample(_STEPS, 2)
    rare = chr(0x4E00 + seed.randrange(256))  # no token holds it: its bytes are in two or three tokens
    return f"{seed.choice(_OPENINGS)}, {steps[0]} {rare};\n{steps[1]}, {seed.choice(_CLOSINGS)} {seed.randrange(10)}."


def _answer(seed: random.Random, *, thinks: bool) -> str:
    thinking = f"<think>\n{_sentences(seed)}\n</think>\n\n" if thinks else ""
    answer = {"reasoning": _sentences(seed), "final_answer": str(seed.randrange(10))}
    return thinking + json.dumps(answer, ensure_ascii=False)


def _conversation(question: str, answer: str) -> str:
    instruction = (
        "Respond ONLY with a JSON object in this exact format: "
        '{ "reasoning": "your step by step reasoning", "final_answer": "your final answer" }'
    )
    return f"system: You are a helpful assistant.\nuser: {question}\n\n{instruction}\nassistant:\n{answer}{END}"


def answering_llama(folder: Path, *, thinks: bool = False) -> Path:
    """Train and save a checkpoint with tokenizer and chat template; return its folder. ``thinks``: it thinks first."""
    seed = random.Random(7)
    words = " ".join(corpus(0.3)).split()
    documents = []
    for _ in range(1500):
        start, length = seed.randrange(len(words) - 60), seed.randrange(5, 40)
        documents.append(_conversation(" ".join(words[start : start + length]), _answer(seed, thinks=thinks)))
    tokenizer = train_tokenizer(documents, 700)
    tokenizer.chat_template = THINKING_TEMPLATE if thinks else CHAT_TEMPLATE
    if thinks:
        tokenizer.add_tokens(["<think>", "</think>"])
    model = random_llama(len(tokenizer), hidden_size=128, layers=2, heads=4, window=2048)
    trained = train(model, tokenizer, documents, folder, steps=250, save_at=[250], batch=4, window=512)
    return trained[0].path
