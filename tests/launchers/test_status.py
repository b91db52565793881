import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from launchers import status
from launchers.clusters import CLUSTERS, job_states
from launchers.clusters.foreground import write_driver
from launchers.look import look
from launchers.status import status_table
from launchers.sweeps import attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.plan import VERSION, planned_jobs, read_plan
from launchers.sweeps.progress import Progress, progress
from launchers.sweeps.state import Name
from pipelines.command.errors import UserError
from pipelines.files import folder_lock
from pipelines.files.folder_lock import is_held_here
from tests.helpers.commands import run_command
from tests.helpers.stand_ins import stand_in

IN_FOREGROUND = [cluster.kind for cluster in CLUSTERS if cluster.in_foreground]
RUNS = ("done", "going", "broken", "waiting", "absent", "stopped", "lost", "dropped")


def submitted(folder: SweepFolder, job: str, cluster: str, job_id: str) -> None:
    folder.record(job).write_text(json.dumps({"cluster": cluster, "job_id": job_id}))


def ended(folder: SweepFolder, job: str, job_id: str, outcome: str = "", error: str = "") -> None:
    """An attempt; without an outcome nothing says how it ended."""
    number = attempts.begin(folder.attempts(job), job_id, 0)
    if outcome:
        attempts.end(folder.attempts(job), number, outcome, 1, error)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    """A sweep on SLURM with a run in every state; squeue and sacct are stand-ins."""
    folder = SweepFolder(tmp_path / "sweep")
    for path in (folder.jobs, folder.path / "configs"):
        path.mkdir(parents=True)
    runs = [{"name": name, "evaluations": ["knn", "linear"], "checkpoints": []} for name in RUNS]
    command = [sys.executable, "-m", "launchers.sweep", "tiny", "--seeds", "2"]
    plan = {"version": VERSION, "study": "s", "runs": runs, "command": command, "folder": str(tmp_path)}
    folder.plan.write_text(json.dumps(plan))
    for name in RUNS:
        folder.config(name).write_text(json.dumps({"config": {"experiment": {"batch_size": 10}}}))
        folder.run(name).mkdir(parents=True)
        if name != "absent":
            submitted(folder, name, "slurm", f"8_{RUNS.index(name)}")
    (folder.run("done") / "summary.json").write_text(
        '{"status": "finished", "steps_done": 50, "total_steps": 50, "epochs_done": 5.0, "knn_top1": 0.61}'
    )
    (folder.run("done") / "eval").mkdir()
    folder.evaluation("done", "knn").write_text("{}")
    submitted(folder, "done.linear", "slurm", "9")
    ended(folder, "done.linear", "9", "crashed", "RuntimeError: no memory")
    (folder.run("going") / "summary.json").write_text(
        '{"status": "running", "steps_done": 0, "total_steps": 500}'
    )
    rows = ({"step": 10, "epoch": 1.0, "knn_top1": 0.25}, {"step": 20, "epoch": 2.0, "images_per_s": 40.0})
    text = "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 30, "ep'
    (folder.run("going") / "metrics.jsonl").write_text(text)
    ended(folder, "going", "8_1", "interrupted")
    ended(folder, "going", "8_1")
    ended(folder, "broken", "8_2", "mistake", "error: no such folder or file: /data")
    ended(folder, "stopped", "8_5", "interrupted")
    ended(folder, "lost", "8_6")
    scripts = {
        "squeue": "printf '8_1|RUNNING|None\\n8_3|PENDING|Resources\\n'",
        "sacct": "printf '8_2|FAILED\\n8_5|TIMEOUT\\n8_6|OUT_OF_MEMORY\\n8_7|CANCELLED\\n9|FAILED\\n'",
        "scancel": f'echo "$@" > {tmp_path}/cancelled',
    }
    for name, script in scripts.items():
        stand_in(tmp_path / "bin", name, script, monkeypatch)
    return folder


def test_states(folder: SweepFolder) -> None:
    states = job_states(folder, planned_jobs(folder, read_plan(folder)))
    assert {name: (states[name].name, states[name].detail) for name in RUNS} == {
        "done": ("finished", ""),
        "going": ("running", ""),
        "broken": ("failed", "error: no such folder or file: /data"),
        "waiting": ("queued", "Resources"),
        "absent": ("new", ""),
        "stopped": ("interrupted", "TIMEOUT"),
        "lost": ("lost", f"on {os.uname().nodename}: OUT_OF_MEMORY"),
        "dropped": ("cancelled", "CANCELLED"),
    }
    assert states["going"].attempts == 2
    assert states["done.knn"].name == "finished"
    assert (states["done.linear"].name, states["done.linear"].detail) == ("failed", "RuntimeError: no memory")
    assert states["broken.knn"].name == "new"


