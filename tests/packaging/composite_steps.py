"""Run the steps of a composite action as plain shell, with the environment that the action gives them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


@dataclass
class Ran:
    """Result of an action.

    Attributes:
        code: exit code of the step that failed, or 0.
        outputs: outputs of the action, by name.
        summary: content of ``$GITHUB_STEP_SUMMARY``.
        log: output of the steps.
    """

    code: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    log: str = ""


def run_action(
    action: Mapping[str, Any], folder: Path, given: Mapping[str, str], *, home: Path, environment: Mapping[str, str]
) -> Ran:
    """Run each step as a runner does: ``bash --noprofile --norc -eo pipefail``; stop at the first failure.

    Args:
        action: content of action.yml.
        folder: working folder; it is created.
        given: inputs of the caller.
        home: folder of the action.
        environment: environment of the runner; steps add to it.
    """
    folder.mkdir()
    inputs = {name: given.get(name, str(entry.get("default", ""))) for name, entry in action["inputs"].items()}
    assert given.keys() <= inputs.keys()
    context = {f"inputs.{name}": value for name, value in inputs.items()} | {"github.action_path": str(home)}
    ran = Ran()
    files = {name: folder / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for number, step in enumerate(action["runs"]["steps"]):
        if "if" in step and filled(step["if"], context) != "true":
            continue
        script = folder / f"step{number}.sh"
        script.write_text(step["run"])
        for file in files.values():
            file.touch()
        files["GITHUB_OUTPUT"].write_text("")
        env = {name: filled(str(value), context) for name, value in step.get("env", {}).items()}
        paths = {name: str(file) for name, file in files.items()} | {"RUNNER_TEMP": str(folder)}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=folder, env={**os.environ, **environment, **paths, **env}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        ran.log += done.stdout + done.stderr
        ran.code = done.returncode
        for line in files["GITHUB_OUTPUT"].read_text().splitlines():
            name, _, value = line.partition("=")
            context[f"steps.{step.get('id')}.outputs.{name}"] = value
        if ran.code:
            break
    ran.outputs = {name: filled(entry["value"], context) for name, entry in action["outputs"].items()}
    ran.summary = files["GITHUB_STEP_SUMMARY"].read_text()
    return ran


def filled(text: str, context: Mapping[str, str]) -> str:
    """Evaluate the expressions in a text; they may have names, ``'text'``, ``==``, ``!=`` and ``||`` only."""

    def value(expression: str) -> str:
        if "||" in expression:
            first, _, second = expression.partition("||")
            return value(first.strip()) or value(second.strip())
        for operator in ("==", "!="):
            if operator in expression:
                left, _, right = expression.partition(operator)
                return str((value(left.strip()) == value(right.strip())) == (operator == "==")).lower()
        if expression.startswith("'"):
            return expression.strip("'")
        assert re.fullmatch(r"(inputs|steps|github)[\w.-]+", expression), expression
        return context.get(expression, "")

    return _EXPRESSION.sub(lambda match: value(match.group(1)), text)
