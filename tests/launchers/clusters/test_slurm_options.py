"""What is asked of sbatch, and how its answers are read; with stand-ins for SLURM's commands."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from launchers.clusters.slurm import Slurm
from launchers.clusters.slurm_queue import ended, queued
from launchers.clusters.time_limit import parse_minutes
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.state import JobState
from pipelines.command.errors import UserError
from tests.helpers.stand_ins import stand_in
from tests.helpers.stub_runs import stub_job, stub_sweep


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:30", 91),  # minutes:seconds, rounded up
        ("1:30:00", 90),
        ("2-12", 60 * 60),
        ("2-12:30", 60 * 60 + 30),
        ("2-12:30:15", 60 * 60 + 31),
        ("3650-0", 3650 * 24 * 60),
    ],
)
def test_time_limits(text: str, minutes: int) -> None:
    """As `man sbatch` lists them under --time."""
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize(
    "text", ["", "1h", "1:2:3:4", "-5", "1.5", "0", "one", "3651-0", "9" * 14, "9" * 5000]
)
def test_what_is_no_time_limit(text: str) -> None:
    with pytest.raises(UserError, match="give minutes, HH:MM:SS or D-HH:MM:SS"):
        parse_minutes(text)


def test_a_limit_leaves_time_for_the_checkpoint() -> None:
    Slurm.Config(time="4", grace=120)
    with pytest.raises(UserError, match="leaves no time for the checkpoint"):
        Slurm.Config(time="3", grace=120)
    with pytest.raises(UserError, match="--grace must be more than"):
        Slurm.Config(grace=20)


def sbatch_lines(slurm: Slurm, jobs: int = 3, after: str = "") -> list[str]:
    return slurm.sbatch_text(SweepFolder(Path("/s")), "study", jobs, after).splitlines()


def test_the_script_says_what_was_asked() -> None:
    config = Slurm.Config(
        time="10:00:00",
        nodes=2,
        gpus_per_node=4,
        cpus_per_gpu=8,
        mem="64G",
        partition="gpu",
        account="lab",
        qos="long",
        constraint="h100",
        exclude="n7",
        setup=("module load cuda",),
        sbatch=("reservation=night", "exclusive"),
    )
    lines = sbatch_lines(Slurm(config, max_parallel=2))
    options = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert options >= {
        *("time=600", "nodes=2", "gpus-per-node=4", "ntasks-per-node=4", "cpus-per-task=8", "mem=64G"),
        *("partition=gpu", "account=lab", "qos=long", "constraint=h100", "exclude=n7"),
        *("array=0-2%2", "signal=USR2@120", "requeue", "chdir=/s/code", "reservation=night", "exclusive"),
    }
    assert lines.index("unset PYTHONSAFEPATH") < lines.index("module load cuda")
    assert not [option for option in options if option.startswith(("dependency", "wckey", "cpus-per-gpu"))]
    assert any("srun" in line and "--kill-on-bad-exit=1" in line for line in lines)


def test_without_gpus_a_node_has_one_task() -> None:
    lines = sbatch_lines(Slurm(Slurm.Config(gpus_per_node=0, cpus_per_gpu=2)), jobs=1)
    assert "#SBATCH --ntasks-per-node=1" in lines
    assert "#SBATCH --cpus-per-task=2" in lines
    assert not [line for line in lines if "gpus" in line or "--array" in line]


def test_evaluations_wait_for_their_run_and_go_with_it() -> None:
    lines = sbatch_lines(Slurm(), after="afterok:12_3")
    assert "#SBATCH --dependency=afterok:12_3" in lines
    assert "#SBATCH --kill-on-invalid-dep=yes" in lines


@pytest.mark.parametrize(
    ("status", "nodes", "state", "errors", "requeued"),
    [
        (0, "down*", "RUNNING", 0, False),
        (1, "mixed", "RUNNING", 0, False),  # the first task has decided
        (1, "down*", "RUNNING", 0, True),
        (1, "allocated*", "RUNNING", 0, True),
        (1, "down", "CANCELLED", 0, False),
        (137, "idle", "RUNNING", 0, True),
        (255, "down*", "RUNNING", 0, False),  # requeued already
        (1, "mixed", "RUNNING", 1, True),
        (1, "mixed", "RUNNING", 6, False),
        (1, "mixed", "RUNNING", -1, False),  # at the first start: nothing was lost
    ],
)
def test_what_the_batch_script_makes_of_the_end_of_its_step(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    nodes: str,
    state: str,
    errors: int,
    requeued: bool,
) -> None:
    """A lost node is told from a crash by what SLURM says."""
    monkeypatch.setenv("SQUEUE_STATES", "PD")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    stand_in(tmp_path / "bin", "squeue", f'[ "$SQUEUE_STATES" ] || echo {state}', monkeypatch)
    stand_in(tmp_path / "bin", "sinfo", f"printf 'mixed\n{nodes}\n'", monkeypatch)
    stand_in(tmp_path / "bin", "scontrol", f"echo $@ > {tmp_path}/calls", monkeypatch)
    stand_in(tmp_path / "bin", "sleep", "true", monkeypatch)
    lines = sbatch_lines(Slurm())
    script = "\n".join([f"(exit {status})", *lines[lines.index("status=$?") :]])
    environment = os.environ | {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "0" if errors < 0 else "1"}
    log = tmp_path / "log"
    log.write_text("srun: error: Unable to create step for job 7: Invalid generic resource\n" * abs(errors))
    with log.open("a") as file:
        done = subprocess.run(["bash", "-c", script], env=environment, stderr=file, check=False)
    assert done.returncode == status
    called = (tmp_path / "calls").read_text() if (tmp_path / "calls").exists() else ""
    assert called == ("requeue 7\n" if requeued else "")


# --- with stand-ins for its commands ------------------------------------------------------------------------


def test_nothing_of_an_outer_job_reaches_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But where the cluster is does: SLURM_CONF."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_CONF", "/etc/here.conf")
    stand_in(tmp_path / "bin", "sbatch", f"env > {tmp_path}/env", monkeypatch)
    Slurm().check(SweepFolder(tmp_path), "study")
    found = (tmp_path / "env").read_text().splitlines()
    assert "SLURM_CONF=/etc/here.conf" in found
    assert not [line for line in found if line.startswith("SLURM_ARRAY")]
    assert os.environ["SLURM_ARRAY_JOB_ID"] == "5"


def test_options_of_the_user_s_environment_do_not_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """sbatch would take SBATCH_PARTITION before the script's own; squeue would hide jobs by SQUEUE_STATES."""
    monkeypatch.setenv("SBATCH_PARTITION", "slow")
    monkeypatch.setenv("SQUEUE_STATES", "PD")
    stand_in(tmp_path / "bin", "sbatch", f"env > {tmp_path}/env", monkeypatch)
    stand_in(tmp_path / "bin", "squeue", f"env > {tmp_path}/squeue-env", monkeypatch)
    Slurm(Slurm.Config(partition="fast")).check(SweepFolder(tmp_path), "study")
    assert capsys.readouterr().err == "not used: SBATCH_PARTITION; give --sbatch NAME=VALUE\n"
    assert "SBATCH_PARTITION" not in (tmp_path / "env").read_text()
    queued(["1"], 0)
    assert "SQUEUE" not in (tmp_path / "squeue-env").read_text()
    assert os.environ["SBATCH_PARTITION"] == "slow"


