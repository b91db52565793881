import json
import os
import signal
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fastssl.run.summary import read_summary
from launchers.clusters import driver, job_states
from launchers.clusters.debug import Debug
from launchers.clusters.driver import slots
from launchers.clusters.local import Local
from launchers.sweeps.attempts import Attempt, read_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.plan import VERSION
from pipelines.command.errors import UserError
from tests.helpers.signals import signal_when
from tests.helpers.stub_runs import outcomes, stub_job, stub_sweep


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return stub_sweep(tmp_path / "sweep")


def attempts(folder: SweepFolder, job: str) -> list[Attempt]:
    return read_attempts(folder.attempts(job))


def run_local(folder: SweepFolder, jobs: list[Job], max_parallel: int) -> int:
    return Local(max_parallel=max_parallel).submit(folder, "study", jobs, {})


def status(folder: SweepFolder, run: str) -> object:
    return read_summary(folder.run(run)).get("status")


def test_failures_do_not_stop_the_others(folder: SweepFolder, capfd: pytest.CaptureFixture[str]) -> None:
    names = ("good", "crash", "once", "mistake", "killed")
    jobs = [stub_job(folder, name, result) for name in names for result in ("", "knn")]
    assert run_local(folder, jobs, max_parallel=3) == 1
    assert outcomes(folder, "good") == ["finished"]
    assert outcomes(folder, "crash") == ["crashed", "crashed"]  # retried once
    assert outcomes(folder, "once") == ["crashed", "finished"]
    assert outcomes(folder, "mistake") == ["mistake"]  # another try would end the same
    assert outcomes(folder, "killed") == ["crashed", "crashed"]
    assert attempts(folder, "crash")[-1].error == "RuntimeError: the loss went away"
    assert attempts(folder, "mistake")[-1].error == "error: no such folder"
    assert attempts(folder, "killed")[-1].error.startswith("killed by SIGKILL (out of memory?)")
    measured = [name for name in names if folder.evaluation(name, "knn").exists()]
    assert measured == ["good", "once"]
    told = capfd.readouterr().err
    assert "crash failed: RuntimeError: the loss went away" in told
    assert "mistake.knn not measured: its run failed" in told
    states = job_states(folder, jobs)
    assert {name: states[name].name for name in names} == {
        "good": "finished",
        "crash": "failed",
        "once": "finished",
        "mistake": "failed",
        "killed": "failed",
    }
    assert states["mistake"].detail == "error: no such folder"


