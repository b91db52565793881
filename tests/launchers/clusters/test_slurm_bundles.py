"""How jobs are bundled and submitted in pieces, with stand-ins for SLURM's commands."""

from pathlib import Path

import pytest

from launchers.clusters.slurm import Slurm
from launchers.clusters.slurm_bundles import Lanes
from launchers.sweeps import attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.state import Answer, JobState, Submission, read_submission, state_of
from tests.helpers.stand_ins import stand_in
from tests.helpers.stub_runs import stub_job

PROTOCOLS = ("", "knn", "linear")

# takes arrays of at most $MOST jobs, and $ALL jobs in all; ids are 1, 2, ...
SBATCH = """
here=$(dirname $0); eval script=\\${$#}
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' $script); count=$((${last:-0} + 1))
taken=$(cat $here/taken 2>/dev/null || echo 0)
if [ $count -gt $MOST ] || [ $((taken + count)) -gt $ALL ]; then
    echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit," \
        "user's size and/or time limits)" >&2
    exit 1
fi
echo $((taken + count)) > $here/taken
echo x >> $here/calls; id=$(wc -l < $here/calls)
cp $script $here/script-$id; echo 'Welcome, job 77 of 99!'; echo $id
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for sbatch and scontrol; a configuration without accounting."""
    stand_in(tmp_path / "bin", "sbatch", SBATCH, monkeypatch)
    stand_in(tmp_path / "bin", "scontrol", "echo 'MaxArraySize            = 4'", monkeypatch)
    monkeypatch.setenv("MOST", "1000")
    monkeypatch.setenv("ALL", "1000")
    return tmp_path / "bin"


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path / "sweep")
    folder.jobs.mkdir(parents=True)
    return folder


def jobs_of(folder: SweepFolder, *runs: str) -> list[Job]:
    return [stub_job(folder, run, protocol) for run in runs for protocol in PROTOCOLS]


def options_of(tools: Path, number: int) -> set[str]:
    lines = (tools / f"script-{number}").read_text().splitlines()
    return {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}


def ids(folder: SweepFolder, jobs: list[Job]) -> dict[str, str]:
    found = {job.name: read_submission(folder, job) for job in jobs}
    return {name: submission.job_id for name, submission in found.items() if submission}


