"""Our own commands prepare their process; a program of the user's that imports us stays as it was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastssl.own_command import module_to_run
from tests.helpers import ROOT

SETTINGS = ("OMP_WAIT_POLICY", "TORCH_CPP_LOG_LEVEL", "NUMBA_CACHE_DIR")
PROGRAM = """
import os, sys
before = dict(os.environ), list(sys.path)
import benchmarks, fastssl, launchers, pipelines, pipelines.files.kernels
import numba
from numba.core.caching import CacheImpl
assert (dict(os.environ), list(sys.path)) == before
assert not numba.config.CACHE_DIR
assert all(locator.__module__.startswith("numba.") for locator in CacheImpl._locator_classes)
assert "torch" not in sys.modules
"""


def run(*words: str, cwd: Path, path: Path = ROOT, **more: str) -> str:
    """What Python prints, in an environment without our settings."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment |= {"PYTHONPATH": f"{path}{os.pathsep}{ROOT}", "FASTSSL_CACHE": str(cwd / "cache")} | more
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_of_the_users_stays_as_it_was(tmp_path: Path) -> None:
    """It may be run by ``python -m`` as well, and among several processes."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text(PROGRAM)
    (tmp_path / "theirs" / "__main__.py").write_text("print('ran')")
    assert run("-m", "theirs", "--help", cwd=tmp_path, WORLD_SIZE="2") == "ran\n"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "words", ["fastssl.train --list", "fastssl train --list", "launchers.sweep --help", "benchmarks.step -h"]
)
def test_our_own_commands_set_how_torchs_threads_wait(tmp_path: Path, words: str) -> None:
    """The process tells it as it ends: Python imports sitecustomize as it starts."""
    told = "import atexit, os\natexit.register(lambda: print(*map(os.environ.get, ({}))))".format(
        "'OMP_WAIT_POLICY', 'TORCH_CPP_LOG_LEVEL'"
    )
    (tmp_path / "sitecustomize.py").write_text(told)
    for more, expected in (
        ({}, "PASSIVE None"),
        ({"WORLD_SIZE": "2", "OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE ERROR"),
    ):
        assert run("-m", *words.split(), cwd=ROOT, path=tmp_path, **more).splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("argv", "original", "module"),
    [
        (["-m", "--data", "x"], ["python", "-u", "-m", "fastssl.train", "--data", "x"], "fastssl.train"),
        (["-m"], ["python", "-mfastssl.train"], "fastssl.train"),
        (["-m"], ["python", "-m", "fastssl"], "fastssl"),
        (["-m", "fastssl.train"], ["python", "-m", "cProfile", "fastssl.train"], ""),
        (["-m"], ["python", "-m", "fastsslight.train"], ""),
        (["fastssl", "train"], ["python", "/usr/bin/fastssl", "train"], ""),
        (["-c"], ["python", "-c", "import fastssl"], ""),
        ([""], ["python"], ""),
        ([], [], ""),
    ],
)
def test_the_module_that_python_looks_for(argv: list[str], original: list[str], module: str) -> None:
    assert module_to_run(argv, original) == module
