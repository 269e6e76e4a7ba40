"""Our token scores beside each model's own forward pass over one text, for every causal architecture in transformers.

Models are tiny and random, their state-mixing layers strong (``tiny_models``). Texts share a prompt, are longer than
any window, and differ in length within a batch. Each token's log-probability is compared with that of a pass over the
text alone. Differences are judged beside the model's own noise: how far its numbers move when its embeddings are
rounded another way. Prints a table; exits with 1 if a score is wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tiny_models
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError

from rbridge_tasks.scoring.causal_lm import CausalScorer
from rbridge_tasks.scoring.collector import ScoringError
from rbridge_tasks.scoring.forward import UNSUPPORTED
from rbridge_tasks.scoring.tokenization import TokenizedPair

#: A difference is rounding up to so many times the noise, and up to so much of a nat in any case. A mean difference is
#: rounding up to the largest movement by noise.
NOISES, ROUNDING_NATS = 32, {torch.float32: 2e-4, torch.bfloat16: 0.05}
#: Errors of models that cannot be built or called.
NOT_BUILT = (*UNSUPPORTED, ImportError, OSError, StrictDataclassError)
CONTINUATIONS = (4, 9, 300, 17, 60, 33, 5, 120, 80, 64, 12, 150, 40)
PROMPT_TOKENS = 200


@dataclass(frozen=True)
class Row:
    """What was found for one model.

    Attributes:
        name, dtype, gain: as asked for.
        model: its class.
        reader: how its texts were read; the reason why not, where it could not be built.
        difference_nats: largest difference of a token's log-probability from that of the pass over its text alone.
        mean_difference_nats: the mean of these.
        noise_nats: largest movement of a token's log-probability when the embeddings move by one rounding.
        wrong: whether the difference is more than rounding.
        log: what was logged.
    """

    name: str
    dtype: str
    gain: float
    model: str
    reader: str
    difference_nats: float = float("nan")
    mean_difference_nats: float = float("nan")
    noise_nats: float = float("nan")
    wrong: bool = False
    log: tuple[str, ...] = ()


def pairs(seed: int = 0) -> list[TokenizedPair]:
    """Pairs of token ids: a shared prompt, a question of its own, and a continuation."""
    random = np.random.default_rng(seed)
    prompt = random.integers(5, tiny_models.VOCABULARY, PROMPT_TOKENS)
    made = []
    for i, length in enumerate(CONTINUATIONS):
        own = random.integers(5, tiny_models.VOCABULARY, 12 + 3 * i + length)
        ids = np.concatenate([prompt, own])
        made.append(TokenizedPair(ids, ids.size - length, np.arange(length), np.arange(1, length + 1)))
    return [*made, made[3], pair_with_same_question(made[5], random)]


def pair_with_same_question(pair: TokenizedPair, random: np.random.Generator) -> TokenizedPair:
    """A pair that shares its whole context, and some of its trace, with another."""
    ids = pair.ids.copy()
    ids[pair.first + 5 :] = random.integers(5, tiny_models.VOCABULARY, ids.size - pair.first - 5)
    return TokenizedPair(ids, pair.first, pair.token_start, pair.token_end)


@torch.no_grad()
def alone(model: transformers.PreTrainedModel, pair: TokenizedPair) -> np.ndarray:
    """Log-probability of each scored token from a forward pass over one text."""
    rotations = [module for module in model.modules() if getattr(module, "rope_type", None) == "dynamic"]
    for module in rotations:  # or the numbers depend on what the model read before
        module.max_seq_len_cached = module.original_max_seq_len
        module.inv_freq = module.original_inv_freq
    ids = torch.from_numpy(pair.ids).to(model.device)
    logits = model(input_ids=ids[None, :-1]).logits[0, pair.first - 1 :]
    return logits.double().log_softmax(-1).gather(-1, ids[pair.first :, None])[:, 0].cpu().numpy()


def noise(model: transformers.PreTrainedModel, pair: TokenizedPair, expected: np.ndarray) -> float:
    """Largest movement of a token's log-probability when every embedding moves by up to one rounding."""
    generator = torch.Generator().manual_seed(0)

    def round_otherwise(_module: torch.nn.Module, _args: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        shift = torch.empty(out.shape).uniform_(-1, 1, generator=generator).to(out)
        return out * (1 + shift * torch.finfo(out.dtype).eps)

    handle = model.get_input_embeddings().register_forward_hook(round_otherwise)
    try:
        return float(np.abs(alone(model, pair) - expected).max())
    finally:
        handle.remove()


class Log(logging.Handler):
    """Keeps what the scorer logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def examine(
    name: str,
    dtype: torch.dtype,
    gain: float,
    batch_size: int,
    *,
    device: str = "cpu",
    attention: str | None = None,
) -> Row:
    """Score the pairs under one model and compare every token.

    Args:
        name: as for ``tiny_model``.
        dtype, gain: of the weights.
        batch_size: texts read at once.
        device: where the model runs.
        attention: name of transformers' attention implementation; None leaves it to transformers.
    """
    shown = str(dtype).removeprefix("torch.")
    try:
        model = tiny_models.tiny_model(name, gain=gain).to(device, dtype)
        if attention is not None:
            model.set_attn_implementation(attention)
        texts = pairs()
        expected = [alone(model, pair) for pair in texts]
    except NOT_BUILT as error:
        return _not_built(name, shown, gain, error)
    if not all(np.isfinite(values).all() for values in expected):
        return Row(name, shown, gain, type(model).__name__, "not judged: its own logits are not finite")
    log = Log()
    logger = logging.getLogger("rbridge_tasks")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    scorer = CausalScorer(model, model.device, 2048, batch_size=batch_size, show_progress=False)
    try:
        scores = scorer.score(texts, [f"trace {i}" for i in range(len(texts))])
    except ScoringError as error:
        return Row(name, shown, gain, type(model).__name__, f"refused: {error}", log=tuple(log.lines))
    except UNSUPPORTED as error:
        why = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
        return Row(name, shown, gain, type(model).__name__, why, wrong=True, log=tuple(log.lines))
    finally:
        logger.removeHandler(log)
    differences = np.concatenate([np.abs(s.logprob - e) for s, e in zip(scores, expected, strict=True)])
    moved = noise(model, texts[2], expected[2])
    return Row(
        name,
        shown,
        gain,
        type(model).__name__,
        scorer.way_of_reading,
        float(differences.max()),
        float(differences.mean()),
        moved,
        is_wrong(differences, moved, dtype),
        tuple(log.lines),
    )


def is_wrong(differences: np.ndarray, moved: float, dtype: torch.dtype) -> bool:
    """Whether differences of tokens' log-probabilities are more than rounding, where noise moves them by ``moved``."""
    rounding = ROUNDING_NATS[dtype]
    return bool(differences.max() > max(NOISES * moved, rounding) or differences.mean() > max(moved, rounding))


def _not_built(name: str, dtype: str, gain: float, error: Exception) -> Row:
    return Row(name, dtype, gain, "", f"not built: {type(error).__name__}: {' '.join(str(error).split())[:160]}")


def table(rows: list[Row]) -> str:
    """Markdown: a line for each model, with how it is read and the largest difference in each dtype."""
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    lines = [
        f"| model | {' | '.join(f'{dtype} | difference, nats | noise, nats' for dtype in dtypes)} |",
        "|---|" + "---|---:|---:|" * len(dtypes),
    ]
    judged = [row for row in rows if np.isfinite(row.difference_nats)]
    for name in dict.fromkeys(row.name for row in judged):
        cells = []
        for dtype in dtypes:
            of_model = [row for row in rows if (row.name, row.dtype) == (name, dtype)]
            worst = max(of_model, key=lambda row: np.nan_to_num(row.difference_nats))
            numbers = [
                f"{value:.1g}" if np.isfinite(value) else "" for value in (worst.difference_nats, worst.noise_nats)
            ]
            cells += [worst.reader, *numbers]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Examine the models asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="MODEL_TYPE", help="these alone")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--gains", nargs="+", type=float, default=[1.0, 3.0], help="of the weight matrices")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="where the models run")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--markdown", type=Path, help="write a table of them here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    rows = []
    for name in arguments.only or tiny_models.families():
        for dtype in arguments.dtypes:
            for gain in arguments.gains:
                started = time.perf_counter()
                row = examine(name, getattr(torch, dtype), gain, arguments.batch_size, device=arguments.device)
                rows.append(row)
                numbers = f"{row.difference_nats:9.2g} {row.mean_difference_nats:9.2g} {row.noise_nats:9.2g}"
                mark = "WRONG" if row.wrong else ""
                took = time.perf_counter() - started
                print(f"{name:28} {dtype:9} {gain:3g} {row.reader:34} {numbers} {took:5.1f}s {mark}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if arguments.markdown:
        arguments.markdown.write_text(table(rows))
    judged = [row for row in rows if np.isfinite(row.difference_nats)]
    wrong = [row for row in rows if row.wrong]
    print(f"{len({row.model for row in judged})} model classes, {len(judged)} combinations judged, {len(wrong)} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
