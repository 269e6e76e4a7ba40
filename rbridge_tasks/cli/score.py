"""``rbridge traces score``: give traces the confidences of a local model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli.trace_options import (
    Cache,
    OnlyCorrect,
    Replace,
    UsageError,
    traces,
    warn_about_traces,
    writable_cache,
)

if TYPE_CHECKING:
    from rbridge_traces import Manifest, TraceCache, TraceSet


@traces.command()
def score(
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", help="One benchmark, or all that are there.")],
    model: Annotated[str, typer.Option(help="Local folder or Hub name of the causal LM whose confidences to take.")],
    revision: Annotated[str | None, typer.Option(help="Revision on the Hub.")] = None,
    num_fewshot: Annotated[
        int | None, typer.Option(min=0, help="Worked examples before each question. Default: 5, where there are 5.")
    ] = None,
    batch_size: Annotated[str, typer.Option(help="Traces in a batch, or auto.")] = "auto",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... Default: a GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="Weights as float32, bfloat16, ... Default: as saved.")] = "auto",
    source: Annotated[str | None, typer.Option(help="Which source to read, where there are several.")] = None,
    read_from: Annotated[
        str | None, typer.Option("--from", help="Read traces from here instead: a cache, or sample.")
    ] = None,
    save_as: Annotated[str | None, typer.Option("--as", help="Name to write under. Default: the source's own.")] = None,
    only_correct: OnlyCorrect = False,
    replace: Replace = False,
    cache: Cache = None,
) -> None:
    """Give traces the confidences of a local causal LM, by teacher forcing, and note its name in the manifest."""
    from rbridge_tasks.scoring.teacher_forcing import add_confidence, load_scorer
    from rbridge_traces import TraceCache, mean_confidence, resolve_cache

    reading = resolve_cache(read_from or cache).cache
    target = reading if isinstance(reading, TraceCache) and read_from is None else writable_cache(cache)
    names = [manifest.benchmark for manifest in reading.manifests()] if benchmark == "all" else [benchmark]
    sets = [reading.load(name, source) for name in dict.fromkeys(names)]
    if only_correct:
        sets = [selected.only_correct() for selected in sets]
    if not sets:
        raise UsageError(f"nothing to score: {reading.root} holds no traces")
    for selected in sets:
        _check_target(selected, target, save_as, in_place=target is reading, replace=replace)
        target.adopt(reading.definition(selected.manifest.benchmark), replace=replace, check_only=True)
    scorer = load_scorer(model, revision=revision, device=device, dtype=dtype, batch_size=batch_size)
    for selected in sets:
        old = selected.manifest
        definition = reading.definition(old.benchmark)
        shots = definition.default_shots if num_fewshot is None else num_fewshot
        scored = add_confidence(selected.traces, scorer, num_fewshot=shots, benchmark=definition)
        about = dataclasses.replace(
            old,
            source=save_as or old.source,
            confidence_model=model if revision is None else f"{model}@{revision}",
            note=_note(old, shots, only_correct=len(scored) < old.rows),
        )
        target.adopt(definition, replace=replace)
        new = target.write_as(scored, about, replace=replace or (target is reading and about.source == old.source))
        mean = mean_confidence(scored)
        typer.echo(
            f"{new.rows} traces of {new.benchmark} in {target.root} as {new.source}, "
            f"confidences of {new.confidence_model}, mean {'unknown' if mean is None else format(mean, '.3f')}"
        )
        warn_about_traces(f"{new.benchmark}/{new.source}", scored)


def _check_target(
    selected: TraceSet, target: TraceCache, save_as: str | None, *, in_place: bool, replace: bool
) -> None:
    """Refuse to lose traces or confidences, before the model is loaded."""
    old, name = selected.manifest, save_as or selected.manifest.source
    in_place = in_place and name == old.source
    taken = old.rows_with_confidence if in_place else name in target.sources(old.benchmark)
    if replace:
        return
    if in_place and len(selected.traces) < old.rows:
        raise UsageError(
            f"{old.rows - len(selected.traces)} traces of {old.benchmark} from {name} are not known to be right and "
            "would be lost; write the others under another name with --as NAME, or over these with --replace"
        )
    if taken:
        raise UsageError(
            f"{target.root} already holds {old.benchmark} from {name}{' with confidences' * in_place}; "
            "keep it and write under another name with --as NAME, or write over it with --replace"
        )


def _note(old: Manifest, num_fewshot: int, *, only_correct: bool) -> str:
    how = f"confidences by teacher forcing, {num_fewshot}-shot"
    kept = [part for part in (old.note or "").split("; ") if part and not part.startswith("confidences by")]
    return "; ".join([*kept, *["only the traces whose final answer is right"] * only_correct, how])
