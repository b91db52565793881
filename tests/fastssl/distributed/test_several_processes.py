"""Runs over several real processes: one result however many they are, and one end for all of them."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.commands import ForkedCommand
from tests.helpers.runs import (
    EVERY_FEW_STEPS,
    SMALL,
    assert_same_run,
    command,
    losses,
    run,
    summary,
    wait_for_steps,
    write_images,
)

OPTIONS = (
    *(*SMALL, "--precision", "fp32", "--epochs", "8"),
    *("--log-every", "1", "--monitor-every", "0"),
)
STEPS = 7 * 8


class Group:
    """Processes that train together, in the environments that torchrun would give them."""

    def __init__(self, count: int, *options: str | Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.processes = [
            ForkedCommand(
                "fastssl.train",
                *options,
                environment=os.environ
                | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
                | {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            )
            for rank in range(count)
        ]

    def end(self, seconds: float = 120) -> tuple[list[int], str]:
        """Exit statuses, and all that they wrote to stderr."""
        errors = [process.communicate(timeout=seconds)[1] for process in self.processes]
        return [process.wait() for process in self.processes], "".join(errors)


@pytest.fixture
def groups() -> Iterator[list[Group]]:
    """Groups that a test starts, and that must not outlive it."""
    started: list[Group] = []
    yield started
    for group in started:
        for process in group.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    statuses, errors = Group(2, *OPTIONS, "--data", data, "--out", out).end()
    assert statuses == [0, 0], errors
    assert "in 2 processes" in errors
    assert "Warning" not in errors
    return out


def message_lines(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith(("error", "Traceback"))]


def test_two_processes_do_what_one_does(whole: Path, data: Path, tmp_path: Path) -> None:
    done = run(*OPTIONS, "--data", data, "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    ours, theirs = losses(whole), losses(tmp_path / "one")
    assert [step for step, _ in ours] == [step for step, _ in theirs] == list(range(1, STEPS + 1))
    for (_, left), (_, right) in zip(ours[:5], theirs[:5], strict=True):
        assert left == pytest.approx(right, rel=1e-5)  # later on a ReLU falls to another side
    assert summary(whole)["status"] == "finished"


def test_killed_and_gone_on_is_the_same_to_the_bit(
    whole: Path, data: Path, tmp_path: Path, groups: list[Group]
) -> None:
    out = tmp_path / "run"
    group = Group(2, *OPTIONS, *EVERY_FEW_STEPS, "--data", data, "--out", out)
    groups.append(group)
    wait_for_steps(group.processes[0], out, 17)
    for process in group.processes:
        process.kill()
    group.end()
    statuses, errors = Group(2, *OPTIONS, "--data", data, "--out", out).end()
    assert statuses == [0, 0], errors
    assert "resumed at step" in errors
    assert_same_run(out, whole)


def test_a_signal_to_one_stops_all_and_other_numbers_resume(
    data: Path, tmp_path: Path, groups: list[Group]
) -> None:
    """With weights that nearly stand still, so that losses tell batches, views and queue, not rounding."""
    options: tuple[str | Path, ...] = (*OPTIONS, "--optimizer.base-lr", "1e-7", "--data", data)
    done = run(*options, "--out", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run"
    stopped = [0]
    for count, steps in ((2, 5), (4, 15)):
        group = Group(count, *options, "--out", out)
        groups.append(group)
        wait_for_steps(group.processes[0], out, steps)
        group.processes[-1].send_signal(signal.SIGTERM)
        statuses, errors = group.end()
        assert statuses == [143] * count, errors
        assert not message_lines(errors), errors
        found = summary(out)
        assert found["status"] == "interrupted"
        assert isinstance(found["steps_done"], int)
        assert stopped[-1] < found["steps_done"] < STEPS
        stopped.append(found["steps_done"])
    done = run(*options, "--out", out)
    assert done.returncode == 0, done.stderr
    for (step, left), (also, right) in zip(losses(out), losses(tmp_path / "one"), strict=True):
        assert step == also
        assert left == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_lost_process_ends_the_others_with_one_message(
    data: Path, tmp_path: Path, groups: list[Group], victim: int
) -> None:
    out = tmp_path / "run"
    group = Group(3, *OPTIONS, "--batch-size", "15", "--epochs", "100000", "--data", data, "--out", out)
    groups.append(group)
    wait_for_steps(group.processes[0], out, 3)
    group.processes[victim].kill()
    statuses, errors = group.end(60)
    assert [status for rank, status in enumerate(statuses) if rank != victim] == [1, 1]
    (line,) = message_lines(errors)
    assert "lost another one" in line
    assert "start the same command again" in line


def test_a_silent_process_is_given_up(data: Path, tmp_path: Path, groups: list[Group]) -> None:
    out = tmp_path / "run"
    waits = ("--epochs", "100000", "--wait-minutes", "0.1")
    group = Group(2, *OPTIONS, *waits, "--data", data, "--out", out)
    groups.append(group)
    wait_for_steps(group.processes[0], out, 3)
    group.processes[1].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    _, errors = group.processes[0].communicate(timeout=60)
    assert group.processes[0].returncode == 1
    assert time.monotonic() - began < 30
    assert len(message_lines(errors)) == 1, errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "/no/such/folder"), "/no/such/folder"),
        (("--batch-size", "15"), "cannot be shared equally by 2 processes"),
        (("--batch-norm-group", "8", "--batch-size", "24"), "groups of 8 images do not fit 24"),
        (("--epoch", "3"), "did you mean --epochs?"),
    ],
)
def test_a_mistake_is_told_once(data: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    statuses, errors = Group(2, *OPTIONS, "--data", data, "--out", tmp_path / "run", *options).end()
    assert statuses[0] == 2
    assert statuses[1] in (1, 2)  # it may have met the mistake itself, or only lost the other one
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_undecodable_images_of_all_processes_are_listed(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_images(folder, 40, seed=3)
    bad = [folder / name / "000.jpg" for name in ("circle", "disc", "square")]
    for path in bad:
        path.write_bytes(path.read_bytes()[:300])
    out = tmp_path / "run"
    statuses, errors = Group(2, *OPTIONS, "--data", folder, "--out", out, "--epochs", "3").end()
    assert statuses == [0, 0], errors
    assert summary(out)["bad_images"] == 3
    names = [line.split("\t")[0] for line in (out / "bad_images.txt").read_text().splitlines()]
    assert sorted(names) == sorted(map(str, bad))


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")


def torchrun(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*TORCHRUN, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_torchrun(data: Path, tmp_path: Path) -> None:
    options = (*OPTIONS, "--epochs", "1", "--batch-norm-group", "8")
    done = torchrun("-m", "fastssl.train", *options, "--data", data, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 7


@pytest.mark.slow
def test_a_mistake_that_one_process_meets_is_told_under_torchrun(data: Path, tmp_path: Path) -> None:
    """torchrun sends SIGTERM to all as soon as one of them has ended."""
    (tmp_path / "thesis.tex").touch()
    done = torchrun("-m", "fastssl.train", *OPTIONS, "--data", data, "--out", tmp_path)
    assert done.stderr.count(f"error: {tmp_path} is not empty and not a run folder") == 1
    late = f"[ $RANK = 0 ] && sleep 1.5; exec {sys.executable} -m fastssl.train --epoch 3"
    done = torchrun("--no-python", "bash", "-c", late)
    assert done.stderr.count("error: unknown option --epoch: did you mean --epochs?") == 1


def test_a_process_that_is_lost_under_torchrun_is_told(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    training = command(*OPTIONS, "--epochs", "100000", "--data", data, "--out", out)
    program = f"echo $BASHPID > {tmp_path}/$RANK; exec {shlex.join(map(str, training))}"
    words = [*TORCHRUN, "--no-python", "bash", "-c", program]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for_steps(process, out, 3)
            os.kill(int((tmp_path / "1").read_text()), signal.SIGKILL)
            errors = process.communicate(timeout=60)[1]
        finally:
            process.terminate()
    (line,) = (line for line in errors.splitlines() if line.startswith("error: "))  # torchrun adds its own
    assert line.startswith("error: process 0 of 2 lost another one")