def test_a_path_that_sbatch_would_fill_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "bin", "sbatch", "true", monkeypatch)
    with pytest.raises(UserError, match=r"50%j: sbatch takes % for a pattern: choose another --out"):
        Slurm().check(SweepFolder(tmp_path / "50%j"), "study")


@pytest.mark.parametrize("answer", ["5", "5;cluster", "Welcome, job 77 of 99!\n\n5", "12 jobs wait\n5\n"])
def test_the_job_s_id_behind_a_login_banner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    stand_in(tmp_path / "bin", "sbatch", f"echo $@ > {tmp_path}/given; printf '{answer}\\n'", monkeypatch)
    folder = stub_sweep(tmp_path / "sweep")
    assert Slurm().submit(folder, "study", [stub_job(folder, "good")], {}) == 0
    assert json.loads(folder.record("good").read_text())["job_id"] == "5"
    assert "--parsable" in (tmp_path / "given").read_text()


def test_an_answer_without_an_id_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "bin", "sbatch", "echo 'Welcome, job 77'", monkeypatch)
    folder = stub_sweep(tmp_path / "sweep")
    with pytest.raises(UserError, match="sbatch named no job; it said: Welcome, job 77"):
        Slurm().submit(folder, "study", [stub_job(folder, "good")], {})


def test_evaluations_have_their_own_time_and_gpus() -> None:
    config = Slurm.Config(time="10:00:00", nodes=2, gpus_per_node=4, eval_time="30", eval_gpus=0)
    lines = sbatch_lines(Slurm(config).for_evaluation())
    assert {"#SBATCH --time=30", "#SBATCH --nodes=1"} <= {*lines}
    assert not [line for line in lines if "gpus" in line]
    with pytest.raises(UserError, match="--eval-time 1h is no time limit"):
        Slurm.Config(eval_time="1h")
    with pytest.raises(UserError, match="--cpus-per-gpu must be at least 0, not -1"):
        Slurm.Config(cpus_per_gpu=-1)
    with pytest.raises(UserError, match="--eval-gpus must be 0 or 1, not 2"):
        Slurm.Config(eval_gpus=2)


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no SLURM here"):
        Slurm().check(SweepFolder(tmp_path), "study")
    with pytest.raises(UserError, match="squeue does not answer"):
        queued(["1"], 0)
    assert queued([], 0) == {}
    assert ended(["1"]) == {}


def test_evaluations_of_a_run_under_way_elsewhere_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """sbatch knows no job of another cluster to wait for."""
    stand_in(tmp_path / "bin", "sbatch", "echo 5", monkeypatch)
    folder = stub_sweep(tmp_path / "sweep")
    jobs = [stub_job(folder, "good", "knn"), stub_job(folder, "elsewhere", "knn")]
    states = {
        "good": JobState(name="running", cluster="slurm", job_id="4"),
        "elsewhere": JobState(name="running", cluster="local", job_id="local-1"),
    }
    assert Slurm().submit(folder, "study", jobs, states) == 0
    assert "submitted 0 runs and 1 evaluations" in capsys.readouterr().out
    assert json.loads(folder.record("good.knn").read_text())["cluster"] == "slurm"
    assert not folder.record("elsewhere.knn").exists()


def test_who_is_queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "8_0|RUNNING|None\\n8_1|PENDING|Resources\\n8_2|FAILED|NonZeroExitCode\\n9|RUNNING|None"
    stand_in(tmp_path / "bin", "squeue", f"printf '{lines}\\n'", monkeypatch)
    waiting = queued({"8_0", "8_1", "8_2", "8_3"}, 0)
    assert waiting == {"8_0": ("RUNNING", "None"), "8_1": ("PENDING", "Resources")}


def test_how_jobs_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "bin", "sacct", "printf '8_0|CANCELLED by 0\\n8_1|OUT_OF_MEMORY\\n'", monkeypatch)
    assert ended({"8_0", "8_1"}) == {"8_0": "CANCELLED", "8_1": "OUT_OF_MEMORY"}
