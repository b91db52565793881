"""A forked command is to its caller what a fresh interpreter is: output, status, signals, environment."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.commands import ForkedCommand, module_command, run_command

SLEEP = ("timeit", "-s", "import time", "time.sleep(60)")


@pytest.mark.parametrize("content", ['{"a": [1, 2]}', "{", None])
def test_output_and_exit_status_are_those_of_an_interpreter(tmp_path: Path, content: str | None) -> None:
    """Status 0, and both ends that a program has by SystemExit: of words, and of a number."""
    (tmp_path / "file").write_text(content or "")
    words = ("json.tool", tmp_path / "file" if content else "--no-such-option")
    fresh = subprocess.run(module_command(*words), capture_output=True, text=True, check=False)
    forked = run_command(*words)
    assert (forked.returncode, forked.stdout) == (fresh.returncode, fresh.stdout)
    assert forked.stderr == fresh.stderr
    assert fresh.returncode == (0 if content == '{"a": [1, 2]}' else 1 if content else 2)


def test_an_exception_is_status_1() -> None:
    done = run_command("tests.helpers.no_such_module")
    assert done.returncode == 1
    assert "no_such_module" in done.stderr.splitlines()[-1]


def test_the_environment_is_that_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    program = ("timeit", "-n", "1", "-r", "1", "import os; print(os.environ.get('FORKED'))")
    monkeypatch.setenv("FORKED", "é 1")
    assert run_command(*program).stdout.startswith("é 1\n")
    monkeypatch.delenv("FORKED")
    assert run_command(*program).stdout.startswith("None\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_ends_it_and_nothing_else(number: signal.Signals) -> None:
    one, other = ForkedCommand(*SLEEP), ForkedCommand(*SLEEP)
    assert one.pid != other.pid
    assert one.poll() is None
    one.send_signal(number)
    assert one.wait(timeout=30) == -number
    one.send_signal(number)  # as of Popen: it has ended, and another process may bear its number
    with pytest.raises(subprocess.TimeoutExpired):
        other.communicate(timeout=0.05)
    other.kill()
    assert other.wait(timeout=30) == -signal.SIGKILL


def test_ctrl_c_is_an_exception_of_the_program(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    setup = f"import pathlib, time; pathlib.Path({str(ready)!r}).touch()"
    process = ForkedCommand("timeit", "-s", setup, "time.sleep(60)")
    until = time.monotonic() + 30
    while not ready.exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert stdout == ""
    assert process.returncode == 1  # timeit catches it
    assert stderr.endswith("KeyboardInterrupt\n")