def test_progress(folder: SweepFolder) -> None:
    """480 steps of 10 images are left, at 40 images/s: 120 s."""
    found = progress(folder, "going")
    assert (found.epoch, found.share, found.images_per_s) == (2.0, 0.04, 40.0)
    assert (found.seconds_left, found.knn_top1) == (120.0, 0.25)
    assert progress(folder, "absent") == Progress()


def test_the_table(folder: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main([str(folder.path)]) == 0
    lines = {line.split()[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert lines["s:"].startswith("s: 1 cancelled, 1 failed, 1 finished, 1 interrupted, 1 lost, 1 new,")
    assert lines["done"] == "done finished 5.0 100% 0.610 1/2 linear failed: RuntimeError: no memory"
    assert lines["going"] == "going running 2.0 4% 40 2m 0.250 0/2 2"
    assert lines["broken"] == "broken failed 0/2 1 error: no such folder or file: /data"
    assert lines["waiting"] == "waiting queued 0/2 Resources"


def test_a_terminal_of_80_columns(folder: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Names are cut in the middle, states never, and remarks stand below."""
    long = "num-negatives-65536-eqco-alpha-none-s0"
    plan = json.loads(folder.plan.read_text())
    plan["runs"][2]["name"] = long
    folder.plan.write_text(json.dumps(plan))
    folder.run(long).mkdir()
    Console(width=80, highlight=False).print(status_table(look(folder), 80))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (cut,) = [line for line in lines if line.startswith("num-")]
    assert re.match(r"num-\S*…\S*-s0 +new ", cut)
    first = next(place for place, line in enumerate(lines) if line.startswith("run ")) + 1
    for line in lines[first : first + len(RUNS)]:
        assert line.split()[1] in get_args(Name)
    assert f"lost: on {os.uname().nodename}: OUT_OF_MEMORY" in lines


def test_as_json(folder: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main([str(folder.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    runs = {run["name"]: run for run in found["runs"]}
    assert found["study"] == "s"
    assert {name: runs[name]["state"]["name"] for name in ("done", "going", "broken")} == {
        "done": "finished",
        "going": "running",
        "broken": "failed",
    }
    assert runs["going"]["progress"]["images_per_s"] == 40.0
    assert runs["done"]["evaluations"]["linear"]["detail"] == "RuntimeError: no memory"
    assert (found["damaged"], found["silent"]) == ([], [])


def test_the_end_of_a_log(folder: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.log("going").write_text("".join(f"line {number}\n" for number in range(30)) + "\033[31mred\n")
    (folder.jobs / "9_0_log.err").write_text("slurmstepd: no space\n")
    assert status.main([str(folder.path), "log", "going", "done.linear", "waiting"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"==> {folder.log('going')}", "line 11"]
    assert lines[20] == r"\x1b[31mred"
    assert lines[21:] == [
        f"==> {folder.jobs / '9_0_log.err'}",
        "slurmstepd: no space",
        "waiting has printed nothing yet",
    ]
    with pytest.raises(UserError, match=r"log goin: no such run or evaluation; did you mean going\?"):
        status.main([str(folder.path), "log", "goin"])


def test_a_folder_of_sweeps(folder: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.path.parent / "other").mkdir()
    (folder.path.parent / "other/sweep.json").write_text("{")
    assert status.main([str(folder.path.parent)]) == 0
    other, ours = capsys.readouterr().out.splitlines()
    assert "other/sweep.json is damaged" in other
    assert ours.startswith("s: 1 cancelled, 1 failed, 1 finished")


def test_a_cluster_that_does_not_answer(
    folder: SweepFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sweep folder tells what it knows: nothing is called lost or cancelled for want of an answer."""
    (tmp_path / "bin/squeue").write_text("#!/bin/sh\necho 'squeue: error: connection refused' >&2; exit 1\n")
    assert status.main([str(folder.path)]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in text.splitlines()}
    assert {name: lines[name][1] for name in RUNS} == {
        "done": "finished",
        "going": "running",
        "broken": "failed",
        "waiting": "queued",
        "absent": "new",
        "stopped": "interrupted",
        "lost": "running",
        "dropped": "queued",
    }
    assert "squeue: squeue: error: connection refused" in text


def test_a_look_asks_slurm_once_for_all_jobs(folder: SweepFolder, tmp_path: Path) -> None:
    """Of an array of thousands sacct is told the array: a command line is not that long."""
    for name in ("squeue", "sacct"):
        path = tmp_path / "bin" / name
        path.write_text(path.read_text().replace("\n", f'\necho {name} "$@" >> {tmp_path}/asked\n', 1))
    look(folder)
    squeue, sacct = (tmp_path / "asked").read_text().splitlines()
    assert squeue.startswith("squeue --noheader --array")
    assert "--jobs=8,9 " in sacct


def test_a_failure_before_python_starts(folder: SweepFolder) -> None:
    """No attempt was recorded: the batch script's own log tells why."""
    log = folder.jobs / "8_7_0_log.err"
    log.write_text("environment: line 1: module: command not found\n")
    (folder.path.parent / "bin/sacct").write_text("#!/bin/sh\nprintf '8_7|FAILED\\n'\n")
    states = job_states(folder, planned_jobs(folder, read_plan(folder)))
    assert states["dropped"].name == "failed"
    assert states["dropped"].detail == f"environment: line 1: module: command not found ({log})"


def test_a_job_that_slurm_suspended(folder: SweepFolder) -> None:
    (folder.path.parent / "bin/squeue").write_text("#!/bin/sh\nprintf '8_1|SUSPENDED|None\\n'\n")
    states = job_states(folder, planned_jobs(folder, read_plan(folder)))
    assert (states["going"].name, states["going"].detail) == ("running", "suspended")


@pytest.mark.parametrize(
    ("spoil", "content"),
    [
        (path, content)
        for path in ("runs/going/summary.json", "jobs/going.attempts.jsonl", "jobs/going.json")
        for content in ("{broken", "[1]\n", "\xff\n", "[" * 100_000 + "\n", '{"number": "x"}\n')
        if not (path.endswith("summary.json") and content.startswith('{"'))
    ],
)
def test_a_damaged_file_is_one_line_and_the_others_are_shown(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str], spoil: str, content: str
) -> None:
    path = folder.path / spoil
    before = path.read_bytes() if path.suffix == ".jsonl" else b""
    path.write_bytes(content.encode("latin-1") + b"\n" + before)
    assert status.main([str(folder.path)]) == 0
    text = capsys.readouterr().out
    assert f"{path} is damaged (" in text.replace("\n", "")
    lines = {line.split()[0]: " ".join(line.split()) for line in text.splitlines()}
    assert lines["broken"] == "broken failed 0/2 1 error: no such folder or file: /data"
    if path.suffix == ".jsonl":
        assert lines["going"].startswith("going running 2.0 4% 40 2m 0.250 0/2 2")


def test_escapes_of_a_name_are_not_printed_raw(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(folder, "broken", "8_2", "mistake", "error: no such folder: /d/\033]0;title\007")
    assert status.main([str(folder.path)]) == 0
    assert r"/d/\x1b]0;title\x07" in capsys.readouterr().out


def test_cancel(folder: SweepFolder, tmp_path: Path) -> None:
    assert status.main([str(folder.path), "cancel", "going"]) == 0
    assert (tmp_path / "cancelled").read_text().split() == ["8_1"]
    assert status.main([str(folder.path), "cancel"]) == 0
    assert (tmp_path / "cancelled").read_text().split() == ["8_1", "8_3"]
    with pytest.raises(UserError, match="s has no run gone; it has done, going"):
        status.main([str(folder.path), "cancel", "gone"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"command": ["sh", "-c", "touch again"]}, "holds no command of launchers.sweep"),
        ({"command": "touch again"}, "sweep.json is damaged"),
        ({"command": []}, "holds no command of launchers.sweep"),
        ({"folder": "/nowhere"}, "/nowhere, where the sweep was started, is gone: .* launchers.sweep tiny"),
    ],
)
def test_retry_runs_no_other_command(
    folder: SweepFolder, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    folder.plan.write_text(json.dumps(json.loads(folder.plan.read_text()) | wrong))
    with pytest.raises(UserError, match=message):
        status.main([str(folder.path), "retry"])
    assert not (tmp_path / "again").exists()


def test_retry_takes_no_command_of_another_user(folder: SweepFolder) -> None:
    os.chown(folder.plan, 65534, -1) if os.getuid() == 0 else pytest.skip("needs root")
    with pytest.raises(UserError, match=r"is another user's: read its command, and give it yourself: python"):
        status.main([str(folder.path), "retry"])


@pytest.mark.parametrize("kind", IN_FOREGROUND)
def test_cancel_on_this_machine_stops_the_driver(folder: SweepFolder, tmp_path: Path, kind: str) -> None:
    for name in RUNS:
        submitted(folder, name, kind, f"{kind}-1")
    with subprocess.Popen(["sleep", "60"]) as driver:
        write_driver(folder, f"{kind}-1", driver.pid)
        with folder_lock.hold(folder.path):
            with pytest.raises(UserError, match="stop the whole sweep there"):
                status.main([str(folder.path), "cancel", "waiting"])
            assert status.main([str(folder.path), "cancel"]) == 0
        assert driver.wait(10) == -signal.SIGTERM
    assert not (tmp_path / "cancelled").exists()  # nothing of it went to scancel


@pytest.mark.parametrize("kind", IN_FOREGROUND)
def test_cancel_says_when_nothing_drives_any_more(
    folder: SweepFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    for name in RUNS:
        submitted(folder, name, kind, f"{kind}-1")
    assert status.main([str(folder.path), "cancel"]) == 0
    assert capsys.readouterr().out == "cancelled 0 jobs\n"
    with (
        folder_lock.hold(folder.run("waiting")),  # somebody trains it by hand
        pytest.raises(UserError, match=r"nothing drives .* any more"),
    ):
        status.main([str(folder.path), "cancel"])
    assert not (tmp_path / "cancelled").exists()


def test_a_run_that_was_never_submitted_is_not_counted_as_cancelled(
    folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with folder_lock.hold(folder.run("absent")):
        assert status.main([str(folder.path), "cancel", "absent", "waiting"]) == 0
    told = capsys.readouterr()
    assert told.out == "cancelled 1 jobs\n"
    assert told.err == "absent is trained by a process that no sweep started\n"


@pytest.mark.parametrize("kind", IN_FOREGROUND)
def test_jobs_of_a_driver_on_this_machine(folder: SweepFolder, kind: str) -> None:
    for name in RUNS:
        submitted(folder, name, kind, "8_1")  # the id that the fixture's attempts of "going" carry
    write_driver(folder, "8_1", os.getpid())
    jobs = planned_jobs(folder, read_plan(folder))
    with folder_lock.hold(folder.path):
        states = job_states(folder, jobs)
        assert (states["going"].name, states["waiting"].name) == ("running", "queued")
    states = job_states(folder, jobs)
    assert (states["going"].name, states["waiting"].name) == ("lost", "cancelled")
    with folder_lock.hold(folder.run("waiting")):  # somebody trains it by hand
        assert job_states(folder, jobs)["waiting"].name == "running"


@pytest.mark.parametrize("kind", IN_FOREGROUND)
def test_jobs_of_two_clusters_in_one_folder(folder: SweepFolder, tmp_path: Path, kind: str) -> None:
    """Each is asked for its own jobs, and stops these."""
    submitted(folder, "absent", kind, "here-1")
    with subprocess.Popen(["sleep", "60"]) as driver:
        write_driver(folder, "here-1", driver.pid)
        with folder_lock.hold(folder.path):
            states = job_states(folder, planned_jobs(folder, read_plan(folder)))
            assert (states["going"].name, states["going"].cluster) == ("running", "slurm")
            assert (states["absent"].name, states["absent"].cluster) == ("queued", kind)
            assert status.main([str(folder.path), "cancel"]) == 0
        assert driver.wait(10) == -signal.SIGTERM
    assert (tmp_path / "cancelled").read_text().split() == ["8_1", "8_3"]


def test_looking_at_a_lock_does_not_take_it(tmp_path: Path) -> None:
    assert not is_held_here(tmp_path)
    with folder_lock.hold(tmp_path):
        assert is_held_here(tmp_path)
    assert not is_held_here(tmp_path)
    assert not is_held_here(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is no sweep folder"),
        ("[]", "is damaged"),
        ("{", "is damaged"),
        ('{"version": 1, "runs": []}', "is of version 1, this code reads version"),
    ],
)
def test_no_sweep_folder(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(UserError, match=message):
        status.main([str(tmp_path)])


def test_the_commands_end_with_2_at_a_mistake(tmp_path: Path) -> None:
    answer = run_command("launchers.status", tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
