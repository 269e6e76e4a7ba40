"""``fit.json``: curves from proxy score to accuracy, by group, written by ``rbridge fit`` and read to predict with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbridge_metrics.errors import FitError, RBridgeError
from rbridge_metrics.regression import ProxyRegressor
from rbridge_tasks.decisions.fit_report import FORMAT
from rbridge_tasks.tables.comparable import Measured
from rbridge_traces.files import write_json


class FitFileError(RBridgeError):
    """A file that is not one of ``rbridge fit``, or lacks what is asked of it."""


@dataclass(frozen=True)
class FittedGroup:
    """One curve of a file, the key of its group, and the runs of its points, as far as they are known."""

    key: dict[str, str]
    model: ProxyRegressor
    runs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The values of the key."""
        return ", ".join(self.key.values()) or "all rows"


@dataclass(frozen=True)
class FitFile:
    """What prediction needs of a file: its groups, where its pairs came from, the level of its intervals."""

    path: str
    groups: list[FittedGroup]
    source: dict[str, Any]
    level: float
    content: dict[str, Any] = field(repr=False)

    @property
    def measured(self) -> list[Measured]:
        """Settings of the proxy scores that were fitted, for each benchmark; empty where the file states none."""
        settings = self.source.get("proxy_settings")
        metric = str(self.source.get("proxy_metric"))
        return [Measured(name, metric, self.path, own) for name, own in settings.items()] if settings else []

    @property
    def columns(self) -> list[str]:
        """Names of the columns that tell groups apart."""
        return [*self.groups[0].key]

    def group(self, *values: str) -> FittedGroup:
        """The group with these values, such as ``"gsm8k"``, in the order of ``columns``.

        Raises:
            FitFileError: there is none; names those there are.
        """
        for group in self.groups:
            if (*group.key.values(),) == values:
                return group
        there = "; ".join(group.name for group in self.groups)
        raise FitFileError(f"{self.path} has no fit of {', '.join(values)}; it has: {there}")


def write_fit(report: Mapping[str, Any], path: str | Path) -> None:
    """Write a report of ``fit_report`` atomically."""
    write_json(path, report)


def read_fit(path: str | Path) -> FitFile:
    """Read a file that ``rbridge fit`` wrote.

    Raises:
        FitFileError: it is missing, damaged, something else, or of a later version.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise FitFileError(f"there is no file {str(path)!r}; write one with rbridge fit ... -o {path}") from error
    except OSError as error:
        raise FitFileError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except ValueError as error:
        raise FitFileError(f"{path} is not JSON ({error}); expected a file of rbridge fit") from error
    found = (content.get("format"), content.get("version")) if isinstance(content, dict) else (None, None)
    if found != (FORMAT["format"], FORMAT["version"]):
        raise FitFileError(
            f"{path} has format {found[0]!r}, version {found[1]!r}; expected {FORMAT['format']!r}, version "
            f"{FORMAT['version']}, as rbridge fit of this release writes it"
        )
    try:
        groups = [
            FittedGroup(
                key={str(name): str(value) for name, value in fit["group"].items()},
                model=ProxyRegressor.from_dict(fit["model"]),
                runs=frozenset(point["run"] for point in fit["points"] if "run" in point),
            )
            for fit in content["fits"]
        ]
        source, level = dict(content["source"]), float(content["level"])
        if settings := source.get("proxy_settings"):
            source["proxy_settings"] = {
                str(name): {str(key): str(own[key]) for key in own} for name, own in settings.items()
            }
    except FitError as error:
        raise FitFileError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FitFileError(f"{path} is damaged: {error!r}; write it again with rbridge fit") from error
    if not groups or not 0 < level < 1 or any([*group.key] != [*groups[0].key] for group in groups):
        raise FitFileError(f"{path} is damaged: no fits, or of different columns; write it again with rbridge fit")
    return FitFile(str(path), groups, source, level, content)
