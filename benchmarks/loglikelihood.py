"""Our scoring against lm-eval's own ``loglikelihood`` on the same requests, and against the floor of the work itself.

    python benchmarks/loglikelihood.py --traces cot.jsonl.gz --map trace=response --tokenizer tokenizer.json

Both sides load the same random Llama, score the same (context, trace) pairs in turn, each in a process of its own, and
are measured around the scoring only. The floor (``floor.py``) is the matrix products that scoring cannot do without, at
the rates that the machine reaches in the same run. Without --traces it uses the sample that ships, without --tokenizer
one trained here. Numbers to believe come from a quiet machine and several --repeats; on a machine that others use,
``--processor-time --threads 1`` is disturbed least.

    git worktree add ../before HEAD~1
    python benchmarks/loglikelihood.py --against ../before

measures this version beside another one of this repository in place of stock.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from scoring import add_arguments, heading, measure, settings_from


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--against", type=Path, help="folder with another version of this repository to measure")
    args = parser.parse_args()
    if args.against:
        sides = ("before", "ours")
        found = measure(settings_from(args), repeats=args.repeats, sides=sides, checkout=args.against)
        report_versions(found, args.repeats)
    else:
        found = measure(settings_from(args), repeats=args.repeats)
        report(found, args.repeats)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def report(found: dict[str, Any], repeats: int) -> None:
    """Print the table."""
    settings, stock, ours, floor = (found[name] for name in ("settings", "stock", "ours", "floor"))
    unit = "processor seconds" if settings["processor_time"] else "seconds"
    print(heading(found, repeats))
    print(f"{'':30}{'stock':>12}{'ours':>12}{'ratio':>10}")
    above = [side["peak_mib"] - side["loaded_mib"] for side in (stock, ours)]
    rows = [
        (unit, stock["seconds"], ours["seconds"]),
        ("peak memory, MiB", stock["peak_mib"], ours["peak_mib"]),
        ("  above the loaded model, MiB", *above),
    ]
    for name, theirs, mine in rows:
        print(f"{name:30}{theirs:12.1f}{mine:12.1f}{theirs / mine:10.2f}")
    print(f"largest relative difference of a summed log-likelihood: {found['difference']:.2g}")
    for maker, key in (("torch's own products", "seconds"), ("oneDNN's products", "seconds_onednn")):
        print(f"floor with {maker}: {floor[key]:.1f} {unit}, of which ours reaches {floor[key] / ours['seconds']:.0%}")
    print(f"{floor['tokens']} different tokens, {floor['common']} of them a prompt that all requests begin with; "
          f"{floor['projected']} projected positions")  # fmt: skip
    own, onednn = floor["seconds_of"]["torch"], floor["seconds_of"]["oneDNN"]
    for name, operations in floor["operations_of"].items():
        print(f"  {name:28}{operations / 1e9:10.0f} GFLOP{operations / own[name] / 1e9:8.0f} and"
              f"{operations / onednn[name] / 1e9:4.0f} GFLOP/s{own[name]:8.2f} and{onednn[name]:6.2f} s")  # fmt: skip


def report_versions(found: dict[str, Any], repeats: int) -> None:
    """Print what both versions took."""
    before, now = found["before"], found["ours"]
    print(heading(found, repeats))
    for name, side in (("before", before), ("now", now)):
        runs = ", ".join(f"{seconds:.2f}" for seconds in sorted(side["runs"]))
        print(f"{name:8}{side['seconds']:8.2f} s (runs: {runs}), peak {side['peak_mib']:.0f} MiB, "
              f"{side['page_faults']} page faults")  # fmt: skip
    print(f"now / before: {now['seconds'] / before['seconds']:.3f}")
    print(f"largest relative difference of a summed log-likelihood: {found['difference']:.2g}")


if __name__ == "__main__":
    main()
