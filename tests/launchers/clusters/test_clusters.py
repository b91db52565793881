"""What is asked of every cluster, by the tuple. SLURM's jobs: tests/slurm."""

import ast
import dataclasses
import inspect
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastssl.run.summary import read_summary
from launchers import status
from launchers.clusters import CLUSTERS, find_cluster, job_states
from launchers.clusters.cluster import Cluster
from launchers.options import Options, parse
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.plan import VERSION
from launchers.sweeps.state import ACTIVE, read_submission
from pipelines.command.errors import UserError
from tests.helpers import ROOT
from tests.helpers.signals import wait_until
from tests.helpers.stub_runs import stub_job, stub_sweep

KINDS = [cluster.kind for cluster in CLUSTERS]
HERE = [cluster.kind for cluster in CLUSTERS if not cluster.elsewhere]

# A command that submits jobs, as launchers.sweep does. Where a cluster calls the training in its own process,
# that is the stand-in, too.
SUBMIT = """
import runpy, sys
from pathlib import Path
from types import SimpleNamespace
from launchers.clusters import find_cluster
from launchers.sweeps.folder import SweepFolder
from pipelines.files import folder_lock
from tests.helpers.stub_runs import stub_job

folder, kind, *runs = SweepFolder(Path(sys.argv[1])), *sys.argv[2:]

def stand_in(file):
    def main(arguments):
        sys.argv = [file, *arguments]
        try:
            runpy.run_path(str(folder.code / "fastssl" / file), run_name="__main__")
        except SystemExit as ended:
            return ended.code
        return 0
    return main

sys.modules["fastssl.train"] = SimpleNamespace(main=stand_in("train.py"))
sys.modules["fastssl.evaluate.__main__"] = SimpleNamespace(main=stand_in("evaluate/__main__.py"))
jobs = [stub_job(folder, run, result, retries=0) for run in runs for result in ("", "knn")]
with folder_lock.hold(folder.path):
    sys.exit(find_cluster(kind)(max_parallel=1).submit(folder, "study", jobs, {}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return stub_sweep(tmp_path / "sweep")


def plan(folder: SweepFolder, runs: list[str]) -> list[Job]:
    planned = [{"name": run, "evaluations": ["knn"], "checkpoints": []} for run in runs]
    about = {"version": VERSION, "study": "study", "command": [], "folder": "/"}
    folder.plan.write_text(json.dumps({**about, "runs": planned}))
    return [stub_job(folder, run, result, retries=0) for run in runs for result in ("", "knn")]


def submit(folder: SweepFolder, kind: str, runs: list[str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", SUBMIT, str(folder.path), kind, *runs]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("kind", HERE)
def test_jobs_run_to_their_end(folder: SweepFolder, kind: str) -> None:
    runs = ["good", "mistake", "crash"]
    jobs = plan(folder, runs)

    def name(job: str) -> str:
        return job_states(folder, jobs)[job].name

    with submit(folder, kind, runs) as process:
        wait_until(lambda: not ACTIVE & {name(job.name) for job in jobs} and name("crash") == "failed")
    assert process.returncode in (0, 1)
    assert [name(run) for run in runs] == ["finished", "failed", "failed"]
    assert [name(f"{run}.knn") for run in runs] == ["finished", "cancelled", "cancelled"]  # never started
    for job in jobs:
        submission = read_submission(folder, job)
        assert submission is not None
        assert submission.cluster == kind
    assert job_states(folder, jobs)["mistake"].cluster == kind
    assert folder.evaluation("good", "knn").exists()


@pytest.mark.parametrize("kind", HERE)
def test_what_runs_is_cancelled_after_a_checkpoint(folder: SweepFolder, kind: str) -> None:
    runs = ["good-3000", "good-2000"]
    jobs = plan(folder, runs)
    with submit(folder, kind, runs) as process:
        wait_until(lambda: read_summary(folder.run("good-3000")))
        states = job_states(folder, jobs)
        assert (states["good-3000"].name, states["good-3000.knn"].name) == ("running", "queued")
        assert states["good-2000"].name == "queued"
        time.sleep(0.2)  # the stand-in listens to TERM
        assert status.main([str(folder.path), "cancel"]) == 0
        wait_until(lambda: not ACTIVE & {state.name for state in job_states(folder, jobs).values()})
        process.wait(60)
    assert job_states(folder, jobs)["good-3000"].name in ("interrupted", "cancelled")
    assert read_summary(folder.run("good-3000"))["status"] == "interrupted"
    assert not read_summary(folder.run("good-2000"))


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_its_name_and_its_options(cluster: type[Cluster]) -> None:
    assert KINDS.count(cluster.kind) == 1
    assert find_cluster(cluster.kind) is cluster
    assert cluster.Config() == cluster.Config()
    if "Config" in vars(cluster):
        parameters = cluster.Config.__dataclass_params__  # type: ignore[attr-defined]
        assert parameters.frozen
        others = [other.Config for other in CLUSTERS if other is not cluster]
        taken = {field.name for owner in (Options, *others) for field in dataclasses.fields(owner)}
        assert not taken & {field.name for field in dataclasses.fields(cluster.Config)}


def test_the_command_line_offers_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    told = capsys.readouterr().out
    for cluster in CLUSTERS:
        options, chosen = parse(["tiny", "--cluster", cluster.kind, "--max-parallel", "3"])
        assert type(chosen) is cluster
        assert (chosen.config, chosen.max_parallel, options.study) == (cluster.Config(), 3, "tiny")
        assert f"  {cluster.kind} " in told
        assert (cluster.__doc__ or "").splitlines()[0] in told
        for field in dataclasses.fields(cluster.Config):
            assert f"--{field.name.replace('_', '-')} " in told
    with pytest.raises(UserError, match="invalid choice 'cloud'") as raised:
        parse(["tiny", "--cluster", "cloud"])
    assert all(kind in str(raised.value) for kind in KINDS)


def test_a_job_of_an_unknown_cluster_is_a_line(folder: SweepFolder) -> None:
    folder.record("good").write_text('{"cluster": "cloud", "job_id": "1"}')
    with pytest.raises(UserError, match=r"^unknown cluster cloud: the clusters are local, "):
        job_states(folder, [stub_job(folder, "good")])


def test_nobody_else_asks_which_cluster_it_is() -> None:
    """No file but a cluster's own has its kind in a string, to compare something with."""
    own = {cluster.kind: Path(inspect.getfile(cluster)).name for cluster in CLUSTERS}
    asking = [
        f"{path}:{node.lineno}"
        for path in sorted((ROOT / "launchers").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if any(node.value.rstrip("-") == kind and path.name != own[kind] for kind in KINDS)
    ]
    assert asking == []
