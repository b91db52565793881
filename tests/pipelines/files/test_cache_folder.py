"""Compiled code is executed when it is loaded: it is kept where nobody else can write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.files.cache_folder import cache_folder, code_folder, is_private
from tests.helpers import ROOT

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("FASTSSL_CACHE", raising=False)
    return home


def test_the_cache_folder_serves_where_it_is_the_users_own(home: Path) -> None:
    folder = code_folder("compiled-1")
    assert folder == cache_folder() / "compiled-1" == home / ".cache" / "fastssl" / "compiled-1"
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_folder_that_others_write_to_is_passed_by(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    shared = tmp_path / "shared"
    (shared / "compiled-1").mkdir(parents=True)
    os.chown(shared / "compiled-1", -1, 65534) if os.geteuid() == 0 else None
    (shared / "compiled-1").chmod(mode)
    if os.geteuid() != 0 and mode == 0o775:
        pytest.skip("the group may be the user's own")
    monkeypatch.setenv("FASTSSL_CACHE", str(shared))
    assert not is_private(shared / "compiled-1")
    assert code_folder("compiled-1") == home / ".cache" / "fastssl" / "compiled-1"


def test_a_folder_below_one_that_others_write_to_is_passed_by(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)  # somebody may put another folder in the place of ours
    monkeypatch.setenv("FASTSSL_CACHE", str(shared))
    assert code_folder("compiled-1").is_relative_to(home)
    shared.chmod(0o1777)  # but not with the sticky bit
    assert code_folder("compiled-2") == shared / "compiled-2"


@AS_ROOT
def test_another_users_folder_is_passed_by(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "compiled-1").mkdir(parents=True)
    os.chown(theirs / "compiled-1", 65534, 65534)
    monkeypatch.setenv("FASTSSL_CACHE", str(theirs))
    assert code_folder("compiled-1").is_relative_to(home)


def test_without_a_writable_home_the_code_lies_in_a_folder_of_its_own(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".cache").write_text("a file where a folder should be")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = code_folder("compiled-1")
    assert folder.parent == tmp_path
    assert is_private(folder)
    assert folder != code_folder("compiled-1")
    assert "set FASTSSL_CACHE" in capsys.readouterr().err


def test_no_kernel_is_loaded_from_a_shared_cache(home: Path, tmp_path: Path) -> None:
    """An index file of numba's is a pickle: here one that would leave a mark when it is read."""
    shared, mark = tmp_path / "shared", tmp_path / "mark"
    shared.mkdir()
    environment = {**os.environ, "FASTSSL_CACHE": str(shared)}
    environment.pop("NUMBA_CACHE_DIR", None)
    program = "import numpy as np; from pipelines.keys import hash_keys; print(hash_keys(np.arange(3)))"

    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run()
    indexes = list(shared.rglob("*.nbi"))
    assert indexes
    for index in indexes:
        index.write_bytes(f"cos\nsystem\n(S'touch {mark}'\ntR.".encode())
    for folder in shared.rglob("*"):
        if folder.is_dir():
            folder.chmod(0o777)
    assert run() == first
    assert not mark.exists()