def test_a_run_is_measured_after_its_training_and_before_the_next(
    folder: SweepFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = [stub_job(folder, name, result) for name in ("good", "good-2") for result in ("", "knn")]
    assert run_local(folder, jobs, max_parallel=1) == 0
    assert [outcomes(folder, job.name) for job in jobs] == [["finished"]] * 4
    training, knn, following, _ = (attempts(folder, job.name)[0] for job in jobs)
    assert training.ended <= knn.started <= knn.ended <= following.started
    told = capfd.readouterr().err
    assert [line.split()[:2] for line in told.splitlines()] == [
        ["[1/4]", "good"],
        ["[2/4]", "good.knn"],
        ["[3/4]", "good-2"],
        ["[4/4]", "good-2.knn"],
    ]


def test_evaluations_of_a_run_share_its_features(folder: SweepFolder) -> None:
    """One after the other, whatever is free: side by side, both would encode the same images."""
    script = folder.code / "fastssl/evaluate/__main__.py"
    script.write_text(f"import time; time.sleep(0.5)\n{script.read_text()}")
    jobs = [stub_job(folder, "good", result) for result in ("", "knn", "linear")]
    assert run_local(folder, jobs, max_parallel=3) == 0
    _, knn, linear = (attempts(folder, job.name)[0] for job in jobs)
    assert knn.ended <= linear.started


def test_a_failed_evaluation_stops_no_other(folder: SweepFolder) -> None:
    script = folder.code / "fastssl/evaluate/__main__.py"
    failing = "import sys\nif sys.argv[1] == 'knn': sys.exit('error: no labels')\n"
    script.write_text(failing + script.read_text())
    jobs = [stub_job(folder, "good", result) for result in ("", "knn", "linear")]
    assert run_local(folder, jobs, max_parallel=1) == 1
    assert [outcomes(folder, job.name) for job in jobs] == [["finished"], ["crashed"] * 2, ["finished"]]
    assert attempts(folder, "good.knn")[-1].error == "error: no labels"


def test_progress_is_told_while_runs_go(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver, "_TOLD_EVERY", 0.2)
    job = replace(stub_job(folder, "good-40"), on_event=f"cat >> {folder.path}/told")
    folder.plan.write_text(json.dumps({"version": VERSION, "study": "s", "runs": [{"name": "good-40"}]}))
    assert run_local(folder, [job], max_parallel=1) == 0
    assert "[0/1] good-40 0% 50 images/s\n" in capfd.readouterr().err
    assert json.loads((folder.path / "told").read_text())["event"] == "sweep finished"


def test_a_process_may_take_its_time_to_end(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its run is under way until then, and no longer."""
    monkeypatch.setattr(driver, "_TOLD_EVERY", 0.2)
    script = folder.code / "fastssl/evaluate/__main__.py"
    script.write_text(f"{script.read_text()}\nimport atexit, time\natexit.register(time.sleep, 2)\n")
    under_way: list[set[str]] = []

    def more(runs: Collection[str], free: int) -> Sequence[Job] | None:
        under_way.append(set(runs))
        return () if runs else None

    jobs = [stub_job(folder, "good", result) for result in ("", "knn")]
    assert Local(max_parallel=2).drive(folder, jobs, "here", more) == 0
    assert [outcomes(folder, job.name) for job in jobs] == [["finished"], ["finished"]]
    assert [*map(len, under_way)] == [1] * (len(under_way) - 1) + [0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_resumes_where_it_was(
    folder: SweepFolder, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = [stub_job(folder, "good-150"), stub_job(folder, "good-2")]
    thread = signal_when(folder.run("good-150") / "summary.json", number, after=0.1)
    assert run_local(folder, jobs, max_parallel=1) == 128 + number
    thread.join()
    assert "stopped with 2 jobs to do; the same command resumes" in capfd.readouterr().err
    assert status(folder, "good-150") == "interrupted"
    assert status(folder, "good-2") is None  # it waited for the only place
    stopped_at = read_summary(folder.run("good-150"))["steps_done"]
    assert 0 < stopped_at < 150
    assert run_local(folder, jobs, max_parallel=1) == 0
    assert outcomes(folder, "good-150") == ["interrupted", "finished"]
    assert attempts(folder, "good-150")[1].steps == stopped_at
    assert f"starts at step {stopped_at}" in folder.log("good-150").read_text()
    assert status(folder, "good-2") == "finished"


def test_nothing_outlives_a_second_ctrl_c(folder: SweepFolder) -> None:
    """The stand-in ends at the first TERM, so this one must not listen to it."""
    script = folder.code / "fastssl" / "train.py"
    script.write_text(script.read_text().replace("lambda *_: stopped.append(True)", "signal.SIG_IGN"))
    summary = folder.run("good-3000") / "summary.json"
    thread = signal_when(summary, signal.SIGINT, signal.SIGINT, after=0.1)
    with pytest.raises(KeyboardInterrupt):
        run_local(folder, [stub_job(folder, "good-3000")], max_parallel=1)
    thread.join()
    before = folder.log("good-3000").stat().st_size
    time.sleep(0.2)
    assert not any("good-3000" in line for line in command_lines())
    assert folder.log("good-3000").stat().st_size == before


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended meanwhile
    return found


def test_the_machine_is_dealt_out() -> None:
    cores = os.sched_getaffinity(0)
    both = slots(2)
    assert len(both) == 2
    assert all(len(slot.cores) == max(1, len(cores) // 2) for slot in both)
    assert frozenset().union(*(slot.cores for slot in both)) <= cores
    if len(cores) > 1:
        assert not both[0].cores & both[1].cores
    (alone,) = slots(1)
    assert alone.cores == cores


def test_each_gpu_is_named_to_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [slot.gpu for slot in slots(0)] == ["0", "1"]
    assert [slot.gpu for slot in slots(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [slot.gpu for slot in slots(0)] == ["5", "7"]


def test_debug_runs_in_this_process(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def train(arguments: list[str]) -> int:
        called.append(arguments)
        if "crash" in arguments:
            raise RuntimeError("boom")
        if "mistake" in arguments:
            raise UserError("no such folder")
        return 143 if "stopped" in arguments else 0

    monkeypatch.setattr("fastssl.train.main", train)
    monkeypatch.setattr("fastssl.evaluate.__main__.main", train)
    names = ("crash", "mistake", "good", "stopped", "after")
    jobs = [stub_job(folder, name, result) for name in names for result in ("", "knn")]
    assert Debug().submit(folder, "study", jobs, {}) == 143
    assert [arguments[-1] for arguments in called] == ["crash", "mistake", "good", "good", "stopped"]
    assert called[3][:2] == ["knn", str(folder.run("good"))]
    assert [outcomes(folder, name) for name in names] == [
        *(["crashed"], ["mistake"], ["finished"], ["interrupted"], []),
    ]
    assert attempts(folder, "crash")[0].error == "RuntimeError: boom"
