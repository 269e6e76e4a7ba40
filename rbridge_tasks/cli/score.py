"""``rbridge traces score``: give traces the confidences of a local model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rbridge_tasks.cli.traces import (
    UsageError,
    _Cache,
    _OnlyCorrect,
    _Replace,
    _where,
    _writable,
    traces,
    warn_of_unknown,
)

if TYPE_CHECKING:
    from rbridge_traces import Manifest


@traces.command()
def score(
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", help="One benchmark, or all that are there.")],
    model: Annotated[str, typer.Option(help="Local folder or Hub name of the causal LM whose confidences to take.")],
    revision: Annotated[str | None, typer.Option(help="Revision on the Hub.")] = None,
    num_fewshot: Annotated[int, typer.Option(min=0, help="Worked examples before each question.")] = 5,
    batch_size: Annotated[str, typer.Option(help="Traces in a batch, or auto.")] = "auto",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... Default: a GPU if there is one.")] = None,
    dtype: Annotated[str, typer.Option(help="Weights as float32, bfloat16, ... Default: as saved.")] = "auto",
    source: Annotated[str | None, typer.Option(help="Which source to read, where there are several.")] = None,
    read_from: Annotated[
        str | None, typer.Option("--from", help="Read traces from here instead: a cache, or sample.")
    ] = None,
    save_as: Annotated[str | None, typer.Option("--as", help="Name to write under. Default: the source's own.")] = None,
    only_correct: _OnlyCorrect = False,
    replace: _Replace = False,
    cache: _Cache = None,
) -> None:
    """Give traces the confidences of a local causal LM, by teacher forcing, and note its name in the manifest."""
    from rbridge_tasks.scoring.teacher_forcing import add_confidence, load_scorer
    from rbridge_traces import TraceCache, mean_confidence, resolve_cache, unknown_tokens

    reading = resolve_cache(read_from or cache).cache
    target = reading if isinstance(reading, TraceCache) and read_from is None else _writable(cache)
    names = [found.benchmark for found in reading.manifests()] if benchmark == "all" else [benchmark]
    sets = [reading.load(name, source) for name in dict.fromkeys(names)]
    if only_correct:
        sets = [found.only_correct() for found in sets]
    if not sets:
        raise UsageError(f"nothing to score: {_where(reading)} holds no traces")
    for found in sets:
        held, name = found.manifest, save_as or found.manifest.source
        in_place = target is reading and name == held.source
        taken = held.rows_with_confidence if in_place else name in target.sources(held.benchmark)
        if in_place and len(found.traces) < held.rows and not replace:
            raise UsageError(
                f"{held.rows - len(found.traces)} traces of {held.benchmark} from {name} are not known to be right and "
                "would be lost; write the others under another name with --as NAME, or over these with --replace"
            )
        if taken and not replace:
            raise UsageError(
                f"{target.root} already holds {held.benchmark} from {name}{' with confidences' * in_place}; "
                "keep it and write under another name with --as NAME, or write over it with --replace"
            )
    scorer = load_scorer(model, revision=revision, device=device, dtype=dtype, batch_size=batch_size)
    for found in sets:
        held = found.manifest
        scored = add_confidence(found.traces, scorer, num_fewshot=num_fewshot)
        name = save_as or held.source
        manifest = target.write(
            scored,
            benchmark=held.benchmark,
            source=name,
            frontier_model=held.frontier_model,
            confidence_model=model if revision is None else f"{model}@{revision}",
            prompt=held.prompt,
            decoding=held.decoding,
            licence=held.licence,
            note=_note(held, num_fewshot, only_correct=len(scored) < held.rows),
            origin=held.origin,
            sample=held.sample,
            replace=replace or (target is reading and name == held.source),
        )
        mean = mean_confidence(scored)
        typer.echo(
            f"{manifest.rows} traces of {manifest.benchmark} in {target.root} as {manifest.source}, "
            f"confidences of {manifest.confidence_model}, mean {'unknown' if mean is None else format(mean, '.3f')}"
        )
        warn_of_unknown(unknown_tokens(scored))


def _note(held: Manifest, num_fewshot: int, *, only_correct: bool) -> str:
    how = f"confidences by teacher forcing, {num_fewshot}-shot"
    kept = [part for part in (held.note or "").split("; ") if part and not part.startswith("confidences by")]
    return "; ".join([*kept, *["only the traces whose final answer is right"] * only_correct, how])
