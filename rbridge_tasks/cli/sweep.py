"""``rbridge sweep``: many checkpoints through lm-eval, each once, here or on Slurm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rbridge_tasks.cli import options
from rbridge_tasks.cli.trace_options import UsageError

if TYPE_CHECKING:
    from rbridge_tasks.sweeping.checkpoint import Checkpoint
    from rbridge_tasks.sweeping.settings import EvaluationSettings
    from rbridge_tasks.sweeping.sweep_file import SweepFile

_SLURM = "Slurm"
_TABLE = "Score table"


def sweep(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]... [-- LM_EVAL_OPTION...]",
            help="Folders of checkpoints or runs, ORG/NAME[@REVISION] of the Hub, or one YAML file.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder for shards, logs and the score table. Default: sweep.")
    ] = None,
    revisions: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Branches and tags of a Hub model: 'step*'. Repeatable.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks and groups of lm-eval, by commas. Default: rbridge.")] = None,
    model: Annotated[str | None, typer.Option(help="Model class of lm-eval. Default: hf.")] = None,
    model_args: Annotated[
        str | None, typer.Option(help="Its arguments but for the checkpoint: dtype=bfloat16,... or JSON.")
    ] = None,
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="Worked examples. Default: the task's own.")] = None,
    batch_size: Annotated[str | None, typer.Option(help="As in lm_eval. Default: auto.")] = None,
    limit: Annotated[float | None, typer.Option(help="Items a task, to try things out.")] = None,
    metadata: Annotated[str | None, typer.Option(help="Options of tasks: key=value,... or JSON.")] = None,
    device: Annotated[str | None, typer.Option(help="cuda, cuda:0, cpu, ... Default: lm-eval's choice.")] = None,
    include_final: Annotated[
        bool, typer.Option("--include-final", help="Score the model in a run's own folder beside its checkpoints too.")
    ] = False,
    keep_samples: Annotated[
        bool | None,
        typer.Option(
            "--keep-samples", help="Keep samples files of traces, not only their token scores.", show_default=False
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Checkpoints at once on this machine, on a GPU each.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is there and what would be scored.")] = False,
    as_json: options.AsJson = False,
    watch: Annotated[
        list[str] | None, typer.Option(metavar="DIR", help="Follow a live run: score checkpoints as they appear.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="STEP", help="End the watch after this step.")] = None,
    idle_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="End the watch when nothing new came for so long: 45m, 6h.")
    ] = None,
    poll: Annotated[str, typer.Option(metavar="TIME", help="Look for new checkpoints so often.")] = "10s",
    settle: Annotated[str, typer.Option(metavar="TIME", help="Unchanged for so long, a checkpoint is whole.")] = "10s",
    executor: Annotated[str, typer.Option(help="local or slurm.", rich_help_panel=_SLURM)] = "local",
    partition: Annotated[str | None, typer.Option(help="Partition.", rich_help_panel=_SLURM)] = None,
    time: Annotated[str | None, typer.Option(help="Time limit of a job: 90m, 4h.", rich_help_panel=_SLURM)] = None,
    gpus_per_job: Annotated[int | None, typer.Option(min=0, help="GPUs of a job.", rich_help_panel=_SLURM)] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of a job.", rich_help_panel=_SLURM)] = None,
    mem: Annotated[str | None, typer.Option(help="Memory of a job: 32GB.", rich_help_panel=_SLURM)] = None,
    checkpoints_per_job: Annotated[
        int, typer.Option(min=1, help="Checkpoints that a job scores in turn.", rich_help_panel=_SLURM)
    ] = 1,
    max_parallel: Annotated[int, typer.Option(min=1, help="Jobs at once.", rich_help_panel=_SLURM)] = 64,
    slurm: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Any other sbatch option. Repeatable.", rich_help_panel=_SLURM),
    ] = None,
    on_interrupt: Annotated[
        str, typer.Option(help="keep or cancel: what Ctrl-C does to jobs.", rich_help_panel=_SLURM)
    ] = "keep",
    runs: Annotated[
        str | None, typer.Option(help="What you know of runs, as rbridge collect takes it.", rich_help_panel=_TABLE)
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="Keep only this metric.", rich_help_panel=_TABLE)
    ] = None,
    include_sample: Annotated[
        bool, typer.Option("--include-sample", help="Keep scores on the sample traces.", rich_help_panel=_TABLE)
    ] = False,
) -> None:
    """Score many checkpoints on lm-eval tasks, each loaded once, into one score table. The same command resumes.

    Example: rbridge sweep runs/web-1B -o out --tasks rbridge,gsm8k

    Example: rbridge sweep EleutherAI/pythia-160m --revisions 'step*000' --executor slurm --gpus-per-job 1

    Example: rbridge sweep --watch runs/web-1B -o out --until 20000 -- --apply_chat_template
    """
    from rbridge_tasks.cli.sweep_output import exit_code, print_plan, print_result, say
    from rbridge_tasks.sweeping.request import SweepRequest, Watch
    from rbridge_tasks.sweeping.slurm import SlurmOptions
    from rbridge_tasks.sweeping.sweep import plan_sweep
    from rbridge_tasks.sweeping.sweep import sweep as run_sweep
    from rbridge_tasks.tables.sizes import parse_count

    words = [*(sources or [])]
    at = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
    places, extra = words[:at], words[at:]
    file = _file(places, watch or [])
    settings = _settings(
        file, extra, tasks=tasks, model=model, model_args=model_args, num_fewshot=num_fewshot, batch_size=batch_size,
        limit=limit, metadata=metadata, device=device, keep_samples=keep_samples,
    )  # fmt: skip
    _check_choices(executor=executor, on_interrupt=on_interrupt, watch=watch, until=until, idle_timeout=idle_timeout)
    jobs_of_slurm = SlurmOptions(
        partition, _minutes(time), gpus_per_job, cpus, mem, checkpoints_per_job, max_parallel,
        dict(_pair(pair) for pair in slurm or []), on_interrupt == "cancel",
    )  # fmt: skip
    if executor == "local" and (partition or time or gpus_per_job or cpus or mem or slurm):
        raise UsageError("--partition, --time, --gpus-per-job, --cpus, --mem and --slurm need --executor slurm")
    idle_seconds = None if idle_timeout is None else seconds_of(idle_timeout)
    last_step = None if until is None else parse_count(until)
    followed = Watch(watch or (), last_step, idle_seconds, max(seconds_of(poll), 0.1), seconds_of(settle))
    request = SweepRequest(
        source=followed if watch else _find(file, places, revisions or [], include_final=include_final),
        output=output or (file and file.output) or "sweep",
        settings=settings,
        include_final=include_final,
        jobs=jobs,
        slurm=jobs_of_slurm if executor == "slurm" else None,
        runs=runs or (file.runs if file else None),
        metrics=metric or [],
        include_sample=include_sample,
    )
    if dry_run:
        print_plan(plan_sweep(request), as_json=as_json)
        return
    result = run_sweep(request, say=say)
    print_result(result, as_json=as_json)
    if code := exit_code(result):
        raise typer.Exit(code)


def seconds_of(text: str) -> float:
    """Read a duration from the command line.

    Raises:
        UsageError: it is no duration.

    >>> seconds_of("90"), seconds_of("1.5h"), seconds_of("10s")
    (90.0, 5400.0, 10.0)
    """
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        number = float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UsageError(f"{text!r} is no duration; write for example 30s, 45m or 6h")
    return number


def _file(places: list[str], watched: list[str]) -> SweepFile | None:
    from rbridge_tasks.sweeping.sweep_file import read_sweep_file

    files = [place for place in places if place.endswith((".yaml", ".yml"))]
    if watched and places:
        raise UsageError(f"--watch {watched[0]} and {places[0]}: a watch takes no other sources; start two sweeps")
    if not watched and not places:
        raise UsageError(
            "nothing to score; give folders of checkpoints, ORG/NAME of the Hub, a YAML file, or --watch DIR"
        )
    if files and len(places) > 1:
        raise UsageError(f"{files[0]} lists checkpoints already; give it alone, or name folders without it")
    return read_sweep_file(files[0]) if files else None


def _find(file: SweepFile | None, places: list[str], revisions: list[str], *, include_final: bool) -> list[Checkpoint]:
    from rbridge_tasks.sweeping.checkpoint import in_order
    from rbridge_tasks.sweeping.checkpoints import find

    if file is None:
        return find(places, revisions=revisions, include_final=include_final)
    if revisions:
        raise UsageError("--revisions goes with ORG/NAME on the command line; in the file it is a key of a checkpoint")
    checkpoints = [
        checkpoint
        for entry in file.checkpoints
        for checkpoint in find(
            [entry.name], revisions=entry.revisions, include_final=include_final, model_args=entry.model_args
        )
    ]
    return in_order({(checkpoint.pretrained, checkpoint.revision): checkpoint for checkpoint in checkpoints}.values())


def _settings(file: SweepFile | None, extra: list[str], **typed: Any) -> EvaluationSettings:
    """Settings from the command line, else from the file."""
    from rbridge_tasks.sweeping.settings import EvaluationSettings, arguments_of_text, task_names

    written: dict[str, Any] = {name: getattr(file, name) if file else None for name in typed}
    chosen = {name: written[name] if value is None else value for name, value in typed.items()}
    for name in ("model_args", "metadata"):
        if isinstance(chosen[name], str):
            chosen[name] = arguments_of_text(chosen[name], "--" + name.replace("_", "-"))
    if chosen["tasks"] is not None:
        chosen["tasks"] = task_names(chosen["tasks"])
    if chosen["limit"] is not None and not chosen["limit"] > 0:
        raise UsageError(f"--limit {chosen['limit']:g}; give a number of items above 0, or leave it out")
    chosen["extra"] = tuple(extra) or (file.lm_eval_args if file else ())
    return EvaluationSettings(**{name: value for name, value in chosen.items() if value is not None})


def _check_choices(
    *, executor: str, on_interrupt: str, watch: list[str] | None, until: str | None, idle_timeout: str | None
) -> None:
    for name, value, known in (
        ("--executor", executor, ("local", "slurm")),
        ("--on-interrupt", on_interrupt, ("keep", "cancel")),
    ):
        if value not in known:
            raise UsageError(f"{name} {value!r}; choose {' or '.join(known)}")
    if not watch and (until or idle_timeout):
        raise UsageError(f"{'--until' if until else '--idle-timeout'} ends a --watch, and there is none")


def _minutes(text: str | None) -> int:
    return 60 if text is None else max(round(seconds_of(text) / 60), 1)


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key.strip("- "):
        raise UsageError(f"--slurm {text!r} is not KEY=VALUE; write for example --slurm account=research")
    return key.strip().lstrip("-").replace("-", "_"), value.strip() if equals else True
