"""What a driver decides while a cluster's job is about to end, by the real engine and a SLURM of scripts."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from launchers.clusters.slurm import Slurm
from launchers.search import defined_search
from launchers.searching.conductor import Conductor
from launchers.searching.options import parse
from launchers.sweeps import attempts
from launchers.sweeps.job import Job
from launchers.sweeps.state import Submission, write_submission
from tests.helpers.stand_ins import stand_in
from tests.helpers.stub_trials import epochs_trained, stub_search, table


def test_a_trial_goes_on_once_the_job_that_paused_it_has_left_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that ends, or is requeued as its time is up, would meet the next one in the run folder."""
    queue = tmp_path / "queue"
    for name, line in {"squeue": f"cat {queue}", "sacct": "true"}.items():
        stand_in(tmp_path / "bin", name, line, monkeypatch)
    folder, command = stub_search(tmp_path / "s", ["--trials", "1", "--grace", "3"])
    defined = defined_search(parse(command)[0])
    submitted: list[Job] = []

    def submit(jobs: Sequence[Job]) -> None:
        """The job of SLURM trains at once, and stays in the queue."""
        for job in jobs:
            submitted.append(job)
            job_id = f"{len(submitted)}_0"
            number = attempts.begin(folder.attempts(job.name), job_id, job.steps_done())
            subprocess.run(job.command(), cwd=folder.code, check=True)
            attempts.end(folder.attempts(job.name), number, "finished", 0)
            write_submission(folder, Submission(job, "slurm", job_id))
            queue.write_text(f"{job_id}|COMPLETING|None\n")

    job = Job(sweep=folder.path, run="", data=defined.base.machine.data)
    conductor = Conductor(folder, defined, Slurm(), job, submit, command)
    assert [job.pause_after for job in conductor.turn((), 4) or ()] == [3]
    for state in ("COMPLETING|None", "PENDING|BeginTime", "RUNNING|None"):
        queue.write_text(f"1_0|{state}\n")
        assert conductor.turn((), 4) == []  # neither over, nor on its way
    assert table(folder)["trial-0000"]["state"] == "training"
    queue.write_text("")
    assert [job.pause_after for job in conductor.turn((), 4) or ()] == [0]
    assert conductor.turn((), 4) == []
    assert len(submitted) == 2
    queue.write_text("")
    assert conductor.turn((), 4) is None
    assert table(folder)["trial-0000"]["state"] == "finished"
    assert epochs_trained(folder, "trial-0000") == [*range(1, 10)]
