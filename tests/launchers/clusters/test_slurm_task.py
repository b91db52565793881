"""What a job does on a node, with a stand-in for scontrol. Real SLURM: tests/slurm."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastssl.run.summary import read_summary
from launchers.sweeps import attempts
from launchers.sweeps.attempts import read_attempts
from launchers.sweeps.folder import SweepFolder
from tests.helpers.signals import wait_until
from tests.helpers.stub_runs import outcomes, stub_sweep

RUN = """
import sys
from dataclasses import replace
from pathlib import Path
from launchers.sweeps.job import Job
from launchers.clusters.slurm_task import SlurmTask
training = Job(sweep=Path(sys.argv[1]), run=sys.argv[2], data=sys.argv[2], retries=1)
SlurmTask([training, *(replace(training, evaluation=name) for name in sys.argv[3:])], grace=20)()
"""
SCONTROL = """#!/bin/sh
echo "$@" >> {calls}
echo "JobId=7 JobState={state} Reason=None"
"""


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return stub_sweep(tmp_path / "sweep")


def start(
    folder: SweepFolder,
    run: str,
    state: str = "RUNNING",
    rank: int = 0,
    tasks: int = 1,
    restarts: int = 0,
    nodes: str = "",
    evaluations: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """The task of job 7, as srun starts it; SLURM calls the job by ``state``."""
    tools = folder.path / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "scontrol").write_text(SCONTROL.format(calls=folder.path / "calls", state=state))
    (tools / "scontrol").chmod(0o755)
    (tools / "sinfo").write_text(f"#!/bin/sh\nprintf '{nodes}'\n")
    (tools / "sinfo").chmod(0o755)
    variables = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_PROCID": str(rank),
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_RESTART_COUNT": str(restarts),
        "SLURM_JOB_NUM_NODES": str(tasks if nodes else 1),
        "SLURM_JOB_NODELIST": "n[1-2]",
    }
    command = [sys.executable, "-c", RUN, str(folder.path), run, *evaluations]
    environment = {**os.environ, **variables}
    return subprocess.Popen(
        command, cwd=folder.code, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and output."""
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def requeued(folder: SweepFolder) -> int:
    """How often the job was put back into the queue."""
    calls = folder.path / "calls"
    return calls.read_text().splitlines().count("requeue 7") if calls.exists() else 0


def wait_until_it_runs(folder: SweepFolder, run: str) -> None:
    wait_until((folder.run(run) / "summary.json").exists)
    time.sleep(0.1)


def test_a_crash_is_requeued_and_then_left(folder: SweepFolder) -> None:
    assert finish(start(folder, "crash"))[0] == 255
    assert requeued(folder) == 1
    status, output = finish(start(folder, "crash"))
    assert status == 1
    assert "JobFailedError: RuntimeError: the loss went away" in output
    assert requeued(folder) == 1
    assert outcomes(folder, "crash") == ["crashed", "crashed"]
    status, output = finish(start(folder, "crash"))  # SLURM's own requeue, after a node failure say
    assert (status, outcomes(folder, "crash")) == (1, ["crashed", "crashed"])
    assert "crashed 2 times: RuntimeError: the loss went away" in output


def test_a_mistake_is_not_requeued(folder: SweepFolder) -> None:
    status, output = finish(start(folder, "mistake"))
    assert (status, requeued(folder)) == (1, 0)
    assert "JobFailedError: error: no such folder" in output


def test_a_lost_node_is_noticed_by_the_next_attempt(folder: SweepFolder) -> None:
    process = start(folder, "good-500")
    wait_until_it_runs(folder, "good-500")
    pid = int(folder.attempts("good-500").read_text().split('"pid": ')[1].split(",")[0])
    assert pid == process.pid
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)
    process.kill()
    finish(process)
    (folder.run("good-500") / "summary.json").write_text('{"status": "running", "steps_done": 498}')
    assert finish(start(folder, "good-500"))[0] == 0
    assert outcomes(folder, "good-500") == ["lost", "finished"]


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def test_a_lost_node_of_several_is_no_crash(folder: SweepFolder) -> None:
    """The process of the first node crashes as it loses the other, whose task never reports."""
    path = folder.attempts("crash")
    attempts.end(path, attempts.begin(path, "7", 0), "crashed", 1, "boom")  # a second one would be the last
    assert finish(start(folder, "crash", tasks=2, nodes="n1 mixed\\nn2 down*\\n"))[0] == 255
    assert requeued(folder) == 1
    last = read_attempts(path)[-1]
    assert (last.outcome, last.error) == ("lost", "SLURM lost a node: n2 down*")


