"""What a user's command is told, and when."""

import json
from pathlib import Path
from typing import Any

import pytest

from launchers.sweeps import attempts
from launchers.sweeps.events import forget_end, job_ended
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.plan import VERSION
from launchers.sweeps.state import Submission, write_submission


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "sweep")
    folder.jobs.mkdir(parents=True)
    runs = [{"name": name, "evaluations": ["knn"], "checkpoints": []} for name in ("a", "b")]
    folder.plan.write_text(json.dumps({"version": VERSION, "study": "s", "runs": runs}))
    for name in ("a", "b"):
        for evaluation in ("", "knn"):
            write_submission(folder, Submission(job(folder, name, evaluation), "slurm", "7"))
    return folder


def job(folder: SweepFolder, run: str, evaluation: str = "", command: str = "") -> Job:
    told = command or f"cat >> {folder.path}/told"
    return Job(sweep=folder.path, run=run, data="", evaluation=evaluation, retries=1, on_event=told)


def finish(folder: SweepFolder, run: str, evaluation: str = "") -> Job:
    path = folder.evaluation(run, evaluation) if evaluation else folder.run(run) / "summary.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"status": "finished"}')
    return job(folder, run, evaluation)


def events(folder: SweepFolder) -> list[dict[str, Any]]:
    path = folder.path / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_end_is_told_once_however_jobs_end(folder: SweepFolder) -> None:
    job_ended(finish(folder, "a"))
    job_ended(finish(folder, "a", "knn"))
    assert events(folder) == []
    path = folder.attempts("b")
    for _ in range(2):
        attempts.end(path, attempts.begin(path, "7", 0), "crashed", 1, "boom")
    job_ended(job(folder, "b"), "boom")  # and so it is not measured
    failed, over = events(folder)
    assert (failed["event"], failed["job"], failed["error"]) == ("job failed", "b", "boom")
    assert failed["log"] == str(folder.log("b"))
    assert (over["event"], over["study"], over["runs"]) == ("sweep finished", "s", 2)
    assert over["failed"] == ["b", "b.knn"]
    job_ended(job(folder, "a", "knn"))
    assert len(events(folder)) == 2
    forget_end(folder)
    job_ended(job(folder, "a", "knn"))
    assert len(events(folder)) == 3


def test_a_crash_that_is_tried_again_is_no_end(folder: SweepFolder) -> None:
    for run, evaluation in (("a", ""), ("a", "knn"), ("b", "")):
        finish(folder, run, evaluation)
    path = folder.attempts("b.knn")
    attempts.end(path, attempts.begin(path, "7", 0), "crashed", 1, "boom")
    job_ended(job(folder, "a"))
    assert events(folder) == []


def test_evaluations_that_nobody_asked_for_are_not_waited_for(folder: SweepFolder) -> None:
    for run in ("a", "b"):
        folder.record(f"{run}.knn").unlink()
        job_ended(finish(folder, run))
    (over,) = events(folder)
    assert over["failed"] == []


def test_a_command_that_fails_is_a_line(folder: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    job_ended(job(folder, "a", command="echo no route >&2; exit 3"), "boom")
    assert capsys.readouterr().err == "--on-event failed (exit status 3: no route)\n"
    job_ended(Job(sweep=folder.path, run="a", data=""), "boom")  # nobody asked
