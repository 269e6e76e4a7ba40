"""Speed beside stock lm-eval, and exactness, for the families of models that people train.

Models are random (width 256, 4 layers, 50,000 tokens), with windows shorter than the prompt where the family has them.
Requests have the lengths of 5-shot GSM8K. Stock is ``HFLM``'s own ``loglikelihood`` of the same token ids on the same
model in the same process; seconds are processor time of one thread. Every token's log-probability is compared with a
forward pass over its text alone. Prints a line for each family; exits with 1 if a score is wrong.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import architectures
import numpy as np
import tiny_models
import torch
import transformers
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, models

from rbridge_tasks.scoring.causal_lm import CausalScorer
from rbridge_tasks.scoring.tokenization import TokenizedPair

SIZE = tiny_models.Size(width=256, vocabulary=50_000, window=256)
#: Mean lengths, in tokens, with the GPT-NeoX tokenizer: five worked examples, a question, a trace.
PROMPT_TOKENS, QUESTION_TOKENS, TRACE_TOKENS = 572, 58, 135
#: Settings that keep a family like its released models, where those of the smallest model do not.
SETTINGS: dict[str, dict[str, Any]] = {
    "llama4_text": {"floor_scale": 8192},
    "mamba2": {"chunk_size": 256},
}
#: Families by the way in which their layers let a token depend on earlier ones.
DENSE = [
    "llama", "qwen2", "qwen3", "mistral", "olmo", "olmo2", "gemma", "phi", "phi3", "glm4", "granite", "smollm3",
    "stablelm", "gpt_neox", "gpt2", "opt", "nemotron", "cohere", "helium", "starcoder2", "bloom", "mpt", "falcon",
]  # fmt: skip
WINDOWS = [
    "mistral, window", "qwen2, window", "gemma2", "gemma3_text", "gemma4_text", "olmo3", "cohere2", "llama4_text",
    "gpt_oss", "exaone4", "ministral", "gpt_neo", "mimo_v2_flash", "afmoe",
]  # fmt: skip
EXPERTS_AND_LATENT = ["mixtral", "qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3"]
STATES = [
    "mamba", "mamba2", "falcon_mamba", "rwkv", "recurrent_gemma", "xlstm", "bamba", "falcon_h1", "granitemoehybrid",
    "granitemoehybrid, dense", "jamba, dense", "nemotron_h", "nemotron_h, dense", "zamba", "zamba2", "qwen3_next",
    "qwen3_5_text", "olmo_hybrid", "kimi_linear", "bailing_hybrid", "minimax", "lfm2", "lfm2_moe",
]  # fmt: skip
GROUPS = {"dense": DENSE, "windows": WINDOWS, "experts": EXPERTS_AND_LATENT, "states": STATES}


@dataclass(frozen=True)
class Row:
    """What was found for one family.

    Attributes:
        name, dtype: as asked for.
        reader: how its texts were read, or why there is no model.
        stock_seconds, seconds: processor time of all requests, the trial included.
        difference_nats: largest difference of a token's log-probability from that of the pass over its text alone.
        noise_nats: largest movement of a token's log-probability when the embeddings move by one rounding.
        wrong: whether the difference is more than rounding (as in ``architectures``).
        log: what was logged.
    """

    name: str
    dtype: str
    reader: str
    stock_seconds: float = float("nan")
    seconds: float = float("nan")
    difference_nats: float = float("nan")
    noise_nats: float = float("nan")
    wrong: bool = False
    log: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Stock's seconds over ours."""
        return self.stock_seconds / self.seconds

    def __str__(self) -> str:
        numbers = f"{self.stock_seconds:7.2f} {self.seconds:7.2f} {self.ratio:6.2f}"
        numbers += f" {self.difference_nats:9.2g} {self.noise_nats:9.2g}"
        return f"{self.name:26} {self.dtype:9} {self.reader:36} {numbers} {'WRONG' if self.wrong else ''}"


def pairs(items: int, seed: int = 0) -> list[TokenizedPair]:
    """Requests with a prompt in common, and questions and traces of unequal lengths."""
    random = np.random.default_rng(seed)
    prompt = random.integers(5, SIZE.vocabulary, PROMPT_TOKENS)
    spreads = np.exp(random.normal(0, 0.4, (2, items)))
    spreads /= spreads.mean(1, keepdims=True)
    made = []
    for question, trace in (spreads * [[QUESTION_TOKENS], [TRACE_TOKENS]]).round().astype(int).T:
        ids = np.concatenate([prompt, random.integers(5, SIZE.vocabulary, question + trace)])
        made.append(TokenizedPair(ids, ids.size - trace, np.arange(trace), np.arange(1, trace + 1)))
    return made


