"""A kernel is compiled anew when anything changes that it is made of, and not otherwise."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.files.kernel_cache import kernels_digest
from tests.helpers import ROOT

FILES = {
    "__init__.py": "",
    "constants.py": "VALUE = 1\n",
    "helpers.py": "from house.constants import (\n    VALUE,\n)\n\n\ndef helper():\n    return VALUE\n",
    "kernel.py": "from numba import njit\n\nfrom house import helpers\n\n\n@njit\ndef kernel():\n    pass\n",
    "other.py": "from house.kernel import kernel\n",
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    folder = tmp_path / "house"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize("name", ["constants.py", "helpers.py", "kernel.py"])
def test_the_version_follows_what_kernels_take_from_elsewhere(house: Path, name: str) -> None:
    before = kernels_digest(house)
    with (house / name).open("a") as file:
        file.write("# changed\n")
    assert kernels_digest(house) != before


def test_the_version_does_not_follow_who_calls_kernels(house: Path) -> None:
    before = kernels_digest(house)
    (house / "other.py").write_text("# changed\n")
    (house / "new.py").write_text("VALUE = 3\n")
    assert kernels_digest(house) == before


def test_a_changed_constant_of_another_file_is_seen(tmp_path: Path) -> None:
    """In a copy of the package, with a real cache on disk."""
    copy = tmp_path / "pipelines"
    shutil.copytree(ROOT / "pipelines", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "kernel.py").write_text(
        "from numba import njit\nfrom pipelines.constants import VALUE\n\n"
        "@njit(cache=True)\ndef kernel():\n    return VALUE\n"
    )
    cache = tmp_path / "cache"
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"FASTSSL_CACHE": str(cache), "PYTHONPATH": str(tmp_path)}

    def run() -> str:
        program = "from pipelines.kernel import kernel; print(kernel())"
        words = [sys.executable, "-c", program]
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    (copy / "constants.py").write_text("VALUE = 1\n")
    assert run() == "1\n"
    (copy / "constants.py").write_text("VALUE = 2\n")
    assert run() == "2\n"
    compiled = {path: path.stat().st_mtime_ns for path in cache.rglob("kernel.*.nbc")}
    assert len(compiled) == 2
    (copy / "pack.py").write_text((copy / "pack.py").read_text() + "# a comment\n")
    assert run() == "2\n"
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("kernel.*.nbc")} == compiled