@pytest.mark.parametrize(("state", "status", "times"), [("RUNNING", 255, 1), ("CANCELLED", 143, 0)])
def test_term_alone_is_a_preemption_unless_slurm_ended_the_job(
    folder: SweepFolder, state: str, status: int, times: int
) -> None:
    process = start(folder, "good-500", state)
    wait_until_it_runs(folder, "good-500")
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == status
    assert requeued(folder) == times
    assert outcomes(folder, "good-500") == ["interrupted"]
    assert read_summary(folder.run("good-500"))["status"] == "interrupted"


def test_the_first_task_decides_for_all(folder: SweepFolder) -> None:
    """Task 1 fails by a user's mistake; task 0 only loses it, with another exit status."""
    first, second = start(folder, "crash", tasks=2), start(folder, "mistake", rank=1, tasks=2)
    assert finish(second)[0] == 0  # it reports, and leaves the end to the first
    report = json.loads(folder.rank_report("mistake", 1).read_text())
    folder.rank_report("crash", 1).write_text(json.dumps(report))  # both are one job
    status, output = finish(first)
    assert (status, requeued(folder)) == (1, 0)
    assert "JobFailedError: process 1: error: no such folder" in output
    assert outcomes(folder, "crash") == ["mistake"]


def test_the_cause_is_the_process_that_was_killed(folder: SweepFolder) -> None:
    """Task 1 is killed; task 0 only loses it, with an error of its own."""
    first, second = start(folder, "crash", tasks=2), start(folder, "killed", rank=1, tasks=2)
    assert finish(second)[0] == 0
    report = json.loads(folder.rank_report("killed", 1).read_text())
    folder.rank_report("crash", 1).write_text(json.dumps(report))
    assert finish(first)[0] == 255  # requeued
    (attempt,) = read_attempts(folder.attempts("crash"))
    assert attempt.error == "process 1: killed by SIGKILL (out of memory?)"


def test_an_evaluation_that_gets_no_further_ends(folder: SweepFolder) -> None:
    """As after two time limits; the record says why."""
    path = folder.attempts("good")
    for _ in range(12):
        attempts.end(path, attempts.begin(path, "7", 0), "interrupted", 143)
    status, output = finish(start(folder, "good"))
    assert (status, requeued(folder)) == (1, 0)
    assert "interrupted 12 times without getting further: give it more time" in output
    last = read_attempts(path)[-1]
    assert (last.outcome, last.error.partition(":")[0]) == (
        "mistake",
        "interrupted 12 times without getting further",
    )
    finish(start(folder, "good"))
    assert len(read_attempts(path)) == 13


def test_a_run_is_trained_and_measured_in_one_job(folder: SweepFolder) -> None:
    assert finish(start(folder, "good", evaluations=["knn", "linear"]))[0] == 0
    (training,) = read_attempts(folder.attempts("good"))
    (knn,) = read_attempts(folder.attempts("good.knn"))
    (linear,) = read_attempts(folder.attempts("good.linear"))
    assert {each.outcome for each in (training, knn, linear)} == {"finished"}
    assert training.ended <= knn.started <= knn.ended <= linear.started
    folder.evaluation("good", "linear").unlink()  # as if the job had been requeued before that
    assert finish(start(folder, "good", evaluations=["knn", "linear"]))[0] == 0
    counts = [len(read_attempts(folder.attempts(f"good{name}"))) for name in ("", ".knn", ".linear")]
    assert counts == [1, 1, 2]


def test_a_failed_run_is_not_measured_and_a_failed_evaluation_stops_no_other(
    folder: SweepFolder,
) -> None:
    assert finish(start(folder, "mistake", evaluations=["knn"]))[0] == 1
    assert not folder.attempts("mistake.knn").exists()
    assert finish(start(folder, "good", evaluations=["knn/wrong", "linear"]))[0] == 255  # it crashed
    assert requeued(folder) == 1
    status, output = finish(start(folder, "good", evaluations=["knn/wrong", "linear"]))
    assert (status, requeued(folder)) == (1, 1)
    assert "JobFailedError: FileNotFoundError" in output
    assert folder.evaluation("good", "linear").exists()


def test_reports_of_an_earlier_start_do_not_count(folder: SweepFolder) -> None:
    report = {"attempt": ["7", "0"], "rank": 1, "outcome": "crashed", "status": 1, "error": "old"}
    folder.rank_report("good", 1).write_text(json.dumps(report))
    assert finish(start(folder, "good", tasks=2, restarts=1))[0] == 0
