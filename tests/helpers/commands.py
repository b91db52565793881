"""Commands of this project in processes: forked from a server that has imported their modules, or fresh."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Protocol

from tests.helpers import ROOT


class Process(Protocol):
    """A ``ForkedCommand`` or a ``subprocess.Popen[str]``."""

    def poll(self) -> int | None: ...


def module_command(module: str, *options: str | Path) -> list[str]:
    """The words that start a module as a program."""
    return [sys.executable, "-m", module, *map(str, options)]


def run_command(module: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """A module that ran as a program, forked from the server; as of ``subprocess.run``.

    Raises:
        subprocess.TimeoutExpired: it did not end in 4 minutes, and was killed.
    """
    process = ForkedCommand(module, *options)
    try:
        stdout, stderr = process.communicate(timeout=240)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.wait(), stdout, stderr)


class ForkedCommand:
    """``python -m MODULE OPTIONS`` in the clone, as a fork of the server.

    Args:
        module: name of the module.
        options: words of its command line.
        environment: its whole environment; None: that of now. With WORLD_SIZE it is one of several processes.

    Attributes:
        pid: of the process itself, which is no child of this one.
        returncode: as of ``subprocess.Popen``; None until it was seen to end.
    """

    def __init__(
        self, module: str, *options: str | Path, environment: Mapping[str, str] | None = None
    ) -> None:
        environment = dict(os.environ if environment is None else environment)
        self.args = module_command(module, *options)
        self.returncode: int | None = None
        self._files = [tempfile.TemporaryFile() for _ in ("stdout", "stderr")]  # noqa: SIM115
        self._written: list[str] = []
        request = {"module": module, "options": [*map(str, options)], "environment": environment}
        reading, writing = os.pipe()
        self._status = os.fdopen(reading, "rb", buffering=0)
        descriptors = [*(file.fileno() for file in self._files), writing]
        try:
            server = _server(several="WORLD_SIZE" in environment)
            socket.send_fds(server, [json.dumps(request).encode()], descriptors)
        finally:
            os.close(writing)
        self.pid = self._told(None)

    def _told(self, timeout: float | None) -> int:
        """The next line of the pipe: first the pid, then the exit status."""
        if not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return int(self._status.readline())

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        try:
            return self.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, *, timeout: float | None = None) -> int:
        """The exit status, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended in that many seconds.
        """
        if self.returncode is None:
            self.returncode = self._told(timeout)
            self._status.close()
            for file in self._files:
                with file:
                    file.seek(0)
                    self._written.append(file.read().decode())
        return self.returncode

    def communicate(self, *, timeout: float | None = None) -> tuple[str, str]:
        """All of stdout and stderr, once it has ended. Raises as ``wait``."""
        self.wait(timeout=timeout)
        stdout, stderr = self._written
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)


@cache
def _server(*, several: bool) -> socket.socket:
    """The socket of a server that is ready, made once per process that runs tests.

    Args:
        several: its commands are processes that train together: torch reads as it is imported that it is not
            to warn (see ``fastssl``).
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, "-m", "tests.helpers.fork_server", str(theirs.fileno())]
    server = subprocess.Popen(
        words,
        cwd=ROOT,
        env=os.environ | ({"TORCH_CPP_LOG_LEVEL": "ERROR"} if several else {}),
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    theirs.close()

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    if ours.recv(16) != b"ready":
        raise RuntimeError("the fork server ended before it was ready")
    return ours