def test_a_run_is_measured_in_the_job_that_trains_it(
    folder: SweepFolder, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = jobs_of(folder, "a", "b")
    assert Slurm().submit(folder, "study", jobs, {}) == 0
    found = ids(folder, jobs)
    assert set(found.values()) == {"1_0", "1_1"}
    assert found["a"] == found["a.knn"] == found["a.linear"]
    assert "submitted 2 runs and 4 evaluations; jobs under way: 2; " in capsys.readouterr().out


@pytest.mark.parametrize("config", [{"eval_time": "30"}, {"gpus_per_node": 4}, {"nodes": 2}])
def test_otherwise_one_job_measures_it_afterwards(
    folder: SweepFolder, tools: Path, config: dict[str, object]
) -> None:
    """Resources of its own, or GPUs that would stand idle."""
    jobs = jobs_of(folder, "a")
    Slurm(Slurm.Config(**config)).submit(folder, "study", jobs, {})  # type: ignore[arg-type]
    assert ids(folder, jobs) == {"a": "1", "a.knn": "2", "a.linear": "2"}
    assert "dependency=afterok:1" in options_of(tools, 2)


def test_an_array_is_no_longer_than_slurm_takes(folder: SweepFolder, tools: Path) -> None:
    jobs = jobs_of(folder, *"abcdef")
    Slurm().submit(folder, "study", jobs, {})
    assert sorted(set(ids(folder, jobs).values())) == ["1_0", "1_1", "1_2", "1_3", "2_0", "2_1"]


def test_what_slurm_does_not_take_is_left_to_the_next_command(
    folder: SweepFolder, tools: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOST", "2")
    monkeypatch.setenv("ALL", "5")
    jobs = jobs_of(folder, *"abcdefgh")
    assert Slurm().submit(folder, "study", jobs, {}) == 0
    assert {name.partition(".")[0] for name in ids(folder, jobs)} == set("abcde")
    told = capsys.readouterr()
    assert "submitted 5 runs and 10 evaluations; jobs under way: 5; " in told.out
    assert told.err.endswith("the same command again, or with --watch, goes on with the rest\n")
    assert len(told.err.splitlines()) == 1
    monkeypatch.setenv("ALL", "1000")
    rest = [job for job in jobs if job.run in "fgh"]
    active = {
        name: JobState(name="queued", cluster="slurm", job_id=id_) for name, id_ in ids(folder, jobs).items()
    }
    Slurm().submit(folder, "study", rest, active)
    assert ids(folder, jobs).keys() == {job.name for job in jobs}
    assert "jobs under way: 8; " in capsys.readouterr().out


def test_a_limit_holds_over_all_arrays_and_commands(folder: SweepFolder, tools: Path) -> None:
    """Of 5 jobs at a time 3 are under way: 2 are left to the next array, and the one after that waits."""
    active = {f"old{n}": JobState(name="running", cluster="slurm", job_id=f"90_{n}") for n in range(3)}
    slurm = Slurm(Slurm.Config(eval_time="30"), max_parallel=5)
    slurm.submit(folder, "study", jobs_of(folder, *"abcdef"), active)
    assert {"array=0-3%2"} <= options_of(tools, 1)
    assert {"array=0-1%2", "dependency=afterany:1:90"} <= options_of(tools, 2)
    assert {"array=0-3%4", "dependency=afterany:1:2:90"} <= options_of(tools, 3)  # measures the first 4
    assert {"array=0-1%2", "dependency=afterany:1:2:3:90"} <= options_of(tools, 4)


def test_lanes() -> None:
    lanes = Lanes(4, ["1_0"])
    assert lanes.terms() == (3, "")
    lanes.take(["2_0", "2_1"])
    assert lanes.terms() == (1, "")
    lanes.take(["3_0", "3_1", "3_2"])
    assert lanes.terms() == (4, "afterany:1:2:3")
    lanes.take(["4"])
    assert lanes.terms() == (3, "")
    assert Lanes(0, ["1"]).terms() == (0, "")


@pytest.mark.parametrize(
    ("bundle", "ended", "state"),
    [
        ("running", None, "queued"),
        ("running", "running", "running"),
        ("running", "interrupted", "queued"),
        ("running", "mistake", "failed"),
        ("running", "crashed", "failed"),
        ("queued", "crashed", "queued"),  # requeued
        ("queued", "mistake", "failed"),
        ("gone", None, "cancelled"),  # its run failed
        ("cancelled", None, "cancelled"),
    ],
)
def test_the_state_of_an_evaluation_in_a_bundle(
    folder: SweepFolder,
    tools: Path,
    monkeypatch: pytest.MonkeyPatch,
    bundle: str,
    ended: str | None,
    state: str,
) -> None:
    training, job = stub_job(folder, "a"), stub_job(folder, "a", "knn")
    answer = {"queued": "echo '7|PENDING|None'", "running": "echo '7|RUNNING|None'"}.get(bundle, "true")
    stand_in(tools, "squeue", answer, monkeypatch)
    answer = f"echo '7|{'CANCELLED' if bundle == 'cancelled' else 'FAILED'}'"
    stand_in(tools, "sacct", answer, monkeypatch)
    (folder.jobs / "7_0_log.err").write_text("JobFailedError: of the training\n")
    if ended:
        number = attempts.begin(folder.attempts(job.name), "7", 0)
        if ended != "running":
            attempts.end(folder.attempts(job.name), number, ended, 1, "why")  # type: ignore[arg-type]
    submissions = [Submission(each, "slurm", "7") for each in (training, job)]
    answers = Slurm().states(folder, submissions)
    assert state_of(folder, job, submissions[1], answers[job.name]).name == state
    assert answers["a"] != Answer("queued") or bundle == "queued"
