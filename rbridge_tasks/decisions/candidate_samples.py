"""Samples files of candidates, named by ``RUN=PATH`` or ``RUN@PARAMS:TOKENS=PATH``: read, checked and joined."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rbridge_tasks.decisions.candidates import Candidates, is_of_size
from rbridge_tasks.tables.joined_items import JoinedItems, join_items
from rbridge_tasks.tables.names import listed
from rbridge_tasks.tables.sample_settings import SamplesFile, check_samples
from rbridge_tasks.tables.samples import ItemScores, SamplesError, check_against_table, find_samples, read_items
from rbridge_tasks.tables.sizes import parse_size


def named_samples(samples: Mapping[str, str | Path] | Sequence[str], runs: Collection[str]) -> list[tuple[str, str]]:
    """Name and path of each sample, from a mapping or from texts ``NAME=PATH``; a known run may contain ``=``.

    Raises:
        SamplesError: a text without a path.
    """
    if isinstance(samples, Mapping):
        return [(name, str(path)) for name, path in samples.items()]
    pairs = []
    for text in samples:
        splits = [(text[:at], text[at + 1 :]) for at, character in enumerate(text) if character == "="]
        known = [split for split in splits if split[0] in runs or split[0].rpartition("@")[0] in runs]
        name, path = next(iter(known or splits), (text, ""))
        if not path:
            raise SamplesError(f"--samples {text!r} is not RUN=PATH; write for example --samples dclm=out/dclm")
        pairs.append((name, path))
    return pairs


def joined_samples(
    groups: Sequence[Candidates], samples: Sequence[tuple[str, str]], *, allow_incomparable: bool = False
) -> tuple[list[JoinedItems | None], list[str]]:
    """Read and join the item scores of groups of one metric; None for a group without samples; and notes.

    ``samples`` holds pairs of ``RUN`` or ``RUN@PARAMS:TOKENS`` and the path of a samples file or a folder of them.

    Raises:
        IncomparableError: the evaluations of a group's candidates had different settings.
        SamplesError: a run, size or file that fits no candidate; files that disagree with the table or with each other;
            or a group in which only some candidates have samples.
    """
    items_of: list[dict[str, ItemScores]] = [{} for _ in groups]
    for name, path in samples:
        run, places = _groups_named(groups, name)
        files = {place: find_samples(path, groups[place].benchmark, groups[place].metric.name) for place in places}
        if not any(files.values()):
            benchmarks = ", ".join(sorted({group.benchmark for group in groups}))
            raise SamplesError(f"--samples {f'{name}={path}'!r} holds no samples of {benchmarks}")
        for place, file in files.items():
            if file is not None:
                group = groups[place]
                items = read_items(file, group.metric.name)
                value = group.value[group.runs.index(run)]
                check_against_table(f"{run} at {group.size}", items, value, group.metric.name)
                items_of[place][run] = items
    joined: list[JoinedItems | None] = []
    notes: list[str] = []
    for group, items_by_run in zip(groups, items_of, strict=True):
        if not items_by_run:
            joined.append(None)
            continue
        group_items, lines = _joined(group, items_by_run, allow=allow_incomparable)
        joined.append(group_items)
        notes += lines
    return joined, list(dict.fromkeys(notes))


def _joined(group: Candidates, items_by_run: Mapping[str, ItemScores], *, allow: bool) -> tuple[JoinedItems, list[str]]:
    missing = [run for run in group.runs if run not in items_by_run]
    if missing:
        raise SamplesError(
            f"{len(missing)} of {len(group.runs)} candidates of {group.benchmark} at {group.size} have no --samples, "
            f"such as {missing[0]}; paired intervals need those of all"
        )
    files = [SamplesFile(group.benchmark, run, items_by_run[run].path) for run in group.runs]
    lines, prompts = check_samples(files, group.metric.name, allow=allow)
    joined = join_items({run: items_by_run[run] for run in group.runs}, allow=allow, prompts=prompts)
    return joined, [*lines, *(f"{group.benchmark}: {text}" for text in joined.notes)]


def _groups_named(groups: Sequence[Candidates], name: str) -> tuple[str, list[int]]:
    """The run of ``RUN`` or ``RUN@PARAMS:TOKENS``, and the positions of the groups meant, one for each benchmark."""
    known = {run for group in groups for run in group.runs}
    run, at, size = name.rpartition("@")
    if name in known or not at:
        run, size = name, ""
    if run not in known:
        raise SamplesError(f"--samples {name!r}: no such run is scored; runs are {listed(known)}")
    places = [place for place, group in enumerate(groups) if run in group.runs]
    if size:
        places = [place for place in places if is_of_size(groups[place], parse_size(size))]
    if not places:
        raise SamplesError(f"--samples {name!r}: the run has no score at that size")
    if len(places) > len({groups[place].benchmark for place in places}):
        sizes = sorted({groups[place].size for place in places})
        raise SamplesError(
            f"run {run!r} was scored at several sizes ({'; '.join(sizes[:4])}); name the size with "
            f"--samples {run}@PARAMS:TOKENS=PATH, or choose one for all with --at PARAMS:TOKENS"
        )
    return run, places
