"""How long ``rbridge traces pull --from`` takes for files of the size of the authors' release, and how much memory.

Writes 10,162 completions and 2.3M token rows for the six benchmarks: JSON with escapes and Unicode, cut into tokens at
random bytes, some inside a character. Then runs ``rbridge traces pull`` and ``rbridge traces verify`` on them, each in
a process of its own, for wall time and peak memory. Targets: 60 s and 2 GB for the pull.

    python benchmarks/pull.py [--scale 1.0] [--shuffle] [--keep DIR] [--json FILE]
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZES = {
    "arc_challenge": (1172, 165),
    "cqa": (1221, 150),
    "gsm8k": (1319, 175),
    "humaneval": (164, 190),
    "math500": (495, 330),
    "mmlu_pro": (5791, 276),
}
"""Completions and mean tokens of each, by config."""

PARTS = 4
TARGET_SECONDS, TARGET_GB = 60.0, 2.0
TEXT = (
    'so we have then therefore 12 3.5 = + the sum of both sides, \\frac{1}{2} \\sqrt{x} "quoted" naïve café π ≈ 3.14 ∑ '
    "→ 한국어 日本 😀 𝔘 C:\\temp a\tb which is what follows from (1) and\n"
)
WORDS = TEXT.split(" ")


def completion(rng: random.Random, tokens: int) -> tuple[str, str]:
    """A reasoning, and the JSON object around it as a frontier model writes it: about 4 bytes a token."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < 4 * tokens - 60:
        words.append(rng.choice(WORDS))
    reasoning = " ".join(words)
    answer = {"reasoning": reasoning, "final_answer": str(rng.randrange(1000))}
    indent = rng.choice([None, 2])
    return reasoning, json.dumps(answer, ensure_ascii=rng.random() < 0.3, indent=indent)


def token_rows(rng: random.Random, item: int, raw: str, tokens: int) -> Iterator[dict[str, Any]]:
    """The completion cut at random bytes; a token that is not text alone shows what servers show."""
    data = raw.encode()
    cuts = sorted(rng.sample(range(1, len(data)), min(tokens, len(data)) - 1))
    for position, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(data)], strict=True)):
        piece = data[start:end]
        yield {
            "item_id": item,
            "position": position,
            "token": piece.decode("utf-8", errors="replace"),
            "bytes": list(piece),
            "logprob": -rng.expovariate(10.0),
        }


def write_release(folder: Path, scale: float, *, shuffle: bool) -> tuple[int, int]:
    """Write ``traces/<config>/`` for all configs; completions and tokens written."""
    rng = random.Random(0)
    n_completions = n_tokens = 0
    for config, (items, mean) in SIZES.items():
        place = folder / "traces" / config
        place.mkdir(parents=True)
        answers: list[dict[str, Any]] = []
        lines: list[str] = []
        for item in range(max(1, round(items * scale))):
            tokens = max(40, round(rng.gauss(mean, mean / 4)))
            reasoning, raw = completion(rng, tokens)
            answers.append(
                {
                    "item_id": item,
                    "question": f"Question {item}?",
                    "reasoning": reasoning,
                    "completion": raw,
                    "final_answer": "1",
                }
            )
            lines += [json.dumps(row, ensure_ascii=False) + "\n" for row in token_rows(rng, item, raw, tokens)]
        if shuffle:
            rng.shuffle(lines)
        (place / f"{config}.json").write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")
        size = -(-len(lines) // PARTS)
        for part in range(PARTS):
            name = f"tokens-{part:05}-of-{PARTS:05}.jsonl"
            (place / name).write_text("".join(lines[part * size : (part + 1) * size]), encoding="utf-8")
        n_completions, n_tokens = n_completions + len(answers), n_tokens + len(lines)
    return n_completions, n_tokens


def measured(*arguments: str) -> tuple[float, float, str]:
    """Seconds, peak GB and output of a run of ``rbridge``."""
    code = "import resource, sys; from rbridge_tasks.cli import main\n"
    code += "try: main()\nfinally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    start = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    assert run.returncode == 0, run.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, int(run.stderr.split()[-1]) * unit / 1e9, run.stdout


def main() -> None:
    """Write, pull, verify; print the figures, and write them where ``--json`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size")
    parser.add_argument("--shuffle", action="store_true", help="token rows in no order, over all parts")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the files here and leave them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary) / "release"
        completions, tokens = write_release(folder, options.scale, shuffle=options.shuffle)
        cache = ["--cache", str(Path(temporary) / "cache")]
        seconds, peak, told = measured("traces", "pull", "--from", str(folder), *cache)
        verify_seconds, _, _ = measured("traces", "verify", *cache)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(told)
    figures = {
        "completions": completions,
        "token_rows": tokens,
        "megabytes_on_disk": round(size / 1e6),
        "shuffled": options.shuffle,
        "pull_seconds": round(seconds, 1),
        "pull_peak_gb": round(peak, 2),
        "verify_seconds": round(verify_seconds, 1),
        "token_rows_per_second": round(tokens / seconds),
        "target_seconds": TARGET_SECONDS,
        "target_gb": TARGET_GB,
        "targets_met": seconds < TARGET_SECONDS and peak < TARGET_GB,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
    }
    for name, value in figures.items():
        print(f"{name:30} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