def stock(model: transformers.PreTrainedModel, texts: list[TokenizedPair], batch_size: int) -> float:
    """Processor seconds of lm-eval's own ``loglikelihood`` of the pairs."""
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<|endoftext|>": 0}, "<|endoftext|>")), eos_token="<|endoftext|>"
    )
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=2048, device="cpu")
    requests = [(("", ""), text.ids[: text.first].tolist(), text.ids[text.first :].tolist()) for text in texts]
    began = time.process_time()
    lm._loglikelihood_tokens(requests, disable_tqdm=True)
    return time.process_time() - began


@torch.no_grad()
def alone(model: transformers.PreTrainedModel, pair: TokenizedPair) -> np.ndarray:
    """Log-probability of each scored token from a forward pass over one text, whose last logits alone are made."""
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return architectures.alone(model, pair)
    scored = torch.from_numpy(pair.ids[pair.first :, None])
    inputs = torch.from_numpy(pair.ids[None, :-1])
    logits = model(input_ids=inputs, use_cache=False, logits_to_keep=len(scored)).logits[0, -len(scored) :]
    return logits.double().log_softmax(-1).gather(-1, scored)[:, 0].numpy()


def examine(name: str, dtype: torch.dtype, items: int, batch_size: int) -> Row:
    """Measure one family."""
    shown = str(dtype).removeprefix("torch.")
    try:
        model = tiny_models.tiny_model(name, gain=1.0, size=SIZE, **SETTINGS.get(name, {})).to(dtype)
        texts = pairs(items)
        expected = [alone(model, pair) for pair in texts]
    except architectures.NOT_BUILT as error:
        return Row(name, shown, f"not built: {type(error).__name__}: {' '.join(str(error).split())[:160]}")
    log = architectures.Log()
    logger = logging.getLogger("rbridge_tasks")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    theirs = stock(model, texts, batch_size)
    scorer = CausalScorer(model, torch.device("cpu"), 2048, batch_size=batch_size, show_progress=False)
    began = time.process_time()
    scores = scorer.score(texts, [f"trace {i}" for i in range(len(texts))])
    ours = time.process_time() - began
    logger.removeHandler(log)
    differences = np.concatenate([np.abs(s.logprob - e) for s, e in zip(scores, expected, strict=True)])
    noise = architectures.noise(model, texts[0], architectures.alone(model, texts[0]))
    wrong = architectures.is_wrong(differences, noise, dtype)
    return Row(
        name, shown, scorer.way_of_reading, theirs, ours, float(differences.max()), noise, wrong, tuple(log.lines)
    )


def table(rows: list[Row]) -> str:
    """Markdown: a line for each family."""
    lines = [
        "| model | read | stock, s | ours, s | ratio | difference, nats | noise, nats |",
        "|---|---|" + "---:|" * 5,
    ]
    for row in rows:
        if np.isfinite(row.seconds):
            name = row.name if row.dtype == "float32" else f"{row.name}, {row.dtype}"
            numbers = [f"{row.stock_seconds:.2f}", f"{row.seconds:.2f}", f"{row.ratio:.1f}"]
            numbers += [f"{row.difference_nats:.1g}", f"{row.noise_nats:.1g}"]
            lines.append(f"| {' | '.join([name, row.reader, *numbers])} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure the families asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="MODEL_TYPE", help="these alone")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument("--items", type=int, default=24, help="requests")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--log", action="store_true", help="print what is logged")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--markdown", type=Path, help="write a table of them here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    rows = []
    print(f"{'model':26} {'dtype':9} {'read':36} {'stock s':>7} {'ours s':>7} {'ratio':>6} {'nats':>9} {'noise':>9}")
    for name in arguments.only or [name for group in arguments.groups for name in GROUPS[group]]:
        for dtype in arguments.dtypes:
            row = examine(name, getattr(torch, dtype), arguments.items, arguments.batch_size)
            rows.append(row)
            print(row, *(row.log if arguments.log else ()), sep="\n    ", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows], indent=1))
    if arguments.markdown:
        arguments.markdown.write_text(table(rows))
    judged = [row for row in rows if np.isfinite(row.seconds)]
    wrong = [row.name for row in judged if row.wrong]
    slower = [row.name for row in judged if row.ratio < 1]
    print(
        f"{len(judged)} measured; wrong: {', '.join(wrong) or 'none'}; slower than stock: {', '.join(slower) or 'none'}"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
