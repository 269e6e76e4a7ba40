"""Our scoring against stock ``HFLM`` on a GPU: a Llama of 1B parameters in bfloat16, 5-shot GSM8K.

    python benchmarks/gpu.py --traces cot.jsonl.gz --map trace=response --tokenizer tokenizer.json --trace-tokens 135

The checkpoint is random: speed does not depend on what it has learnt. Beside both sides stands the ceiling, the rate of
a large matrix product on the same GPU, and the share of it that the operations of different tokens (``floor.py``)
reach. Targets: four times stock, and half of the ceiling. Without a GPU it says so and ends.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

from floor import count_work
from scoring import add_arguments, load_pairs, load_tokenizer, machine, settings_from


@dataclass(frozen=True)
class Shape:
    """A Llama: that of 1B parameters, as Llama 3.2 has it, unless told otherwise."""

    hidden_size: int = 2048
    intermediate_size: int = 8192
    layers: int = 16
    heads: int = 32
    key_heads: int = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--stock-batch-size", type=int, default=16)
    parser.set_defaults(items=1319, batch_size="auto")
    args = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("no GPU here: nothing measured")
        return
    settings = settings_from(args)
    tokenizer = load_tokenizer(settings)
    found = compare(
        load_pairs(settings, tokenizer),
        tokenizer,
        torch.device("cuda"),
        batch_size=settings.batch_size,
        stock_batch_size=args.stock_batch_size,
        repeats=args.repeats,
    )
    found |= {"machine": machine() | {"gpu": torch.cuda.get_device_name()}}
    report(found)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def compare(
    pairs: list[tuple[str, str]],
    tokenizer: Any,
    device: Any,
    *,
    shape: Shape = Shape(),
    batch_size: str = "auto",
    stock_batch_size: int = 16,
    repeats: int = 1,
) -> dict[str, Any]:
    """Score the pairs by stock, by ours, and by ours with compiled layers, in turn, after a few to warm up.

    Returns:
        By side: median ``seconds``, ``peak_mib`` of memory on a GPU; ``difference``: mean absolute difference of a
        summed log-likelihood in nats per token; ``operations`` of the different tokens, the ``ceiling`` (operations a
        second), and by side ``utilisation``, the share of it that ours reaches.
    """
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from rbridge_tasks.backends import hf
    from rbridge_tasks.scoring.tokenization import PairEncoder

    model = random_model(shape, len(tokenizer), device)
    stock = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=stock_batch_size, max_length=4096)
    ours = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=4096)
    work = count_work(model, PairEncoder(tokenizer, stock.add_bos_token, stock.prefix_token_id).encode(pairs))

    def by_stock(some: list[tuple[str, str]]) -> list[float]:
        requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(some)]
        return [total for total, _ in stock.loglikelihood(requests, disable_tqdm=True)]

    def by_ours(some: list[tuple[str, str]], *, compiled: bool = False) -> list[float]:
        scores = hf.score(ours, some, [str(i) for i in range(len(some))], compiled=compiled)
        return [float(score.logprob.astype(float).sum()) for score in scores]

    sides = {"stock": by_stock, "ours": by_ours, "compiled": functools.partial(by_ours, compiled=True)}
    found: dict[str, Any] = {side: {"runs": []} for side in sides}
    sums = {}
    for repeat in range(repeats + 1):  # the first warms up, on few
        for side, score in sides.items():
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
            sums[side] = score(pairs if repeat else pairs[:32])
            _finish(device)
            if repeat:
                found[side]["runs"].append(time.perf_counter() - began)
            if device.type == "cuda":
                found[side]["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    ceiling = matrix_rate(device, model.dtype)
    for side in sides:
        found[side]["seconds"] = statistics.median(found[side]["runs"])
        if side != "stock":
            found[side]["utilisation"] = work.total / found[side]["seconds"] / ceiling
    differences = [abs(a - b) for a, b in zip(sums["stock"], sums["ours"], strict=True)]
    return found | {
        "items": len(pairs),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "difference": sum(differences) / work.projected,
        "tokens": work.tokens,
        "projected": work.projected,
        "operations": work.total,
        "ceiling": ceiling,
    }


def random_model(shape: Shape, vocabulary: int, device: Any) -> Any:
    """A random Llama in bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    with device:
        return LlamaForCausalLM(config).to(torch.bfloat16).eval()


def matrix_rate(device: Any, dtype: Any, size: int | None = None) -> float:
    """Operations a second of a large matrix product on random numbers, the median of ten."""
    import torch

    size = size or (8192 if device.type == "cuda" else 512)
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(13):
        _finish(device)
        began = time.perf_counter()
        one @ other
        _finish(device)
        seconds.append(time.perf_counter() - began)
    return 2.0 * size**3 / statistics.median(seconds[3:])


def _finish(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def report(found: dict[str, Any]) -> None:
    """Print the table."""
    stock, ours, compiled = found["stock"], found["ours"], found["compiled"]
    print(f"{found['machine']['gpu']}, {found['parameters'] / 1e9:.2f}B parameters, bfloat16, "
          f"{found['items']} requests, {found['projected'] / found['items']:.0f} trace tokens each")  # fmt: skip
    print(f"{'':20}{'stock':>12}{'ours':>12}{'ratio':>10}{'compiled':>12}{'ratio':>10}")
    for name, key in (("seconds", "seconds"), ("peak memory, MiB", "peak_mib")):
        print(f"{name:20}{stock[key]:12.1f}{ours[key]:12.1f}{stock[key] / ours[key]:10.2f}"
              f"{compiled[key]:12.1f}{stock[key] / compiled[key]:10.2f}")  # fmt: skip
    print(f"mean difference: {found['difference']:.2g} nats a token")
    print(f"{found['operations'] / 1e12:.1f} TFLOP of {found['tokens']} different tokens, at "
          f"{ours['utilisation']:.0%} (compiled: {compiled['utilisation']:.0%}) of a large matrix product's "
          f"{found['ceiling'] / 1e12:.0f} TFLOP/s")  # fmt: skip


if __name__ == "__main__":
    main()
