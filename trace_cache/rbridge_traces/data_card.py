"""The README.md of published traces: front matter for the Hub, and a description."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from rbridge_traces.manifest import Manifest, TraceSet

CARD = "README.md"
WRITTEN = '<!-- Written by "rbridge traces export" or "push", which write it anew each time. -->'
"""A line of every card. A README.md without it was not written by us."""

UNKNOWN = "unknown"

_LICENCES = re.compile(
    r"apache-2\.0|mit|bsd-[23]-clause|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[234]\.0|odc-by|odbl|pddl|cdla-sharing-1\.0"
    r"|cdla-permissive-[12]\.0|c-uda|openrail|a?gpl-3\.0|gpl-2\.0|lgpl-(2\.1|3\.0)|mpl-2\.0|unlicense|wtfpl"
    r"|llama2|llama3(\.[123])?|gemma"
)
_ABOUT = """\
Reasoning of a frontier model on the items of a benchmark, one trace each, without the final answer, and where it is
known the probability that a model gave each token of it. [rBridge](https://arxiv.org/abs/2509.21013) scores small
models by their loss on such traces, every token weighted by that confidence, to predict what large models will score.
"""
_COLUMNS = """\
One row is one item. `trace` is the reasoning; `token_end` and `token_logprob` are the end of each token, in code points
of the trace, and its natural log-probability (null where not known); `spans` are marked key steps, `[start, end)` in
code points. `manifest.json` in each folder has the sha256 of its files, against which every reader checks them.
"""
_SAMPLE = "**These are sample traces, for trying the tool. They are not a benchmark: never report a score on them.**"


def data_card(sources: Sequence[TraceSet], *, place: str, repo: str | None = None) -> str:
    """Describe published traces as a Markdown document that begins with YAML.

    Args:
        sources: all that is published in the place, at least one.
        place: how a reader names the place as a cache: a URL, or words for a folder that may be anywhere.
        repo: ``OWNER/NAME`` where it is a data set of the Hub.

    >>> from rbridge_traces import SampleCache
    >>> print(data_card([SampleCache().load("gsm8k")], place="DIR").splitlines()[1])
    license: "apache-2.0"
    """
    parts = [
        _front_matter([trace_set.manifest for trace_set in sources]),
        WRITTEN,
        "# Reasoning traces for rBridge",
        _ABOUT,
        *[_SAMPLE] * any(trace_set.manifest.sample for trace_set in sources),
        _counts(sources),
        _COLUMNS,
        _use(sources[0].manifest, place, repo),
        *(_section(trace_set.manifest) for trace_set in sources),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def hub_licence(licence: str | None) -> str:
    """The Hub's identifier of a licence; ``other`` for one it does not know, ``unknown`` for none.

    >>> [hub_licence(name) for name in ("Apache-2.0", "CC BY 4.0", "ask me", None)]
    ['apache-2.0', 'cc-by-4.0', 'other', 'unknown']
    """
    if licence is None or not licence.strip():
        return UNKNOWN
    name = re.sub(r"[\s_]+", "-", licence.strip().lower())
    return name if _LICENCES.fullmatch(name) else "other"


def config_name(benchmark: str, source: str) -> str:
    """The name of a source for ``datasets.load_dataset`` and the Hub's viewer."""
    return f"{benchmark}-{source}"


def _front_matter(manifests: Sequence[Manifest]) -> str:
    """YAML in which every value is a quoted slug, so that no text of a manifest can break it."""
    benchmarks = ", ".join(dict.fromkeys(manifest.benchmark for manifest in manifests))
    licences = {hub_licence(manifest.licence) for manifest in manifests}
    rows = sum(manifest.rows for manifest in manifests)
    lines = [
        f'license: "{licences.pop() if len(licences) == 1 else "other"}"',
        f'pretty_name: "rBridge traces: {benchmarks}"',
        'task_categories: ["text-generation"]',
        f'size_categories: ["{_size(rows)}"]',
        'tags: ["rbridge", "reasoning", "lm-evaluation-harness"]',
        "configs:",
    ]
    for manifest in manifests:
        paths = ", ".join(f'"{manifest.benchmark}/{manifest.source}/{name}"' for name in manifest.files)
        lines += [
            f'- config_name: "{config_name(manifest.benchmark, manifest.source)}"',
            "  data_files:",
            f'  - split: "test"\n    path: [{paths}]',
        ]
    return "\n".join(["---", *lines, "---"])


def _size(rows: int) -> str:
    bounds = [(1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")]
    return next((name for bound, name in bounds if rows < bound), "1M<n<10M")


def _counts(sources: Sequence[TraceSet]) -> str:
    rows = ["| config | traces | with confidences | tokens | with spans | correct |", "|---|--:|--:|--:|--:|--:|"]
    for trace_set in sources:
        manifest = trace_set.manifest
        correct = UNKNOWN if manifest.rows_correct is None else f"{manifest.rows_correct:,}"
        rows.append(
            f"| `{config_name(manifest.benchmark, manifest.source)}` "
            f"| {manifest.rows:,} | {manifest.rows_with_confidence:,} "
            f"| {tokens_of(trace_set):,} | {manifest.rows_with_spans:,} | {correct} |"
        )
    return "\n".join(rows)


def tokens_of(trace_set: TraceSet) -> int:
    """Tokens with a known log-probability, over all traces."""
    scored = [trace for trace in trace_set.traces if trace.token_logprob is not None]
    return sum(trace.token_logprob.size - trace.unknown_tokens for trace in scored if trace.token_logprob is not None)


def _use(first: Manifest, place: str, repo: str | None) -> str:
    task = f"rbridge_{first.benchmark}"
    place = shlex.quote(place)
    pull = f"rbridge traces pull {repo}" if repo else f"rbridge traces pull --from {place}"
    lines = [
        "## Use",
        "With [rbridge-tasks](https://pypi.org/project/rbridge-tasks/):",
        f"```sh\n{pull}\nlm_eval --model hf --model_args pretrained=CKPT --tasks {task}\n```",
    ]
    if repo is None:
        lines += ["or read in place:", f"```sh\nRBRIDGE_CACHE={place} lm_eval ... --tasks {task}\n```"]
    else:
        load = f'load_dataset("{repo}", "{config_name(first.benchmark, first.source)}", split="test")'
        lines += ["or as a table:", f"```python\nfrom datasets import load_dataset\n\ntraces = {load}\n```"]
    return "\n\n".join(lines)


def _section(manifest: Manifest) -> str:
    facts = {
        "Frontier model, which wrote the traces": manifest.frontier_model,
        "Confidence model, whose probabilities the tokens have": manifest.confidence_model,
        "Decoding": manifest.decoding,
        "Licence": manifest.licence,
        "Origin": manifest.origin,
        "Created": manifest.created,
        "Note": manifest.note,
    }
    lines = [f"- {name}: {_verbatim(value) if value else UNKNOWN}" for name, value in facts.items()]
    lines += [f"- `{name}`: sha256 `{digest}`" for name, digest in manifest.files.items()]
    heading = f"## {manifest.benchmark} from {manifest.source}" + " (sample)" * manifest.sample
    prompt = f"Prompt:\n\n{_fenced(manifest.prompt)}" if manifest.prompt else f"Prompt: {UNKNOWN}"
    return "\n\n".join([heading, "\n".join(lines), prompt])


def _verbatim(text: str) -> str:
    """Text quoted so that Markdown and HTML do not change it, on one line."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"
