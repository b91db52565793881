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


KERNEL = """
from pipelines.constants import VALUE
from pipelines.files.kernels import njit


@njit(cache=True)
def kernel():
    return VALUE
"""


class Copy:
    """A copy of the package with one more kernel, and a real cache on disk."""

    def __init__(self, folder: Path, cache: Path, value: int) -> None:
        self.cache, self.package = cache, folder / "pipelines"
        shutil.copytree(ROOT / "pipelines", self.package, ignore=shutil.ignore_patterns("__pycache__"))
        (self.package / "kernel.py").write_text(KERNEL)
        self.set(value)

    def set(self, value: int) -> None:
        (self.package / "constants.py").write_text(f"VALUE = {value}\n")

    def run(self, **variables: str) -> str:
        """What the kernel answers in a process of its own."""
        environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        environment |= {"FASTSSL_CACHE": str(self.cache), "PYTHONPATH": str(self.package.parent)}
        words = [sys.executable, "-c", "from pipelines.kernel import kernel; print(kernel())"]
        return subprocess.run(
            words,
            cwd=self.package.parent,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=True,
        ).stdout


def compiled(cache: Path) -> dict[Path, int]:
    """The files of the kernel's compiled code, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in cache.rglob("kernel.*.nbc")}


def test_a_changed_constant_of_another_file_is_seen(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    copy = Copy(tmp_path, cache, 1)
    assert copy.run() == "1\n"
    copy.set(2)
    assert copy.run() == "2\n"
    before = compiled(cache)
    assert len(before) == 2
    with (copy.package / "pack.py").open("a") as file:
        file.write("# a comment\n")
    assert copy.run() == "2\n"
    assert compiled(cache) == before


def test_copies_share_what_is_compiled_of_the_same_kernels(tmp_path: Path) -> None:
    """As a sweep's snapshot does; a copy of other kernels does not, even in the folder of the first."""
    cache = tmp_path / "cache"
    one, same, other = (Copy(tmp_path / name, cache, value) for name, value in (("a", 1), ("b", 1), ("c", 2)))
    assert one.run() == "1\n"
    (before,) = compiled(cache).items()
    assert same.run() == "1\n"
    assert compiled(cache) == dict([before])
    inherited = str(before[0].parents[1])
    assert other.run(NUMBA_CACHE_DIR=inherited) == "2\n"
    assert len(compiled(cache)) == 2
    assert one.run(NUMBA_CACHE_DIR=inherited) == "1\n"
