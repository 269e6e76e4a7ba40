"""Read run, size, step and training tokens from the name of a checkpoint.

Nothing is guessed: a step becomes tokens only where the tokens of a step are published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_NUMBER = r"\d+(?:\.\d+)?"
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_START, _END = r"(?<![A-Za-z0-9.])", r"(?![A-Za-z0-9])"

_TOKENS = (
    re.compile(rf"{_START}tokens?[-_=]?({_NUMBER})([kmbt]?){_END}", re.I),
    re.compile(rf"{_START}({_NUMBER})([kmbt])[-_]?(?:tokens?|tok){_END}", re.I),
    re.compile(rf"{_START}({_NUMBER})([mb])t{_END}", re.I),  # 350BT
    re.compile(rf"(?<=k-)({_NUMBER})([bt])$", re.I),  # TinyLlama's step-50K-105b
)
_STEP = re.compile(
    rf"{_START}(?:global[-_]?step|steps?|checkpoint|ckpt|iteration|iter)[-_=]?({_NUMBER})([km]?){_END}", re.I
)
_STAGE = re.compile(rf"{_START}stage[-_]?(\d+){_END}", re.I)
_EPOCH = re.compile(rf"{_START}epoch[-_=]?{_NUMBER}{_END}", re.I)
_SIZE = re.compile(rf"{_START}({_NUMBER})([mb]){_END}", re.I)
_SEED = re.compile(r"seed[-_=]?\d+", re.I)
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_HUB_FOLDER = re.compile(r"models--(.+)")  # of the Hub's cache: models--EleutherAI--pythia-160m

_SAYS_NOTHING = (
    frozenset(
        ("best", "checkpoint", "checkpoints", "ckpt", "ckpts", "converted", "default", "final", "hf", "last", "latest")
    )
    | frozenset(
        ("main", "master", "merged", "model", "models", "out", "output", "outputs", "pytorch", "safetensors", "seed")
    )
    | {"snapshots", "unsharded", "weights"}
)

_PYTHIA = re.compile(r"EleutherAI/pythia-[0-9.]+[mb](?:-deduped)?", re.I)
_PYTHIA_TOKENS_PER_STEP = 2_097_152  # 1024 sequences of 2048 tokens for every size; arXiv 2304.01373
_PYTHIA_LAST_STEP = 143_000


@dataclass(frozen=True)
class Named:
    """Facts in the name of a checkpoint; None where the name has none.

    Attributes:
        run: the name without size and checkpoint, the same for every size and checkpoint of a run.
        params: parameters.
        tokens: training tokens.
        step: training step.
        doubt: why a number in the name was not used.
    """

    run: str
    params: float | None = None
    tokens: float | None = None
    step: float | None = None
    doubt: str | None = None


@dataclass(frozen=True)
class _Part:
    """One part of a path, or a revision: the numbers in it, and the rest."""

    text: str
    rest: str
    tokens: float | None
    step: float | None
    stage: int | None
    sizes: tuple[float, ...]

    @property
    def words(self) -> list[str]:
        """Words of the rest that distinguish runs."""
        words = re.split(r"[-_. ]+", _SIZE.sub("", self.rest))
        return [word for word in words if word and word.lower() not in _SAYS_NOTHING]


def read_name(model: str, revision: str | None = None) -> Named:
    """Read the run, size, step and tokens out of a model's name or path and its revision.

    Args:
        model: ``EleutherAI/pythia-160m``, ``/ckpts/dclm-97.9M/step250-tokens512K``, ...
        revision: ``step1000-tokens4B``, ``stage1-step150000-tokens630B``, ``step143000``, ``main``, a commit, or None.

    >>> read_name("EleutherAI/pythia-160m-deduped", "step1000")
    Named(run='pythia-deduped', params=160000000.0, tokens=2097152000.0, step=1000.0, doubt=None)
    >>> read_name("ckpts/dclm/97.9M/checkpoint-500")
    Named(run='dclm', params=97900000.0, tokens=None, step=500.0, doubt=None)
    >>> read_name("ckpts/dclm-1b/seed1/step10")
    Named(run='dclm@seed1', params=1000000000.0, tokens=None, step=10.0, doubt=None)
    """
    named, checkpoint = _read_path(model)
    for part in (checkpoint, _part(revision) if revision else None):
        if part is not None:
            named = _with_checkpoint(named, part)
    if named.tokens is None and named.doubt is None and _PYTHIA.fullmatch(model):
        final = (revision or "main") in ("main", "master")
        step = float(_PYTHIA_LAST_STEP) if final and named.step is None else named.step
        named = replace(named, step=step, tokens=None if step is None else step * _PYTHIA_TOKENS_PER_STEP)
    return named


def count(text: str) -> float:
    """Read a count of parameters or tokens with an optional unit. Commas separate thousands, and are no decimal points.

    >>> count("97.9M"), count("4T"), count("1e9"), count("512_000"), count("1,400M")
    (97900000.0, 4000000000000.0, 1000000000.0, 512000.0, 1400000000.0)

    Raises:
        ValueError: the text is no number.
    """
    plain = _THOUSANDS_COMMA.sub("", text.strip().replace("_", ""))
    if plain[-1:].lower() in ("k", "m", "b", "t"):
        return _number(plain[:-1], plain[-1])
    return float(plain)


def _read_path(model: str) -> tuple[Named, _Part | None]:
    """The run and size in a path, and the part that names the checkpoint, if any."""
    checkpoint: _Part | None = None
    run: _Part | None = None
    above: _Part | None = None
    size: float | None = None
    parts = [*_parts(model)]
    for index, part in enumerate(parts):
        lone_number = part.text.isdigit() and index + 1 < len(parts) and run is None
        if run is None and checkpoint is None and (lone_number or _names_a_checkpoint(part)):
            checkpoint = replace(part, step=float(part.text), rest="") if lone_number else part
        elif not part.words and part.sizes:
            size = size if size is not None else part.sizes[0]
        elif run is None and part.words:
            run = part
        elif above is None and part.words:
            above = part
    seed = ""
    if run and above and size is None and len(above.sizes) == 1 and _SEED.fullmatch(run.rest):
        seed, checkpoint, run = f"@{run.rest}", checkpoint or replace(run, rest=""), above
    if run is None:
        return Named(parts[0].text if parts else model, params=size), checkpoint and replace(checkpoint, rest="")
    if checkpoint is None and (run.step is not None or run.tokens is not None):
        named = Named(_tidy(_SIZE.sub("\0", run.rest)) if len(run.sizes) == 1 else run.rest)
        named = replace(named, tokens=run.tokens, step=run.step)
    else:
        named = Named(_tidy(_SIZE.sub("\0", run.text)) if len(run.sizes) == 1 else run.text)
    params = run.sizes[0] if size is None and len(run.sizes) == 1 else size
    return replace(named, run=named.run + seed, params=params), checkpoint


def _parts(model: str) -> Iterator[_Part]:
    """The parts of a path from the last to the first."""
    for text in reversed(re.split(r"[\\/]+", model)):
        cached = _HUB_FOLDER.fullmatch(text)
        if cached:
            yield _part(cached.group(1).rpartition("--")[2])
        elif text.strip(".~ ") and not (_COMMIT.fullmatch(text) and len(text) == 40):
            yield _part(text)


def _part(text: str) -> _Part:
    tokens = next((match for match in (pattern.search(text) for pattern in _TOKENS) if match), None)
    step, stage, epoch = _STEP.search(text), _STAGE.search(text), _EPOCH.search(text)
    rest = text
    for match in sorted((m for m in (tokens, step, stage, epoch) if m), key=lambda m: -m.start()):
        rest = rest[: match.start()] + "\0" + rest[match.end() :]
    return _Part(
        text=text,
        rest=_tidy(rest),
        tokens=_number(*tokens.groups()) if tokens else None,
        step=_number(*step.groups()) if step else None,
        stage=int(stage.group(1)) if stage else None,
        sizes=tuple(_number(*match.groups()) for match in _SIZE.finditer(_tidy(rest))),
    )


def _names_a_checkpoint(part: _Part) -> bool:
    """Whether a folder name is that of a checkpoint, ``step10``, and not of a run, ``dclm-step10``."""
    return any(pattern.match(part.text) for pattern in (_STEP, _STAGE, _EPOCH, _TOKENS[0]))


def _with_checkpoint(named: Named, part: _Part) -> Named:
    """Add step and tokens of a revision or checkpoint folder. A seed, branch or later stage in it makes another run."""
    words = part.words
    rest = part.rest if words and not _COMMIT.fullmatch(part.text) else ""
    doubt = None
    if part.stage is not None and part.stage > 1:
        rest = f"stage{part.stage}" + (f"-{rest}" if rest else "")
        doubt = f"{part.text} counts the tokens of its own stage only" if part.tokens is not None else None
    return replace(
        named,
        run=f"{named.run}@{rest}" if rest else named.run,
        tokens=None if doubt else part.tokens if part.tokens is not None else named.tokens,
        step=part.step if part.step is not None else named.step,
        doubt=doubt,
    )


def _tidy(text: str) -> str:
    r"""Join a name where parts, marked by ``\0``, were cut out."""
    return re.sub(r"([-_. ]*)\0([-_. ]*)", lambda gap: (gap.group(1) or gap.group(2))[:1], text).strip("-_. ")


def _number(digits: str, unit: str) -> float:
    return float(f"{digits}e{len(str(int(_UNITS[unit.lower()]))) - 1}")
