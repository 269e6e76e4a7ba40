"""What ``rbridge doctor`` looks at."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import dataclass

_TESTED_LM_EVAL = "0.4.13"
_PACKAGES = ("rbridge-tasks", "lm-eval", "torch", "transformers", "datasets", "accelerate", "numpy")


@dataclass(frozen=True)
class Finding:
    """One line of the report; a remedy where something can be done."""

    what: str
    found: str
    ok: bool = True
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at versions, the hook, the caches and the device."""
    return [*_versions(), _hook(), *_caches(), _device()]


def _versions() -> list[Finding]:
    findings = [Finding("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name, "not installed", ok=False, remedy=f"pip install {name}"))
            continue
        untested = name == "lm-eval" and version != _TESTED_LM_EVAL
        findings.append(Finding(name, version, remedy=f"tested with {_TESTED_LM_EVAL}" if untested else ""))
    return findings


def _hook() -> Finding:
    """Ask a fresh Python, as ``lm_eval`` is one, whether it finds our tasks."""
    if os.environ.get("RBRIDGE_AUTOLOAD") == "0":
        return Finding(
            "lm-eval hook", "off (RBRIDGE_AUTOLOAD=0)", remedy='use lm_eval --include_path "$(rbridge tasks-path)"'
        )
    code = "from lm_eval.tasks import TaskManager; print('rbridge_gsm8k' in TaskManager().all_tasks)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603  # our own code
    if run.stdout.strip().endswith("True"):
        return Finding("lm-eval hook", "active, lm_eval --tasks rbridge is found")
    reason = (run.stderr.strip().splitlines() or ["the .pth file is missing or not read"])[-1]
    remedy = 'reinstall rbridge-tasks, or use lm_eval --include_path "$(rbridge tasks-path)"'
    return Finding("lm-eval hook", f"not active ({reason})", ok=False, remedy=remedy)


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
            held = result.manifest
            whose = held.confidence_model or "no model"
            found = f"{held.rows} traces, {held.rows_with_confidence} with confidences of {whose}"
            if result.unknown:
                found += f"; {result.unknown.tokens} tokens without a known log-probability"
            lacking = held.rows_with_confidence < held.rows
            remedy = f"rbridge traces score -b {held.benchmark} --source {held.source} --model CKPT" if lacking else ""
            findings.append(Finding(name, found, remedy=remedy))
    resolved = resolve_cache(None)
    if resolved.origin == "sample" or named == "sample":
        findings.append(
            Finding(
                "cache in use",
                "the shipped sample, which is not a benchmark",
                remedy="import your traces with: rbridge traces import FILE --benchmark NAME",
            )
        )
    else:
        findings.append(Finding("cache in use", resolved.origin))
    return findings


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        return Finding("device", f"{torch.cuda.device_count()} x {', '.join(sorted(names))}")
    return Finding("device", f"CPU, {torch.get_num_threads()} threads")
