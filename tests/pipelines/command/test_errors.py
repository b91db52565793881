"""Every command's answers to a disk and to a reader that has gone."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.command.errors import UserError, run_command
from pipelines.command.options import user_path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_broken_disk_is_one_line_that_names_the_place(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> int:
        raise OSError(number, os.strerror(number), "/data/eval/knn.json")

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert line.startswith(f"error: {os.strerror(number)} (/data/eval/knn.json): make room there")


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.ELOOP])
def test_a_name_that_cannot_be_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise OSError(number, os.strerror(number), "xxx")

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {os.strerror(number)} (xxx): give another name\n"


def test_another_error_of_the_system_is_a_bug() -> None:
    def main() -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file", "x")

    with pytest.raises(FileNotFoundError):
        run_command(main)


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_is_no_error(lines: int) -> None:
    program = (
        "import sys; from pipelines.command.errors import run_command\n"
        f"def main(): sys.stdin.read(); print('line\\n' * {lines}, end=''); return 0\n"
        "run_command(main)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(b"")
    assert (process.returncode, errors) == (141, b"")


def test_the_home_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert user_path("~/run") == Path("/home/me/run")
    assert user_path("a/~") == Path("a/~")
    with pytest.raises(UserError, match="no home folder is known for ~nobody-of-that-name/x"):
        user_path("~nobody-of-that-name/x")
