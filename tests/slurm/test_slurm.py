"""Sweeps on a real SLURM: arrays, preemption, signals, crashes, time limits, several nodes.

A run that something happened to must end with the very weights of one that was left alone.
"""

import datetime
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastssl.run.summary import read_summary
from tests.helpers.runs import assert_same_run, write_images
from tests.slurm.slurm_sweep import (
    IMAGES,
    LONG,
    PATIENCE,
    STEPS_PER_EPOCH,
    Sweep,
    name,
    run_command,
    wait_until,
)

pytestmark = pytest.mark.slurm

ALONE, TOGETHER, USER_SIGNAL, TERMINATED, KILLED, PREEMPTED = map(name, range(6))
NODE_LOST, CANCELLED, DOOMED, TWO_NODES, UNHARMED, NO_GPU, NO_PYTHON = map(name, range(6, 13))
ENDLESS = name(0, LONG)
ENOUGH = 10  # steps after which a run is disturbed; mid-epoch is checked


@pytest.fixture(scope="module")
def sweep(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    folder = tmp_path_factory.mktemp("slurm")
    write_images(folder / "data/train", IMAGES, seed=0)
    write_images(folder / "data/test", 10, seed=1)
    yield Sweep(folder / "sweep", folder / "data")
    run_command("scancel", "--user=root")


@pytest.fixture(scope="module")
def undisturbed(sweep: Sweep) -> Sweep:
    """An array of two runs and their evaluations, left alone."""
    done = sweep.submit(only=[ALONE, TOGETHER])
    assert done.returncode == 0, done.stderr
    assert "submitted 2 runs and 4 evaluations" in done.stdout
    for run in (ALONE, TOGETHER):
        sweep.wait_for(run, "finished")
        for evaluation in ("knn", "linear"):
            sweep.wait_for(run, "finished", evaluation=evaluation)
    return sweep


def assert_as_undisturbed(sweep: Sweep, run: str) -> None:
    """Bit-equal weights to those of the run that was left alone, and every step logged once."""
    assert_same_run(sweep.folder.run(run), sweep.folder.run(ALONE))


def assert_stopped_in_mid_epoch(sweep: Sweep, run: str, outcome: str) -> None:
    first, second = sweep.attempts(run)
    assert (first.outcome, second.outcome) == (outcome, "finished")
    assert first.steps == 0
    assert second.steps > 0
    assert second.steps % STEPS_PER_EPOCH != 0


def test_a_refused_partition_is_one_line_and_nothing_is_written(cluster: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data/train", 1, seed=0)
    done = Sweep(tmp_path / "sweep", tmp_path / "data").submit("--partition", "nosuch", only=[ALONE])
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "SLURM refuses: " in done.stderr
    assert "partition" in done.stderr
    assert not (tmp_path / "sweep").exists()


def test_what_a_limit_on_jobs_leaves_out_is_for_the_same_command(cluster: Path, tmp_path: Path) -> None:
    """SLURM refuses a whole array that would exceed the limit: a part of it is submitted instead."""
    write_images(tmp_path / "data/train", 1, seed=0)
    sweep, runs = Sweep(tmp_path / "sweep", tmp_path / "data"), [ALONE, TOGETHER, KILLED, UNHARMED]
    told = []
    try:
        for limit in (3, 4):
            run_command("sacctmgr", "-i", "modify", "user", "root", "set", f"MaxSubmitJobs={limit}")
            done = sweep.submit("--no-eval", "--sbatch", "begin=now+1hour", only=runs)
            assert done.returncode == 0, done.stderr
            told.append((done.stdout.partition(";")[0], "the same command again, or with" in done.stderr))
        waiting = run_command("squeue", "--noheader", "--array", "--user=root").stdout.splitlines()
    finally:
        run_command("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=-1")
        run_command("scancel", "--user=root")
    assert told == [
        ("submitted 3 runs and 0 evaluations", True),
        ("submitted 1 runs and 0 evaluations", False),
    ]
    assert len(waiting) == 4
    assert all(sweep.folder.record(run).exists() for run in runs)


def test_a_failure_before_python_starts_is_told(sweep: Sweep) -> None:
    done = sweep.submit("--setup", "module load nothing || exit 1", only=[NO_PYTHON])
    assert done.returncode == 0, done.stderr
    sweep.wait_for(NO_PYTHON, "failed")
    assert "module: command not found" in sweep.state(NO_PYTHON).detail
    assert str(sweep.folder.jobs) in sweep.state(NO_PYTHON).detail
    assert sweep.attempts(NO_PYTHON) == []
    told = run_command(sys.executable, "-m", "launchers.status", sweep.path, "log", NO_PYTHON)
    assert "module: command not found" in told.stdout, told.stderr


def test_a_gpu_that_is_not_visible_ends_the_run_before_its_first_step(sweep: Sweep) -> None:
    sweep.train(only=[NO_GPU], settings=["device=auto"])
    sweep.wait_for(NO_GPU, "failed")
    assert "--device cuda: torch sees no GPU here" in sweep.state(NO_GPU).detail
    assert sweep.step(NO_GPU) == 0


def test_an_array_of_runs_and_their_evaluations(undisturbed: Sweep) -> None:
    sweep = undisturbed
    ids = [sweep.job_id(run) for run in (ALONE, TOGETHER)]
    assert [job_id.partition("_")[2] for job_id in ids] == ["0", "1"]
    assert len({job_id.partition("_")[0] for job_id in ids}) == 1
    assert [sweep.job_id(f"{run}.linear") for run in (ALONE, TOGETHER)] == ids  # in the same jobs
    for run in (ALONE, TOGETHER):
        (training,) = sweep.attempts(run)
        for evaluation in ("knn", "linear"):
            (measuring,) = sweep.attempts(f"{run}.{evaluation}")
            assert measuring.started >= training.ended
    assert_as_undisturbed(sweep, TOGETHER)


def test_the_same_command_submits_only_what_is_missing(undisturbed: Sweep) -> None:
    done = undisturbed.submit(only=[ALONE, TOGETHER])
    assert done.returncode == 0, done.stderr
    assert "submitted 0 runs and 0 evaluations" in done.stdout


def test_the_report_of_a_sweep(undisturbed: Sweep) -> None:
    done = run_command(sys.executable, "-m", "launchers.report", undisturbed.path)
    assert done.returncode == 0, done.stderr
    assert "2 finished" in (undisturbed.path / "report.md").read_text()


@pytest.fixture(scope="module")
def disturbed(undisturbed: Sweep) -> Sweep:
    """An array of runs, each disturbed in its own way."""
    sweep, runs = undisturbed, (USER_SIGNAL, TERMINATED, KILLED)
    sweep.train(only=runs)
    waiting = set(runs)

    def disturb() -> bool:
        for run in sorted(waiting):
            if sweep.step(run) >= ENOUGH:
                waiting.remove(run)
                if run == KILLED:
                    sweep.signal_processes(run, signal.SIGKILL)
                else:
                    number = "USR2" if run == USER_SIGNAL else "TERM"
                    subprocess.run(["scancel", f"--signal={number}", sweep.job_id(run)], check=True)
        return not waiting

    wait_until(disturb, PATIENCE, "all runs begin")
    for run in runs:
        sweep.wait_for(run, "finished")
    return sweep


@pytest.mark.parametrize("run", [USER_SIGNAL, TERMINATED], ids=["USR2", "TERM"])
def test_a_signal_requeues_and_the_run_resumes(disturbed: Sweep, run: str) -> None:
    assert_stopped_in_mid_epoch(disturbed, run, "interrupted")
    assert_as_undisturbed(disturbed, run)


def test_a_crash_is_tried_again(disturbed: Sweep) -> None:
    first, second = disturbed.attempts(KILLED)
    assert (first.outcome, second.outcome) == ("crashed", "finished")
    assert "SIGKILL" in first.error
    assert_as_undisturbed(disturbed, KILLED)


def test_preemption_in_mid_epoch(undisturbed: Sweep) -> None:
    sweep = undisturbed
    sweep.train("--partition", "low", only=[PREEMPTED])
    sweep.wait_for_step(PREEMPTED, ENOUGH)
    (attempt,) = sweep.attempts(PREEMPTED)
    urgent = ["sbatch", "--partition=main", f"--nodelist={attempt.host}", "--exclusive", "--output=/dev/null"]
    done = run_command(*urgent, "--chdir=/", "--wrap=true")
    assert done.returncode == 0, done.stderr
    sweep.wait_for(PREEMPTED, "finished")
    assert_stopped_in_mid_epoch(sweep, PREEMPTED, "interrupted")
    assert_as_undisturbed(sweep, PREEMPTED)


def lose(cluster: Path, node: str) -> None:
    """Take a node down, with all that runs there."""
    daemons = dict(line.split()[:2] for line in (cluster / "run/pids").read_text().splitlines())
    os.kill(int(daemons[f"slurmd-{node}"]), signal.SIGKILL)


def test_a_lost_node(cluster: Path, undisturbed: Sweep) -> None:
    """No signal and no word: the run comes back from its last checkpoint, on another node."""
    sweep = undisturbed
    sweep.train(only=[NODE_LOST], settings=["checkpoint_minutes=0.01"])
    folder = sweep.folder.run(NODE_LOST)
    wait_until(lambda: read_summary(folder).get("steps_done"), PATIENCE, "there is a checkpoint")
    (attempt,) = sweep.attempts(NODE_LOST)
    lose(cluster, attempt.host)
    sweep.wait_for(NODE_LOST, "finished")
    first, second = sweep.attempts(NODE_LOST)
    assert first.outcome == "lost"
    assert second.host != first.host
    assert second.steps > 0
    assert_as_undisturbed(sweep, NODE_LOST)


def test_a_run_that_always_crashes_is_left_and_the_others_are_not(undisturbed: Sweep) -> None:
    sweep = undisturbed
    done = sweep.submit("--retries", "1", only=[DOOMED, UNHARMED])
    assert done.returncode == 0, done.stderr

    def failed() -> bool:
        sweep.signal_processes(DOOMED, signal.SIGKILL)
        return sweep.state(DOOMED).name == "failed"

    wait_until(failed, PATIENCE, "a doomed run fails")
    assert [attempt.outcome for attempt in sweep.attempts(DOOMED)] == ["crashed", "crashed"]
    sweep.wait_for(DOOMED, "cancelled", evaluation="knn")  # it never began
    status = run_command(sys.executable, "-m", "launchers.status", sweep.path)
    assert "SIGKILL" in status.stdout, status.stderr
    sweep.wait_for(UNHARMED, "finished")
    assert len(sweep.attempts(UNHARMED)) == 1
    assert_as_undisturbed(sweep, UNHARMED)


def test_a_cancelled_sweep_resumes(undisturbed: Sweep) -> None:
    sweep = undisturbed
    sweep.train(only=[CANCELLED])
    sweep.wait_for_step(CANCELLED, ENOUGH)
    sweep.signal_processes(CANCELLED, signal.SIGSTOP)  # or it may end before the command has begun
    done = run_command(sys.executable, "-m", "launchers.status", sweep.path, "cancel", CANCELLED)
    assert done.returncode == 0, done.stderr
    sweep.signal_processes(CANCELLED, signal.SIGCONT)
    sweep.wait_for(CANCELLED, "cancelled", "interrupted")
    sweep.train(only=[CANCELLED])
    sweep.wait_for(CANCELLED, "finished")
    assert_stopped_in_mid_epoch(sweep, CANCELLED, "interrupted")
    assert_as_undisturbed(sweep, CANCELLED)


def test_a_time_limit(undisturbed: Sweep) -> None:
    """SLURM looks at limits twice a minute, and warns a job that has less than its warning time left."""
    sweep = undisturbed
    sweep.train("--grace", "40", "--time", "60", only=[ENDLESS])
    sweep.wait_for_step(ENDLESS, ENOUGH)
    job = f"JobId={sweep.job_id(ENDLESS)}"
    begun = datetime.datetime.fromisoformat(sweep.attempts(ENDLESS)[0].started)
    minutes = (datetime.datetime.now(datetime.UTC) - begun) // datetime.timedelta(minutes=1)
    run_command("scontrol", "update", job, f"TimeLimit={minutes + 2}")
    wait_until(lambda: sweep.attempts(ENDLESS)[0].outcome != "running", PATIENCE, "the job is warned")
    run_command("scontrol", "update", job, "TimeLimit=60")
    wait_until(lambda: len(sweep.attempts(ENDLESS)) == 2, PATIENCE, "the job comes back")
    first, second = sweep.attempts(ENDLESS)
    assert first.outcome == "interrupted"
    assert second.steps >= ENOUGH
    assert second.job_id == first.job_id
    run_command("scancel", sweep.job_id(ENDLESS))


def test_two_nodes_train_one_run_and_one_of_them_is_lost(cluster: Path, undisturbed: Sweep) -> None:
    """The first node's process loses the other's: that is no crash."""
    sweep = undisturbed
    sweep.train("--nodes", "2", only=[TWO_NODES], settings=["checkpoint_minutes=0.01"])
    wait_until(
        lambda: read_summary(sweep.folder.run(TWO_NODES)).get("steps_done"), PATIENCE, "there is a checkpoint"
    )
    shown = run_command("squeue", "--noheader", f"--jobs={sweep.job_id(TWO_NODES)}", "--format=%N").stdout
    nodes = run_command("scontrol", "show", "hostnames", shown.strip()).stdout.split()
    (attempt,) = sweep.attempts(TWO_NODES)
    (other,) = {*nodes} - {attempt.host}
    lose(cluster, other)
    sweep.wait_for(TWO_NODES, "finished")
    *before, last = sweep.attempts(TWO_NODES)
    assert {each.outcome for each in before} == {"lost"}  # it may start on the lost node once more
    assert (last.outcome, last.steps > 0) == ("finished", True)
    assert "in 2 processes" in sweep.folder.log(TWO_NODES).read_text().splitlines()[0]
    told = run_command("sacct", "-n", "-X", "-P", "-o", "NNodes", "-j", sweep.job_id(TWO_NODES))
    assert told.stdout.split() == ["2"]
    ours, theirs = dict(sweep.losses(TWO_NODES)), dict(sweep.losses(ALONE))
    assert ours.keys() == theirs.keys()
