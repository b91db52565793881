"""A process that has imported the commands' modules and forks itself for each command that is asked for.

A command's imports take some 8 core-seconds, its fork some milliseconds. Each command is a real process: it
has a pid, takes signals, has its own environment, stdout and stderr, and ends as ``python -m MODULE`` does.
What it shares with the other commands of a server: the environment as imports read it, the seed of Python's
hashes, what imports warn of; and it ends before the interpreter is taken apart. Tests of these, and one of
each kind besides, start an interpreter of their own.

Nothing here computes before it forks: of the server's threads there are only OpenBLAS's, which survive forks.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path

PRELOADED = (
    *("fastssl.train", "fastssl.run.pictures", "fastssl.evaluate.__main__", "fastssl.evaluate.logistic"),
    *("torch._dynamo", "torchvision.models.resnet", "matplotlib.figure", "matplotlib.backends.backend_agg"),
    *("numba.np.arraymath", "numba.np.random.legacy", "numba.cpython.charseq"),
)
_MAX_BYTES = 1 << 20


def serve(control: socket.socket) -> tuple[str, list[str]]:
    """Fork for every request of ``control``: a message {module, options, environment} with three descriptors.

    The descriptors are the command's stdout and stderr, and a pipe that is told its pid and its exit status.

    Returns:
        in the process that is to be a command, its module and options.

    Raises:
        SystemExit: in the server when the other end is closed, in a process that waited for a command.
    """
    control.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MAX_BYTES, 3)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            raise SystemExit(0)
        if os.fork() == 0:
            control.close()
            stdout, stderr, status = descriptors
            if pid := os.fork():
                _tell_of(pid, status, stdout, stderr)
            os.close(status)
            request = json.loads(message)
            _become(stdout, stderr, request["environment"])
            return request["module"], request["options"]
        for descriptor in descriptors:
            os.close(descriptor)


def _tell_of(pid: int, status: int, *others: int) -> None:
    """Tell of a command's pid, wait for it and tell of its exit status. Does not return."""
    for descriptor in others:
        os.close(descriptor)
    os.write(status, f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(status, f"{code}\n".encode())
    os._exit(0)


def _become(stdout: int, stderr: int, environment: dict[str, str]) -> None:
    """Take a command's signals, descriptors, environment and random state."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in ((1, stdout), (2, stderr)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    importlib.import_module("numpy").random.seed()


def _leave(status: list[int]) -> None:
    """Leave without taking apart what all processes share: that would copy it, which takes seconds."""
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(status[0])


def main() -> None:
    """Serve on the socket whose descriptor is the argument; a forked process runs its command to the end."""
    status = [1]  # of an exception
    atexit.register(_leave, status)  # the first of all such functions is the last to be called
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with socket.socket(fileno=int(sys.argv[1])) as control:
            for name in PRELOADED:
                importlib.import_module(name)
            gc.freeze()  # no process collects, and so copies, what all share
            module, options = serve(control)
        for name in (module, f"{module}.__main__"):
            if not hasattr(sys.modules.get(name), "__path__"):  # a package stays
                sys.modules.pop(name, None)  # is run anew, as __main__
        sys.path[0] = str(Path.cwd())
        sys.argv = [module, *options]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
        status[0] = code if isinstance(code, int) else 1
        raise
    status[0] = 0


if __name__ == "__main__":
    main()
