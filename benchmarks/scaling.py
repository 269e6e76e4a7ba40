"""What scoring costs against the number of items, of few-shot examples and of words in the vocabulary, ours and stock.

    python benchmarks/scaling.py --traces cot.jsonl.gz --map trace=response --over items
    python benchmarks/scaling.py --traces cot.jsonl.gz --map trace=response --over shots
    python benchmarks/scaling.py --traces cot.jsonl.gz --map trace=response --over vocabulary

Time should be linear in the items, and nearly flat in the examples, which are read once; memory should hardly grow with
the vocabulary. Over the vocabulary the tokens are the same, those of a tokenizer of 8k made here: only the projection
grows. Options as of ``loglikelihood.py``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
from scoring import Settings, add_arguments, measure, settings_from

VALUES = {"items": (24, 48, 96, 192), "shots": (0, 1, 3, 5), "vocabulary": (8_192, 50_000, 100_000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--over", choices=VALUES, required=True)
    parser.add_argument("--values", type=int, nargs="+", help="other values than the usual ones")
    parser.add_argument("--only-ours", action="store_true", help="leave out stock, which takes most of the time")
    args = parser.parse_args()
    sides = ("ours",) if args.only_ours else ("stock", "ours")
    settings = settings_from(args)
    found = {}
    for value in args.values or VALUES[args.over]:
        found[value] = measure(changed(settings, args.over, value), repeats=args.repeats, sides=sides)
    report(args.over, found, sides)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def changed(settings: Settings, over: str, value: int) -> Settings:
    """The settings with one of them set to a value."""
    if over == "vocabulary":
        import tempfile
        from pathlib import Path

        from scoring import load_tokenizer

        if settings.tokenizer is None:  # one for all values
            file = Path(tempfile.gettempdir()) / "rbridge_benchmark_tokenizer_8k.json"
            if not file.exists():
                load_tokenizer(replace(settings, vocabulary=min(VALUES["vocabulary"]))).backend_tokenizer.save(
                    str(file)
                )
            settings = replace(settings, tokenizer=str(file))
        return replace(settings, vocabulary=value)
    return replace(settings, **{"items": {"items": value}, "shots": {"num_fewshot": value}}[over])


def report(over: str, found: dict[int, dict[str, Any]], sides: tuple[str, ...]) -> None:
    """Print the table, and for items how far the times are from a line."""
    first = next(iter(found.values()))
    unit = "processor s" if first["settings"]["processor_time"] else "s"
    head = [f"{side}, {what}" for what in (unit, "MiB above the model") for side in sides]
    print(f"{over:>12}" + "".join(f"{name:>28}" for name in head))
    for value, figures in found.items():
        cells = [figures[side]["seconds"] for side in sides]
        cells += [figures[side]["peak_mib"] - figures[side]["loaded_mib"] for side in sides]
        print(f"{value:12}" + "".join(f"{cell:28.1f}" for cell in cells))
    if over == "items" and len(found) > 2:
        items, seconds = np.array(list(found)), np.array([figures["ours"]["seconds"] for figures in found.values()])
        slope, start = np.polyfit(items, seconds, 1)
        off = np.abs(slope * items + start - seconds) / seconds
        print(f"ours: {slope:.4f} {unit} an item and {start:.2f} at the start; at most {off.max():.0%} off that line")


if __name__ == "__main__":
    main()
