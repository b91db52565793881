"""One writer per folder, with flock, without it, and against holders on other machines."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.command.errors import UserError
from pipelines.files import folder_lock
from pipelines.files.lock_record import Holder, this_process
from tests.helpers import ROOT

HOLD = """
import fcntl, sys, time
from pathlib import Path
if sys.argv[2] == "without locks":
    fcntl.flock = lambda *_: None
from pipelines.command.errors import UserError
from pipelines.files.folder_lock import hold
try:
    with hold(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read(1)
except UserError as error:
    print(error, flush=True)
"""
KINDS = ["with locks", "without locks"]


@contextmanager
def process(folder: Path, kind: str) -> "Iterator[subprocess.Popen[str]]":
    """A process that tries to hold the folder."""
    words = [sys.executable, "-c", HOLD, str(folder), kind]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def answer(started: "subprocess.Popen[str]") -> str:
    assert started.stdout is not None
    return started.stdout.readline().rstrip("\n")


def elsewhere(**changes: Any) -> Holder:
    other = dataclasses.replace(this_process({}), host="node7", boot="another", pid=77, started="5")
    return dataclasses.replace(other, **changes)


def leave(folder: Path, holder: Holder, silent_for: float = 0.0) -> None:
    """The record of a holder, as it would stand there after its last sign of life."""
    path = folder / "lock"
    path.write_text(json.dumps(dataclasses.asdict(holder)))
    os.utime(path, (time.time() - silent_for,) * 2)


def assert_taken(folder: Path) -> None:
    """This process can hold the folder, is named in its record, and leaves none."""
    with folder_lock.hold(folder):
        assert Holder(**json.loads((folder / "lock").read_text())) == this_process(os.environ)
    assert (folder / "lock").read_bytes() == b""


def refusal(folder: Path, match: str = "another process") -> str:
    """Words on why this process cannot hold the folder."""
    with pytest.raises(UserError, match=match) as refused, folder_lock.hold(folder):
        pass
    return str(refused.value)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    monkeypatch.setattr(folder_lock, "_SETTLING", 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path, kind: str) -> None:
    with process(tmp_path, kind) as first:
        assert answer(first) == "held"
        assert folder_lock.is_held_here(tmp_path)
        with process(tmp_path, kind) as second:
            said = answer(second)
        assert said.startswith(f"another process is working in {tmp_path} (process {first.pid} on ")
        assert said.endswith("wait for it, stop it, or choose another --out")
        first.communicate("\n")
    assert (tmp_path / "lock").read_bytes() == b""
    assert not folder_lock.is_held(tmp_path)
    with process(tmp_path, kind) as third:
        assert answer(third) == "held"


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_process_of_this_host_is_followed_at_once(tmp_path: Path, kind: str) -> None:
    with process(tmp_path, kind) as first:
        assert answer(first) == "held"
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert json.loads((tmp_path / "lock").read_text())["pid"] == first.pid
        assert not folder_lock.is_held(tmp_path)
        with process(tmp_path, kind) as second:
            assert answer(second) == "held"
            assert json.loads((tmp_path / "lock").read_text())["pid"] == second.pid


@pytest.mark.parametrize("kind", KINDS)
def test_of_two_that_start_at_once_one_holds(tmp_path: Path, kind: str) -> None:
    with process(tmp_path, kind) as first, process(tmp_path, kind) as second:
        answers = sorted([answer(first), answer(second)])
    assert answers[1] == "held"
    assert answers[0].startswith(f"another process is working in {tmp_path}")


def test_a_stopped_process_still_holds(tmp_path: Path) -> None:
    """No sign of life of a process of this host is no sign of its death."""
    with process(tmp_path, "without locks") as first:
        assert answer(first) == "held"
        first.send_signal(signal.SIGSTOP)
        os.utime(tmp_path / "lock", (0, 0))
        with process(tmp_path, "without locks") as second:
            assert answer(second).startswith("another process is working")


@pytest.mark.usefixtures("no_locks")
def test_another_process_under_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path: Path) -> None:
    leave(tmp_path, dataclasses.replace(this_process({}), started="1"))
    assert_taken(tmp_path)


@pytest.mark.usefixtures("no_locks")
def test_one_process_does_not_hold_a_folder_twice(tmp_path: Path) -> None:
    with folder_lock.hold(tmp_path):
        refusal(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_live_holder_elsewhere_is_refused(tmp_path: Path, kind: str, request: Any) -> None:
    """Also where flock excludes the processes of a host: that of another may be out of its reach."""
    if kind == "without locks":
        request.getfixturevalue("no_locks")
    leave(tmp_path, elsewhere(), silent_for=200)
    assert folder_lock.is_held(tmp_path)
    assert not folder_lock.is_held_here(tmp_path)
    assert refusal(tmp_path) == (
        f"another process is working in {tmp_path} (process 77 on node7): wait for it, stop it, or choose "
        f"another --out"
    )


def test_a_silent_one_elsewhere_is_named_with_the_way_out(tmp_path: Path) -> None:
    leave(tmp_path, elsewhere(), silent_for=7260)
    assert not folder_lock.is_held(tmp_path)
    assert refusal(tmp_path, "no sign of life") == (
        f"process 77 on node7 held {tmp_path} and has given no sign of life for 2h 1m: if it has ended, "
        f"delete {tmp_path / 'lock'} and give the same command again"
    )
    (tmp_path / "lock").unlink()
    assert_taken(tmp_path)


def test_a_host_that_was_booted_anew_has_ended_its_holders(tmp_path: Path) -> None:
    leave(tmp_path, elsewhere(host=this_process({}).host), silent_for=400)
    assert_taken(tmp_path)


def test_another_container_of_this_machine_is_kept_out_by_flock_alone(tmp_path: Path) -> None:
    leave(tmp_path, elsewhere(boot=this_process({}).boot))
    assert_taken(tmp_path)  # the lock was free: that process has ended


def test_where_the_lock_reaches_all_hosts_it_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "_is_of_the_cluster", lambda _: True)
    leave(tmp_path, elsewhere())
    assert_taken(tmp_path)


def test_a_job_that_slurm_starts_again_elsewhere_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM has ended the first start; a second task of the same start is another writer."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    for host in ("node7", this_process({}).host):  # the same one: booted since
        leave(tmp_path, elsewhere(host=host, job="12_3", restart=0))
        assert_taken(tmp_path)
    for other in (elsewhere(job="12_3", restart=1), elsewhere(job="12_4"), elsewhere()):
        leave(tmp_path, other)
        refusal(tmp_path)


def test_the_record_of_a_job_that_has_ended_is_forgotten(tmp_path: Path) -> None:
    leave(tmp_path, elsewhere(job="12_3"))
    for job in ("12_4", ""):
        folder_lock.forget(tmp_path, job)
        assert (tmp_path / "lock").read_bytes()
    folder_lock.forget(tmp_path, "12_3")
    assert (tmp_path / "lock").read_bytes() == b""
    folder_lock.forget(tmp_path / "none", "12_3")


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "_BEAT", 0.01)
    with folder_lock.hold(tmp_path):
        os.utime(tmp_path / "lock", (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / "lock").stat().st_mtime < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / "lock").stat().st_mtime > 1


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), folder_lock.hold(tmp_path):
        raise ZeroDivisionError
    with folder_lock.hold(tmp_path):
        refusal(tmp_path)
    assert_taken(tmp_path)


@pytest.mark.parametrize(
    "text", ["mine", "[]", "5", '{"host": "a"}', "[" * 100_000, '{"host": 1, "pid": "x"}']
)
def test_a_file_that_is_no_lock_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    refusal(tmp_path, r"is no lock of a run, or damaged: .*delete it$")
    assert (tmp_path / "lock").read_text() == text
    assert not folder_lock.is_held(tmp_path)


def test_links_are_not_followed_and_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"), folder_lock.hold(tmp_path):
        pass
    assert victim.read_text() == "precious"
    (tmp_path / "lock").unlink()
    os.mkfifo(tmp_path / "lock")
    refusal(tmp_path, "is no lock")


@pytest.mark.parametrize(
    ("system", "reaches"),
    [
        ("nfs4 server:/home rw,vers=4.2,hard,local_lock=none,addr=10.0.0.1", True),
        ("nfs server:/home rw,vers=3,nolock,local_lock=all", False),
        ("nfs server:/home rw,vers=3,local_lock=flock", False),
        ("lustre 10.0.0.1@o2ib:/scratch rw,flock,lazystatfs", True),
        ("lustre 10.0.0.1@o2ib:/scratch rw,localflock", False),
        ("lustre 10.0.0.1@o2ib:/scratch rw", False),
        ("ext4 /dev/sda1 rw", False),
    ],
)
def test_mounts_whose_locks_all_hosts_see(system: str, reaches: bool) -> None:
    line = f"36 35 0:52 / /home rw,noatime shared:1 - {system}"
    assert folder_lock.locks_reach_others(line, "0:52") == reaches
    assert not folder_lock.locks_reach_others(line, "0:53")
