"""Which samples file belongs to which candidate: RUN=PATH and RUN@PARAMS:TOKENS=PATH, read and joined."""

from __future__ import annotations

from collections.abc import Sequence

from rbridge_tasks.decisions.candidates import Candidates, is_of_size
from rbridge_tasks.tables.joined_items import JoinedItems, join_items
from rbridge_tasks.tables.sample_settings import SamplesFile, check_samples
from rbridge_tasks.tables.samples import ItemScores, SamplesError, check_against_table, find_samples, read_items
from rbridge_tasks.tables.sizes import parse_size


def joined_samples(
    groups: Sequence[Candidates], samples: Sequence[str], *, allow_incomparable: bool = False
) -> tuple[list[JoinedItems | None], list[str]]:
    """Read and join the item scores of the groups that have them.

    Args:
        groups: all of one metric.
        samples: ``RUN=PATH`` or ``RUN@PARAMS:TOKENS=PATH``; a path is a samples file or a folder of them.
        allow_incomparable: join samples of evaluations with different settings, and note it.

    Returns:
        One for each group, None where no file was given for any of its candidates; and notes on settings and items.

    Raises:
        IncomparableError: the evaluations of a group's candidates had different settings.
        SamplesError: a run, size or file that fits no candidate; files that disagree with the table or with each other;
            or a group in which only some candidates have one.
    """
    found: list[dict[str, ItemScores]] = [{} for _ in groups]
    for text in samples:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise SamplesError(f"--samples {text!r} is not RUN=PATH; write for example --samples dclm=out/dclm")
        used = False
        for at, run in _meant(groups, name):
            group = groups[at]
            file = find_samples(path, group.benchmark, group.metric.name)
            if file is not None:
                items = read_items(file, group.metric.name)
                where = f"{run} at {group.size}"
                check_against_table(where, items, group.value[group.runs.index(run)], group.metric.name)
                found[at][run], used = items, True
        if not used:
            benchmarks = sorted({group.benchmark for group in groups})
            raise SamplesError(f"--samples {text!r} holds no samples of {', '.join(benchmarks)}")
    notes: dict[str, None] = {}
    joined = [
        _joined(group, items, notes, allow=allow_incomparable) for group, items in zip(groups, found, strict=True)
    ]
    return joined, [*notes]


def _joined(
    group: Candidates, found: dict[str, ItemScores], notes: dict[str, None], *, allow: bool
) -> JoinedItems | None:
    if not found:
        return None
    missing = [run for run in group.runs if run not in found]
    if missing:
        raise SamplesError(
            f"{len(missing)} of {len(group.runs)} candidates of {group.benchmark} at {group.size} have no --samples, "
            f"such as {missing[0]}; paired intervals need those of all"
        )
    files = [SamplesFile(group.benchmark, run, found[run].path) for run in group.runs]
    lines, prompts = check_samples(files, group.metric.name, allow=allow)
    joined = join_items({run: found[run] for run in group.runs}, allow=allow, prompts=prompts)
    notes.update(dict.fromkeys([*lines, *(f"{group.benchmark}: {text}" for text in joined.notes)]))
    return joined


def _meant(groups: Sequence[Candidates], name: str) -> list[tuple[int, str]]:
    """Positions of the groups that RUN or RUN@PARAMS:TOKENS stands in, one a benchmark, and the run."""
    known = {run for group in groups for run in group.runs}
    run, at, size = name.rpartition("@")
    if name in known or not at:
        run, size = name, ""
    if run not in known:
        raise SamplesError(f"--samples {name!r}: no such run is scored; runs are {', '.join(sorted(known)[:8])}")
    meant = [at for at, group in enumerate(groups) if run in group.runs]
    if size:
        meant = [at for at in meant if is_of_size(groups[at], parse_size(size))]
    if not meant:
        raise SamplesError(f"--samples {name!r}: the run has no score at that size")
    sizes = sorted({groups[at].size for at in meant})
    if len(meant) > len({groups[at].benchmark for at in meant}):
        raise SamplesError(
            f"run {run!r} was scored at several sizes ({'; '.join(sizes[:4])}); say which with "
            f"--samples {run}@PARAMS:TOKENS=PATH, or choose one for all with --at PARAMS:TOKENS"
        )
    return [(at, run) for at in meant]
