"""After ``pip install`` lm_eval finds our tasks, and our hook cannot break Python or lm-eval."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
#: Program that prints whether lm-eval finds our task without a folder, and with each given folder.
FINDS_TASKS = (
    "import sys; from lm_eval.tasks import TaskManager\n"
    "print(*('rbridge_gsm8k' in TaskManager(include_path=path).all_tasks for path in [None, *sys.argv[1:]]))"
)

pytestmark = pytest.mark.slow(seconds=90)


def run(python: Path, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python without variables in its environment that could help it find the package."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "RBRIDGE"))}
    return subprocess.run(
        [str(python), *arguments], cwd=cwd, env=env | environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, like a clone."""
    copy = tmp_path_factory.mktemp("source") / "project"
    leave_out = shutil.ignore_patterns(".*", "__pycache__", "demo_out", "results")
    shutil.copytree(PROJECT, copy, ignore=leave_out)
    return copy


def new_environment(folder: Path, *pip_arguments: str) -> Path:
    """Make a virtual environment with our package only, which uses the dependencies of the running one."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # .pth files in it are not read
    command = ["-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", *pip_arguments]
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return python


@pytest.fixture(scope="module")
def wheel_python(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the built wheel installed."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    result = subprocess.run(build, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (wheel,) = out.glob("rbridge_tasks-*.whl")
    return new_environment(tmp_path_factory.mktemp("wheel") / "venv", str(wheel))


@pytest.fixture(scope="module")
def editable_python(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the project installed in place."""
    folder = tmp_path_factory.mktemp("editable") / "venv"
    return new_environment(folder, "--no-build-isolation", "--editable", str(source))


@pytest.fixture(params=["wheel_python", "editable_python"])
def installed(request: pytest.FixtureRequest) -> Path:
    """Each kind of install in turn."""
    python: Path = request.getfixturevalue(request.param)
    return python


def test_lm_eval_scores_a_checkpoint_from_another_directory(installed: Path, checkpoint: Path, tmp_path: Path) -> None:
    """``lm_eval --tasks rbridge_gsm8k`` needs no --include_path, wherever it is started."""
    arguments = [
        "--model",
        "hf",
        "--model_args",
        f"pretrained={checkpoint}",
        "--tasks",
        "rbridge_gsm8k",
        "--limit",
        "2",
    ]
    options = ["--metadata", '{"rbridge_weights": "spans", "rbridge_cache": "sample"}']
    result = run(installed, "-m", "lm_eval", *arguments, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "rbridge_gsm8k (sample)" in result.stdout
    assert "rbridge_nll" in result.stdout


def test_the_installed_package_is_the_one_that_runs(installed: Path, tmp_path: Path) -> None:
    """The environments import the installed package and not the working copy."""
    result = run(installed, "-c", "import rbridge_tasks; print(rbridge_tasks.__file__)", cwd=tmp_path)
    assert str(PROJECT) not in result.stdout
    assert "rbridge_tasks" in result.stdout


def test_the_tasks_folder_works_with_the_hook_off(wheel_python: Path, tmp_path: Path) -> None:
    """RBRIDGE_AUTOLOAD=0 turns the hook off; ``--include_path "$(rbridge tasks-path)"`` finds the same tasks,
    and finds each of them once if the hook is on."""
    folder = run(wheel_python, "-m", "rbridge_tasks", "tasks-path", cwd=tmp_path).stdout.strip()
    for autoload, expected in (("0", "False True"), ("1", "True True")):
        result = run(wheel_python, "-c", FINDS_TASKS, folder, cwd=tmp_path, RBRIDGE_AUTOLOAD=autoload)
        assert result.stdout.strip() == expected, result.stderr
        assert "overrides" not in result.stderr


@pytest.fixture
def spare(wheel_python: Path, tmp_path: Path) -> Path:
    """A copy of the wheel's environment that a test may damage."""
    shutil.copytree(wheel_python.parents[1], tmp_path / "spare", symlinks=True)
    (site,) = (tmp_path / "spare").glob("lib/python*/site-packages")
    return site


@pytest.mark.parametrize("damage", ["syntax error", "raises", "package gone"])
def test_a_broken_hook_never_breaks_the_start_of_python(spare: Path, tmp_path: Path, damage: str) -> None:
    """With damaged files of ours Python starts silently and lm-eval loads."""
    hook = spare / "rbridge_tasks" / "_autoload.py"
    if damage == "package gone":
        shutil.rmtree(spare / "rbridge_tasks")
    else:
        hook.write_text("def (" if damage == "syntax error" else "raise RuntimeError('broken')")
    python = spare.parents[2] / "bin" / "python"
    started = run(python, "-c", "print('started')", cwd=tmp_path)
    assert (started.returncode, started.stdout, started.stderr) == (0, "started\n", "")
    assert run(python, "-c", FINDS_TASKS, cwd=tmp_path).stdout.strip() == "False"


def test_a_plugin_that_cannot_load_is_one_line_and_lm_eval_continues(spare: Path, tmp_path: Path) -> None:
    """If lm-eval moves an object that we import, its users see one line, not a traceback."""
    (spare / "rbridge_tasks" / "harness" / "task_folder.py").write_text("raise ImportError('lm_eval has moved')")
    python = spare.parents[2] / "bin" / "python"
    result = run(python, "-c", FINDS_TASKS, cwd=tmp_path)
    assert result.stdout.strip() == "False"
    assert len(result.stderr.strip().splitlines()) == 1
    assert "lm_eval has moved" in result.stderr


def test_python_starts_silently_without_lm_eval(wheel_python: Path, tmp_path: Path) -> None:
    """The hook waits for a module that is never imported."""
    code = "import sys; sys.path = [p for p in sys.path if 'site-packages' not in p or 'wheel' in p]\n" + (
        "try:\n    import lm_eval.tasks\nexcept ModuleNotFoundError: print('absent')"
    )
    result = run(wheel_python, "-c", code, cwd=tmp_path)
    assert (result.stdout.strip(), result.stderr) == ("absent", "")


def test_metrics_and_aggregations_are_entry_points() -> None:
    """lm-eval's main branch can look up all our metrics and aggregations by name."""
    from lm_eval.api.registry import get_aggregation, is_higher_better

    metrics = {point.name: point.load() for point in entry_points(group="lm_eval.metrics")}
    assert {"rbridge_nll", "trace_nll", "rbridge_bits_per_byte", "trace_bits_per_byte"} <= set(metrics)
    assert not any(is_higher_better(name) for name in metrics if name.startswith(("rbridge", "trace")))
    for point in entry_points(group="lm_eval.aggregations"):
        assert point.load() is get_aggregation(point.name)


def test_the_wheel_holds_the_sample_and_no_top_level_name_but_ours(wheel_python: Path) -> None:
    """A user's site-packages get no folder ``metrics`` or ``tests``; they get the sample."""
    (site,) = wheel_python.parents[1].glob("lib/python*/site-packages")
    names = {entry.name for entry in site.iterdir() if "dist-info" not in entry.name and entry.name != "__pycache__"}
    assert names == {"borrowed.pth", "rbridge_tasks", "rbridge_metrics", "rbridge_traces", "rbridge_tasks_autoload.pth"}
    assert (site / "rbridge_traces" / "sample" / "gsm8k.jsonl").exists()
    assert (site / "rbridge_tasks" / "tasks" / "rbridge.yaml").exists()
    assert (site / "rbridge_tasks" / "report" / "templates" / "page.css").exists()
