"""Processes that wait for each other: they meet in any order, tell a long wait, and hear Ctrl-C."""

import io
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastssl.distributed import meeting
from fastssl.distributed.dist_env import DistEnv, dist_env
from fastssl.distributed.meeting import meet
from pipelines.command.errors import UserError

# as `srun -n4 --pty bash` leaves them to its one shell
INTERACTIVE = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "4",
    "SLURM_STEP_NODELIST": "localhost",
}


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """A free address, in the variables that name it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", port)
    for name, value in INTERACTIVE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(meeting, "_QUIET", 0.3)
    return f"127.0.0.1:{port}"


def place(rank: int) -> DistEnv:
    return dist_env(INTERACTIVE | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)})[0]


@pytest.mark.usefixtures("address")
def test_the_first_may_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(meet, place(rank), minutes=1) for rank in (1, 2, 3)]
        time.sleep(0.5)
        stores = [meet(place(0), minutes=1), *(other.result() for other in others)]
    stores[3].set("word", "yes")
    assert {store.get("word") for store in stores} == {b"yes"}
    (line,) = capsys.readouterr().err.splitlines()  # one process of the machine speaks
    assert line.startswith("waiting for process 0 of 4 at ")


def test_a_lone_process_tells_whom_it_waits_for_and_hears_ctrl_c(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        """Its reader presses Ctrl-C at the first line."""

        def write(self, text: str) -> int:
            if text.endswith("\n"):
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            return super().write(text)

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            meet(place(0), minutes=1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert terminal.getvalue() == (
        f"waiting for processes 1, 2, 3 of 4 at {address}, as SLURM_STEP_NUM_TASKS=4 and SLURM_PROCID=0 say; "
        "to train alone: env -u SLURM_STEP_NUM_TASKS -u SLURM_PROCID python -m fastssl.train ...; "
        "Ctrl-C gives up\n"
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_a_wait_in_vain_ends(address: str, rank: int) -> None:
    missing = "processes 1, 2, 3" if rank == 0 else "process 0"
    with pytest.raises(UserError, match=rf"it waited 0\.01 min for {missing} of 4 at {address}"):
        meet(place(rank), minutes=0.01)


def test_the_hint_makes_one_process_of_it() -> None:
    for environment in (
        INTERACTIVE,
        {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "h", "TORCHELASTIC_RUN_ID": "none"},
    ):
        told_by = dist_env(environment)[0].told_by
        rest = {name: value for name, value in environment.items() if name not in told_by}
        assert dist_env(rest)[0].world_size == 1


def test_many_ranks_are_counted() -> None:
    assert meeting._ranks(range(1, 64)) == "processes 1, 2, 3, 4 and 59 more"
