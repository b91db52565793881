"""The process of a job: started from the code snapshot, watched, stopped, and its last line kept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from launchers.sweeps.attempts import Outcome
from launchers.sweeps.log import last_line

_STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGINT)


class Child:
    """A running command; its output is appended to a log.

    It does not see SIGUSR2, which some clusters send to every process of a job and which would kill it.

    Args:
        folder: working folder of the command.
        log: its output is appended to this file.
        environment: None: this process's.
        own_session: a terminal's Ctrl-C reaches the launcher alone. Not on a cluster, which may know a job's
            processes by their group.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        own_session: bool = True,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.stop_asked = False
        self._log = log
        self._own_session = own_session
        with log.open("ab") as file:
            self._log_start = file.tell()
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # a child inherits the mask
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=_without_safe_path(environment or os.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=own_session,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def confine(self, cores: Collection[int]) -> None:
        """Give it some cores only; its threads, which do not run yet, count these."""
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(self.pid, cores)

    def ended(self) -> bool:
        """True if it has ended. Safe in a signal handler: Popen's own methods hold a lock meanwhile."""
        if self._process.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # a signal handler has just asked for the status
            return True

    def wait(self, seconds: float) -> bool:
        """Wait for its end at most so long; returns whether it ended."""
        until = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def stop(self) -> None:
        """Ask it to write its checkpoint and end."""
        self.stop_asked = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and whatever it started, now."""
        self.stop_asked = True
        self._signal(signal.SIGKILL)
        self.status()

    def _signal(self, number: int) -> None:
        if not self.ended():
            if number == signal.SIGKILL and self._own_session:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)  # its helpers end with it

    def status(self) -> int:
        """Wait for its end; exit status, negative for the signal that killed it. Safe in a signal handler."""
        if self._process.returncode is None:
            with contextlib.suppress(ChildProcessError):
                end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                assert end is not None
                self._process.returncode = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
                os.waitpid(self.pid, 0)
        assert self._process.returncode is not None
        return self._process.returncode

    def outcome(self) -> Outcome:
        """Outcome by its exit status."""
        return outcome_of(self.status(), self.stop_asked)

    def last_line(self) -> str:
        """The last line that it printed."""
        return last_line(self._log, self._log_start)

    def error(self) -> str:
        """Cause of its failure: the last line that it printed, and the signal if one killed it."""
        status, line = self.status(), self.last_line()
        if status >= 0:
            return line or f"exit status {status}, and not a word"
        if status == -signal.SIGKILL:
            return "killed by SIGKILL (out of memory?)"  # its last line is of its progress
        killed = f"killed by {signal.Signals(-status).name}"
        return f"{killed}; last line: {line}" if line else killed


def _without_safe_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the variable by which ``python -m`` would not find the snapshot in its working folder."""
    return {name: value for name, value in environment.items() if name != "PYTHONSAFEPATH"}


def outcome_of(status: int, stop_asked: bool) -> Outcome:
    """Outcome by exit status: 0 is good, 2 a user's mistake, 128 + a signal a clean stop."""
    if status == 0:
        return "finished"
    if status == 2:
        return "mistake"
    if status in _STOPPED or (stop_asked and -status in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)):
        return "interrupted"
    return "crashed"
