"""Every command's answers to a disk and to a reader that has gone."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.command.errors import UserError, run_command
from pipelines.command.options import user_path


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        *((each, "make room there, or mend it") for each in (errno.ENOSPC, errno.EROFS, errno.EIO)),
        *((each, "give another name\n") for each in (errno.ENAMETOOLONG, errno.ELOOP)),
    ],
)
def test_a_broken_disk_is_one_line_that_names_the_place(
    number: int, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> int:
        raise OSError(number, os.strerror(number), "/data/eval/knn.json")

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.count("\n") == 1
    assert said.startswith(f"error: {os.strerror(number)} (/data/eval/knn.json): {remedy}")


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
