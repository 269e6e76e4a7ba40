"""Find the files of completions and of token rows in a published release."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rbridge_traces.benchmark import benchmark_called
from rbridge_traces.errors import TraceImportError
from rbridge_traces.files import is_folder
from rbridge_traces.release.fields import map_fields
from rbridge_traces.release.token_rows import first_rows, layout_of
from rbridge_traces.rows import unpacked_name
from rbridge_traces.schema import BENCHMARKS

_TABLES = (".json", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class ReleaseFiles:
    """The files of one benchmark.

    Attributes:
        completions: of the answers.
        tokens: of the token rows; none where the completions hold their tokens themselves.
    """

    completions: Sequence[str]
    tokens: Sequence[str]


def release_folders(root: Path) -> dict[str, Path]:
    """The folder of each benchmark that a release holds: ``traces/NAME`` or ``NAME``, under any name it goes by.

    Raises:
        TraceImportError: there is no such folder, or it holds no benchmark; says what it holds.
    """
    if not is_folder(root):
        raise TraceImportError(f"there is no folder {root}")
    folder_of: dict[str, Path] = {}
    for folders in ([*_folders(root / "traces"), *_folders(root)], [root]):
        for folder in folders if not folder_of else ():
            benchmark = benchmark_called(folder.name)
            if benchmark is not None and table_files(folder):
                folder_of.setdefault(benchmark, folder)
    if not folder_of:
        content = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
        raise TraceImportError(
            f"{root} holds no benchmark (it holds {content}); expected traces/NAME or NAME with JSON, JSON Lines or "
            "Parquet files, NAME being arc_challenge, cqa, gsm8k, humaneval, math500 or mmlu_pro"
        )
    return {benchmark: folder_of[benchmark] for benchmark in BENCHMARKS if benchmark in folder_of}


def release_files(folder: Path, overrides: Mapping[str, str]) -> ReleaseFiles:
    """Tell completions from token rows: JSON beside other files is the completions; else the fields decide.

    Raises:
        TraceImportError: a file cannot be read, or no file holds completions.
    """
    paths = table_files(folder)
    documents = [path for path in paths if _kind(path) == ".json"]
    if documents and len(documents) < len(paths):
        others = [path for path in paths if path not in documents]
        return ReleaseFiles(_texts(documents), _texts(others))
    answers: list[str] = []
    tokens: list[str] = []
    both: list[str] = []
    for path in _texts(paths):
        rows = list(first_rows(path))
        layout = layout_of(rows, map_fields("tokens", rows, _there(rows, overrides)))
        answered = {"reasoning", "completion", "response"} & map_fields("completions", rows, {}).of.keys()
        if layout is None or (answered and layout == "listed"):
            (answers if layout is None else both).append(path)
        else:
            tokens.append(path)
    if not answers and not both:
        raise TraceImportError(
            f"{folder} holds token rows only ({', '.join(Path(path).name for path in tokens)}); expected a file of "
            "completions beside them: a JSON array with the reasoning and the final answer of each item"
        )
    return ReleaseFiles(answers or both, [*both, *tokens] if answers else tokens)


def _there(rows: Sequence[Mapping[str, object]], overrides: Mapping[str, str]) -> dict[str, str]:
    """The overrides of token fields that exist in a file, which may hold completions instead."""
    return {key: name for key, name in overrides.items() if key.startswith("tokens.") and any(name in r for r in rows)}


def table_files(folder: Path) -> list[Path]:
    """The files of a folder, at any depth, that may hold rows; part 2 before part 10, hidden ones left out."""
    folder_of = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and _kind(path) in _TABLES and not re.search(r"(^|/)\.", name):
            folder_of.append(([part.zfill(12) if part.isdigit() else part for part in re.split(r"(\d+)", name)], path))
    return [path for _, path in sorted(folder_of)]


def _kind(path: Path) -> str:
    return Path(unpacked_name(path.name)).suffix


def _folders(parent: Path) -> Iterable[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _texts(paths: Iterable[Path]) -> list[str]:
    return [str(path) for path in paths]
